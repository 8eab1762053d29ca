"""What a store needs before work begins: leftovers swept, damage dropped so that it is made again, room enough."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import PurePath
from typing import Any

from numpy.typing import NDArray

from . import metadata, receipts, store, verify
from .errors import DamagedError, DiskError
from .layout import Layout
from .place import ROOT
from .plan import Plan
from .store import Store
from .text import size

WEIGHED = 16  # receipts read for the bytes of a sample


def sweep(dataset: Store, shards: Iterable[int]) -> None:
    """Remove what killed runs left of shards, of receipts and of the metadata, and stores they had only begun."""
    asked = set(shards)
    folders = {"", receipts.FOLDER}
    for spec in dataset.layout.arrays:
        folders |= {spec.name, f"{spec.name}/c"}
        begun = {int(name) for name in dataset.place.names(f"{spec.name}/c") if name.isdecimal()}
        files = (PurePath(dataset.layout.file_of(spec, shard)) for shard in asked & begun)
        folders |= {str(file.parent) for file in files}
    dataset.place.sweep(sorted(folders))


def repair(dataset: Store, plan: Plan, shards: Iterable[int]) -> list[int]:
    """Drop the receipts of those of ``shards`` that are damaged, so that they are made again; return them.

    Documents of arrays and the pixels' coordinates are written anew. Every byte of these shards is read.

    Raises
    ------
    DamagedError
        If the store's own document, which says what it is, disagrees with itself.
    """
    for name, data in metadata.documents(plan, dataset.layout).items():
        if name != ROOT and _unlike(dataset.place.read(name), data):
            dataset.place.write(name, data)
    for fault in verify.metadata_faults(dataset):
        raise DamagedError(f"{dataset}: {fault}: this cannot be repaired")
    there = store.made(dataset) & set(shards)
    damaged = {fault.shard for fault in verify.full_shard_faults(dataset, there) if fault.shard is not None}
    for shard in sorted(damaged):
        dataset.place.remove(receipts.name(shard))
    return sorted(damaged)


def _unlike(found: bytes | None, data: bytes) -> bool:
    if found == data:
        return False
    with contextlib.suppress(ValueError):
        return found is None or json.loads(found) != json.loads(data)
    return True


def check_room(dataset: Store, shards: Iterable[int], first: Mapping[str, NDArray[Any]] | None) -> None:
    """Refuse to begin shards that the disk clearly has no room for.

    A sample takes the mean of those in some receipts; where there is none yet, what ``first``, one sample, takes in
    chunks of its own; where that is unknown too, nothing is refused.

    Raises
    ------
    DiskError
        If they need more than is free.
    """
    free, sample_bytes = dataset.place.free_bytes(), _sample_bytes(dataset, first)
    if free is None or sample_bytes is None:
        return
    samples = sum(stop - start for start, stop in map(dataset.layout.bounds, shards))
    if samples * sample_bytes > free:
        needed = size(samples * sample_bytes)
        raise DiskError(f"{dataset}: no room: {samples} samples need about {needed}, {size(free)} are free")


def _sample_bytes(dataset: Store, first: Mapping[str, NDArray[Any]] | None) -> float | None:
    found = []
    for shard in islice(sorted(store.made(dataset)), WEIGHED):
        with contextlib.suppress(DamagedError):
            found.append(store.receipt_of(dataset, shard))
    samples = sum(receipt.stop - receipt.start for receipt in found)
    if samples:
        return sum(record.bytes for receipt in found for record in receipt.arrays.values()) / samples
    if first is None:
        return None
    alone = Layout(1, 1, 1, dataset.layout.arrays)
    return sum(min(len(alone.file_bytes(spec, first[spec.name])), first[spec.name].nbytes) for spec in alone.arrays)
