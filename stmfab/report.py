"""What ``inspect`` says about a store: read from its receipts and its record of parameters, never from its images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import receipts, store
from .errors import DamagedError, IncompleteError, StoreError
from .receipts import Receipt
from .store import Store
from .verify import Fault

BINS = 8  # of a text histogram
MOST_READ = 64  # shards whose parameters are read for the medians of a large store


def summary(dataset: Store, faults: list[Fault] | None) -> dict[str, Any]:
    """Return everything ``inspect`` shows, as plain JSON values; ``faults`` is None where nothing was verified."""
    vouched, bad = _receipts(dataset)
    cut = dataset.layout
    return {
        "store": str(dataset),
        "name": dataset.attributes["name"],
        "complete": len(vouched) == cut.n_shards,
        "samples": cut.samples,
        "samples_made": sum(receipt.stop - receipt.start for receipt in vouched),
        "shards": cut.n_shards,
        "shards_made": len(vouched),
        "samples_per_shard": cut.shard,
        "bytes": sum(record.bytes for receipt in vouched for record in receipt.arrays.values()),
        "dimensions": dimensions(dataset),
        "arrays": [_array(dataset, vouched, spec.name) for spec in cut.arrays],
        "parameters": _parameters(dataset, [receipt.shard for receipt in vouched]),
        "provenance": _provenance(dataset, vouched),
        "faults": [str(fault) for fault in (bad if faults is None else faults)],
    }


def _receipts(dataset: Store) -> tuple[list[Receipt], list[Fault]]:
    """Return the receipts that can be read, and a fault for each that cannot."""
    vouched, bad = [], []
    for shard in sorted(store.made(dataset)):
        try:
            vouched.append(store.receipt_of(dataset, shard))
        except DamagedError as error:
            bad.append(Fault(shard, "", str(error)))
    return vouched, bad


def dimensions(dataset: Store) -> dict[str, int]:
    """Return the length of every dimension, ``sample`` first."""
    lengths = {"sample": dataset.layout.samples}
    for spec in dataset.layout.arrays:
        lengths |= dict(zip(spec.dims, spec.shape, strict=True))
    return lengths


def _array(dataset: Store, vouched: list[Receipt], name: str) -> dict[str, Any]:
    spec = dataset.layout.array(name)
    total = receipts.merged(receipt.arrays[name] for receipt in vouched if name in receipt.arrays)
    return {
        "name": name,
        "dims": ["sample", *spec.dims],
        "shape": [dataset.layout.samples, *spec.shape],
        "dtype": spec.dtype,
        "unit": spec.unit,
        "role": spec.role,
        "long_name": spec.long_name,
        "minimum": total.minimum,
        "mean": total.mean,
        "maximum": total.maximum,
        "deviation": total.deviation,
        "bytes": total.bytes,
    }


def columns(dataset: Store) -> list[dict[str, Any]]:
    """Return the names, units, categories and distributions of the columns of ``param``."""
    if "param" not in dataset.metadata:
        return []
    found: list[dict[str, Any]] = dataset.metadata["param"]["attributes"]["columns"]
    return found


def _parameters(dataset: Store, made: list[int]) -> list[dict[str, Any]]:
    """Return each drawn parameter's spread over the samples made; of a large store, over evenly spaced shards."""
    found = columns(dataset)
    if not found or not made:
        return [{**column, "read": 0} for column in found]
    spaced = np.unique(np.linspace(0, len(made) - 1, min(len(made), MOST_READ)).astype(int))
    try:
        blocks = [store.read(dataset, "param", *dataset.layout.bounds(made[position])) for position in spaced]
    except DamagedError:
        return [{**column, "read": 0} for column in found]
    values = np.concatenate(blocks)
    return [{**column, **_spread(values[:, position], column)} for position, column in enumerate(found)]


def _spread(values: NDArray[Any], column: Mapping[str, Any]) -> dict[str, Any]:
    there = values[np.isfinite(values)]
    if not there.size:
        return {"read": 0}
    if column.get("categories"):
        counts = Counter(column["categories"][int(code)] for code in there)
        return {"read": int(there.size), "counts": {word: counts[word] for word in column["categories"]}}
    histogram, _ = np.histogram(there, bins=BINS)
    return {
        "read": int(there.size),
        "minimum": float(there.min()),
        "median": float(np.median(there)),
        "maximum": float(there.max()),
        "histogram": histogram.tolist(),
    }


def _provenance(dataset: Store, vouched: list[Receipt]) -> dict[str, Any]:
    attributes = dataset.attributes
    kept = ("format", "seed", "recipe_sha256", "versions", "git_commit", "identity", "platform", "created")
    return {
        **{key: attributes[key] for key in kept},
        "finished": max((receipt.written for receipt in vouched), default=None),
        "seconds": sum(receipt.seconds for receipt in vouched),
        "hosts": dict(Counter(receipt.host for receipt in vouched)),
        "identities": dict(Counter(receipt.identity for receipt in vouched)),
        "stmfab_versions": dict(Counter(receipt.versions["stmfab"] for receipt in vouched)),
    }


def one_sample(dataset: Store, index: int) -> dict[str, Any]:
    """Return one sample's parameters (choices in words), its labels, and each image's range.

    Raises
    ------
    StoreError
        If the dataset ends before the sample.
    IncompleteError
        If it has not been made yet.
    """
    if not 0 <= index < dataset.layout.samples:
        raise StoreError(f"{dataset}: no sample {index}; it has samples 0 to {dataset.layout.samples - 1}")
    if index // dataset.layout.shard not in store.made(dataset):
        raise IncompleteError(f"{dataset}: sample {index} has not been made yet")
    arrays = {spec.name: store.read(dataset, spec.name, index, index + 1)[0] for spec in dataset.layout.arrays}
    values = (
        [] if "param" not in arrays else [_value(*pair) for pair in zip(columns(dataset), arrays["param"], strict=True)]
    )
    return {
        "store": str(dataset),
        "sample": index,
        "seed": dataset.attributes["seed"],
        "parameters": values,
        "images": [_image(dataset, name, array) for name, array in arrays.items() if array.ndim > 1],
        "defects": _defects(dataset, arrays),
    }


def _value(column: Mapping[str, Any], number: float) -> dict[str, Any]:
    words = column.get("categories")
    value = words[int(number)] if words and np.isfinite(number) else float(number)
    return {"name": column["name"], "unit": column["unit"], "value": value}


def _image(dataset: Store, name: str, array: NDArray[Any]) -> dict[str, Any]:
    spec = dataset.layout.array(name)
    low, mean, high = (float(value) for value in (np.nanmin(array), np.nanmean(array), np.nanmax(array)))
    return {"name": name, "unit": spec.unit, "minimum": low, "mean": mean, "maximum": high}


def _defects(dataset: Store, arrays: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """Return the rows of the padded table of defects that are filled."""
    table = {spec.name: spec for spec in dataset.layout.arrays if spec.dims == ("defect",)}
    count = int(arrays["defect_count"]) if "defect_count" in arrays else 0
    return [
        {name.removeprefix("defect_"): _cell(dataset, name, arrays[name][slot]) for name in table}
        for slot in range(count)
    ]


def _cell(dataset: Store, name: str, value: Any) -> Any:
    """Return a label's value; one that is coded by flags, in words."""
    words = dataset.metadata[name]["attributes"].get("categories")
    return words[int(value)] if words else value.item()
