"""Pairs of a sample site and a tip atom that carry current into a cell, their conductances, and its logarithm."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel, lean

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
I8 = NDArray[np.int64]
I4 = NDArray[np.int32]
B1 = NDArray[np.bool_]
C8 = NDArray[np.complex64]

LANES = 16  # of single precision that the widest processors take at once
LN2 = 0.6931471805599453
ONE = np.float32(1.0)
LEAST, INFINITE = np.int32(0x00800000), np.int32(0x7F800000)  # the bits of the least normal number and of infinity
ROOT_HALF = np.int32(0x3F3504F3)  # those of sqrt(1/2)


@lean()
def _dot(one: F8, two: F8) -> float:
    """Return the sum of the products of two rows' numbers."""
    total = 0.0
    for i in range(one.shape[0]):
        total += one[i] * two[i]
    return total


@lean()
def _total(numbers: F8) -> float:
    """Return the sum of numbers."""
    total = 0.0
    for number in numbers:
        total += number
    return total


@kernel()
def few_columns(columns: F8, error: float) -> tuple[F8, F8]:
    """Return orthonormal rows (n_few, n) and shares (n_few, n_columns) whose products are the columns (n_columns, n).

    Gram-Schmidt, the first column first, then the one of which most is left, until what is left of all is below
    ``error`` of the whole (Frobenius). ``columns`` is used up.
    """
    n_columns, n = columns.shape
    rows, shares = np.empty((n, n)), np.empty((n, n_columns))
    left2 = np.empty(n_columns)
    for j in range(n_columns):
        left2[j] = _dot(columns[j], columns[j])
    allowed2, few, chosen = error * error * _total(left2), 0, 0
    while few < n and left2[chosen] > 0.0:
        size = np.sqrt(left2[chosen])
        for i in range(n):
            rows[few, i] = columns[chosen, i] / size
        chosen = 0
        for j in range(n_columns):
            share = _dot(rows[few], columns[j])
            for i in range(n):
                columns[j, i] -= share * rows[few, i]
            shares[few, j], left2[j] = share, _dot(columns[j], columns[j])
            chosen = j if left2[j] > left2[chosen] else chosen
        few += 1
        if _total(left2) <= allowed2:
            break
    return rows[:few], shares[:few]


@lean()
def _circles(sites: F8, tip: F8, radius: float, reach: float, z: float, limits2: F8, from_here: F8) -> None:
    """Write how near to a centre each pair must come to come near to the circle about it, squared, -1 for never.

    To ``from_here`` how near the site must be for this tip atom or a later one to be near, -1 for none.
    """
    for s in range(sites.shape[0]):
        farthest = -1.0
        for t in range(tip.shape[0] - 1, -1, -1):
            lateral2 = (z + reach) ** 2 - (z - sites[s, 2] + tip[t, 2]) ** 2
            limits2[s, t] = -1.0
            if lateral2 > 0.0:
                limit = np.sqrt(lateral2) + radius
                limits2[s, t] = limit**2
                farthest = max(farthest, limit + np.sqrt(tip[t, 0] ** 2 + tip[t, 1] ** 2))
            from_here[s, t] = farthest


@lean()
def _choose_near(cells: F8, sites: F8, tip: F8, centre: F8, limits2: F8, from_here: F8, chosen: I8) -> int:
    """Write rows (cell, site, tip atom) of the pairs within their limits of the centre; return how many."""
    n = 0
    for c in range(cells.shape[0]):
        for s in range(sites.shape[0]):
            x, y = cells[c, 0] + sites[s, 0] - centre[0], cells[c, 1] + sites[s, 1] - centre[1]
            way = np.sqrt(x * x + y * y) * (1.0 - 1e-12)
            for t in range(tip.shape[0]):
                if way > from_here[s, t]:
                    break
                if (x - tip[t, 0]) ** 2 + (y - tip[t, 1]) ** 2 < limits2[s, t]:
                    chosen[n, 0], chosen[n, 1], chosen[n, 2] = c, s, t
                    n += 1
    return n


@kernel()
def _perhaps_near(cells: F8, sites: F8, tip: F8, centre: F8, radius: float, reach: float, z: float) -> I8:
    """Return rows (cell, site, tip atom) of the pairs that can come near to a circle about ``centre``."""
    limits2, from_here = np.empty((sites.shape[0], tip.shape[0])), np.empty((sites.shape[0], tip.shape[0]))
    _circles(sites, tip, radius, reach, z, limits2, from_here)
    chosen = np.empty((cells.shape[0] * sites.shape[0] * tip.shape[0], 3), dtype=np.int64)
    return chosen[: _choose_near(cells, sites, tip, centre, limits2, from_here, chosen)]


@lean(fastmath={"contract"})
def _nearest2(node_x: F4, node_y: F4, x: np.float32, y: np.float32, squares: F4, bits: I4, out: F4) -> None:
    """Write the least squared distance of a node from (x, y) to out[0]: the one whose ``bits`` are least.

    Of whole numbers, as the bits are, the compiler finds the least with several lanes.
    """
    for g in range(node_x.shape[0]):
        squares[g] = (node_x[g] - x) ** 2 + (node_y[g] - y) ** 2
    least = bits[0]
    for g in range(node_x.shape[0]):
        least = min(least, bits[g])
    bits[0] = least
    out[0] = squares[0]


@lean()
def _keep_near(
    cells: F8,
    sites: F8,
    tip: F8,
    node_x: F4,
    node_y: F4,
    reach: float,
    z: float,
    chosen: I8,
    room: tuple[F4, I4],
    ways: F4,
    nearest: F4,
) -> int:
    """Move the near ones of the chosen pairs to the front and write their ways; return how many, see ``near_pairs``."""
    n = 0
    for p in range(chosen.shape[0]):
        c, s, t = chosen[p, 0], chosen[p, 1], chosen[p, 2]
        ways[n, 0] = cells[c, 0] + sites[s, 0] - tip[t, 0]
        ways[n, 1] = cells[c, 1] + sites[s, 1] - tip[t, 1]
        ways[n, 2] = sites[s, 2] - tip[t, 2]
        _nearest2(node_x, node_y, ways[n, 0], ways[n, 1], *room, nearest[n:])
        if nearest[n] < (z + reach) ** 2 - (z - ways[n, 2]) ** 2:
            chosen[n, 0], chosen[n, 1], chosen[n, 2] = c, s, t
            n += 1
    return n


@lean()
def _circle_around(x: F4, y: F4, centre: F8) -> float:
    """Write the mean of points to ``centre``; return the largest distance from there."""
    total_x, total_y, most = np.float32(0.0), np.float32(0.0), 0.0
    for p in range(x.shape[0]):
        total_x += x[p]
        total_y += y[p]
    centre[0], centre[1] = np.float32(total_x / x.shape[0]), np.float32(total_y / x.shape[0])
    for p in range(x.shape[0]):
        most = max(most, (x[p] - centre[0]) ** 2 + (y[p] - centre[1]) ** 2)
    return float(np.sqrt(most))


@kernel()
def near_pairs(
    cells: F8, sites: F8, tip: F8, node_x: F4, node_y: F4, reach: float, z: float
) -> tuple[I8, I8, I8, F4, F4]:
    """Return (cell, site, tip atom, the way from tip atom to site (3,), the least squared lateral distance).

    A pair is kept if at the height z it comes closer than z + reach to some node of the cell.
    """
    centre = np.empty(2)
    radius = _circle_around(node_x, node_y, centre)
    chosen = _perhaps_near(cells, sites, tip, centre, radius, reach, z)
    ways, nearest = np.empty((chosen.shape[0], 3), dtype=np.float32), np.empty(chosen.shape[0], dtype=np.float32)
    squares = np.empty(node_x.shape[0], dtype=np.float32)
    room = squares, squares.view(np.int32)
    n = _keep_near(cells, sites, tip, node_x, node_y, reach, z, chosen, room, ways, nearest)
    return chosen[:n, 0].copy(), chosen[:n, 1].copy(), chosen[:n, 2].copy(), ways[:n], nearest[:n]


@lean()
def bound(
    cells: I8, sites: I8, atoms: I8, ways: F4, nearest2: F4, z: float, kappa: float, mixing: F8, out: F8, largest: F8
) -> None:
    """Add the largest |mixing[r, atom]| exp(-2 kappa D) of each pair at height z to out[cell, site, r].

    The largest over r is written to ``largest``, (n_pairs,).
    """
    for p in range(cells.shape[0]):
        share = np.exp(-2.0 * kappa * np.sqrt(nearest2[p] + (z - ways[p, 2]) ** 2))
        most = 0.0
        for r in range(mixing.shape[0]):
            of_column = share * abs(mixing[r, atoms[p]])
            out[cells[p], sites[p], r] += of_column
            most = max(most, of_column)
        largest[p] = most


@lean()
def _largest(bounds: F8) -> float:
    """Return the largest of numbers, (n_cells, n_sites, n_mixed), that are not negative."""
    largest = 0.0
    for cell in range(bounds.shape[0]):
        for site in range(bounds.shape[1]):
            for r in range(bounds.shape[2]):
                largest = max(largest, bounds[cell, site, r])
    return largest


@kernel()
def number_columns(bounds: F8, loud: float, heard: float) -> tuple[I8, I8, int, B1]:
    """Return the number of each column by (cell, site, r), rows (cell, site, r), the loud ones, and sites with some.

    Loud columns are those whose bound is above ``loud`` of the largest, they come first; below ``heard`` there is none.
    """
    largest = _largest(bounds)
    numbers, columns = np.empty(bounds.shape, dtype=np.int64), np.empty((bounds.size, 3), dtype=np.int64)
    numbers[:] = -1
    used, n, n_loud = np.zeros(bounds.shape[:2], dtype=np.bool_), 0, 0
    for low, high in ((loud * largest, np.inf), (heard * largest, loud * largest)):
        for cell in range(bounds.shape[0]):
            for site in range(bounds.shape[1]):
                for r in range(bounds.shape[2]):
                    if low < bounds[cell, site, r] <= high:
                        columns[n, 0], columns[n, 1], columns[n, 2] = cell, site, r
                        numbers[cell, site, r], used[cell, site] = n, True
                        n += 1
        n_loud = n if high == np.inf else n_loud
    return numbers, columns[:n], n_loud, used


@lean(fastmath={"contract"})
def _exp2(x: F4, exponent: I4, power: F4) -> None:
    """Replace x (from -126 to 0) by 2**x: the whole part through the exponent's bits, the rest by its Taylor series."""
    for i in range(x.shape[0]):
        whole = np.rint(x[i])
        t = np.float32(LN2) * (x[i] - whole)
        exponent[i] = (np.int32(whole) + np.int32(127)) << np.int32(23)
        tail = np.float32(1 / 24) + t * (np.float32(1 / 120) + t * np.float32(1 / 720))
        x[i] = ONE + t * (ONE + t * (np.float32(1 / 2) + t * (np.float32(1 / 6) + t * tail)))
    for i in range(x.shape[0]):
        x[i] *= power[i]


@lean(forceinline=True, fastmath={"contract"})
def _exponents(node_x: F4, node_y: F4, n_nodes: int, z: F4, way: F4, slope: np.float32, lateral2: F4, out: F4) -> None:
    """Write slope D of a pair over heights and nodes, nodes fastest; -126 at the least: that carries nothing.

    What stands beyond the last of ``n_nodes`` fills the lanes: the next height is written over it.
    """
    for g in range(node_x.shape[0]):
        lateral2[g] = (node_x[g] - way[0]) ** 2 + (node_y[g] - way[1]) ** 2
    for h in range(z.shape[0]):
        vertical2, here = (z[h] - way[2]) ** 2, out[h * n_nodes :]
        for g in range(node_x.shape[0]):
            here[g] = max(slope * np.sqrt(lateral2[g] + vertical2), np.float32(-126.0))


@lean(forceinline=True)
def _columns(numbers: I8, close: bool, n_loud: int, fine: bool, out: I8) -> bool:
    """Write the columns that a pair adds to on this grid, -1 for none; return whether there is one.

    A close pair adds to the loud columns on the fine grid; all else is added on the coarse one.
    """
    some = False
    for r in range(numbers.shape[0]):
        here = numbers[r] >= 0 and (close and numbers[r] < n_loud) == fine
        out[r] = numbers[r] if here else -1
        some = some or here
    return some


@lean(forceinline=True, fastmath={"contract"})
def _add_columns(columns: I8, shares: F4, x: F4, out: F4) -> None:
    """Add shares[r] x to out[columns[r]] where there is such a column."""
    for r in range(columns.shape[0]):
        share = shares[r]
        if columns[r] >= 0 and share != 0.0:
            target = out[columns[r]]
            for i in range(x.shape[0]):
                target[i] += share * x[i]


@lean(fastmath={"contract"})
def _add_pairs(
    node_x: F4,
    node_y: F4,
    n_nodes: int,
    z: F4,
    ways: F4,
    slope: np.float32,
    cells: I8,
    sites: I8,
    atoms: I8,
    close: B1,
    numbers: I8,
    n_loud: int,
    fine: bool,
    shares: F4,
    p_shares: F4,
    room: tuple[F4, F4, I4, F4, I8],
    out: F4,
) -> None:
    """Add the conductance of each pair to its columns, see ``conductances``."""
    lateral2, x, exponent, power, columns = room
    heard = x[: exponent.shape[0]]
    for p in range(ways.shape[0]):
        if not _columns(numbers[cells[p], sites[p]], close[p], n_loud, fine, columns):
            continue
        _exponents(node_x, node_y, n_nodes, z, ways[p], slope, lateral2, x)
        _exp2(heard, exponent, power)
        if p_shares.shape[0] > 0:
            for h in range(z.shape[0]):
                vertical2 = (z[h] - ways[p, 2]) ** 2
                for g in range(n_nodes):
                    x[h * n_nodes + g] *= ONE - p_shares[atoms[p]] * vertical2 / (lateral2[g] + vertical2)
        _add_columns(columns, shares[atoms[p]], heard, out)


@kernel()
def _filled(values: F4) -> F4:
    """Return values and as many zeros as fill the last lanes."""
    out = np.zeros(-(-values.shape[0] // LANES) * LANES, dtype=np.float32)
    for i in range(values.shape[0]):
        out[i] = values[i]
    return out


@kernel()
def conductances(
    node_x: F4,
    node_y: F4,
    z: F4,
    ways: F4,
    kappa: float,
    cells: I8,
    sites: I8,
    atoms: I8,
    close: B1,
    numbers: I8,
    n_loud: int,
    fine: bool,
    shares: F4,
    p_shares: F4,
    out: F4,
) -> None:
    """Add shares[atom, r] exp(-2 kappa D) of each pair to out[its column r], over heights and nodes, nodes fastest.

    Its columns are numbers[cell, site], (n_mixed,), see ``_columns``. Where tip atoms have shares p of p waves, not
    none at all, exp(-2 kappa D) comes times 1 - p + p (rho / D)^2, rho^2 = D^2 - h^2: the lateral and the vertical part
    of the distance D. A row of ``out`` is as long as a multiple of ``LANES``: what fills it up means nothing.
    """
    n_nodes, exponent = node_x.shape[0], np.empty(out.shape[1], dtype=np.int32)
    x, y = _filled(node_x), _filled(node_y)
    values = np.zeros(out.shape[1] + x.shape[0], dtype=np.float32)
    room = np.empty_like(x), values, exponent, exponent.view(np.float32), np.empty(numbers.shape[2], dtype=np.int64)
    at = x, y, n_nodes, z, ways, np.float32(-2.0 * kappa / LN2)
    _add_pairs(*at, cells, sites, atoms, close, numbers, n_loud, fine, shares, p_shares, room, out)


@kernel()
def add_strengths(
    local: C8, weights: C8, orbitals: I8, site_of: I8, removed: I8, corner: tuple[int, int], out: F4
) -> None:
    """Add Im sum_n weights[n, r] local[n, p] to out[v, u, site, r] of the site of each orbital p.

    ``orbitals`` and ``removed``, which add nothing, are rows (u, v, orbital); ``corner`` is the cell of out[0, 0] and
    ``site_of`` the site of each orbital of a cell.
    """
    n_v, n_u = out.shape[:2]
    gone = np.zeros((n_v, n_u, site_of.shape[0]), dtype=np.bool_)
    for i in range(removed.shape[0]):
        u, v = removed[i, 0] - corner[0], removed[i, 1] - corner[1]
        if 0 <= u < n_u and 0 <= v < n_v:
            gone[v, u, removed[i, 2]] = True
    for p in range(orbitals.shape[0]):
        u, v, orbital = orbitals[p, 0] - corner[0], orbitals[p, 1] - corner[1], orbitals[p, 2]
        if not gone[v, u, orbital]:
            for r in range(weights.shape[1]):
                total = local[0, p].imag * np.float32(0.0)
                for n in range(weights.shape[0]):
                    total += weights[n, r].real * local[n, p].imag + weights[n, r].imag * local[n, p].real
                out[v, u, site_of[orbital], r] += total


@kernel()
def gather(strengths: F4, places: I8, steps: I8, out: F4) -> None:
    """Write strengths[places[c] + steps[p]] to out[c, p]."""
    for c in range(places.shape[0]):
        for p in range(steps.shape[0]):
            out[c, p] = strengths[places[c] + steps[p]]


@kernel(fastmath={"contract"})
def _log(bits: I4, exponent: I4, mantissa: I4, out: F4) -> None:
    """Write ln(x) to out, x given by its bits; NaN where x is no normal positive number.

    x = m 2**k with m from 1/sqrt(2) to sqrt(2), ln(m) = 2 artanh((m - 1) / (m + 1)) by its series.
    """
    for i in range(bits.shape[0]):
        exponent[i] = (bits[i] - ROOT_HALF) >> np.int32(23)
        mantissa[i] = bits[i] - (exponent[i] << np.int32(23))
    m = mantissa.view(np.float32)
    for i in range(bits.shape[0]):
        t = (m[i] - ONE) / (m[i] + ONE)
        square = t * t
        tail = np.float32(1 / 5) + square * (np.float32(1 / 7) + square * np.float32(1 / 9))
        series = ONE + square * (np.float32(1 / 3) + square * tail)
        normal = bits[i] >= LEAST and bits[i] < INFINITE
        out[i] = np.float32(exponent[i]) * np.float32(LN2) + (t + t) * series if normal else np.float32(np.nan)


@lean()
def _fill(row: int, column: int, n_grid: int, out: F4) -> None:
    """Write NaN to the nodes of a cell, the first of them at out[row, column]."""
    for v in range(row, row + n_grid):
        for u in range(column, column + n_grid):
            for power in range(out.shape[2]):
                out[v, u, power] = np.nan


@lean()
def _lay(powers: F4, row: int, column: int, n_grid: int, out: F4) -> None:
    """Write the polynomials of a cell, (n_coefficients, n_nodes), to the nodes from out[row, column] on."""
    for v in range(n_grid):
        for k in range(0, out.shape[2], 8):  # a field's coefficients come in eights, see _field_kernels.LANES
            for u in range(n_grid):
                node, there = v * n_grid + u, out[row + v, column + u, k:]
                there[0], there[1] = powers[k, node], powers[k + 1, node]
                there[2], there[3] = powers[k + 2, node], powers[k + 3, node]
                there[4], there[5] = powers[k + 4, node], powers[k + 5, node]
                there[6], there[7] = powers[k + 6, node], powers[k + 7, node]


@kernel(fastmath={"contract"})
def lay_out(current: F4, to_monomials: F4, cells: B1, n_grid: int, out: F4) -> None:
    """Write the height polynomials of ln(current) at the nodes of the marked cells to the grid, NaN at those of others.

    ``current`` is that of each marked cell, row by row, over heights and, fastest, nodes (v, then u); ``out`` is
    (n_v, n_u, n_coefficients), zero beyond the heights.
    """
    n_heights, n_nodes = to_monomials.shape[0], n_grid * n_grid
    powers, values = np.zeros((out.shape[2], n_nodes), dtype=np.float32), np.empty(current.shape[1], dtype=np.float32)
    exponent, mantissa = np.empty(current.shape[1], dtype=np.int32), np.empty(current.shape[1], dtype=np.int32)
    bits, cell = current.view(np.int32), 0
    for row in range(cells.shape[0]):
        for column in range(cells.shape[1]):
            if not cells[row, column]:
                _fill(row * n_grid, column * n_grid, n_grid, out)
                continue
            _log(bits[cell], exponent, mantissa, values)
            for power in range(n_heights):
                powers[power, :] = 0.0
                for h in range(n_heights):
                    share = to_monomials[power, h]
                    for node in range(n_nodes):
                        powers[power, node] += share * values[h * n_nodes + node]
            _lay(powers, row * n_grid, column * n_grid, n_grid, out)
            cell += 1
