"""From a recipe to a network that has learnt from it: a small U-Net against a classical blob detector.

``python -m tests.learn [STORE]`` (``make learn``) makes 2,560 samples of ``wse2-defects`` if the store is not there,
trains on 2,000 of them straight from ``stmfab.torch.Dataset``, and judges both detectors on samples of the split that
was never seen. The learnt map of the defects must explain more than half of the variance of the true one, and its peaks
must find the defects, within half a lattice constant, with a higher average precision than the Laplacian of Gaussian,
whose scale and sign are chosen on the training samples, at its best.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from stmfab import store
from stmfab.physics.materials import MATERIALS
from stmfab.place import Folder
from stmfab.torch import Dataset
from tests.training import UNet, begun, peaks, trained, turned

SAMPLES, TRAINED_ON, TUNED_ON = 2560, 2000, 200
EPOCHS, BATCH, LEARNING_RATE = 12, 32, 3e-3
IMAGES = ("topography", "topography_backward")
LATTICE_nm = MATERIALS["wse2-s"].lattice_constant_nm
REACH_nm = LATTICE_nm / 2  # of a match between a peak and a defect
SCALES_nm = LATTICE_nm * np.array([0.25, 0.35, 0.5, 0.7, 1.0])  # of the Laplacian of Gaussian
MOST_PEAKS = 100


def levelled(images: torch.Tensor) -> torch.Tensor:
    """Images less their best plane, with deviation 1: what is done to any topograph before it is looked at."""
    n = images.shape[-1]
    along = torch.linspace(-1, 1, n)
    planes = [torch.ones(n, n), along.expand(n, n), along[:, None].expand(n, n)]
    for plane in planes:
        images = images - plane * (images * plane).sum((-2, -1), keepdim=True) / (plane**2).sum()
    return images / images.std((-2, -1), keepdim=True).clamp_min(1e-6)


def learnt(dataset: Dataset, epochs: int) -> UNet:
    net = begun(len(IMAGES), 1)
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True, drop_last=True)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return (turned(levelled(images), targets) for images, targets in loader)

    return trained(net, batches, n_batches=len(loader), epochs=epochs, learning_rate=LEARNING_RATE)


def predicted(net: UNet, images: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return torch.cat([net(levelled(part))[:, 0] for part in images.split(BATCH)]).numpy()


def average_precision(found: list[np.ndarray], truth: list[np.ndarray], reach_pixels: np.ndarray) -> float:
    """Area under precision over recall: each defect is found once, by the strongest peak within reach of it."""
    scores, hits = [], []
    for sample, (maxima, defects) in enumerate(zip(found, truth, strict=True)):
        left = defects.copy()
        for score, *place in maxima:
            distances = np.hypot(*(left - place).T) if len(left) else np.array([np.inf])
            hit = distances.min() <= reach_pixels[sample]
            if hit:
                left = np.delete(left, distances.argmin(), axis=0)
            scores.append(score)
            hits.append(hit)
    order = np.argsort(-np.array(scores), kind="stable")
    right = np.cumsum(np.array(hits)[order])
    precision = right / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    recall = right / sum(map(len, truth))
    return float(np.sum(np.diff(recall, prepend=0.0) * best))


class Judged:
    """Samples of a store with their defects in view, to hold detections against."""

    def __init__(self, path: Path, indices: np.ndarray) -> None:
        opened = store.open_store(Folder(path))
        names = ("defect_count", "defect_in_view", "defect_row", "defect_col", "pixel_size_nm", "topography", "defects")
        read = {name: store.read(opened, name, 0, opened.layout.samples)[indices] for name in names}
        seen = read["defect_in_view"].astype(bool)
        places = np.stack([read["defect_row"], read["defect_col"]], axis=-1)
        self.defects = [places[i][seen[i]] for i in range(len(indices))]
        self.pixel_nm = read["pixel_size_nm"]
        self.images, self.maps = torch.from_numpy(read["topography"])[:, None], read["defects"]

    def precision(self, maps: list[np.ndarray]) -> float:
        reach = REACH_nm / self.pixel_nm
        found = [peaks(image, apart)[:MOST_PEAKS] for image, apart in zip(maps, reach, strict=True)]
        return average_precision(found, self.defects, reach)

    def blobs(self, scale_nm: float, sign: int) -> list[np.ndarray]:
        images = levelled(self.images)[:, 0].numpy()
        sigmas = scale_nm / self.pixel_nm
        return [sign * s**2 * ndimage.gaussian_laplace(i, s) for i, s in zip(images, sigmas, strict=True)]


def report(path: Path, epochs: int) -> dict[str, float]:
    options = {"inputs": IMAGES, "targets": ["defects"], "in_memory": True}
    training, held_out = Dataset(path, split="train", **options), Dataset(path, split="test", **options)
    training = torch.utils.data.Subset(training, range(min(TRAINED_ON, len(training))))
    since = time.monotonic()
    net = learnt(training, epochs)
    seconds = time.monotonic() - since
    judged, tuned = Judged(path, held_out.indices), Judged(path, training.dataset.indices[:TUNED_ON])
    maps = predicted(net, held_out.held[0])
    error = float(((maps - judged.maps) ** 2).mean() / judged.maps.var())
    ways = [(scale_nm, sign) for scale_nm in SCALES_nm for sign in (-1, 1)]
    best = max(ways, key=lambda way: tuned.precision(tuned.blobs(*way)))
    return {
        "parameters of the network": sum(p.numel() for p in net.parameters()),
        "samples trained on": len(training),
        "samples held out": len(held_out),
        "defects held out": sum(map(len, judged.defects)),
        "seconds of training": seconds,
        "MSE / variance": error,
        "average precision, U-Net": judged.precision(list(maps)),
        "average precision, Laplacian of Gaussian": judged.precision(judged.blobs(*best)),
        "scale of the Laplacian / a": best[0] / LATTICE_nm,
    }


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("store", nargs="?", type=Path)
    words.add_argument("--epochs", type=int, default=EPOCHS)
    asked = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="stmfab-learn-") as folder:
        path = asked.store or Path(folder) / "learn.zarr"
        make = [sys.executable, "-m", "stmfab.cli", "generate", "wse2-defects", str(path), "-n", str(SAMPLES)]
        if not path.exists():
            subprocess.run(make, check=True)
        found = report(path, asked.epochs)
    for name, value in found.items():
        print(f"{name}: {value:.4g}")
    passed = found["MSE / variance"] < 0.5
    passed &= found["average precision, U-Net"] > found["average precision, Laplacian of Gaussian"]
    print("passed" if passed else "FAILED")
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
