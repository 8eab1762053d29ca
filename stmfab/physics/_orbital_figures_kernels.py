"""Tables of lobes under the atoms of a tip."""

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]


@numba.njit(cache=True, error_model="numpy", fastmath={"contract"})
def fill(falls: F8, step: float, firsts: F8, shares: F8, grid: F8, table: F4) -> None:
    """Write what the atoms of a tip see of some lobes to a table (n_v, n_u, n_heights).

    Of pair p of a lobe and an atom node (i, j) is at firsts[p] + (j grid[0], i grid[1]), and ``falls`` (n_pairs, n,
    n_heights) is the current at distances aside whose squares are 0, step, 2 step, ...; cubic between.
    """
    total = np.empty(table.shape[2])
    for i in range(table.shape[0]):
        for j in range(table.shape[1]):
            total[:] = 0.0
            for p in range(falls.shape[0]):
                right, up = firsts[p, 0] + j * grid[0], firsts[p, 1] + i * grid[1]
                place = (right * right + up * up) / step
                n = max(1, min(int(place), falls.shape[1] - 3))
                t = min(place - n, 2.0)
                a, b = -t * (t - 1) * (t - 2) / 6, (t + 1) * (t - 1) * (t - 2) / 2
                c, d = -(t + 1) * t * (t - 2) / 2, (t + 1) * t * (t - 1) / 6
                four, share = falls[p, n - 1 : n + 3], shares[p]
                for k in range(total.size):
                    total[k] += share * (a * four[0, k] + b * four[1, k] + c * four[2, k] + d * four[3, k])
            for k in range(total.size):
                table[i, j, k] = total[k]
