"""Heat maps of units."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
B1 = NDArray[np.bool_]


@kernel()
def heat(x: F8, y: F8, cells: F8, numbers: I8, middles: F8, shown: B1, width: float, out: F8) -> None:
    """Write exp(-d^2 / 2 width^2), d to the nearest unit that is shown, to out, in the shape of x (n_rows, n_cols).

    A row of ``cells`` is the first cell's middle and the cells' widths, along x and along y; ``numbers`` (n_v, n_u) the
    unit of each cell, -1 for none. Units whose cells are not the pixel's or next to it are too far to show.
    """
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            column = int(np.floor((x[i, j] - cells[0, 0]) / cells[0, 1] + 0.5))
            row = int(np.floor((y[i, j] - cells[1, 0]) / cells[1, 1] + 0.5))
            nearest = np.inf
            for v in range(max(0, row - 1), min(numbers.shape[0], row + 2)):
                for u in range(max(0, column - 1), min(numbers.shape[1], column + 2)):
                    n = numbers[v, u]
                    if n >= 0 and shown[n]:
                        away = (x[i, j] - middles[n, 0]) ** 2 + (y[i, j] - middles[n, 1]) ** 2
                        nearest = min(nearest, away)
            out[i, j] = np.exp(-nearest / (2 * width * width))
