"""Counting defects, and seating them on free sites."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
B1 = NDArray[np.bool_]


@kernel()
def poisson(uniforms: F8, mean: float) -> I8:
    """Return the least n with P(count <= n) >= u of each number u."""
    counts = np.empty(uniforms.shape[0], dtype=np.int64)
    for i in range(uniforms.shape[0]):
        n, term = 0, np.exp(-mean)
        below = term
        while below < uniforms[i] and term > 0.0:
            n += 1
            term *= mean / n
            below += term
        counts[i] = n
    return counts


@kernel()
def crowded(counts: I8, taken: B1) -> bool:
    """Return whether some tile has fewer free places than defects; ``taken`` is of shape (n_tiles, n_places)."""
    for t in range(counts.shape[0]):
        n_free = 0
        for place in range(taken.shape[1]):
            n_free += not taken[t, place]
        if counts[t] > n_free:
            return True
    return False


@kernel()
def seat(words: F8, counts: I8, tiles: I8, side: int, taken: B1, cells: I8, values: F8) -> bool:
    """Seat counts[t] defects in each tile on its first candidate places that are free; return whether all found one.

    ``words`` (n_tiles, 1 + n_candidates * (1 + n_values)) hold for each candidate its place and its values. A tile
    (u, v) has side * side places; ``taken`` (n_tiles, n_places) grows, or is left as it was if some found no place;
    ``cells`` (n_defects, 2) become the lattice cells, ``values`` (n_defects, n_values) the values.
    """
    stride = 1 + values.shape[1]
    seats = np.empty((cells.shape[0], 2), dtype=np.int64)
    n = 0
    for t in range(words.shape[0]):
        last = n + counts[t]
        for word in range(1, words.shape[1], stride):
            if n == last:
                break
            place = int(words[t, word] * (side * side))
            if not taken[t, place]:
                taken[t, place] = True
                seats[n, 0], seats[n, 1] = t, place
                cells[n, 0], cells[n, 1] = tiles[t, 0] * side + place % side, tiles[t, 1] * side + place // side
                for k in range(values.shape[1]):
                    values[n, k] = words[t, word + 1 + k]
                n += 1
        if n < last:
            for i in range(n):
                taken[seats[i, 0], seats[i, 1]] = False
            return False
    return True


@kernel()
def place(words: F8, mean: float, tiles: I8, side: int, taken: B1, n_values: int) -> tuple[int, bool, I8, F8]:
    """Return how many defects some tile has no room for, else 0; whether all were seated; their cells and values.

    A tile's first word is for its count, a Poisson number; the others are those of ``seat``.
    """
    counts, n, most = poisson(words[:, 0], mean), 0, 0
    for count in counts:
        n, most = n + count, max(most, count)
    cells, values = np.empty((n, 2), dtype=np.int64), np.empty((n, n_values))
    if crowded(counts, taken):
        return most, False, cells, values
    return 0, seat(words, counts, tiles, side, taken, cells, values), cells, values
