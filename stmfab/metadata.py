"""What a store says of itself: the documents that a plan's dataset begins with, as zarr v3 spells them."""

from __future__ import annotations

import json
import platform
import warnings
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.errors import ZarrUserWarning
from zarr.storage import MemoryStore

from . import coded, provenance, receipts
from . import plan as plans
from .layout import COMPRESSION_LEVEL, COMPRESSOR, Layout, fill_value, layout
from .physics.arrays import ArraySpec
from .plan import Plan
from .store import FORMAT


def planned(plan: Plan) -> Layout:
    """Return the layout that the store of a plan will have."""
    return layout(plan.samples, tuple(plans.arrays(plan)))


def documents(plan: Plan, cut: Layout) -> dict[str, bytes]:
    """Return the first documents of a store: the metadata of root, arrays and the folder of receipts."""
    memory: dict[str, Any] = {}
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
        words["columns"] = coded.columns(plan)
    if spec.name in (categories := coded.categories(plan)):
        words["categories"] = categories[spec.name]
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
