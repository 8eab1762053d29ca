"""The current of lobes at a point."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

F8 = NDArray[np.float64]


@kernel()
def seen(at: F8, lobes: F8, strengths: F8) -> float:
    """Return what a point tip sees of lobes, sum A exp(-2 kappa |d|); a row of lobes is x, y, z, kappa."""
    out = 0.0
    for s in range(lobes.shape[0]):
        aside = (at[0] - lobes[s, 0]) ** 2 + (at[1] - lobes[s, 1]) ** 2
        out += strengths[s] * np.exp(-2 * lobes[s, 3] * np.sqrt(aside + (at[2] - lobes[s, 2]) ** 2))
    return out


@kernel()
def add_tints(x: F8, y: F8, sources: F8, core: float, out: F8) -> None:
    """Add what charges and swellings change at points x, y to out, all (n_points,).

    A row of ``sources`` is x, y, reach; q and length of q exp(-r / length) / sqrt(1 + (r / core)^2); and rise and width
    of rise exp(-r^2 / 2 width^2).
    """
    for s in range(sources.shape[0]):
        for p in range(x.size):
            right, up = x[p] - sources[s, 0], y[p] - sources[s, 1]
            square = right * right + up * up
            if square < sources[s, 2] ** 2:
                away = np.sqrt(square)
                out[p] += sources[s, 3] * np.exp(-away / sources[s, 4]) / np.sqrt(1 + (away / core) ** 2)
                out[p] += sources[s, 5] * np.exp(-square / (2 * sources[s, 6] ** 2))
