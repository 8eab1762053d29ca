"""Seating defects on free sites."""

import numba
import numpy as np
from numpy.typing import NDArray

I8 = NDArray[np.int64]
B1 = NDArray[np.bool_]


@numba.njit(cache=True, error_model="numpy")
def seat(candidates: I8, counts: I8, taken: B1, chosen: I8) -> bool:
    """Seat counts[t] defects in each tile on its first candidate places that are free; return whether all found one.

    ``candidates`` (n_tiles, n_candidates) are places in the tile, ``taken`` (n_tiles, n_places) grows, ``chosen`` rows
    become (tile, candidate).
    """
    n = 0
    for t in range(candidates.shape[0]):
        seated = 0
        for c in range(candidates.shape[1]):
            if seated == counts[t]:
                break
            if not taken[t, candidates[t, c]]:
                taken[t, candidates[t, c]] = True
                chosen[n, 0], chosen[n, 1] = t, c
                n += 1
                seated += 1
        if seated < counts[t]:
            return False
    return True
