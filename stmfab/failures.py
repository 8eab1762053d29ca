"""Shards that could not be made: the receipts of failure they leave, until a later run makes them."""

from __future__ import annotations

from . import provenance, receipts, store
from .errors import DamagedError
from .receipts import FailedReceipt
from .store import Store


def write(dataset: Store, shard: int, *, line: str, traceback: str) -> None:
    """Write the receipt of a shard that could not be made; it stands until ``store.write_shard`` makes the shard.

    Raises
    ------
    DiskError
        If the disk refuses.
    """
    start, stop = dataset.layout.bounds(shard)
    receipt = FailedReceipt(
        shard=shard,
        start=start,
        stop=stop,
        line=line,
        traceback=traceback,
        host=provenance.host(),
        identity=provenance.identity()["key"],
        versions=provenance.versions(),
        written=provenance.now(),
    )
    dataset.place.write(receipts.failed_name(shard), receipts.to_bytes(receipt))


def failed(dataset: Store) -> set[int]:
    """Return the shards that could not be made when they were last tried, and have not been made since."""
    shards = (receipts.failed_shard_of(document) for document in dataset.place.names(receipts.FOLDER))
    return {shard for shard in shards if shard is not None} - store.made(dataset)


def of(dataset: Store, shard: int) -> FailedReceipt:
    """Return the receipt of failure of a shard.

    Raises
    ------
    DamagedError
        If there is none that can be read.
    """
    name = receipts.failed_name(shard)
    try:
        return receipts.failed_from_bytes(dataset.place.read(name) or b"")
    except ValueError as error:
        raise DamagedError(f"{dataset}/{name}: {error}") from error
