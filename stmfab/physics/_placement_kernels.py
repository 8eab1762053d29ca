"""Who gives way to whom."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

F8 = NDArray[np.float64]
B1 = NDArray[np.bool_]


@kernel()
def apart(points: F8, order: F8, least: float) -> B1:
    """Return which points (n, 2) have none of a lower order nearer than a distance, shape (n,)."""
    stays = np.ones(points.shape[0], dtype=np.bool_)
    for i in range(points.shape[0]):
        for j in range(points.shape[0]):
            dx, dy = points[i, 0] - points[j, 0], points[i, 1] - points[j, 1]
            if order[j] < order[i] and dx * dx + dy * dy < least * least:
                stays[i] = False
                break
    return stays
