"""Is the dataset whole: every fault of a store, by shard and array, from the receipts that vouch for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import provenance, store
from .errors import DamagedError
from .receipts import ArrayRecord, Receipt
from .store import ROOT, Store


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
    return [*_metadata_faults(dataset), *_shard_faults(dataset, _by_size)]


def full_faults(dataset: Store) -> list[Fault]:
    """Return every file whose bytes are not those its receipt vouches for, down to one bit."""
    return [*_metadata_faults(dataset), *_shard_faults(dataset, _by_content)]


def missing_shards(dataset: Store) -> list[int]:
    """Return the shards that have not been made."""
    return sorted(set(range(dataset.layout.n_shards)) - store.made(dataset))


def _shard_faults(dataset: Store, look: Callable[[Store, ArrayRecord], str | None]) -> Iterator[Fault]:
    for shard in sorted(store.made(dataset)):
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
    size = dataset.place.size(record.file)
    if size is None:
        return f"{record.file} is missing"
    return None if size == record.bytes else f"{record.file} has {size} bytes, not {record.bytes}"


def _by_content(dataset: Store, record: ArrayRecord) -> str | None:
    wrong = _by_size(dataset, record)
    if wrong is not None:
        return wrong
    data = dataset.place.read(record.file) or b""
    return None if provenance.sha256(data) == record.sha256 else f"{record.file} is not the bytes of its receipt"


def _metadata_faults(dataset: Store) -> Iterator[Fault]:
    recipe = dataset.attributes["recipe"]
    if provenance.recipe_sha256(recipe) != dataset.attributes["recipe_sha256"]:
        yield Fault(None, ROOT, "the recipe is not the one its sha256 was taken of")
    for spec in dataset.layout.arrays:
        name = f"{spec.name}/{ROOT}"
        data = dataset.place.read(name)
        if data is None:
            yield Fault(None, name, "missing")
        elif _json(data) != dataset.metadata[spec.name]:
            yield Fault(None, name, "differs from the store's consolidated metadata")


def _json(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None
