"""What a store says of itself: the documents that a dataset begins with, as any zarr reader understands them."""

from __future__ import annotations

import json
import platform
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec
from zarr.errors import ZarrUserWarning
from zarr.storage import MemoryStore

from . import coded, conventions, provenance, receipts, splits
from .layout import COMPRESSION_LEVEL, COMPRESSOR, FORMAT, LABELS, Layout, fill_value, layout
from .physics.arrays import ArraySpec
from .place import ROOT
from .plan import Plan


def planned(plan: Plan) -> Layout:
    """Return the layout that the store of a plan will have."""
    return layout(plan.samples, plan.arrays)


def documents(plan: Plan, cut: Layout) -> dict[str, bytes]:
    """Return the first documents of a store: metadata of root, arrays and receipts, and the pixels' coordinates."""
    return _documents(plan, cut, {})


def _documents(plan: Plan, cut: Layout, layers: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the documents of a store in whose group of labels some of its arrays are described once more."""
    memory: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(memory), attributes=_attributes(plan, cut))
    for spec in cut.arrays:
        _create_array(group, spec, cut, plan)
    for name, (values, words) in conventions.coordinates(plan).items():
        _create_coordinate(group, name, values, words)
    group.create_group(receipts.FOLDER)
    if layers:
        labels = group.create_group(LABELS, attributes={"ome": conventions.label_names(layers)})
        for name, words in layers.items():
            labels.create_group(name, attributes={"ome": words})
            memory[f"{LABELS}/{name}/0/{ROOT}"] = memory[f"{name}/{ROOT}"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)  # consolidated metadata: in every reader, not yet in the spec
        zarr.consolidate_metadata(MemoryStore(memory))
    return {name: buffer.to_bytes() for name, buffer in sorted(memory.items())}


def label_layers(plan: Plan, cut: Layout) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the documents of a store with OME-Zarr's group of labels, and the links that are its arrays: no copies.

    A layer is a map of whole numbers, a stack as the images are. What a number means is said where it means the same in
    every sample: not of instances. The links are relative to the folder that they lie in.
    """
    known = coded.categories(plan)
    layers = {
        spec.name: conventions.label_layer(plan, spec, conventions.flags(spec, known.get(spec.name)))
        for spec in cut.arrays
        if spec.is_image and np.dtype(spec.dtype).kind in "iu"
    }
    if not layers:
        return {}, {}
    names = [ROOT, f"{LABELS}/{ROOT}", *(f"{LABELS}/{name}/{ROOT}" for name in layers)]
    every = _documents(plan, cut, layers)
    return {name: every[name] for name in names}, {f"{LABELS}/{name}/0": f"../../{name}" for name in layers}


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
        "splits": splits.stated(),
        "versions": provenance.versions(),
        "git_commit": provenance.git_commit(),
        "identity": dict(provenance.identity()),
        "platform": platform.platform(),
        "created": provenance.now(),
        **conventions.root(plan, cut.arrays),
    }


def _create_array(group: zarr.Group, spec: ArraySpec, cut: Layout, plan: Plan) -> None:
    dtype = np.dtype(spec.dtype)
    words: dict[str, Any] = {"units": spec.unit, "long_name": spec.long_name, "role": spec.role}
    if spec.junctions:
        words["junctions"] = list(spec.junctions)
    if spec.name == "param":
        words["columns"] = coded.columns(plan)
    if spec.name == "defect_name":
        words["sources"] = coded.sources(plan)
    categories = coded.categories(plan).get(spec.name)
    if categories is not None:
        words["categories"] = categories
    group.create_array(
        spec.name,
        shape=(cut.samples, *spec.shape),
        chunks=(cut.chunk_of(spec), *spec.shape),
        shards=(cut.shard, *spec.shape),
        dtype=dtype,
        fill_value=fill_value(dtype),
        compressors=[BloscCodec(shuffle="shuffle", cname=COMPRESSOR, clevel=COMPRESSION_LEVEL), Crc32cCodec()],
        dimension_names=("sample", *spec.dims),
        attributes={**words, **conventions.flags(spec, categories)},
    )


def _create_coordinate(group: zarr.Group, name: str, values: Any, words: Mapping[str, Any]) -> None:
    """Create an array that is its own dimension, and write it: plain numbers in one chunk, with their checksum."""
    array: Any = group.create_array(
        name,
        shape=values.shape,
        chunks=values.shape,
        dtype=values.dtype,
        fill_value=np.nan,
        serializer=BytesCodec(endian="little"),
        compressors=[Crc32cCodec()],
        dimension_names=(name,),
        attributes=dict(words),
    )
    array[:] = values
