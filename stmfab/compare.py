"""What differs between two stores: recipe, provenance, metadata, and the shards, from what their receipts claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from . import receipts, report, store
from .errors import DamagedError
from .layout import differences
from .store import Store

SAME_MAKER = ("format", "versions", "git_commit", "identity")  # of the attributes
WORDS = ("here", "there")


def stores(here: Store, there: Store) -> dict[str, Any]:
    """Return what differs between two stores as plain JSON values; ``differs`` says whether anything does.

    When and on which machines they were made, in how many runs, is not compared; neither is a file looked at.
    """
    made = (store.made(here), store.made(there))
    failed = [_failed(dataset, shards) for dataset, shards in zip((here, there), made, strict=True)]
    found: dict[str, Any] = {
        "recipe": differences(here.attributes["recipe"], there.attributes["recipe"], words=WORDS),
        "maker": [line for key in SAME_MAKER for line in _attribute(here, there, key)],
        "arrays": list(_arrays(here, there)),
        "cut": list(_cut(here, there)),
        "failed_here": [failure for failure in failed[0] if failure not in failed[1]],
        "failed_there": [failure for failure in failed[1] if failure not in failed[0]],
        **_shards(here, there, made),
    }
    return {"store": str(here), "other": str(there), "differs": any(found.values()), **found}


def _failed(dataset: Store, made: set[int]) -> list[dict[str, Any]]:
    return [{key: failure[key] for key in ("shard", "line")} for failure in report.failed(dataset, made)]


def _attribute(here: Store, there: Store, key: str) -> list[str]:
    return differences(here.attributes.get(key), there.attributes.get(key), key, words=WORDS)


def _arrays(here: Store, there: Store) -> Iterator[str]:
    """Yield what differs in the arrays' metadata; their lengths and cuts are told once, for all of them."""
    ours, theirs = (
        {spec.name: _node(dataset.metadata[spec.name]) for spec in dataset.layout.arrays} for dataset in (here, there)
    )
    yield from (f"{array}: only here" for array in sorted(ours.keys() - theirs.keys()))
    yield from (f"{array}: only there" for array in sorted(theirs.keys() - ours.keys()))
    for array in sorted(ours.keys() & theirs.keys()):
        yield from differences(ours[array], theirs[array], array, words=WORDS)


def _node(metadata: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("data_type", "dimension_names", "fill_value", "attributes")
    return {key: metadata[key] for key in kept} | {"shape": metadata["shape"][1:]}


def _cut(here: Store, there: Store) -> Iterator[str]:
    for name in ("samples", "shard", "chunk"):
        ours, theirs = getattr(here.layout, name), getattr(there.layout, name)
        if ours != theirs:
            yield f"{'samples' if name == 'samples' else f'samples per {name}'}: {ours} here, {theirs} there"
    if (here.layout.shard, here.layout.chunk) != (there.layout.shard, there.layout.chunk):
        yield "so their files are not compared"


def _shards(here: Store, there: Store, made: tuple[set[int], set[int]]) -> dict[str, Any]:
    """Return the shards that one store lacks, and those made in both whose files differ, by array."""
    alike = (here.layout.shard, here.layout.chunk) == (there.layout.shard, there.layout.chunk)
    both = sorted(made[0] & made[1]) if alike else []
    differ: dict[str, list[int]] = {}
    unreadable: list[str] = []
    made_by: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    pairs = zip(*(store.receipts_of(dataset, both, receipts.unsealed) for dataset in (here, there)), strict=True)
    for (shard, ours), (_, theirs) in pairs:
        if isinstance(ours, DamagedError) or isinstance(theirs, DamagedError):
            unreadable += [str(found) for found in (ours, theirs) if isinstance(found, DamagedError)]
            continue
        for tally, receipt in zip(made_by, (ours, theirs), strict=True):
            tally[f"{receipt.identity} by stmfab {receipt.versions['stmfab']}"] += 1
        for array in sorted(ours.arrays.keys() | theirs.arrays.keys()):
            hashes = [receipt.arrays[array].sha256 if array in receipt.arrays else "" for receipt in (ours, theirs)]
            if hashes[0] != hashes[1]:
                differ.setdefault(array, []).append(shard)
    return {
        "only_here": sorted(made[0] - made[1]) if alike else [],
        "only_there": sorted(made[1] - made[0]) if alike else [],
        "shards": differ,
        "identities": differences(dict(made_by[0]), dict(made_by[1]), "shards by identity", words=WORDS),
        "unreadable": unreadable,
    }
