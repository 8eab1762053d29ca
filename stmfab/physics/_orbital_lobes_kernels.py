"""The current of lobes at a point."""

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]


@numba.njit(cache=True, error_model="numpy")
def seen(at: F8, lobes: F8, strengths: F8) -> float:
    """Return what a point tip sees of lobes, sum A exp(-2 kappa |d|); a row of lobes is x, y, z, kappa."""
    out = 0.0
    for s in range(lobes.shape[0]):
        aside = (at[0] - lobes[s, 0]) ** 2 + (at[1] - lobes[s, 1]) ** 2
        out += strengths[s] * np.exp(-2 * lobes[s, 3] * np.sqrt(aside + (at[2] - lobes[s, 2]) ** 2))
    return out
