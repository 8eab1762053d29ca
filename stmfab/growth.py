"""A store that grows: more samples behind those it has, of which none moves.

A sample is a pure function of the recipe and its index, and ``samples`` is no part of it; chunks and shards keep their
lengths. Only the last shard may be partial: its receipt goes first, then the store is longer, and the shard is made
like any other.
"""

from __future__ import annotations

import dataclasses
import json

from . import metadata, provenance, receipts, store
from .bucket import Place
from .errors import StoreError
from .layout import LABELS
from .place import ROOT
from .plan import Plan
from .store import Store


def extend(place: Place, plan: Plan) -> Store:
    """Return the store of a plan that may have more samples than it, after it has grown to as many.

    The parts of one job may call this at once, and again after a kill at any moment.

    Raises
    ------
    StoreError
        If there is no store, if it differs from the plan in more than its samples, or if it has more of them.
    DiskError
        If it cannot be written.
    """
    store.open_store(place)  # before a lock lies in the folder of somebody else
    with place.lock(ROOT):
        dataset = store.open_store(place)
        there = dataset.layout.samples
        store.same_recipe(dataset, _of_length(plan, there))
        if plan.samples < there:
            raise StoreError(f"{place}: has {there} samples, {plan.samples} asked; a store can grow, never shrink")
        if plan.samples > there:
            _grow(dataset, plan)
    return store.open_store(place)


def _of_length(plan: Plan, samples: int) -> Plan:
    return dataclasses.replace(plan, samples=samples, tree={**plan.tree, "samples": samples})


def _grow(dataset: Store, plan: Plan) -> None:
    """Make a store longer: the receipt of a partial shard away, then the arrays' metadata, then the root's."""
    before = dataset.layout
    longer = dataclasses.replace(before, samples=plan.samples)
    documents = metadata.documents(plan, longer)
    if LABELS in dataset.metadata:
        documents |= metadata.label_layers(plan, longer)[0]
    root = json.loads(documents.pop(ROOT))
    recipe = {**dataset.attributes["recipe"], "samples": plan.samples}
    root["attributes"] = {
        **{key: value for key, value in dataset.attributes.items() if key != "statistics"},
        "samples": plan.samples,
        "recipe": recipe,
        "recipe_sha256": provenance.recipe_sha256(recipe),
        "grown_from": [*dataset.attributes.get("grown_from", ()), before.samples],
    }
    if before.samples % before.shard:
        dataset.place.remove(receipts.name(before.n_shards - 1))
    dataset.place.write_all({**documents, ROOT: json.dumps(root, indent=2).encode()})
