"""Tables of lobes under the atoms of a tip."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
I8 = NDArray[np.int64]
N_HEIGHTS = 8  # a constant: the compiler takes eight at once


@kernel(fastmath={"contract"})
def fill(which: I8, falls: F4, step: float, firsts: F8, shares: F8, grid: F8, table: F4) -> None:
    """Write what the atoms of a tip see of some lobes to a table (n_v, n_u, N_HEIGHTS).

    Of pair p of a lobe and an atom node (i, j) is at firsts[p] + (j grid[0], i grid[1]), and ``falls[which[p]]``, (n,
    N_HEIGHTS), is the current at distances aside whose squares are 0, step, 2 step, ...; cubic between.
    """
    inverse, most = 1 / step, falls.shape[1] - 3
    table[:] = 0
    for p in range(which.size):
        fall = falls[which[p]]
        for i in range(table.shape[0]):
            up = firsts[p, 1] + i * grid[1]
            for j in range(table.shape[1]):
                right = firsts[p, 0] + j * grid[0]
                place = (right * right + up * up) * inverse
                n = max(1, min(int(place), most))
                t, share = min(place - n, 2.0), shares[p]
                a = np.float32(share * (-t * (t - 1) * (t - 2) / 6))
                b = np.float32(share * ((t + 1) * (t - 1) * (t - 2) / 2))
                c = np.float32(share * (-(t + 1) * t * (t - 2) / 2))
                d = np.float32(share * ((t + 1) * t * (t - 1) / 6))
                for k in range(N_HEIGHTS):
                    four = a * fall[n - 1, k] + b * fall[n, k]
                    table[i, j, k] += four + (c * fall[n + 1, k] + d * fall[n + 2, k])
