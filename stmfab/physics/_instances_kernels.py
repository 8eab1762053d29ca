"""Pixels to the nearest defect."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
I2 = NDArray[np.int16]


BLOCK = 16  # pixels a side
ROOM = 1e-9  # for rounding


@kernel()
def nearest(x: F8, y: F8, sites: F8, owner: I8, beside2: F8) -> None:
    """Write the site nearest in space to each pixel (x, y, 0), -1 without any, and its squared distance in the plane.

    ``x, y, owner, beside2`` are images (n_rows, n_cols). A block at a time, whose pixels all ask the same few sites:
    none is nearest that is farther from the block's middle than the nearest one there, by twice the block's radius.
    """
    away = np.empty(sites.shape[0])
    for top in range(0, x.shape[0], BLOCK):
        for left in range(0, x.shape[1], BLOCK):
            own_x, own_y = x[top : top + BLOCK, left : left + BLOCK], y[top : top + BLOCK, left : left + BLOCK]
            low_x, high_x, low_y, high_y = own_x.min(), own_x.max(), own_y.min(), own_y.max()
            for i in range(sites.shape[0]):
                dx, dy = sites[i, 0] - (low_x + high_x) / 2, sites[i, 1] - (low_y + high_y) / 2
                away[i] = np.sqrt(dx * dx + dy * dy + sites[i, 2] ** 2)
            reach = np.sqrt((high_x - low_x) ** 2 + (high_y - low_y) ** 2)
            near = np.flatnonzero(away <= (away.min() + reach) * (1 + ROOM)) if len(away) else np.empty(0, np.int64)
            for row in range(own_x.shape[0]):
                for p in range(own_x.shape[1]):
                    least = np.inf
                    for site in near:
                        dx, dy, dz = sites[site, 0] - own_x[row, p], sites[site, 1] - own_y[row, p], sites[site, 2]
                        beside = dx * dx + dy * dy
                        if beside + dz * dz < least:
                            least = beside + dz * dz
                            owner[top + row, left + p], beside2[top + row, left + p] = site, beside


@kernel()
def peaks(change: F8, owner: I8, beside2: F8, window2: float, heights: F8) -> None:
    """Write the change of largest size at the pixels of each site that are within a distance of it; all images."""
    for row in range(change.shape[0]):
        for p in range(change.shape[1]):
            own = owner[row, p]
            if own >= 0 and beside2[row, p] <= window2 and abs(change[row, p]) > abs(heights[own]):
                heights[own] = change[row, p]


@kernel()
def boxes(mask: I2, out: I8) -> None:
    """Write the first and last row, first and last column of each number of a mask but 0, to ``out`` (n, 4)."""
    for row in range(mask.shape[0]):
        for p in range(mask.shape[1]):
            own = mask[row, p] - 1
            if own < 0:
                continue
            if out[own, 0] < 0:
                out[own, 0], out[own, 2], out[own, 3] = row, p, p
            out[own, 1] = row
            out[own, 2], out[own, 3] = min(out[own, 2], p), max(out[own, 3], p)
