"""What ``inspect`` says about a store: read from its receipts and its record of parameters, never from its images."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import receipts, store
from .errors import DamagedError, IncompleteError, StoreError
from .layout import apart
from .physics.arrays import ArraySpec
from .receipts import ArrayRecord, Receipt
from .store import Store
from .verify import Fault

REDRAWS = "redraws"  # what the names of columns end in that count them
FAILED = ".failed.json"  # in the folder of receipts: a shard that could not be made
BINS = 8  # of a text histogram
MOST_READ = 64  # shards whose parameters are read for the medians of a large store


@dataclass
class Tally:
    """What the receipts of a store add up to, counted as they pass, so that any number of them fits in memory."""

    shards: list[int] = field(default_factory=list)
    samples: int = 0
    seconds: float = 0.0
    finished: str | None = None
    hosts: Counter[str] = field(default_factory=Counter)
    identities: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)

    def counted(self, found: Iterable[tuple[int, Receipt | DamagedError]]) -> Iterator[Receipt]:
        """Yield the receipts that can be read; keep a fault of each that cannot."""
        for shard, receipt in found:
            if isinstance(receipt, DamagedError):
                self.faults.append(Fault(shard, "", str(receipt)))
                continue
            self.shards.append(shard)
            self.samples += receipt.stop - receipt.start
            self.seconds += receipt.seconds
            self.finished = max(self.finished or "", receipt.written)
            self.hosts[receipt.host] += 1
            self.identities[receipt.identity] += 1
            self.versions[receipt.versions["stmfab"]] += 1
            yield receipt


def summary(dataset: Store, faults: list[Fault] | None, bins: int = BINS) -> dict[str, Any]:
    """Return everything ``inspect`` shows, as plain JSON values; ``faults`` is None where nothing was verified.

    The seals of receipts are for ``verify`` to look at; here a receipt that can be read is believed.
    """
    there = sorted(store.made(dataset))
    try:
        tally, totals = _tallied(dataset, there, receipts.unsealed)
    except (TypeError, KeyError, ValueError):  # words where numbers belong: the seal tells in which
        tally, totals = _tallied(dataset, there, receipts.from_bytes)
    cut = dataset.layout
    return {
        "store": str(dataset),
        "name": dataset.attributes["name"],
        "complete": len(tally.shards) == cut.n_shards,
        "samples": cut.samples,
        "samples_made": tally.samples,
        "shards": cut.n_shards,
        "shards_made": len(tally.shards),
        "samples_per_shard": cut.shard,
        "bytes": sum(total.bytes for total in totals.values()),
        "dimensions": dimensions(dataset),
        "arrays": [_array(dataset, totals.get(spec.name) or receipts.merged([]), spec) for spec in cut.arrays],
        "parameters": _parameters(dataset, tally.shards, bins),
        "provenance": _provenance(dataset, tally),
        "failed": failed(dataset, set(there)),
        "faults": [str(fault) for fault in (tally.faults if faults is None else faults)],
    }


def _tallied(
    dataset: Store, shards: list[int], parse: Callable[[bytes], Receipt]
) -> tuple[Tally, dict[str, ArrayRecord]]:
    tally = Tally()
    return tally, receipts.totals(tally.counted(store.receipts_of(dataset, shards, parse)))


def failed(dataset: Store, made: set[int]) -> list[dict[str, Any]]:
    """Return what is known of the shards that could not be made, and have not been since: shard, line, host, time."""
    names = (name for name in dataset.place.names(receipts.FOLDER) if name.endswith(FAILED))
    found = (_failure(dataset, name) for name in names)
    return [failure for failure in found if failure["shard"] not in made]


def _failure(dataset: Store, name: str) -> dict[str, Any]:
    number = name.removesuffix(FAILED)
    words: dict[str, Any] = {"shard": int(number) if number.isdecimal() else None}
    try:
        kept = json.loads(dataset.place.read(f"{receipts.FOLDER}/{name}") or b"")
        return {**words, **{key: kept[key] for key in ("line", "host", "written")}}
    except (ValueError, TypeError, KeyError):
        return {**words, "line": f"{receipts.FOLDER}/{name} cannot be read", "host": None, "written": None}


def dimensions(dataset: Store) -> dict[str, int]:
    """Return the length of every dimension, ``sample`` first."""
    lengths = {"sample": dataset.layout.samples}
    for spec in dataset.layout.arrays:
        lengths |= dict(zip(spec.dims, spec.shape, strict=True))
    return lengths


def _array(dataset: Store, total: ArrayRecord, spec: ArraySpec) -> dict[str, Any]:
    return {
        "name": spec.name,
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


def _parameters(dataset: Store, made: list[int], bins: int) -> list[dict[str, Any]]:
    """Return each drawn parameter's spread over the samples made; of a large store, over evenly spaced shards."""
    found = columns(dataset)
    if not found or not made:
        return [{**column, "read": 0} for column in found]
    try:
        values = of_shards(dataset, "param", made)
    except DamagedError:
        return [{**column, "read": 0} for column in found]
    return [{**column, **_spread(values[:, position], column, bins)} for position, column in enumerate(found)]


def of_shards(dataset: Store, array: str, made: list[int]) -> NDArray[Any]:
    """Return one array of the samples made; of a large store, those of evenly spaced shards.

    Raises
    ------
    DamagedError
        If a file on the way cannot be decoded.
    IncompleteError
        If no sample has been made yet.
    """
    if not made:
        raise IncompleteError(f"{dataset}: no sample has been made yet")
    spaced = np.unique(np.linspace(0, len(made) - 1, min(len(made), MOST_READ)).astype(int))
    return np.concatenate([store.read_block(dataset, array, made[position]) for position in spaced])


def _spread(values: NDArray[Any], column: Mapping[str, Any], bins: int) -> dict[str, Any]:
    there = values[np.isfinite(values)]
    if not there.size:
        return {"read": 0}
    if column.get("categories"):
        counts = Counter(column["categories"][int(code)] for code in there)
        return {"read": int(there.size), "counts": {word: counts[word] for word in column["categories"]}}
    histogram, _ = np.histogram(there, bins=bins)
    again = {"redrawn": int(np.count_nonzero(there))} if column["name"].endswith(REDRAWS) else {}
    return again | {
        "read": int(there.size),
        "minimum": float(there.min()),
        "median": float(np.median(there)),
        "maximum": float(there.max()),
        "histogram": histogram.tolist(),
    }


def _provenance(dataset: Store, tally: Tally) -> dict[str, Any]:
    attributes = dataset.attributes
    kept = ("format", "seed", "recipe_sha256", "versions", "git_commit", "identity", "platform", "created")
    return {
        **{key: attributes[key] for key in kept},
        "grown_from": attributes.get("grown_from", []),
        "finished": tally.finished,
        "seconds": tally.seconds,
        "hosts": dict(tally.hosts.most_common()),
        "identities": dict(tally.identities.most_common()),
        "stmfab_versions": dict(tally.versions.most_common()),
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
    hold_made(dataset, index)
    arrays = {spec.name: store.read(dataset, spec.name, index, index + 1)[0] for spec in dataset.layout.arrays}
    values = (
        [] if "param" not in arrays else [_value(*pair) for pair in zip(columns(dataset), arrays["param"], strict=True)]
    )
    return {
        "store": str(dataset),
        "sample": index,
        "seed": dataset.attributes["seed"],
        "parameters": values,
        "images": [_image(spec, array[0]) for spec, array in _images(dataset, arrays)],
        "defects": _defects(dataset, arrays),
    }


class Made(Sequence[int]):
    """The indices of the samples of a store that have been made, in order; none is kept, however many there are."""

    def __init__(self, dataset: Store) -> None:
        self._bounds = [dataset.layout.bounds(shard) for shard in sorted(store.made(dataset))]
        self._ends = list(accumulate(stop - start for start, stop in self._bounds))
        if not self._ends:
            raise IncompleteError(f"{dataset}: no sample has been made yet")

    def __len__(self) -> int:
        """Return the number of samples made."""
        return self._ends[-1]

    def __getitem__(self, place: Any) -> Any:
        """Return the index of the sample at a place, an int."""
        if not 0 <= place < len(self):
            raise IndexError(place)
        shard = bisect_right(self._ends, place)
        return self._bounds[shard][1] - self._ends[shard] + place


def hold_made(dataset: Store, index: int) -> None:
    """Hold that a sample is there to be read.

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


def _value(column: Mapping[str, Any], number: float) -> dict[str, Any]:
    words = column.get("categories")
    value = words[int(number)] if words and np.isfinite(number) else float(number)
    return {"name": column["name"], "unit": column["unit"], "value": value}


def _images(dataset: Store, arrays: Mapping[str, NDArray[Any]]) -> list[tuple[ArraySpec, NDArray[Any]]]:
    """Return the images of one sample, of several junctions one each, with a leading axis of one."""
    specs = [spec for spec in dataset.layout.arrays if spec.is_image]
    whole = {spec.name: arrays[spec.name][None] for spec in specs}
    return list(
        zip((one for spec in specs for one in spec.apart().values()), apart(specs, whole).values(), strict=True)
    )


def _image(spec: ArraySpec, array: NDArray[Any]) -> dict[str, Any]:
    low, mean, high = (float(value) for value in (np.nanmin(array), np.nanmean(array), np.nanmax(array)))
    return {"name": spec.name, "unit": spec.unit, "minimum": low, "mean": mean, "maximum": high}


def _defects(dataset: Store, arrays: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """Return the rows of the padded table of defects that are filled."""
    specs = [spec for spec in dataset.layout.arrays if spec.dims[-1:] == ("defect",)]
    table = apart(specs, {spec.name: arrays[spec.name][None] for spec in specs})
    count = int(arrays["defect_count"]) if "defect_count" in arrays else 0
    return [
        {name.removeprefix("defect_"): _cell(dataset, name, column[0, slot]) for name, column in table.items()}
        for slot in range(count)
    ]


def _cell(dataset: Store, name: str, value: Any) -> Any:
    """Return a label's value; one that is coded by flags, in words."""
    words = dataset.metadata[name.partition(".")[0]]["attributes"].get("categories")
    return words[int(value)] if words else value.item()


def scans(dataset: Store, indices: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield the recorded images of some samples, junction after junction, as ``statistics.of_image`` takes them.

    Raises
    ------
    StoreError
        If the store has no topography.
    """
    from . import plan as plans  # with all physics: nothing else here needs it

    if "topography" not in dataset.metadata:
        raise StoreError(f"{dataset}: has no topography to take statistics of")
    plan = plans.from_tree(dataset.attributes["recipe"])
    names = ["topography", "topography_backward", "param"]
    arrays = {name: store.read_each(dataset, name, indices) for name in names if name in dataset.metadata}
    ways = [name for name in names[:2] if name in arrays]
    for position, index in enumerate(indices):
        raster = plans.parameters_from_record(plan, arrays["param"][position][0], index).raster
        for images in zip(*(each_image(arrays[name][position]) for name in ways), strict=True):
            yield {
                "forward_nm": images[0],
                "backward_nm": images[1] if len(images) > 1 else None,
                "fast_axis": raster.fast_axis,
                "pixel_nm": raster.size_nm / raster.pixels,
            }


def each_image(images: NDArray[Any]) -> NDArray[Any]:
    """Return the images of a sample, (1, n_rows, n_cols) or (1, n_junctions, ...), one after the other."""
    return images.reshape(-1, *images.shape[-2:])
