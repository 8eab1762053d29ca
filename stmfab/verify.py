"""Is the dataset whole: every fault of a store, by shard and array, from the receipts that vouch for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import provenance, receipts, store
from .errors import DamagedError
from .layout import is_checked
from .place import ROOT
from .receipts import ArrayRecord, Receipt
from .store import Store


@dataclass(frozen=True)
class Fault:
    """Something a receipt vouches for that is not so. ``shard`` None is the metadata."""

    shard: int | None
    array: str
    what: str

    def __str__(self) -> str:
        """Return the fault as one line."""
        where = "metadata" if self.shard is None else f"shard {self.shard}"
        return f"{where}: {self.array}: {self.what}" if self.array else f"{where}: {self.what}"


def quick_faults(dataset: Store) -> list[Fault]:
    """Return every file that is missing or of another length than its receipt says, and every bad receipt."""
    return [*metadata_faults(dataset), *_shard_faults(dataset, store.made(dataset), _by_size)]


def full_faults(dataset: Store) -> list[Fault]:
    """Return every file whose bytes are not those its receipt vouches for, down to one bit."""
    return [*metadata_faults(dataset), *full_shard_faults(dataset, store.made(dataset))]


def full_shard_faults(dataset: Store, shards: Iterable[int]) -> list[Fault]:
    """Return the faults of some shards that have receipts, down to one bit."""
    return list(_shard_faults(dataset, shards, _by_content))


def glance(dataset: Store) -> list[Fault]:
    """Return the shards whose files are missing or of another length, without proving the receipts that say so.

    An eighth of the time of ``quick_faults``: cheap enough to be done whenever a dataset is called complete.
    """
    return [fault for shard in sorted(store.made(dataset)) for fault in _glance(dataset, shard)]


def _glance(dataset: Store, shard: int) -> Iterator[Fault]:
    promised = receipts.lengths(dataset.place.read(receipts.name(shard)) or b"")
    if len(promised) != len(dataset.layout.arrays):
        yield Fault(shard, "", f"{receipts.name(shard)} does not speak for every array")
    for file, count in promised.items():
        what = _by_length(dataset, file, count)
        if what is not None:
            yield Fault(shard, file.partition("/")[0], what)


def missing_shards(dataset: Store) -> list[int]:
    """Return the shards that have not been made."""
    return sorted(set(range(dataset.layout.n_shards)) - store.made(dataset))


def _shard_faults(
    dataset: Store, shards: Iterable[int], look: Callable[[Store, ArrayRecord], str | None]
) -> Iterator[Fault]:
    for shard in sorted(shards):
        try:
            receipt = store.receipt_of(dataset, shard)
        except DamagedError as error:
            yield Fault(shard, "", str(error))
            continue
        yield from _promised(dataset, shard, receipt)
        for array, record in receipt.arrays.items():
            what = look(dataset, record)
            if what is not None:
                yield Fault(shard, array, what)


def _promised(dataset: Store, shard: int, receipt: Receipt) -> Iterator[Fault]:
    """Hold a receipt against the layout: the samples and the arrays of this shard, of this store."""
    if (receipt.shard, receipt.start, receipt.stop) != (shard, *dataset.layout.bounds(shard)):
        yield Fault(shard, "", "its receipt speaks for other samples")
    for spec in dataset.layout.arrays:
        if spec.name not in receipt.arrays:
            yield Fault(shard, spec.name, "not in the receipt")


def _by_size(dataset: Store, record: ArrayRecord) -> str | None:
    return _by_length(dataset, record.file, record.bytes)


def _by_length(dataset: Store, file: str, count: int) -> str | None:
    size = dataset.place.size(file)
    if size is None:
        return f"{file} is missing"
    return None if size == count else f"{file} has {size} bytes, not {count}"


def _by_content(dataset: Store, record: ArrayRecord) -> str | None:
    wrong = _by_size(dataset, record)
    if wrong is not None:
        return wrong
    data = dataset.place.read(record.file) or b""
    return None if provenance.sha256(data) == record.sha256 else f"{record.file} is not the bytes of its receipt"


def metadata_faults(dataset: Store) -> Iterator[Fault]:
    """Yield every document of the metadata that is missing, damaged, or disagrees with the others."""
    recipe = dataset.attributes["recipe"]
    if provenance.recipe_sha256(recipe) != dataset.attributes["recipe_sha256"]:
        yield Fault(None, ROOT, "the recipe is not the one its sha256 was taken of")
    for node, declared in store.promised(dataset).items():
        name = f"{node}/{ROOT}"
        data = dataset.place.read(name)
        if data is None:
            yield Fault(None, name, "missing")
        elif not _agree(_json(data), declared):
            yield Fault(None, name, "differs from the store's consolidated metadata")
        if declared.get("dimension_names") == [node] and not is_checked(dataset.place.read(f"{node}/c/0") or b""):
            yield Fault(None, f"{node}/c/0", "the coordinates of the pixels are missing or damaged")


def _agree(found: object, declared: Mapping[str, Any]) -> bool:
    """Return whether a document is what the root declares; a group's is repeated there with its own members."""
    plain = {key: value for key, value in declared.items() if key != "consolidated_metadata"}
    return found == plain


def _json(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None
