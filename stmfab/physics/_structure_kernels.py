"""Marking the lattice cells that a path needs, distances to them, and blocks of them; the median of many numbers."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel, lean

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
U8 = NDArray[np.uint64]
B1 = NDArray[np.bool_]

BINS = 2048  # of the numbers whose median is sought


@lean(forceinline=True)
def _mark(u: float, v: float, before: U8, after: U8, cells: B1) -> None:
    """Mark the cells that hold the nodes around the grid coordinates (u, v)."""
    node_u, node_v = np.uint64(int(u)), np.uint64(int(v))
    left, right, top, bottom = before[node_u], after[node_u], before[node_v], after[node_v]
    cells[top, left] = cells[top, right] = cells[bottom, left] = cells[bottom, right] = True


@kernel()
def extent(x: F8, y: F8) -> tuple[float, float, float, float]:
    """Return the least and the largest of x and of y, both (n_lines, n_points)."""
    low_x, high_x, low_y, high_y = x[0, 0], x[0, 0], y[0, 0], y[0, 0]
    for line in range(x.shape[0]):
        for p in range(x.shape[1]):
            low_x, high_x = min(low_x, x[line, p]), max(high_x, x[line, p])
            low_y, high_y = min(low_y, y[line, p]), max(high_y, y[line, p])
    return low_x, high_x, low_y, high_y


@lean()
def _mark_lines(x: F8, y: F8, inverse: F8, n_grid: int, low: I8, before: U8, after: U8, cells: B1) -> None:
    """Mark the cells of all lines, see ``mark_cells``; ``before`` and ``after`` are cells by node, see ``_mark``."""
    u_x, u_y, v_x, v_y = inverse[0, 0] * n_grid, inverse[1, 0] * n_grid, inverse[0, 1] * n_grid, inverse[1, 1] * n_grid
    first_u, first_v = low[0] * n_grid, low[1] * n_grid
    for line in range(x.shape[0]):
        last_u, last_v = np.inf, np.inf
        for p in range(x.shape[1]):
            u, v = x[line, p] * u_x + y[line, p] * u_y - first_u, x[line, p] * v_x + y[line, p] * v_y - first_v
            far = max(abs(u - last_u), abs(v - last_v))
            if far < 1.0:
                continue  # what is marked is one node wider than a stencil
            _mark(u, v, before, after, cells)
            if far < np.inf:
                steps = int(far) + 1
                for step in range(1, steps):
                    share = step / steps
                    _mark(u - share * (u - last_u), v - share * (v - last_v), before, after, cells)
            last_u, last_v = u, v


@kernel()
def mark_cells(x: F8, y: F8, inverse: F8, n_grid: int, low: I8, cells: B1) -> None:
    """Mark the cells holding the nodes of the 4 x 4 stencils along straight lines x, y (n_lines, n_points).

    ``low`` is the cell (u, v) at the corner of ``cells``, which has room for every stencil. Marked a node at a time,
    one node wider than the stencil: between two marked nodes no other cell is needed.
    """
    n_nodes = max(cells.shape[0], cells.shape[1]) * n_grid
    before, after = np.empty(n_nodes, dtype=np.uint64), np.empty(n_nodes, dtype=np.uint64)
    for node in range(n_nodes):  # the cells of the first and the last node of a point's stencil
        before[node], after[node] = max(node - 2, 0) // n_grid, (node + 3) // n_grid
    _mark_lines(x, y, inverse, n_grid, low, before, after, cells)


@lean()
def marked_part(cells: B1) -> tuple[int, int, int, int]:
    """Return the first and the end of the rows, then of the columns, that hold all marked cells."""
    first_v, end_v, first_u, end_u = cells.shape[0], 0, cells.shape[1], 0
    for v in range(cells.shape[0]):
        for u in range(cells.shape[1]):
            if cells[v, u]:
                first_v, end_v = min(first_v, v), max(end_v, v + 1)
                first_u, end_u = min(first_u, u), max(end_u, u + 1)
    return first_v, end_v, first_u, end_u


@lean()
def _extent(offsets: I8, used: B1) -> tuple[int, int, int, int]:
    """Return the least and the largest u, then v, of the used offsets."""
    low_u, high_u, low_v, high_v = 2**62, -(2**62), 2**62, -(2**62)
    for o in range(offsets.shape[0]):
        some = False
        for s in range(used.shape[1]):
            some = some or used[o, s]
        if some:
            low_u, high_u = min(low_u, offsets[o, 0]), max(high_u, offsets[o, 0])
            low_v, high_v = min(low_v, offsets[o, 1]), max(high_v, offsets[o, 1])
    return low_u, high_u, low_v, high_v


@lean()
def _mark_reached(cells: B1, offsets: I8, low: I8, used: B1, reached: B1) -> None:
    """Mark the cells that a marked cell reaches, see ``reach``, from the corner ``low`` on."""
    for s in range(used.shape[1]):
        for o in range(offsets.shape[0]):
            if used[o, s]:
                du, dv = offsets[o, 0] - low[0], offsets[o, 1] - low[1]
                for v in range(cells.shape[0]):
                    row, marked = reached[s, v + dv, du : du + cells.shape[1]], cells[v]
                    for u in range(marked.shape[0]):
                        row[u] |= marked[u]


@kernel()
def reach(cells: B1, offsets: I8, used: B1) -> tuple[I8, B1]:
    """Return (u, v) of a corner and which cells, from there, a marked cell reaches at each site: (n_sites, n_v, n_u).

    Site s of the cell at an offset (u, v), (n_offsets, 2), from a marked cell counts if used[offset, s].
    """
    low_u, high_u, low_v, high_v = _extent(offsets, used)
    low = np.empty(2, dtype=np.int64)
    low[0], low[1] = low_u, low_v
    shape = used.shape[1], cells.shape[0] + high_v - low_v, cells.shape[1] + high_u - low_u
    reached = np.zeros(shape, dtype=np.bool_)
    _mark_reached(cells, offsets, low, used, reached)
    return low, reached


@lean()
def _count(marked: B1) -> int:
    """Return how many are marked, (n, m)."""
    n = 0
    for row in range(marked.shape[0]):
        for column in range(marked.shape[1]):
            n += marked[row, column]
    return n


@kernel()
def rows_of(reached: B1, corner: I8) -> tuple[I8, B1]:
    """Return rows (u, v, site) of what is marked in (n_sites, n_v, n_u) from a corner on, and where any site is."""
    n_rows = 0
    for s in range(reached.shape[0]):
        n_rows += _count(reached[s])
    rows, some = np.empty((n_rows, 3), dtype=np.int64), np.zeros(reached.shape[1:], dtype=np.bool_)
    n = 0
    for site in range(reached.shape[0]):
        for v in range(reached.shape[1]):
            for u in range(reached.shape[2]):
                if reached[site, v, u]:
                    rows[n, 0], rows[n, 1], rows[n, 2] = corner[0] + u, corner[1] + v, site
                    some[v, u] = True
                    n += 1
    return rows, some


@lean()
def _around(points: F8) -> tuple[float, float, float, float]:
    """Return the least and the largest x, then y, of points (n, 2)."""
    low_x, high_x, low_y, high_y = np.inf, -np.inf, np.inf, -np.inf
    for p in range(points.shape[0]):
        low_x, high_x = min(low_x, points[p, 0]), max(high_x, points[p, 0])
        low_y, high_y = min(low_y, points[p, 1]), max(high_y, points[p, 1])
    return low_x, high_x, low_y, high_y


@lean()
def _mark_near(points: F8, centres: F8, distance: float, out: B1) -> int:
    """Write which points lie within a distance of any centre; return how many."""
    n = 0
    low_x, high_x, low_y, high_y = _around(centres)
    for p in range(points.shape[0]):
        out[p] = False
        beyond_x = max(low_x - points[p, 0], points[p, 0] - high_x)
        beyond_y = max(low_y - points[p, 1], points[p, 1] - high_y)
        if beyond_x > distance or beyond_y > distance:
            continue  # so far outside that no centre can be near
        for c in range(centres.shape[0]):
            dx, dy = points[p, 0] - centres[c, 0], points[p, 1] - centres[c, 1]
            if dx * dx + dy * dy <= distance * distance:
                out[p] = True
                n += 1
                break
    return n


@kernel()
def near(points: F8, centres: F8, distance: float) -> B1:
    """Return which points lie within a distance of any centre."""
    out = np.empty(points.shape[0], dtype=np.bool_)
    _mark_near(points, centres, distance, out)
    return out


@kernel()
def near_marked(points: F8, distances: F8, lattice: F8, inverse: F8, cells: B1) -> B1:
    """Return which points lie within their distances of the origin of a marked cell, cells[0, 0] being at (0, 0)."""
    out = np.zeros(points.shape[0], dtype=np.bool_)
    across_u = np.sqrt(inverse[0, 0] * inverse[0, 0] + inverse[1, 0] * inverse[1, 0])
    across_v = np.sqrt(inverse[0, 1] * inverse[0, 1] + inverse[1, 1] * inverse[1, 1])
    for p in range(points.shape[0]):
        u = points[p, 0] * inverse[0, 0] + points[p, 1] * inverse[1, 0]
        v = points[p, 0] * inverse[0, 1] + points[p, 1] * inverse[1, 1]
        for row in range(
            max(int(v - distances[p] * across_v), 0), min(int(v + distances[p] * across_v) + 2, len(cells))
        ):
            low = max(int(u - distances[p] * across_u), 0)
            for column in range(low, min(int(u + distances[p] * across_u) + 2, cells.shape[1])):
                if cells[row, column]:
                    dx = (column - u) * lattice[0, 0] + (row - v) * lattice[1, 0]
                    dy = (column - u) * lattice[0, 1] + (row - v) * lattice[1, 1]
                    out[p] = out[p] or dx * dx + dy * dy <= distances[p] * distances[p]
            if out[p]:
                break
    return out


@kernel()
def widest_block(block: I8, places: I8, felt: B1, changed: I8) -> int:
    """Return the most cells, along u or v, from any change that a block feels to any other, or to a place of its own.

    ``places`` and ``changed`` are rows (u, v, orbital); blocks that feel nothing do not count.
    """
    low, high = np.full((felt.shape[0], 2), 2**62), np.full((felt.shape[0], 2), -(2**62))
    for p in range(places.shape[0]):
        b = block[p]
        for k in range(2):
            low[b, k], high[b, k] = min(low[b, k], places[p, k]), max(high[b, k], places[p, k])
    widest = 0
    for b in range(felt.shape[0]):
        some = False
        for c in range(changed.shape[0]):
            if felt[b, c]:
                some = True
                for k in range(2):
                    low[b, k], high[b, k] = min(low[b, k], changed[c, k]), max(high[b, k], changed[c, k])
        if some:
            widest = max(widest, high[b, 0] - low[b, 0], high[b, 1] - low[b, 1])
    return widest


@lean()
def _halve(points: F8, axis: int, middle: float, own: I8, room: I8) -> int:
    """Put the points of a block up to the middle before those beyond it, each in their order; return how many."""
    n, n_beyond = 0, 0
    for i in range(own.shape[0]):
        p = own[i]
        if points[p, axis] > middle:
            room[n_beyond] = p
            n_beyond += 1
        else:
            own[n] = p
            n += 1
    for i in range(n_beyond):
        own[n + i] = room[i]
    return n


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


@lean()
def _gathered(points: F8, order: I8, out: F8) -> None:
    """Write the points of some numbers, (n, 2)."""
    for i in range(order.shape[0]):
        out[i, 0], out[i, 1] = points[order[i], 0], points[order[i], 1]


@kernel()
def _longer(rows: B1) -> B1:
    """Return rows, and as many that hold nothing."""
    out = np.zeros((2 * rows.shape[0], rows.shape[1]), dtype=np.bool_)
    for row in range(rows.shape[0]):
        for column in range(rows.shape[1]):
            out[row, column] = rows[row, column]
    return out


@lean()
def _halved(points: F8, axis: int, middle: float, order: I8, ends: I8, block: int, other: int, room: I8) -> None:
    """Halve a block, numbers order[ends[block, 0] : ends[block, 1]] of points: those beyond the middle are another."""
    first, end = ends[block, 0], ends[block, 1]
    ends[block, 1] = ends[other, 0] = first + _halve(points, axis, middle, order[first:end], room)
    ends[other, 1] = end


@kernel()
def blocks(
    cells: F8, places: F8, changed: F8, reach: float, few: int, smallest: float, largest: float
) -> tuple[I8, B1]:
    """Return the block of each place, and which changes each block feels: see ``structure.blocks``."""
    n_cells, n_places = cells.shape[0], places.shape[0]
    order, of_place = np.arange(n_cells), np.arange(n_places)  # block after block; where each begins and ends:
    ends, place_ends = np.zeros((n_cells + 1, 2), dtype=np.int64), np.zeros((n_cells + 1, 2), dtype=np.int64)
    ends[0, 1], place_ends[0, 1], room = n_cells, n_places, np.empty(max(n_cells, n_places), dtype=np.int64)
    felt, points, numbers = np.zeros((1, changed.shape[0]), dtype=np.bool_), np.empty((n_cells, 2)), np.empty(n_cells)
    block, n_blocks = 0, 1
    while block < n_blocks:
        own = points[: ends[block, 1] - ends[block, 0]]
        _gathered(cells, order[ends[block, 0] : ends[block, 1]], own)
        low_x, high_x, low_y, high_y = _around(own)
        axis, side = (0 if high_x - low_x >= high_y - low_y else 1), max(high_x - low_x, high_y - low_y)
        if side <= largest:
            felt = _longer(felt) if block >= felt.shape[0] else felt
            if _mark_near(changed, own, reach, felt[block]) <= few or side < smallest:
                block += 1
                continue
        for i in range(own.shape[0]):
            numbers[i] = own[i, axis]
        middle = median(numbers[: own.shape[0]])
        _halved(cells, axis, middle, order, ends, block, n_blocks, room)
        _halved(places, axis, middle, of_place, place_ends, block, n_blocks, room)
        n_blocks += 1
    out = np.empty(n_places, dtype=np.int64)
    for block in range(n_blocks):
        for place in range(place_ends[block, 0], place_ends[block, 1]):
            out[of_place[place]] = block
    return out, felt[:n_blocks]
