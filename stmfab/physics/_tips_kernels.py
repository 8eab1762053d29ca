"""Interpolation of tabulated densities of states."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

F8 = NDArray[np.float64]


@kernel()
def lagrange(table: F8, places: F8, out: F8) -> None:
    """Write each row of a table at places, in steps of its columns, to out: 4-point Lagrange interpolation."""
    for i in range(places.shape[0]):
        node = int(np.floor(places[i]))
        t = places[i] - node
        before, here = -t * (t - 1) * (t - 2) / 6, (t + 1) * (t - 1) * (t - 2) / 2
        after, beyond = -(t + 1) * t * (t - 2) / 2, (t + 1) * t * (t - 1) / 6
        for row in range(table.shape[0]):
            near = before * table[row, node - 1] + here * table[row, node]
            out[row, i] = near + after * table[row, node + 1] + beyond * table[row, node + 2]
