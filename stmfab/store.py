"""A dataset on disk: flat, sharded zarr v3 arrays that any zarr reader understands, and a receipt for every shard.

Shards are encoded in memory and put in place whole, so that no reader, however unlucky, sees half of one. zarr, and the
physics behind a plan, are imported where they are used: whoever only looks at receipts waits for neither.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import provenance, receipts
from .bucket import Place, refusals
from .errors import DamagedError, DiskError, StoreError
from .layout import FORMAT, LABELS, Layout, differences, from_metadata
from .place import ROOT, WAITERS, Folder
from .receipts import Receipt

if TYPE_CHECKING:
    from zarr.storage import LocalStore, ObjectStore

    from .plan import Plan

READ = (8, FORMAT)  # 8 lacks the species of defects, and its samples have other bytes
READ_AT_ONCE = 64  # receipts, by each of some threads: 3 MB of text in all
SHOWN_DIFFERENCES = 8  # keys named in a refusal; more would hide the line that matters


@dataclass(frozen=True)
class Store:
    """An open store: where it lies, its root attributes, its arrays' metadata, and its layout."""

    place: Place
    attributes: Mapping[str, Any]
    metadata: Mapping[str, Any]
    layout: Layout

    def __str__(self) -> str:
        """Return the place as the user typed it."""
        return str(self.place)


def open_store(place: Place) -> Store:
    """Return the store at a place.

    Raises
    ------
    StoreError
        If nothing is there, or something that is not ours.
    """
    if not place.exists():
        raise StoreError(f"{place}: no store here; make one with: stmfab generate RECIPE {place}")
    if isinstance(place, Folder) and not place.root.is_dir():
        raise StoreError(f"{place}: is a file, not a store")
    return _opened(place, _root(place))


def _root(place: Place) -> dict[str, Any]:
    """Return the root document of one of our stores.

    Raises
    ------
    StoreError
        If it is absent or not ours.
    DamagedError
        If it is there and cannot be read as JSON.
    """
    data = place.read(ROOT)
    if data is None:
        raise StoreError(f"{place}: this is not a store of stmfab (no {ROOT}); it is left as it is")
    try:
        root: dict[str, Any] = json.loads(data)
    except ValueError as error:
        raise DamagedError(f"{place}/{ROOT}: damaged: not JSON ({error})") from error
    if root.get("attributes", {}).get("generator") != "stmfab":
        raise StoreError(f"{place}: a zarr store, but not one of stmfab; it is left as it is")
    if root["attributes"]["format"] not in READ:
        found, legal = root["attributes"]["format"], " and ".join(map(str, READ))
        raise StoreError(f"{place}: a store of format {found}; this stmfab reads formats {legal}")
    return root


def _opened(place: Place, root: Mapping[str, Any]) -> Store:
    metadata = root["consolidated_metadata"]["metadata"]
    return Store(place, root["attributes"], metadata, from_metadata(root["attributes"], metadata))


def create(place: Place, plan: Plan) -> Store:
    """Return the store of a plan, new or as it is: several parts of one job may call this at once.

    Raises
    ------
    StoreError
        If the place holds another recipe, a store of another version, or something that is not a store.
    DiskError
        If the place cannot be written.
    """
    if not place.exists():
        from . import metadata

        cut = metadata.planned(plan)
        layers = metadata.label_layers(plan, cut)
        place.create(metadata.documents(plan, cut), *(layers if isinstance(place, Folder) else ()))
    store = open_store(place)
    same_recipe(store, plan)
    return store


def same_recipe(store: Store, plan: Plan) -> None:
    """Hold a plan against the store it shall be made in.

    Raises
    ------
    StoreError
        If it holds another recipe or other arrays, or another version's samples, whose bytes may differ.
    """
    theirs, this = store.attributes["versions"]["stmfab"], provenance.versions()["stmfab"]
    if theirs != this:
        raise StoreError(f"{store}: made by stmfab {theirs}, this is {this}; go on with that, or give another STORE")
    ours = json.loads(provenance.canonical(plan.tree))
    found = differences(store.attributes["recipe"], ours)
    if found:
        more = f" (and {len(found) - SHOWN_DIFFERENCES} more)" if len(found) > SHOWN_DIFFERENCES else ""
        keys = "; ".join(found[:SHOWN_DIFFERENCES])
        way = ", or --extend to grow this one" if plan.samples > store.layout.samples else ""
        raise StoreError(f"{store}: holds another recipe: {keys}{more}; give another STORE{way}")
    _same_arrays(store, plan)


def _same_arrays(store: Store, plan: Plan) -> None:
    """Refuse to write into arrays that another version of this program declared in another way."""
    from . import metadata

    cut = replace(store.layout, arrays=metadata.planned(plan).arrays)  # a store that has grown keeps its shards
    root = json.loads(metadata.documents(plan, cut)[ROOT])
    ours, theirs = root["consolidated_metadata"]["metadata"], promised(store)
    names = sorted(ours.keys() | theirs.keys())
    found = [name for name in names if ours.get(name) != theirs.get(name)]
    if found:
        raise StoreError(f"{store}: made by another version of stmfab, which stores {', '.join(found)} differently")


def promised(store: Store) -> dict[str, Any]:
    """Return the metadata of what a store holds, without the group of labels, which shows some of it once more."""
    return {name: node for name, node in store.metadata.items() if name.partition("/")[0] != LABELS}


def write_shard(store: Store, shard: int, blocks: Mapping[str, NDArray[Any]], *, begun_s: float) -> Receipt:
    """Write a shard of every array, then its receipt: the shard exists from the moment the receipt does.

    ``begun_s`` is the reading of ``time.monotonic`` when the shard's work began.

    Raises
    ------
    ValueError
        If a block is not what its array was declared to be.
    DiskError
        If the disk refuses.
    """
    start, stop = store.layout.bounds(shard)
    files, records = {}, {}
    for spec in store.layout.arrays:
        block = blocks[spec.name]
        if block.shape != (stop - start, *spec.shape) or block.dtype != np.dtype(spec.dtype):
            raise ValueError(f"{spec.name}: {block.dtype}{block.shape} is not samples of {spec.dtype}{spec.shape}")
        file = store.layout.file_of(spec, shard)
        files[file] = store.layout.file_bytes(spec, block)
        records[spec.name] = receipts.record(file, files[file], block)
    store.place.write_all(files)
    receipt = Receipt(
        shard=shard,
        start=start,
        stop=stop,
        arrays=records,
        host=provenance.host(),
        identity=provenance.identity()["key"],
        versions=provenance.versions(),
        seconds=time.monotonic() - begun_s,
        written=provenance.now(),
    )
    store.place.write(receipts.name(shard), receipts.to_bytes(receipt))
    store.place.remove(receipts.failed_name(shard))
    return receipt


def made(store: Store) -> set[int]:
    """Return the shards that have a receipt, read only where the end of a store was before it grew."""
    shards = (receipts.shard_of(document) for document in store.place.names(receipts.FOLDER))
    found = {shard for shard in shards if shard is not None and shard < store.layout.n_shards}
    return found - {shard for shard in _former_ends(store) & found if _is_of_before(store, shard)}


def _former_ends(store: Store) -> set[int]:
    """Return the shards that were the last ones before a store grew."""
    return {samples // store.layout.shard for samples in store.attributes.get("grown_from", ())}


def _is_of_before(store: Store, shard: int) -> bool:
    """Return whether a receipt speaks for the samples that a shard had before the store grew."""
    try:
        receipt = receipt_of(store, shard)
    except DamagedError:
        return False  # a fault for `verify` to name
    return (receipt.start, receipt.stop) != store.layout.bounds(shard)


def is_made(store: Store, shard: int) -> bool:
    """Return whether a shard has a receipt by now."""
    if store.place.size(receipts.name(shard)) is None:
        return False
    return shard not in _former_ends(store) or not _is_of_before(store, shard)


def receipt_of(store: Store, shard: int) -> Receipt:
    """Return the receipt of a shard.

    Raises
    ------
    DamagedError
        If there is none that can be read.
    """
    return _receipt(store, shard, _document(store, shard), receipts.from_bytes)


def receipts_of(
    store: Store, shards: Iterable[int], parse: Callable[[bytes], Receipt] = receipts.from_bytes
) -> Iterator[tuple[int, Receipt | DamagedError]]:
    """Yield each shard with its receipt, or with the fault of one that cannot be read: any number, a few at a time."""
    rest = iter(shards)
    with ThreadPoolExecutor(WAITERS) as waiters:
        while block := list(islice(rest, WAITERS * READ_AT_ONCE)):
            parts = [block[first : first + READ_AT_ONCE] for first in range(0, len(block), READ_AT_ONCE)]
            found = chain.from_iterable(waiters.map(lambda part: [_document(store, shard) for shard in part], parts))
            for shard, data in zip(block, found, strict=True):
                try:
                    yield shard, _receipt(store, shard, data, parse)
                except DamagedError as error:
                    yield shard, error


def _document(store: Store, shard: int) -> bytes | None:
    return store.place.read(receipts.name(shard))


def _receipt(store: Store, shard: int, data: bytes | None, parse: Callable[[bytes], Receipt]) -> Receipt:
    try:
        return parse(data or b"")
    except ValueError as error:
        raise DamagedError(f"{store}/{receipts.name(shard)}: {error}") from error


def read(store: Store, array: str, start: int, stop: int) -> NDArray[Any]:
    """Return samples ``start`` to ``stop`` (exclusive) of one array; samples not made yet are fill values.

    Raises
    ------
    DamagedError
        If a file on the way cannot be decoded.
    DiskError
        If an object store refuses or does not answer.
    """
    return _decoded(store, array, [(start, stop)])[0]


def read_block(store: Store, array: str, shard: int) -> NDArray[Any]:
    """Return the samples of one array in a shard that has been made, as ``read`` would, without zarr.

    Raises
    ------
    DamagedError
        If its file is missing or cannot be decoded.
    DiskError
        If it cannot be read.
    """
    spec = store.layout.array(array)
    file = store.layout.file_of(spec, shard)
    start, stop = store.layout.bounds(shard)
    data = store.place.read(file)
    if data is None:
        raise DamagedError(f"{store}/{file}: is missing")
    try:
        return store.layout.block(spec, data)[: stop - start]
    except ValueError as error:
        raise DamagedError(f"{store}/{file}: {error}") from error


def read_each(store: Store, array: str, samples: Iterable[int]) -> list[NDArray[Any]]:
    """Return one array of some samples, each as ``read`` would with its leading axis: in a tenth of the time.

    Raises
    ------
    DamagedError
        If a file on the way cannot be decoded.
    DiskError
        If an object store refuses or does not answer.
    """
    return _decoded(store, array, [(index, index + 1) for index in samples])


def _decoded(store: Store, array: str, ranges: list[tuple[int, int]]) -> list[NDArray[Any]]:
    import zarr

    found: list[NDArray[Any]] = []
    try:
        with refusals(store, "read"):
            source: Any = zarr.open_array(zarr_store(store.place), path=array, mode="r", zarr_format=3)
            for start, stop in ranges:
                found.append(np.asarray(source[start:stop]))
    except DiskError:
        raise
    except Exception as error:  # what a codec raises on damaged bytes is anything, from OSError to RuntimeError
        start, stop = ranges[len(found)]
        raise DamagedError(f"{store}: {array} of samples {start} to {stop}: cannot be decoded ({error})") from error
    return found


def zarr_store(place: Place) -> LocalStore | ObjectStore[Any]:
    """Return a place as zarr reads it."""
    from zarr.storage import LocalStore, ObjectStore

    if isinstance(place, Folder):
        return LocalStore(place.root, read_only=True)
    return ObjectStore(place.objects, read_only=True)


def finalise(store: Store) -> None:
    """Write each array's mean, deviation and range into the root attributes, once every shard has a receipt.

    The same receipts give the same bytes. A store that has grown meanwhile is left to whoever finishes it.

    Raises
    ------
    DamagedError
        If a receipt cannot be read.
    """
    total = receipts.totals(_vouched(store))
    statistics = {spec.name: _statistics(total[spec.name]) for spec in store.layout.arrays}
    with store.place.lock(ROOT):
        root = _root(store.place)
        attributes = root["attributes"]
        if attributes["samples"] == store.layout.samples and attributes.get("statistics") != statistics:
            attributes["statistics"] = statistics
            store.place.write(ROOT, json.dumps(root, indent=2).encode())


def _vouched(store: Store) -> Iterator[Receipt]:
    """Yield the receipt of every shard."""
    for _, found in receipts_of(store, range(store.layout.n_shards)):
        if isinstance(found, DamagedError):
            raise found
        yield found


def _statistics(total: receipts.ArrayRecord) -> dict[str, float | None]:
    return {"mean": total.mean, "deviation": total.deviation, "minimum": total.minimum, "maximum": total.maximum}
