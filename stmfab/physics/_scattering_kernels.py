"""Outgoing waves between points, from a table over the distance."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
C8 = NDArray[np.complex64]
C16 = NDArray[np.complex128]

TAPER = 0.7  # share of the reach from which a wave is faded out


@kernel(fastmath={"contract"})
def waves(x: F8, y: F8, at_x: F8, at_y: F8, table: C8, step: float, reach: float, out: F4) -> None:
    """Write the waves from sources at (at_x, at_y) at points (x, y) to out (n_energies, n_points, 2 n_sources).

    Real parts come first, then imaginary ones. ``table``, (n_energies, n_distances), holds them at -step, 0,
    step, ...: 4-point Lagrange between. Beyond ``TAPER`` of the reach a wave fades out, zero beyond the reach.
    """
    n_sources = at_x.size
    node, weights = np.empty(n_sources, dtype=np.int64), np.empty((4, n_sources), dtype=np.float32)
    for p in range(x.size):
        for s in range(n_sources):
            r = np.sqrt((x[p] - at_x[s]) ** 2 + (y[p] - at_y[s]) ** 2)
            fade = 1.0
            if r > TAPER * reach:
                r = min(r, reach)
                u = (r / reach - TAPER) / (1 - TAPER)
                fade = 1 - u * u * (3 - 2 * u)
            n = int(r / step)
            t = r / step - n
            node[s] = n
            weights[0, s] = -fade * t * (t - 1) * (t - 2) / 6
            weights[1, s] = fade * (t + 1) * (t - 1) * (t - 2) / 2
            weights[2, s] = -fade * (t + 1) * t * (t - 2) / 2
            weights[3, s] = fade * (t + 1) * t * (t - 1) / 6
        for e in range(table.shape[0]):
            for s in range(n_sources):
                n = node[s]
                near = weights[0, s] * table[e, n] + weights[1, s] * table[e, n + 1]
                wave = near + weights[2, s] * table[e, n + 2] + weights[3, s] * table[e, n + 3]
                out[e, p, s], out[e, p, n_sources + s] = wave.real, wave.imag


@kernel()
def between(x: F8, y: F8, table: C16, step: float, out: C16) -> None:
    """Write the waves between points to out (n_energies, n, n); zero from a point to itself."""
    for i in range(x.size):
        out[:, i, i] = 0
        for j in range(i):
            r = np.sqrt((x[i] - x[j]) ** 2 + (y[i] - y[j]) ** 2)
            n = int(r / step)
            t = r / step - n
            w0, w1 = -t * (t - 1) * (t - 2) / 6, (t + 1) * (t - 1) * (t - 2) / 2
            w2, w3 = -(t + 1) * t * (t - 2) / 2, (t + 1) * t * (t - 1) / 6
            for e in range(table.shape[1]):
                value = w0 * table[n, e] + w1 * table[n + 1, e] + w2 * table[n + 2, e] + w3 * table[n + 3, e]
                out[e, i, j] = value
                out[e, j, i] = value
