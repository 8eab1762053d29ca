"""How a survey of H-Si(100) compares with real ones: ``python -m tests.bands [SEED ...]``.

What counts is fixed here, before a seed is looked at. Tiles are filled-state topographs of ``h-si-100-survey`` as it
comes, whatever its steps and noise: 14 frames, sides 30 to 90 nm in even steps, 0.2 nm a pixel. Terraces are levelled
by their own medians. A feature is a connected piece of the image, smoothed by a Gaussian of 0.12 nm, that stands more
than 50 pm over the terrace (bright) or 40 pm under it (dark), and is at least 0.15 nm^2 large; pieces within 1.5 nm of
a step are left out, as is their area. Its height is its largest, unsmoothed; rows are the peak to peak of a sine of the
same median size as the image within 40 pm of the terrace, less its mean over 0.8 nm. A number is in its band if the
median of the tiles lies between p10 and p90 of the real ones (14 tiles of 30 to 90 nm); of a tile's features it is
their median.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

import stmfab

RECIPE = Path(__file__).parent.parent / "recipes" / "h-si-100-survey.yaml"
TILES, WIDTHS_nm, PIXEL_nm = 14, (30.0, 90.0), 0.2
BRIGHT_pm, DARK_pm, LEAST_nm2, SMOOTHED_nm, ROW_pm, MEAN_nm, EDGE_nm = 50, 40, 0.15, 0.12, 40, 0.8, 1.5
REAL = {  # p10, median, p90
    "row corrugation, pm": (11, 14, 25),
    "bright, per 100 nm^2": (0.7, 1.3, 2.0),
    "bright, height, pm": (133, 190, 315),
    "bright, area, nm^2": (0.7, 1.4, 2.3),
    "dark, per 100 nm^2": (2.1, 2.8, 3.9),
    "dark, depth, pm": (112, 120, 141),
    "dark, area, nm^2": (0.6, 0.8, 1.5),
    "rms, pm": (27, 36, 44),
}


def features(z_pm: np.ndarray, kept: np.ndarray, sign: int, least_pm: float) -> list[float]:
    """Number per 100 nm^2, median height and median area of what stands out of the kept part of a tile."""
    label, n = ndimage.label((sign * ndimage.gaussian_filter(z_pm, SMOOTHED_nm / PIXEL_nm) > least_pm) & kept)
    numbers = np.arange(1, n + 1)
    areas = ndimage.sum_labels(np.ones_like(z_pm), label, numbers) * PIXEL_nm**2
    heights = ndimage.maximum(sign * z_pm, label, numbers)
    large = areas >= LEAST_nm2
    return [large.sum() / (kept.sum() * PIXEL_nm**2) * 100, *map(float, map(np.median, (heights[large], areas[large])))]


def measured(z_pm: np.ndarray, terraces: np.ndarray) -> list[float]:
    """The numbers of ``REAL`` of one tile."""
    level = z_pm.copy()
    for number in np.unique(terraces):
        level[terraces == number] -= np.median(z_pm[terraces == number])
    size = 2 * round(EDGE_nm / PIXEL_nm) + 1
    kept = ndimage.maximum_filter(terraces, size) == ndimage.minimum_filter(terraces, size)
    fast = level - ndimage.gaussian_filter(level, MEAN_nm / PIXEL_nm)
    rows_pm = 2 * math.sqrt(2) * float(np.median(np.abs(fast[(np.abs(level) < ROW_pm) & kept])))
    bright, dark = features(level, kept, 1, BRIGHT_pm), features(level, kept, -1, DARK_pm)
    return [rows_pm, *bright, *dark, float(level[kept].std())]


def tiles(seed: int) -> np.ndarray:
    """The numbers of the tiles of a seed, (n_tiles, n_numbers)."""
    found = []
    for number, width_nm in enumerate(np.linspace(*WIDTHS_nm, TILES)):
        own = {"scan.size_nm": width_nm, "scan.pixels": round(width_nm / PIXEL_nm), "junctions.empty": "null"}
        own |= {"targets.terraces": "{kind: terraces}"}
        made = stmfab.load(str(RECIPE), overrides=own, seed=seed).sample(number)
        z_pm, terraces = (made[name].reshape(made[name].shape[-2:]) for name in ("topography", "terraces"))
        found.append(measured(z_pm.astype(float) * 1e3, terraces))
    return np.array(found)


def main() -> int:
    """Print the numbers of each seed beside the real ones; return how many are out of their band."""
    outside = 0
    for seed in [int(argument) for argument in sys.argv[1:]] or [7001, 7002]:
        low, middle, high = np.quantile(tiles(seed), (0.1, 0.5, 0.9), axis=0)
        print(f"seed {seed:<22}     made p10 / median / p90     real")
        for (name, real), *own in zip(REAL.items(), low, middle, high, strict=True):
            holds = real[0] <= own[1] <= real[2]
            outside += not holds
            made, wanted = (" / ".join(f"{value:6.3g}" for value in row) for row in (own, real))
            print(f"{name:26} {made}    {wanted}    {'in' if holds else 'OUT'}")
    return outside


if __name__ == "__main__":
    sys.exit(main())
