"""Pixels to the nearest defect."""

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
I2 = NDArray[np.int16]


@numba.njit(cache=True, error_model="numpy")
def nearest(x: F8, y: F8, sites: F8, owner: I8, beside2: F8) -> None:
    """Write the site nearest in space to each pixel (x, y, 0), -1 without any, and its squared distance in the plane.

    ``x, y, owner, beside2`` are images (n_rows, n_cols). A row at a time, the pixels innermost: SIMD.
    """
    away2 = np.empty(x.shape[1])
    for row in range(x.shape[0]):
        away2[:] = np.inf
        for i in range(sites.shape[0]):
            for p in range(x.shape[1]):
                dx, dy, dz = sites[i, 0] - x[row, p], sites[i, 1] - y[row, p], sites[i, 2]
                beside = dx * dx + dy * dy
                if beside + dz * dz < away2[p]:
                    away2[p], owner[row, p], beside2[row, p] = beside + dz * dz, i, beside


@numba.njit(cache=True, error_model="numpy")
def peaks(change: F8, owner: I8, beside2: F8, window2: float, heights: F8) -> None:
    """Write the change of largest size at the pixels of each site that are within a distance of it; all images."""
    for row in range(change.shape[0]):
        for p in range(change.shape[1]):
            own = owner[row, p]
            if own >= 0 and beside2[row, p] <= window2 and abs(change[row, p]) > abs(heights[own]):
                heights[own] = change[row, p]


@numba.njit(cache=True, error_model="numpy")
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
