"""The median of many numbers, by counting them."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel, lean

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]

BINS = 2048


@lean()
def _bin_of(counts: I8, number: int, first: int, before: int) -> tuple[int, int]:
    """Return the bin of the number-th value in order and how many are in earlier bins, ``before`` the given one."""
    while before + counts[first] <= number:
        before += counts[first]
        first += 1
    return first, before


@lean()
def _sort(values: F8) -> None:
    """Put numbers in order: D. L. Shell, Commun. ACM 2, 30 (1959), doi:10.1145/368370.368387, with Knuth's gaps."""
    gap = 1
    while 3 * gap < values.shape[0]:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, values.shape[0]):
            value, place = values[i], i
            while place >= gap and values[place - gap] > value:
                values[place] = values[place - gap]
                place -= gap
            values[place] = value
        gap //= 3


@kernel()
def median(values: F8) -> float:
    """Return the median of numbers (n,); NaN if one of them is not finite.

    Counted in equal bins from the least to the largest; only those in the middle bins are put in order.
    """
    low, high, total = values[0], values[0], 0.0
    for value in values:
        low, high = min(low, value), max(high, value)
        total += value
    if not np.isfinite(total):
        return float(np.nan)
    if high <= low:
        return float(low)
    scale, counts = (BINS - 1) / (high - low), np.zeros(BINS, dtype=np.int64)
    for value in values:
        counts[int((value - low) * scale)] += 1
    half = (values.shape[0] - 1) // 2
    first, before = _bin_of(counts, half, 0, 0)
    last, before_last = _bin_of(counts, values.shape[0] // 2, first, before)
    middle, n = np.empty(before_last + counts[last] - before), 0
    for value in values:
        if first <= int((value - low) * scale) <= last:
            middle[n] = value
            n += 1
    _sort(middle)
    return float((middle[half - before] + middle[values.shape[0] // 2 - before]) / 2)
