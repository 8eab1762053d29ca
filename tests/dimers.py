"""Atoms and defects of H-Si(100): a U-Net finds the dimers, and mean shift sorts what else it finds.

``python -m tests.dimers [STORE]`` (needs PyTorch and scikit-learn, ``pip install 'stmfab[learn]'``) makes 200 samples
of ``h-si-100-atoms`` with its table of dimers, if the store is not there, and trains a compact U-Net on filled and
empty states together, all frames brought to one pixel; where its map has no peaks, rows are continued by their period
along its ridges. On frames that it never saw the dimers that it finds must lie
within half a dimer of whole ones, one to one, with F1 of at least 0.9; the defects that it finds, described by a few
heights and clustered without any label, must agree with their kinds by an adjusted Rand index of at least 0.5. The
least height of a peak is chosen on a third set of frames, the split ``val``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage, spatial
from sklearn import cluster, metrics

from stmfab import splits, store
from stmfab.place import Folder
from tests.training import UNet, begun, peaks, trained, turned

SAMPLES, CROP, BATCH, EPOCHS, LEARNING_RATE = 200, 96, 16, 12, 3e-3
ASKED = ["--set", "targets.units={kind: dimer_table}"]
FILLED = 1  # of the junctions empty, filled
WHOLE = 0  # of a dimer's states
PIXEL_nm = 0.08  # of all frames: 4.8 from one dimer to the next
SHARP_nm, WIDE_nm, EVEN_nm, MOST_SPREAD, CLIP = 1.0, 3.0, 2.0, 3.0, 4.0  # of backgrounds, of the contrast
WIDE_UNIT_nm = 0.05
SIGMA_nm = (0.1, 0.25)  # of the points of the maps to learn: dimers, defects
DIMER_REACH_nm, DEFECT_REACH_nm, APART_nm = 0.19, 0.5, (0.25, 0.5)  # of a match; between two peaks of a map
LEAST_VISIBLE = 2.0
DIMER_nm, PERIOD_SHARE = 0.384, 0.12  # from a dimer to the next of its row, and how far pairs may be off it
RIDGE, MOST_STEPS = 0.5, 12  # of the least peak, where rows go on; how far from a peak
LEVELS = np.arange(0.1, 0.75, 0.05)
MIDDLE_nm, AROUND_nm, FAR_nm, EXTREMES = 0.2, (0.45, 0.8), (0.9, 1.6), (2, 98)  # of a defect's description; percent
LOGARITHMIC_pm, BANDWIDTH = 20.0, 1.0  # of mean shift on descriptions: as serves best on other frames


@dataclass(frozen=True)
class Frame:
    """A sample at ``PIXEL_nm``: images (6, y, x), heights in nm (2, y, x), maps (2, y, x), places in pixels (n, 2).

    ``kinds`` are those of the defects; they and the dimers are where the filled states show them.
    """

    images: torch.Tensor
    heights_nm: np.ndarray
    maps: torch.Tensor
    dimers: np.ndarray
    defects: np.ndarray
    kinds: np.ndarray


def frames(path: Path, split: str) -> list[Frame]:
    """The samples of a split of a store."""
    opened = store.open_store(Folder(path))
    names = (
        "topography",
        "topography_backward",
        "pixel_size_nm",
        "units_row",
        "units_col",
        "units_state",
        "defect_row",
        "defect_col",
    )
    names += ("defect_kind", "defect_in_view", "defect_visibility")
    chosen = splits.members(np.arange(opened.layout.samples), split)
    held = {name: store.read(opened, name, 0, opened.layout.samples)[chosen] for name in names}
    return [frame({name: array[i] for name, array in held.items()}) for i in range(len(chosen))]


def frame(held: dict[str, np.ndarray]) -> Frame:
    pixel_nm = float(held["pixel_size_nm"])
    places = {
        kind: (np.stack([held[f"{kind}_row"][FILLED], held[f"{kind}_col"][FILLED]], axis=1) + 0.5) * pixel_nm / PIXEL_nm
        - 0.5
        for kind in ("units", "defect")
    }
    shown = held["defect_in_view"][FILLED].astype(bool)
    shown &= np.nan_to_num(held["defect_visibility"]).max(axis=0) > LEAST_VISIBLE
    dimers = places["units"][held["units_state"][FILLED] == WHOLE]
    forward, backward = (
        np.stack([resampled(image, PIXEL_nm / pixel_nm) for image in held[name]])
        for name in ("topography", "topography_backward")
    )
    heights_nm = (forward + backward) / 2
    both = [
        drawn(at, heights_nm[0].shape, s / PIXEL_nm)
        for at, s in zip((dimers, places["defect"][shown]), SIGMA_nm, strict=True)
    ]
    return Frame(
        torch.from_numpy(prepared(heights_nm, forward - backward)),
        heights_nm,
        torch.from_numpy(np.stack(both).astype(np.float32)),
        dimers,
        places["defect"][shown],
        held["defect_kind"][shown],
    )


def resampled(image: np.ndarray, ratio: float) -> np.ndarray:
    """An image at pixels ``ratio`` times as wide."""
    n = int(len(image) / ratio)
    at = (np.arange(n) + 0.5) * ratio - 0.5
    smooth = ndimage.gaussian_filter(image.astype(np.float64), 0.4 * ratio, mode="nearest") if ratio > 1 else image
    return ndimage.map_coordinates(smooth, np.meshgrid(at, at, indexing="ij"), order=1, mode="nearest")


def less_background(heights_nm: np.ndarray, width_nm: float) -> np.ndarray:
    return heights_nm - ndimage.gaussian_filter(heights_nm, width_nm / PIXEL_nm, mode="nearest")


def prepared(heights_nm: np.ndarray, lags_nm: np.ndarray) -> np.ndarray:
    """What the network sees of each junction: the atoms at an even contrast, how the passes differ, wider heights.

    A slow loop shows what it passes too late: to the right forward, to the left backward, in their mean in place.
    """
    found = []
    for image, lag in zip(heights_nm, lags_nm, strict=True):
        sharp = less_background(image, SHARP_nm)
        spread = np.sqrt(ndimage.gaussian_filter(sharp**2, EVEN_nm / PIXEL_nm, mode="nearest"))
        spread = np.minimum(spread, MOST_SPREAD * np.median(np.abs(sharp)))
        found += [sharp / spread, lag / spread, less_background(image, WIDE_nm) / WIDE_UNIT_nm]
    return np.clip(found, -CLIP, CLIP).astype(np.float32)


def drawn(places: np.ndarray, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """A Gaussian at the nearest of some places, as far as four of its deviations."""
    out, reach = np.zeros(shape), int(np.ceil(4 * sigma))
    for near in np.stack(np.mgrid[-reach : reach + 1, -reach : reach + 1]).reshape(2, -1).T:
        at = np.rint(places).astype(int) + near
        inside = ((at >= 0) & (at < shape)).all(axis=1)
        heat = np.exp(-((at - places)[inside] ** 2).sum(axis=1) / (2 * sigma**2))
        np.maximum.at(out, tuple(at[inside].T), heat)
    return out


def learnt(training: list[Frame], epochs: int) -> UNet:
    """The network that has seen every frame as often as crops fit into it, epoch after epoch."""
    rng = np.random.default_rng(0)
    share = np.array([each.maps[0].numel() for each in training], dtype=float)
    n_batches = max(1, int(share.sum() / CROP**2 / BATCH))

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for _ in range(n_batches):
            cut = [crop(training[i], rng) for i in rng.choice(len(training), BATCH, p=share / share.sum())]
            images, maps = zip(*cut, strict=True)
            yield turned(torch.stack(images), torch.stack(maps))

    net = begun(6, 2)
    return trained(net, batches, n_batches=n_batches, epochs=epochs, learning_rate=LEARNING_RATE)


def crop(whole: Frame, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    row, col = rng.integers(0, whole.maps.shape[-1] - CROP + 1, 2)
    place = slice(None), slice(row, row + CROP), slice(col, col + CROP)
    return whole.images[place], whole.maps[place]


def predicted(net: UNet, judged: list[Frame]) -> list[np.ndarray]:
    """The maps of frames, (2, y, x); they are filled up to whole cells of the network."""
    found = []
    with torch.no_grad():
        for each in judged:
            n = each.images.shape[-1]
            more = -n % 8
            whole = torch.nn.functional.pad(each.images[None], (0, more, 0, more), mode="reflect")
            found.append(net(whole)[0, :, :n, :n].numpy())
    return found


def matched(places: np.ndarray, truth: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Which places and true ones belong together: each the other's nearest, within reach."""
    if not len(places) or not len(truth):
        return np.zeros(0, int), np.zeros(0, int)
    distance, nearest = spatial.cKDTree(truth).query(places)
    _, back = spatial.cKDTree(places).query(truth)
    mutual = (back[nearest] == np.arange(len(places))) & (distance <= reach)
    return np.flatnonzero(mutual), nearest[mutual]


def found_in(maps: list[np.ndarray], which: int, least: float) -> list[np.ndarray]:
    """The places of the peaks of dimers (0) or of defects (1) that stand above a level."""
    every = [peaks(image[which], APART_nm[which] / PIXEL_nm) for image in maps]
    return [rows[rows[:, 0] > least, 1:] for rows in every]


def f1(places: list[np.ndarray], truth: list[np.ndarray], reach_nm: float) -> float:
    """F1 of places within reach of true ones, all frames together."""
    pairs = list(zip(places, truth, strict=True))
    hits = sum(len(matched(own, true, reach_nm / PIXEL_nm)[0]) for own, true in pairs)
    return 2 * hits / max(1, sum(len(own) + len(true) for own, true in pairs))


def dimers_in(maps: list[np.ndarray], least: float) -> list[np.ndarray]:
    """The dimers that stand above a level, and those between and beside them in their rows."""
    return [continued(image[0], own, least) for image, own in zip(maps, found_in(maps, 0, least), strict=True)]


def continued(image: np.ndarray, places: np.ndarray, least: float) -> np.ndarray:
    """Places and what follows them in their rows, one period after the other, as long as the map's ridge goes on.

    Where a slow loop or noise hides the dimers, their rows show still.
    """
    if len(places) < 3:
        return places
    found = front = between_pixels(image, places)
    period = DIMER_nm / PIXEL_nm * np.exp(1j * (direction(found) + np.arange(4) * np.pi / 2))
    steps = np.stack([period.imag, period.real], axis=1)
    for _ in range(MOST_STEPS):
        after = (front[:, None] + steps).reshape(-1, 2)
        after = after[((after > -0.5) & (after < len(image) - 0.5)).all(axis=1)]
        heat = ndimage.map_coordinates(image, after.T, order=1, mode="nearest")
        order = np.argsort(-heat)
        front = apart(found, after[order[heat[order] > RIDGE * least]])
        if not len(front):
            break
        found = np.concatenate([found, front])
    return found


def between_pixels(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Peaks at the tops of the parabolas through their logarithm and their neighbours'."""
    out, log = places.copy(), np.log(np.maximum(np.pad(image, 1, mode="edge"), 1e-3))
    row, col = places.astype(int).T + 1
    for axis, (down, right) in enumerate(((1, 0), (0, 1))):
        before, here, after = (log[row + way * down, col + way * right] for way in (-1, 0, 1))
        bent = np.minimum(before - 2 * here + after, -1e-6)
        out[:, axis] += np.clip((before - after) / (2 * bent), -0.5, 0.5)
    return out


def direction(places: np.ndarray) -> float:
    """The direction in which places follow each other at the period of a row, up to a quarter turn: rows turn so."""
    _, near = spatial.cKDTree(places).query(places, k=3)
    ways = (places[near[:, 1:]] - places[:, None]).reshape(-1, 2) @ np.array([1j, 1])
    ways = ways[np.abs(np.abs(ways) * PIXEL_nm / DIMER_nm - 1) < PERIOD_SHARE]
    return float(np.angle((ways / np.abs(ways)) ** 4 @ np.ones(len(ways))) / 4)


def apart(known: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Those of places, the first ones first, that are near no known one and near none before them."""
    if not len(places):
        return places
    places = places[spatial.cKDTree(known).query(places)[0] > APART_nm[0] / PIXEL_nm]
    left = np.ones(len(places), dtype=bool)
    for first, second in sorted(spatial.cKDTree(places).query_pairs(APART_nm[0] / PIXEL_nm) if len(places) else ()):
        left[second] &= not left[first]
    return places[left]


def best_level(find: Callable[[float], list[np.ndarray]], truth: list[np.ndarray], reach_nm: float) -> float:
    """The least peak with which what is found is best."""
    return float(max(LEVELS, key=lambda level: f1(find(level), truth, reach_nm)))


def described(whole: Frame, place: np.ndarray) -> np.ndarray:
    """A defect in five numbers: heights at its middle, empty and filled; around it; its least and its largest.

    Over the median of what is further away, in pm, and as a logarithm far from zero.
    """
    low, high = np.floor(place - FAR_nm[1] / PIXEL_nm), np.ceil(place + FAR_nm[1] / PIXEL_nm)
    box = [slice(max(0, int(first)), max(0, int(last) + 1)) for first, last in zip(low, high, strict=True)]
    last_row, last_col = whole.heights_nm.shape[1:]
    rows, cols = np.mgrid[box[0].start : min(box[0].stop, last_row), box[1].start : min(box[1].stop, last_col)]
    away_nm = PIXEL_nm * np.hypot(rows - place[0], cols - place[1])
    heights_pm = 1e3 * whole.heights_nm[:, rows, cols]
    far = (away_nm >= FAR_nm[0]) & (away_nm < FAR_nm[1])
    heights_pm -= np.median(heights_pm[:, far], axis=1)[:, None, None]
    middle = heights_pm[:, away_nm < MIDDLE_nm].mean(axis=1)
    around = heights_pm[:, (away_nm >= AROUND_nm[0]) & (away_nm < AROUND_nm[1])].mean()
    ends = np.percentile(heights_pm[:, away_nm < AROUND_nm[0]], EXTREMES, axis=1).mean(axis=1)
    return np.arcsinh(np.array([*middle, around, *ends]) / LOGARITHMIC_pm)


def sorted_kinds(judged: list[Frame], places: list[np.ndarray]) -> tuple[float, int, int]:
    """The adjusted Rand index of clusters and kinds of the defects that were found, their number, the clusters'."""
    rows, kinds = [], []
    for each, found in zip(judged, places, strict=True):
        own, true = matched(found, each.defects, DEFECT_REACH_nm / PIXEL_nm)
        rows += [described(each, found[i]) for i in own]
        kinds += each.kinds[true].tolist()
    clusters = cluster.MeanShift(bandwidth=BANDWIDTH).fit_predict(np.array(rows))
    return metrics.adjusted_rand_score(kinds, clusters), len(rows), len(set(clusters.tolist()))


def report(path: Path, epochs: int) -> dict[str, float]:
    training, tuning, judged = (frames(path, split) for split in ("train", "val", "test"))
    since = time.monotonic()
    net = learnt(training, epochs)
    seconds, known, maps = time.monotonic() - since, predicted(net, tuning), predicted(net, judged)
    least = best_level(lambda level: dimers_in(known, level), [each.dimers for each in tuning], DIMER_REACH_nm)
    alone, dimers = found_in(maps, 0, least), dimers_in(maps, least)
    least = best_level(lambda level: found_in(known, 1, level), [each.defects for each in tuning], DEFECT_REACH_nm)
    defects = found_in(maps, 1, least)
    index, n_found, n_clusters = sorted_kinds(judged, defects)
    return {
        "parameters of the network": sum(p.numel() for p in net.parameters()),
        "frames trained on": len(training),
        "frames held out": len(judged),
        "seconds of training": seconds,
        "dimers held out": sum(len(each.dimers) for each in judged),
        "F1 of dimers within 0.19 nm": f1(dimers, [each.dimers for each in judged], DIMER_REACH_nm),
        "the same of the map's peaks alone": f1(alone, [each.dimers for each in judged], DIMER_REACH_nm),
        "visible defects held out": sum(len(each.defects) for each in judged),
        "F1 of defects within 0.5 nm": f1(defects, [each.defects for each in judged], DEFECT_REACH_nm),
        "defects found": n_found,
        "clusters": n_clusters,
        "adjusted Rand index of clusters and kinds": index,
    }


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("store", nargs="?", type=Path)
    words.add_argument("--epochs", type=int, default=EPOCHS)
    asked = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="stmfab-dimers-") as folder:
        path = asked.store or Path(folder) / "h-si-100.zarr"
        make = [sys.executable, "-m", "stmfab.cli", "generate", "h-si-100-atoms", str(path), "-n", str(SAMPLES), *ASKED]
        if not path.exists():
            subprocess.run(make, check=True)
        numbers = report(path, asked.epochs)
    for name, value in numbers.items():
        print(f"{name}: {value:.4g}")
    passed = numbers["F1 of dimers within 0.19 nm"] >= 0.9
    passed &= numbers["adjusted Rand index of clusters and kinds"] >= 0.5
    print("passed" if passed else "FAILED")
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
