"""Atoms and defects of H-Si(100): a U-Net finds the dimers, and mean shift sorts what else it finds.

``python -m tests.dimers [STORE]`` (needs PyTorch and scikit-learn, ``pip install 'stmfab[learn]'``) makes 200 samples
of ``h-si-100-atoms`` if the store is not there, with a map of keypoints at the defects, and trains a compact U-Net on
filled and empty states together. On frames that it never saw its dimers must lie within half a dimer of true ones, one
to one, with F1 of at least 0.9; the defects that it finds, described by a few heights and clustered without any label,
must agree with their kinds by an adjusted Rand index of at least 0.5.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage, spatial
from sklearn import cluster, metrics
from torch import nn

from stmfab import splits, store
from stmfab.place import Folder
from tests.learn import UNet

SAMPLES, CROP, CROPS, BATCH, EPOCHS, THREADS, LEARNING_RATE = 200, 128, 4, 16, 14, 2, 3e-3
ASKED = ["--set", "targets.spots={kind: keypoints, sigma_nm: 0.25}"]
FILLED = 1  # of the junctions empty, filled
SMOOTH_nm, CLIP = 1.0, 4.0  # of the background that is taken off, and of what is left, in deviations
DIMER_REACH_nm, DEFECT_REACH_nm, APART_nm = 0.19, 0.5, (0.25, 0.5)  # of a match; between two peaks of a map
LEAST_VISIBLE = 2.0
RINGS_nm = ((0.0, 0.2), (0.2, 0.45), (0.45, 0.8))
QUANTILE = 0.12  # of distances between descriptors: the bandwidth of mean shift


@dataclass(frozen=True)
class Frames:
    """Samples: images (n, 4, y, x), maps of dimers and defects (n, 2, y, x), heights in pm, labels, pixels in nm."""

    images: torch.Tensor
    maps: torch.Tensor
    heights_pm: np.ndarray
    defects: list[np.ndarray]  # rows (row, col, kind) of those in view that show
    pixel_nm: np.ndarray

    @classmethod
    def read(cls, path: Path, split: str) -> Frames:
        opened = store.open_store(Folder(path))
        chosen = splits.members(np.arange(opened.layout.samples), split)

        def of(name: str) -> np.ndarray:
            return store.read(opened, name, 0, opened.layout.samples)[chosen]

        def filled(name: str) -> np.ndarray:
            array = of(name)
            return array[:, FILLED] if array.ndim == (4 if name in ("dimers", "spots") else 3) else array

        pixel_nm, heights = of("pixel_size_nm"), 1e3 * of("topography")
        flat = np.array([[flattened(one, nm) for one in pair] for pair, nm in zip(heights, pixel_nm, strict=True)])
        scales = np.median(np.abs(flat), axis=(-2, -1), keepdims=True) / 0.67
        sharp = np.clip(flat / scales, -CLIP, CLIP)
        wide = heights - np.median(heights, axis=(-2, -1), keepdims=True)
        wide = np.clip(wide / (5 * scales), -CLIP, CLIP)
        shown = np.nan_to_num(of("defect_visibility")).max(axis=1) > LEAST_VISIBLE
        seen = filled("defect_in_view").astype(bool) & shown
        table = np.stack([filled("defect_row"), filled("defect_col"), of("defect_kind")], axis=-1)
        return cls(
            torch.from_numpy(np.concatenate([sharp, wide], axis=1).astype(np.float32)),
            torch.from_numpy(np.stack([filled("dimers"), filled("spots")], axis=1)),
            flat,
            [rows[own] for rows, own in zip(table, seen, strict=True)],
            pixel_nm,
        )


def flattened(height_pm: np.ndarray, pixel_nm: float) -> np.ndarray:
    """Heights less their surroundings: a median along the lines, then a Gaussian background."""
    lines = height_pm - np.median(height_pm, axis=1, keepdims=True)
    return lines - ndimage.gaussian_filter(lines, SMOOTH_nm / pixel_nm, mode="nearest")


def trained(frames: Frames, epochs: int) -> UNet:
    torch.manual_seed(0)
    torch.set_num_threads(THREADS)
    net, rng = UNet(frames.images.shape[1], 2), np.random.default_rng(0)
    size, n = frames.images.shape[-1] - CROP + 1, len(frames.images)
    batches = n * CROPS // BATCH
    fit = torch.optim.AdamW(net.parameters(), LEARNING_RATE, weight_decay=1e-2)
    pace = torch.optim.lr_scheduler.OneCycleLR(fit, LEARNING_RATE, total_steps=epochs * batches)
    for epoch in range(epochs):
        begun, losses = time.monotonic(), []
        for batch in np.array_split(rng.permutation(n * CROPS)[: batches * BATCH] % n, batches):
            corners = rng.integers(0, size, (len(batch), 2))
            cut = [
                (i, slice(None), slice(r, r + CROP), slice(c, c + CROP))
                for i, (r, c) in zip(batch, corners, strict=True)
            ]
            images, maps = (torch.stack([whole[place] for place in cut]) for whole in (frames.images, frames.maps))
            loss = nn.functional.mse_loss(net(images), maps)
            fit.zero_grad()
            loss.backward()
            fit.step()
            pace.step()
            losses.append(float(loss.detach()))
        print(f"epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.5f}, {time.monotonic() - begun:.0f} s", flush=True)
    return net.eval()


def predicted(net: UNet, frames: Frames) -> np.ndarray:
    with torch.no_grad():
        return torch.cat([net(part) for part in frames.images.split(4)]).numpy()


def found(image: np.ndarray, apart_pixels: float, least: float) -> np.ndarray:
    """The places (row, col) of the peaks of a map that stand above ``least``."""
    size = max(3, 2 * round(apart_pixels / 2) + 1)
    high = (image == ndimage.maximum_filter(image, size, mode="nearest")) & (image > least)
    return np.argwhere(high).astype(float)


def matched(places: np.ndarray, truth: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Which places and true ones belong together: each the other's nearest, within reach."""
    if not len(places) or not len(truth):
        return np.zeros(0, int), np.zeros(0, int)
    distance, nearest = spatial.cKDTree(truth).query(places)
    _, back = spatial.cKDTree(places).query(truth)
    mutual = (back[nearest] == np.arange(len(places))) & (distance <= reach)
    return np.flatnonzero(mutual), nearest[mutual]


def f1_of_dimers(maps: np.ndarray, frames: Frames, least: float) -> float:
    """F1 of the dimers above a threshold, within ``DIMER_REACH_nm``."""
    hits = asked = given = 0
    for image, true, nm in zip(maps[:, 0], frames.maps[:, 0].numpy(), frames.pixel_nm, strict=True):
        places, truth = found(image, APART_nm[0] / nm, least), found(true, APART_nm[0] / nm, 0.5)
        hits += len(matched(places, truth, DIMER_REACH_nm / nm)[0])
        asked, given = asked + len(truth), given + len(places)
    return 2 * hits / max(1, asked + given)


def described(heights_pm: np.ndarray, dimers: np.ndarray, place: np.ndarray, nm: float) -> np.ndarray:
    """A defect in numbers: heights on rings around it in both states, their extremes, and the dimers beneath it."""
    rows, cols = np.indices(dimers.shape)
    away_nm = nm * np.hypot(rows - place[0], cols - place[1])
    near = away_nm < RINGS_nm[-1][1]
    numbers = [dimers[away_nm < RINGS_nm[1][1]].mean()]
    for image in heights_pm:
        numbers += [image[(away_nm >= low) & (away_nm <= high)].mean() for low, high in RINGS_nm]
        numbers += np.percentile(image[near], [5, 95]).tolist()
    return np.array(numbers)


def sorted_kinds(maps: np.ndarray, frames: Frames, least: float) -> tuple[float, int, int, int]:
    """The adjusted Rand index of clusters and kinds, and how many defects were found, true, and clusters."""
    rows, kinds, n_true = [], [], 0
    for both, heights, defects, nm in zip(maps, frames.heights_pm, frames.defects, frames.pixel_nm, strict=True):
        places = found(both[1], APART_nm[1] / nm, least)
        own, true = matched(places, defects[:, :2], DEFECT_REACH_nm / nm)
        rows += [described(heights, both[0], places[i], nm) for i in own]
        kinds += defects[true, 2].astype(int).tolist()
        n_true += len(defects)
    table = np.array(rows)
    table = np.arcsinh(
        (table - np.median(table, axis=0)) / (np.median(np.abs(table - np.median(table, axis=0)), axis=0) + 1e-9)
    )
    width = cluster.estimate_bandwidth(table, quantile=QUANTILE)
    clusters = cluster.MeanShift(bandwidth=width, bin_seeding=True).fit_predict(table)
    return metrics.adjusted_rand_score(kinds, clusters), len(rows), n_true, len(set(clusters.tolist()))


def report(path: Path, epochs: int) -> dict[str, float]:
    training, held_out = Frames.read(path, "train"), Frames.read(path, "test")
    begun = time.monotonic()
    net = trained(training, epochs)
    seconds, maps, known = time.monotonic() - begun, predicted(net, held_out), predicted(net, training)
    levels = np.arange(0.15, 0.75, 0.05)
    least = max(levels, key=lambda level: f1_of_dimers(known, training, level))
    index, n_found, n_true, n_clusters = sorted_kinds(maps, held_out, 0.3)
    return {
        "parameters of the network": sum(p.numel() for p in net.parameters()),
        "frames trained on": len(training.images),
        "frames held out": len(held_out.images),
        "seconds of training": seconds,
        "F1 of dimers within 0.19 nm": f1_of_dimers(maps, held_out, float(least)),
        "visible defects held out": n_true,
        "of them found": n_found,
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
