"""What a page about a store shows beyond its summary: sample pictures, balance of classes, defects, spectra, checks."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import forms, gallery, report, statistics, store
from .layout import apart
from .physics.arrays import ArraySpec
from .store import Store

PICTURES = 24  # samples of the gallery, fewer where they are large
PIXELS = 3_000_000  # of all pictures of a page
LARGEST = 256  # pixels a side of one picture; larger images are thinned
IMAGES = 192  # of which spectra and shares of pixels are taken
FREQUENCIES = 96  # points of a spectrum
BAND = (10, 50, 90)  # percentiles of spectra over images
VISIBLE = (1.0, 3.0, 10.0)  # times the noise: steps of a defect's visibility
ABOVE = 0.5  # a pixel of a map of cones counts above this


@dataclass(frozen=True)
class Spectra:
    """Power spectral densities over spatial frequencies in 1/nm, along the lines and across them, in pm^2 nm.

    Each is the 10th, 50th and 90th percentile over images, shape (3, n_frequencies), NaN where few images reach.
    """

    per_nm: NDArray[np.float64]
    densities: Mapping[tuple[str, str], NDArray[np.float64]]  # by array and direction


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: whether it holds, and what was found."""

    name: str
    holds: bool
    found: str


def cards(dataset: Store) -> tuple[list[ArraySpec], list[int], list[gallery.Row]]:
    """Return the arrays that are pictures, and some samples spread over a store with theirs."""
    specs = gallery.shown(dataset.layout.arrays)
    pixels = sum(min(spec.shape[0], LARGEST) * min(spec.shape[1], LARGEST) for spec in specs)
    indices = gallery.spread_out(report.Made(dataset), max(2, min(PICTURES, PIXELS // max(1, pixels))))
    wanted = [spec for spec in dataset.layout.arrays if spec.is_image or spec.name in gallery.TOLD]
    read = {spec.name: np.concatenate(store.read_each(dataset, spec.name, indices)) for spec in wanted}
    arrays = apart(wanted, read)
    names, recipe = [spec.name for spec in specs], dataset.attributes["recipe"]
    rows = gallery.rows(arrays, indices=indices, names=names, constants=recipe, columns=report.columns(dataset))
    return specs, list(indices), rows


def thinned(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture of at most ``LARGEST`` pixels a side."""
    step = -(-max(rgb.shape[:2]) // LARGEST)
    return rgb[::step, ::step]


def defects(dataset: Store) -> dict[str, dict[str, int]]:
    """Return how many samples have how many defects, in the table and in view, and the defects by each of their words.

    Of a large store, over evenly spaced shards; empty for one without defects.
    """
    if "defect_count" not in dataset.metadata:
        return {}
    made = sorted(store.made(dataset))
    counts = report.of_shards(dataset, "defect_count", made)
    there = np.arange(dataset.layout.array("defect_kind").shape[0]) < counts[:, None]
    found = {"defects a sample": _numbers(counts)}
    if "defect_in_view" in dataset.metadata:
        found["defects in view"] = _numbers((_in_view(dataset, made) & there).sum(axis=1))
    for name in ("kind", "name", "species", "site", "layer"):
        words = dataset.metadata.get(f"defect_{name}", {}).get("attributes", {}).get("categories")
        if words:
            codes = Counter(report.of_shards(dataset, f"defect_{name}", made)[there].tolist())
            found[f"by {name}"] = {word: codes[code] for code, word in enumerate(words) if codes[code]}
    if "defect_visibility" in dataset.metadata:
        found["by visibility"] = _by_visibility(report.of_shards(dataset, "defect_visibility", made), there)
    return found


def _by_visibility(visibility: NDArray[Any], there: NDArray[np.bool_]) -> dict[str, int]:
    """Return how many defects stand how far out of the noise, through the junction that shows them best."""
    most = visibility.reshape(len(visibility), -1, visibility.shape[-1]).max(axis=1)[there]
    ends = [0.0, *VISIBLE, np.inf]
    pairs = itertools.pairwise(ends)
    words = [f"below {ends[1]:g} times the noise", *(f"{low:g} times the noise and more" for low in ends[1:-1])]
    counts = [int(((low <= most) & (most < high)).sum()) for low, high in pairs]
    return dict(zip(words, counts, strict=True))


def _in_view(dataset: Store, made: list[int]) -> NDArray[np.bool_]:
    """Return which rows of the tables of defects are in view, through one junction at least, (n_samples, n_rows)."""
    found = report.of_shards(dataset, "defect_in_view", made)
    return np.asarray(found.reshape(len(found), -1, found.shape[-1]).any(axis=1))


def _numbers(values: NDArray[Any]) -> dict[str, int]:
    counts = np.bincount(values.astype(int))
    return {str(number): int(count) for number, count in enumerate(counts)}


def foregrounds(dataset: Store) -> dict[str, float]:
    """Return the share of pixels that each map of a target marks, in %: how unbalanced its classes are."""
    indices = gallery.spread_out(report.Made(dataset), IMAGES)
    maps = [spec for spec in dataset.layout.arrays if spec.is_image and gallery.is_map(spec)]
    found = {}
    for spec in maps:
        limit = 0 if np.dtype(spec.dtype).kind in "iu" else ABOVE
        images = store.read_each(dataset, spec.name, indices)
        found[spec.name] = 100 * float(np.mean([float((image > limit).mean()) for image in images]))
        words = dataset.metadata[spec.name]["attributes"].get("categories", [])
        for code, word in list(enumerate(words))[1:]:
            found[f"{spec.name}: {word}"] = 100 * float(np.mean([float((image == code).mean()) for image in images]))
    return found


def spectra(dataset: Store) -> tuple[Spectra, dict[str, tuple[float, float, float]], int]:
    """Return the spectra of images spread over a store, their statistics, and how many they were.

    Raises
    ------
    StoreError
        If the store has no topography.
    """
    indices = gallery.spread_out(report.Made(dataset), IMAGES)
    scans = list(report.scans(dataset, indices))
    kinds = {"topography": [scan["forward_nm"] for scan in scans]}
    if "ideal" in dataset.metadata:
        kinds["ideal"] = [
            image for images in store.read_each(dataset, "ideal", indices) for image in report.each_image(images)
        ]
    pixels_nm, axes = [scan["pixel_nm"] for scan in scans], [scan["fast_axis"] for scan in scans]
    n = scans[0]["forward_nm"].shape[0]
    per_nm = np.geomspace(1 / (n * max(pixels_nm)), 1 / (2 * min(pixels_nm)), FREQUENCIES)
    densities = {}
    for name, images in kinds.items():
        both = [densities_of(*scan, per_nm) for scan in zip(images, axes, pixels_nm, strict=True)]
        for place, direction in enumerate(("along", "across")):
            densities[name, direction] = _percentiles(np.array([pair[place] for pair in both]))
    rows = [statistics.of_image(**scan) for scan in scans]
    return Spectra(per_nm, densities), statistics.summary(rows), len(rows)


def densities_of(
    image_nm: NDArray[Any], fast_axis: str, pixel_nm: float, per_nm: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return an image's one-sided spectral densities along and across its lines at some frequencies, in pm^2 nm.

    Their integral over frequencies in 1/nm is the variance; NaN beyond the image's own frequencies.
    """
    lines, _ = statistics.levelled(statistics.lines_of(image_nm, fast_axis))
    found = []
    for turned in (lines, lines.T):
        power = 1e6 * 2 * pixel_nm * statistics.spectrum(turned)
        own_per_nm = statistics.frequencies(power) / pixel_nm
        found.append(np.interp(per_nm, own_per_nm[1:], power[1:], left=np.nan, right=np.nan))
    return found[0], found[1]


def _percentiles(densities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return percentiles over images, shape (3, n_frequencies), where at least half of the images reach."""
    reached = np.isfinite(densities).mean(axis=0) >= 0.5
    out = np.full((len(BAND), densities.shape[1]), np.nan)
    out[:, reached] = np.nanpercentile(densities[:, reached], BAND, axis=0)
    return out


def checks(summary: Mapping[str, Any], level: str) -> list[Check]:
    """Return what was checked of a store; ``level`` says how the files were held against their receipts."""
    facts = summary["provenance"]
    missing = summary["shards"] - summary["shards_made"]
    outside = [column["name"] for column in summary["parameters"] if not _inside(column)]
    faults, failed = summary["faults"], summary["failed"]
    how = "every byte" if level == "full" else "their sizes"
    return [
        Check("complete", not missing, f"{summary['shards_made']} of {summary['shards']} shards are made"),
        Check("no shard failed", not failed, "; ".join(f"shard {f['shard']}: {f['line']}" for f in failed) or "none"),
        Check(f"files are those of the receipts ({how})", not faults, "; ".join(faults[:8]) or "no fault"),
        Check("drawn values lie in their distributions", not outside, ", ".join(outside) or "all"),
        Check("one identity key", len(facts["identities"]) <= 1, ", ".join(facts["identities"]) or "no shard is made"),
        Check("one version of stmfab", len(facts["stmfab_versions"]) <= 1, ", ".join(facts["stmfab_versions"]) or "-"),
    ]


def _inside(column: Mapping[str, Any]) -> bool:
    """Return whether the values of a column are those its distribution can draw."""
    form = column.get("distribution")
    if not form or "minimum" not in column or "expr" in form:
        return True
    low, high = forms.parse(form).ends()
    return bool(low <= column["minimum"] and column["maximum"] <= high)
