"""The current of what stands on a surface: lobes under the atoms of a tip."""

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]


@numba.njit(cache=True, error_model="numpy")
def _lobe(right: float, up: float, above: float, heights: F8, depth: float, atoms: F8, kappa: float, out: F8) -> None:
    """Write sum strength exp(-2 kappa (|d| - depth - height)) over the tip's atoms at some heights to out."""
    out[:] = 0
    for a in range(atoms.shape[0]):
        aside = (right + atoms[a, 0]) ** 2 + (up + atoms[a, 1]) ** 2
        for k in range(heights.size):
            away = np.sqrt(aside + (above + atoms[a, 2] + heights[k]) ** 2)
            out[k] += atoms[a, 3] * np.exp(-2 * kappa * (away - depth - heights[k]))


@numba.njit(cache=True, error_model="numpy")
def add_lobes(
    x: F8, y: F8, floor: F8, heights: F8, lobes: F8, middles: F8, half: int, atoms: F8, kappa: float, out: F8
) -> None:
    """Add the lobes of bumps to the current over exp(-2 kappa height), out (n_y, n_x, n_heights); multiply by dips.

    Nodes x, y and the surface's height ``floor`` there, (n_y, n_x); ``heights`` above it. A row of ``lobes`` is x, y,
    height of the surface there, depth beneath it, amplitude A, and whether it is a dip; bumps come first. A row of
    ``atoms``, of the tip, is x, y, z, strength. A bump adds A L with L of ``_lobe``, a dip multiplies by 1 + A L over L
    right above it, so that dips never cut the current below zero. A lobe is felt within ``half`` nodes of its
    ``middles`` (column, row).
    """
    n_y, n_x = x.shape
    lobe, most = np.empty(heights.size), np.sum(atoms[:, 3] * np.exp(-2 * kappa * atoms[:, 2]))
    for s in range(lobes.shape[0]):
        column, row = int(middles[s, 0]), int(middles[s, 1])
        for i in range(max(0, row - half), min(n_y, row + half + 2)):
            for j in range(max(0, column - half), min(n_x, column + half + 2)):
                at = x[i, j] - lobes[s, 0], y[i, j] - lobes[s, 1], floor[i, j] - lobes[s, 2] + lobes[s, 3]
                _lobe(*at, heights, lobes[s, 3], atoms, kappa, lobe)
                if lobes[s, 5] > 0:
                    out[i, j] *= 1 + lobes[s, 4] * np.minimum(1.0, lobe / most)
                else:
                    out[i, j] += lobes[s, 4] * lobe
