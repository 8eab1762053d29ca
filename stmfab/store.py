"""A dataset on disk: flat, sharded zarr v3 arrays that any zarr reader understands, and a receipt for every shard.

Shards are encoded in memory and put in place whole, so that no reader, however unlucky, sees half of one.
"""

from __future__ import annotations

import json
import platform
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.errors import ZarrUserWarning
from zarr.storage import LocalStore, MemoryStore

from . import plan as plans
from . import provenance, receipts
from .errors import DamagedError, StmfabError, StoreError
from .layout import COMPRESSION_LEVEL, COMPRESSOR, Layout, differences, fill_value, from_metadata, layout
from .physics.defects import DEFECTS
from .physics.materials import MATERIALS
from .physics.targets import LAYERS, ArraySpec
from .place import Folder
from .plan import Plan
from .receipts import Receipt

if TYPE_CHECKING:
    import xarray

FORMAT = 3  # of the layout and of the samples' bytes; a change of either counts it up
ROOT = "zarr.json"
SHOWN_DIFFERENCES = 8  # keys named in a refusal; more would hide the line that matters


@dataclass(frozen=True)
class Store:
    """An open store: where it lies, its root attributes, its arrays' metadata, and its layout."""

    place: Folder
    attributes: Mapping[str, Any]
    metadata: Mapping[str, Any]
    layout: Layout

    def __str__(self) -> str:
        """Return the place as the user typed it."""
        return str(self.place)


def open_store(place: Folder) -> Store:
    """Return the store at a place.

    Raises
    ------
    StoreError
        If nothing is there, or something that is not ours.
    """
    if not place.exists():
        raise StoreError(f"{place}: no store here; make one with: stmfab generate RECIPE {place}")
    if not place.root.is_dir():
        raise StoreError(f"{place}: is a file, not a store")
    return _opened(place, _root(place))


def _root(place: Folder) -> dict[str, Any]:
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
        raise StoreError(f"{place}: this folder is not a store of stmfab (no {ROOT}); it is left as it is")
    try:
        root: dict[str, Any] = json.loads(data)
    except ValueError as error:
        raise DamagedError(f"{place}/{ROOT}: damaged: not JSON ({error})") from error
    if root.get("attributes", {}).get("generator") != "stmfab":
        raise StoreError(f"{place}: a zarr store, but not one of stmfab; it is left as it is")
    if root["attributes"]["format"] != FORMAT:
        found = root["attributes"]["format"]
        raise StoreError(f"{place}: a store of format {found}; this stmfab reads and writes format {FORMAT}")
    return root


def _opened(place: Folder, root: Mapping[str, Any]) -> Store:
    metadata = root["consolidated_metadata"]["metadata"]
    return Store(place, root["attributes"], metadata, from_metadata(root["attributes"], metadata))


def create(place: Folder, plan: Plan) -> Store:
    """Return the store of a plan, new or as it is: several parts of one job may call this at once.

    Raises
    ------
    StoreError
        If the place holds another recipe (the differing keys are named), a store of another version of this
        program, or something that is not a store.
    DiskError
        If the place cannot be written.
    """
    if not place.exists():
        place.create(documents(plan))
    store = open_store(place)
    _same_version(store)
    _same_recipe(store, plan)
    return store


def _same_version(store: Store) -> None:
    """Refuse to mix the samples of two versions of this program: only equal versions promise equal bytes."""
    theirs, ours = store.attributes["versions"]["stmfab"], provenance.versions()["stmfab"]
    if theirs != ours:
        raise StoreError(
            f"{store}: made by stmfab {theirs}, this is {ours}; go on with {theirs}, or give another STORE"
        )


def _same_recipe(store: Store, plan: Plan) -> None:
    ours = json.loads(provenance.canonical(plan.tree))
    found = differences(store.attributes["recipe"], ours)
    if found:
        more = f" (and {len(found) - SHOWN_DIFFERENCES} more)" if len(found) > SHOWN_DIFFERENCES else ""
        keys = "; ".join(found[:SHOWN_DIFFERENCES])
        raise StoreError(f"{store}: holds another recipe: {keys}{more}; give another STORE")
    _same_arrays(store, plan)


def _same_arrays(store: Store, plan: Plan) -> None:
    """Refuse to write into arrays that another version of this program declared in another way."""
    root = json.loads(documents(plan)[ROOT])
    ours = root["consolidated_metadata"]["metadata"]
    names = sorted(ours.keys() | store.metadata.keys())
    found = [name for name in names if ours.get(name) != store.metadata.get(name)]
    if found:
        raise StoreError(f"{store}: made by another version of stmfab, which stores {', '.join(found)} differently")


def planned(plan: Plan) -> Layout:
    """Return the layout that the store of a plan will have."""
    return layout(plan.samples, tuple(plans.arrays(plan)))


def documents(plan: Plan) -> dict[str, bytes]:
    """Return the first documents of a store: the metadata of root, arrays and the folder of receipts."""
    memory: dict[str, Any] = {}
    cut = planned(plan)
    group = zarr.create_group(MemoryStore(memory), attributes=_attributes(plan, cut))
    for spec in cut.arrays:
        _create_array(group, spec, cut, plan)
    group.create_group(receipts.FOLDER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)  # consolidated metadata: in every reader, not yet in the spec
        zarr.consolidate_metadata(MemoryStore(memory))
    return {name: buffer.to_bytes() for name, buffer in sorted(memory.items())}


def _attributes(plan: Plan, cut: Layout) -> dict[str, Any]:
    recipe = json.loads(json.dumps(plan.tree))
    return {
        "generator": "stmfab",
        "format": FORMAT,
        "name": plan.name,
        "seed": plan.seed,
        "samples": cut.samples,
        "chunk_samples": cut.chunk,
        "shard_samples": cut.shard,
        "arrays": [spec.name for spec in cut.arrays],
        "recipe": recipe,
        "recipe_sha256": provenance.recipe_sha256(recipe),
        "versions": provenance.versions(),
        "git_commit": provenance.git_commit(),
        "identity": dict(provenance.identity()),
        "platform": platform.platform(),
        "created": provenance.now(),
    }


def _create_array(group: zarr.Group, spec: ArraySpec, cut: Layout, plan: Plan) -> None:
    dtype = np.dtype(spec.dtype)
    words: dict[str, Any] = {"units": spec.unit, "long_name": spec.long_name, "role": spec.role}
    if spec.name == "param":
        words["columns"] = column_words(plan)
    if spec.name in (coded := _categories(plan)):
        words["categories"] = coded[spec.name]
    group.create_array(
        spec.name,
        shape=(cut.samples, *spec.shape),
        chunks=(cut.chunk_of(spec), *spec.shape),
        shards=(cut.shard, *spec.shape),
        dtype=dtype,
        fill_value=fill_value(dtype),
        compressors=[BloscCodec(shuffle="shuffle", cname=COMPRESSOR, clevel=COMPRESSION_LEVEL), Crc32cCodec()],
        dimension_names=("sample", *spec.dims),
        attributes=words,
    )


def _categories(plan: Plan) -> dict[str, list[str]]:
    """Return the words that the integers of coded labels stand for, by their position."""
    return {
        "defect_kind": list(DEFECTS),
        "defect_name": sorted(plan.tree["sample"].get("defects", {})),
        "defect_site": [site.name for site in MATERIALS[plan.material].sites],
        "defect_layer": list(LAYERS),
    }


def column_words(plan: Plan) -> list[dict[str, Any]]:
    """Return what a reader needs to understand each column of ``param``; words are coded by their position."""
    return [_column(column) for column in plans.record_columns(plan)]


def _column(column: plans.Column) -> dict[str, Any]:
    words: dict[str, Any] = {"name": column.name, "unit": column.unit}
    if column.categories is not None:
        words["categories"] = list(column.categories)
    if column.distribution is not None:
        words["distribution"] = column.distribution.form()
    return words


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
    """Return the shards that have a receipt, without reading one."""
    shards = (receipts.shard_of(document) for document in store.place.names(receipts.FOLDER))
    return {shard for shard in shards if shard is not None and shard < store.layout.n_shards}


def is_made(store: Store, shard: int) -> bool:
    """Return whether a shard has a receipt by now."""
    return store.place.size(receipts.name(shard)) is not None


def receipt_of(store: Store, shard: int) -> Receipt:
    """Return the receipt of a shard.

    Raises
    ------
    DamagedError
        If there is none that can be read.
    """
    name = receipts.name(shard)
    try:
        return receipts.from_bytes(store.place.read(name) or b"")
    except ValueError as error:
        raise DamagedError(f"{store}/{name}: {error}") from error


def read(store: Store, array: str, start: int, stop: int) -> NDArray[Any]:
    """Return samples ``start`` to ``stop`` (exclusive) of one array; samples not made yet are fill values.

    Raises
    ------
    DamagedError
        If a file on the way cannot be decoded.
    """
    try:
        source: Any = zarr.open_array(LocalStore(store.place.root, read_only=True), path=array, mode="r")
        return np.asarray(source[start:stop])
    except Exception as error:  # what a codec raises on damaged bytes is anything, from OSError to RuntimeError
        raise DamagedError(f"{store}: {array} of samples {start} to {stop}: cannot be decoded ({error})") from error


def finalise(store: Store) -> None:
    """Write each array's mean, deviation and range into the root attributes, once every shard has a receipt.

    The same receipts give the same bytes, so two finalisers at once do no harm and need no lock.
    """
    vouched = [receipt_of(store, shard) for shard in range(store.layout.n_shards)]
    root = _root(store.place)
    root["attributes"]["statistics"] = {
        spec.name: _statistics(receipts.merged(receipt.arrays[spec.name] for receipt in vouched))
        for spec in store.layout.arrays
    }
    store.place.write(ROOT, json.dumps(root, indent=2).encode())


def _statistics(total: receipts.ArrayRecord) -> dict[str, float | None]:
    return {"mean": total.mean, "deviation": total.deviation, "minimum": total.minimum, "maximum": total.maximum}


def open_dataset(path: str | Path) -> xarray.Dataset:
    """Return the samples that have been made, as an xarray Dataset with the drawn parameters as coordinates.

    The coordinate ``sample`` is the sample's index; samples whose shard has no receipt are absent, never filled.

    Raises
    ------
    StmfabError
        If xarray is not installed, or there is no store at this path.
    """
    try:
        import xarray
    except ImportError as error:
        raise StmfabError("stmfab.open needs xarray: pip install 'stmfab[xarray]'") from error
    store = open_store(Folder(Path(path)))
    samples = [np.arange(*store.layout.bounds(shard)) for shard in sorted(made(store))]
    index = np.concatenate([np.empty(0, np.int64), *samples]).astype(np.int64)
    dataset: xarray.Dataset = xarray.open_zarr(store.place.root)
    if len(index) < store.layout.samples:
        dataset = dataset.isel(sample=index)
    dataset = dataset.assign_coords(sample=("sample", index))
    return dataset.assign_coords(_coordinates(dataset)) if "param" in dataset else dataset


def _coordinates(dataset: xarray.Dataset) -> dict[str, Any]:
    """Return one coordinate a drawn parameter: its values, choices in words, and its unit."""
    values = dataset["param"].to_numpy()
    coordinates: dict[str, Any] = {}
    for position, column in enumerate(dataset["param"].attrs["columns"]):
        drawn: NDArray[Any] = values[:, position]
        if column.get("categories"):
            drawn = np.array(column["categories"])[drawn.astype(int)]
        coordinates[column["name"]] = ("sample", drawn, {"units": column["unit"]})
    return coordinates
