"""Which pixels of a pass may lie in which boxes."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
I8 = NDArray[np.int64]


@kernel()
def cross(x: F8, y: F8, boxes: F8, piece: int, first: I8, last: I8) -> None:
    """Write the first pixel that may lie in a box, and the one after the last, to (n_boxes, n_passes); 0, 0: none.

    The pixels' ends x, y are (n_passes, n_pixels + 1); boxes, (n_boxes, 2, 2), the least and the largest x and y. It
    goes by the extent of pieces of so many pixels.
    """
    first[:], last[:] = 0, 0
    n_pixels = x.shape[1] - 1
    for one in range(x.shape[0]):
        for start in range(0, n_pixels, piece):
            end = min(start + piece, n_pixels)
            left = right = x[one, start]
            low = high = y[one, start]
            for i in range(start + 1, end + 1):
                left, right = min(left, x[one, i]), max(right, x[one, i])
                low, high = min(low, y[one, i]), max(high, y[one, i])
            for b in range(boxes.shape[0]):
                beside = boxes[b, 0, 0] > right or boxes[b, 1, 0] < left
                if not (beside or boxes[b, 0, 1] > high or boxes[b, 1, 1] < low):
                    if last[b, one] == 0:
                        first[b, one] = start
                    last[b, one] = end


@kernel()
def add_shares(shares: F4, numbers: F4, out: F4) -> None:
    """Add a share a pixel of its numbers, (n_pixels, n), to out, (n_pixels * n); nothing of those that are NaN."""
    n = numbers.shape[1]
    for i in range(shares.size):
        if shares[i] != 0:
            for k in range(n):
                if not np.isnan(numbers[i, k]):
                    out[i * n + k] += shares[i] * numbers[i, k]
