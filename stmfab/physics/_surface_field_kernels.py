"""The current of what stands on a surface: lobes under the atoms of a tip."""

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]


@numba.njit(cache=True, error_model="numpy")
def add_lobes(
    x: F8, y: F8, floor: F8, heights: F8, lobes: F8, middles: F8, half: int, atoms: F8, kappa: float, out: F8
) -> None:
    """Add the lobes' current over exp(-2 kappa height) to out (n_y, n_x, n_heights).

    Nodes x, y and the surface's height ``floor`` there, (n_y, n_x); ``heights`` above it. A row of ``lobes`` is x, y,
    height of the surface there, depth beneath it, amplitude; one of ``atoms``, of the tip, x, y, z, strength: together
    amplitude strength exp(-2 kappa (|d| - depth)), within ``half`` nodes of the lobe's ``middles`` (column, row).
    """
    n_y, n_x = x.shape
    for s in range(lobes.shape[0]):
        column, row = int(middles[s, 0]), int(middles[s, 1])
        for i in range(max(0, row - half), min(n_y, row + half + 2)):
            for j in range(max(0, column - half), min(n_x, column + half + 2)):
                right, up = x[i, j] - lobes[s, 0], y[i, j] - lobes[s, 1]
                for a in range(atoms.shape[0]):
                    dx, dy = right + atoms[a, 0], up + atoms[a, 1]
                    aside = dx * dx + dy * dy
                    above = floor[i, j] - lobes[s, 2] + lobes[s, 3] + atoms[a, 2]
                    share = lobes[s, 4] * atoms[a, 3]
                    for k in range(heights.size):
                        dz = above + heights[k]
                        away = np.sqrt(aside + dz * dz) - lobes[s, 3] - heights[k]
                        out[i, j, k] += share * np.exp(-2 * kappa * away)
