"""Which of some points is nearest."""

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]


@numba.njit(cache=True, error_model="numpy")
def mark_nearest(x: F8, y: F8, points: F8, reach: F8, marks: I8, out: I8) -> None:
    """Write the mark of the nearest point within its own reach to out, in the shape of x; leave the others."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            nearest = np.inf
            for p in range(points.shape[0]):
                away = (x[i, j] - points[p, 0]) ** 2 + (y[i, j] - points[p, 1]) ** 2
                if away < reach[p] ** 2 and away < nearest:
                    nearest = away
                    out[i, j] = marks[p]
