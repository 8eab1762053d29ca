"""A curve and its slope from a table."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

F8 = NDArray[np.float64]


@kernel()
def look_up(at: F8, start: float, step: float, table: F8, out: F8) -> None:
    """Write the rows of a table (2, n) at places, straight between start, start + step, ..., to out (2, n_places)."""
    for p in range(at.size):
        place = (at[p] - start) / step
        n = int(place)
        t = place - n
        out[0, p] = table[0, n] + t * (table[0, n + 1] - table[0, n])
        out[1, p] = table[1, n] + t * (table[1, n + 1] - table[1, n])
