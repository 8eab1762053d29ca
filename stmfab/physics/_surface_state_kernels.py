"""Which of some points is nearest."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
BLOCK = 16  # pixels along the side of a block that one list of points serves


@kernel(forceinline=True)
def _reaching(x: F8, y: F8, points: F8, reach: F8, found: I8) -> int:
    """Write the numbers of the points that may reach a block of pixels to found; return how many there are."""
    n = 0
    left, right, low, high = x.min(), x.max(), y.min(), y.max()
    for p in range(points.shape[0]):
        if left - reach[p] <= points[p, 0] <= right + reach[p] and low - reach[p] <= points[p, 1] <= high + reach[p]:
            found[n] = p
            n += 1
    return n


@kernel()
def mark_nearest(x: F8, y: F8, points: F8, reach: F8, marks: I8, out: I8) -> None:
    """Write the mark of the nearest point within its own reach to out, in the shape of x; leave the others."""
    found = np.empty(points.shape[0], np.int64)
    for row in range(0, x.shape[0], BLOCK):
        for column in range(0, x.shape[1], BLOCK):
            rows, columns = slice(row, row + BLOCK), slice(column, column + BLOCK)
            n = _reaching(x[rows, columns], y[rows, columns], points, reach, found)
            for i in range(row, min(row + BLOCK, x.shape[0])):
                for j in range(column, min(column + BLOCK, x.shape[1])):
                    nearest = np.inf
                    for p in found[:n]:
                        away = (x[i, j] - points[p, 0]) ** 2 + (y[i, j] - points[p, 1]) ** 2
                        if away < reach[p] ** 2 and away < nearest:
                            nearest = away
                            out[i, j] = marks[p]
