"""The T-matrix: lattice Green functions between the changed orbitals and the sites of a scene."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel, lean

C = NDArray[Any]
I8 = NDArray[np.int64]
B1 = NDArray[np.bool_]
F = NDArray[Any]  # float32 or float64, as the table
Q = tuple[I8, I8, I8, I8, I8, I8, F, I8]  # of a set of changes, see add_spread_corrections

LANES = 128  # columns solved side by side; real and imaginary parts of 30 defects' are 31 kB
ADDED = -(2**62)  # stands for no place in the table


@kernel()
def _places(orbitals: I8, sign: int, stride: int, width: int, n: int, start: int) -> I8:
    """Return each orbital's share of a table's flat index, orbitals as (u, v, orbital); ``ADDED`` for added ones.

    ``start`` is a share of all.
    """
    out = np.empty(orbitals.shape[0], dtype=np.int64)
    for i in range(orbitals.shape[0]):
        u, v, orbital = orbitals[i, 0], orbitals[i, 1], orbitals[i, 2]
        out[i] = start + (orbital * stride * width + sign * v) * width + sign * u if orbital < n else ADDED
    return out


@kernel()
def gather(table: C, rows: I8, columns: I8, out: C) -> None:
    """Write out[e, i, j] = <row i| g(z_e) |column j>, orbitals as (u, v, orbital); the table holds <0| g |R>.

    Orbitals beyond the table's are added ones: left alone.
    """
    n_energies, n, _, width, _ = table.shape
    first = _places(rows, -1, n, width, n, (width // 2) * (width + 1))
    step = _places(columns, 1, 1, width, n, 0)
    for e in range(n_energies):
        flat = table[e].reshape(-1)
        for i in range(first.shape[0]):
            if first[i] != ADDED:
                for j in range(step.shape[0]):
                    if step[j] != ADDED:
                        out[e, i, j] = flat[first[i] + step[j]]


@lean(forceinline=True)
def _inverse(x: float, y: float) -> tuple[float, float]:
    """Return the parts of 1 / (x + iy): R. L. Smith, Commun. ACM 5, 435 (1962), doi:10.1145/368637.368661."""
    if abs(x) >= abs(y):
        ratio = y / x
        return 1.0 / (x + y * ratio), -ratio / (x + y * ratio)
    ratio = x / y
    return ratio / (x * ratio + y), -1.0 / (x * ratio + y)


@lean()
def factor(a: C) -> None:
    """Replace a complex symmetric matrix (n, n), given below its diagonal, by L (unit) and 1/D of L D L^T.

    Without pivoting: safe because Im M is positive definite. Products by their parts, in double precision: numba's
    own of complex numbers take a second to compile.
    """
    n = a.shape[0]
    for j in range(n):
        x, y = _inverse(float(a[j, j].real), float(a[j, j].imag))
        for i in range(j + 1, n):
            p, q = a[i, j].real * x - a[i, j].imag * y, a[i, j].real * y + a[i, j].imag * x
            for k in range(j + 1, i + 1):
                re, im = a[k, j].real, a[k, j].imag
                a[i, k] = complex(a[i, k].real - (p * re - q * im), a[i, k].imag - (p * im + q * re))
        for i in range(j + 1, n):
            re, im = a[i, j].real, a[i, j].imag
            a[i, j] = complex(re * x - im * y, re * y + im * x)
        a[j, j] = complex(x, y)


@lean(fastmath={"contract"})
def _substitute(re: F, im: F, n: int, width: int, a: C) -> None:
    """Solve L y = b for several b side by side: row i of re + i im becomes y_i, ``a`` holds L.

    Four known rows at a time, so that the row being solved is seldom loaded and stored.
    """
    for i in range(n):
        whole = i - i % 4
        for j in range(0, whole, 4):
            x0, y0, x1, y1 = a[i, j].real, a[i, j].imag, a[i, j + 1].real, a[i, j + 1].imag
            x2, y2, x3, y3 = a[i, j + 2].real, a[i, j + 2].imag, a[i, j + 3].real, a[i, j + 3].imag
            for s in range(width):
                p = re[i, s] - x0 * re[j, s] + y0 * im[j, s] - x1 * re[j + 1, s] + y1 * im[j + 1, s]
                q = im[i, s] - x0 * im[j, s] - y0 * re[j, s] - x1 * im[j + 1, s] - y1 * re[j + 1, s]
                re[i, s] = p - x2 * re[j + 2, s] + y2 * im[j + 2, s] - x3 * re[j + 3, s] + y3 * im[j + 3, s]
                im[i, s] = q - x2 * im[j + 2, s] - y2 * re[j + 2, s] - x3 * im[j + 3, s] - y3 * re[j + 3, s]
        for j in range(whole, i):
            x, y = a[i, j].real, a[i, j].imag
            for s in range(width):
                re[i, s] += y * im[j, s] - x * re[j, s]
                im[i, s] -= x * im[j, s] + y * re[j, s]


@lean(fastmath={"contract"})
def _sum_squares(re: F, im: F, n: int, width: int, a: C) -> None:
    """Write sum_i y_i^2 / D_i to row n of re and im."""
    re[n, :width] = 0.0
    im[n, :width] = 0.0
    for i in range(n):
        x, y = a[i, i].real, a[i, i].imag
        for s in range(width):
            square = re[i, s] * re[i, s] - im[i, s] * im[i, s]
            cross = (re[i, s] + re[i, s]) * im[i, s]
            re[n, s] += x * square - y * cross
            im[n, s] += x * cross + y * square


@kernel()
def _grouped(block: I8, n_blocks: int) -> tuple[I8, I8]:
    """Return the members block after block, and where each block begins, (n_blocks + 1,)."""
    begin = np.zeros(n_blocks + 1, dtype=np.int64)
    for number in block:
        begin[number + 1] += 1
    for b in range(n_blocks):
        begin[b + 1] += begin[b]
    members, place = np.empty(block.shape[0], dtype=np.int64), begin.copy()
    for i in range(block.shape[0]):
        members[place[block[i]]] = i
        place[block[i]] += 1
    return members, begin


@lean()
def _felt_rows(felt: B1, out: I8) -> int:
    """Write the numbers of the rows that are felt; return how many they are."""
    n = 0
    for row in range(felt.shape[0]):
        if felt[row]:
            out[n] = row
            n += 1
    return n


@lean()
def _matrix(flat: C, first: I8, last: I8, inverse: F, used: I8, m: C) -> None:
    """Write inverse - g below and on the diagonal of m, g between some of the rows: flat[first[i] + last[j]]."""
    for i in range(used.shape[0]):
        for j in range(i + 1):
            m[i, j] = -flat[first[used[i]] + last[used[j]]]
        m[i, i] += inverse[used[i]]


@lean()
def _couple(flat: C, rows: I8, used: I8, steps: I8, start: int, stop: int, re: F, im: F) -> None:
    """Write flat[row + steps[j]] of the used rows to re[i, j - start] and im, j from start to stop."""
    for i in range(used.shape[0]):
        row = rows[used[i]]
        for j in range(stop - start):
            g = flat[np.uint64(row + steps[start + j])]  # unsigned: no look at whether the index is negative
            re[i, j], im[i, j] = g.real, g.imag


@kernel()
def add_corrections(table: C, rows: I8, inverse: F, felt: B1, columns: I8, block: I8, out: C) -> None:
    """Add b^T M^-1 b to out[e, j], b_i = <row i| g(z_e) |column j>, M_ii' = inverse_i delta_ii' - <row i| g |row i'>.

    Column j belongs to block[j], which feels the rows of felt[block[j]], (n_blocks, n_rows). The columns go in groups,
    real and imaginary parts apart, so that a group's columns fill the lanes of the processor.
    """
    n_energies, n, _, width, _ = table.shape
    first = _places(rows, -1, n, width, n, (width // 2) * (width + 1))
    last, to = _places(rows, 1, 1, width, n, 0), _places(columns, 1, 1, width, n, 0)
    members, begin = _grouped(block, felt.shape[0])
    step, room_used, most = np.empty_like(to), np.empty(rows.shape[0], np.int64), 0
    for j in range(members.shape[0]):
        step[j] = to[members[j]]
    for b in range(felt.shape[0]):
        most = max(most, _felt_rows(felt[b], room_used))
    re, im = np.empty((most + 1, LANES), inverse.dtype), np.empty((most + 1, LANES), inverse.dtype)
    room = np.empty(most * most, table.dtype)
    for e in range(n_energies):
        flat = table[e].reshape(-1)
        for b in range(felt.shape[0]):
            used = room_used[: _felt_rows(felt[b], room_used)]
            m = room[: used.size**2].reshape(used.size, used.size)
            _matrix(flat, first, last, inverse, used, m)
            factor(m)
            for start in range(begin[b], begin[b + 1], LANES):
                stop = min(start + LANES, begin[b + 1])
                _couple(flat, first, used, step, start, stop, re, im)
                _substitute(re, im, used.size, stop - start, m)
                _sum_squares(re, im, used.size, stop - start, m)
                for j in range(start, stop):
                    out[e, members[j]] += complex(re[used.size, j - start], im[used.size, j - start])


@lean()
def _row(flat: C, added: C, first: int, last: I8, own: int, others: I8, out: C) -> None:
    """Write g from an orbital towards others: flat[first + last[j]], or 1 / (z - eps) of the same added orbital.

    ``own`` and ``others`` are numbers of added orbitals, negative for those of the table.
    """
    if own >= 0:
        for j in range(last.shape[0]):
            out[j] = added[own] if others[j] == own else 0.0
        return
    for j in range(last.shape[0]):
        out[j] = flat[np.uint64(first + last[j])] if others[j] < 0 else 0.0


@lean(fastmath={"contract"})
def _spread_pair(flat: C, added: C, q: Q, ours: int, theirs: int, row: C, m: C) -> None:
    """Subtract Q^T g Q between two groups from m."""
    first, last, numbers, row_begin, begin, of, share = q[:7]
    low, high = row_begin[theirs], row_begin[theirs + 1]
    for k in range(row_begin[ours], row_begin[ours + 1]):
        _row(flat, added, first[k], last[low:high], numbers[k], numbers[low:high], row)
        for j in range(high - low):
            for p in range(begin[low + j], begin[low + j + 1]):
                x, y = share[p] * row[j].real, share[p] * row[j].imag
                for r in range(begin[k], begin[k + 1]):
                    m[of[r], of[p]] -= complex(share[r] * x, share[r] * y)


@lean(fastmath={"contract"})
def _spread_couple(
    flat: C, added: C, q: Q, group: int, shift: int, steps: I8, others: I8, row: C, re: F, im: F
) -> None:
    """Add Q^T g of a group towards places ``steps`` to the rows of re and im, of each column less a shift."""
    first, _, numbers, row_begin, begin, of, share = q[:7]
    for k in range(row_begin[group], row_begin[group + 1]):
        _row(flat, added, first[k], steps, numbers[k], others, row)
        for p in range(begin[k], begin[k + 1]):
            c, s = of[p] - shift, share[p]
            for j in range(steps.shape[0]):
                re[c, j] += s * row[j].real
                im[c, j] += s * row[j].imag


@kernel()
def _beyond(orbitals: I8, n: int) -> I8:
    """Return the numbers of added orbitals, those beyond n; negative for others."""
    out = np.empty(orbitals.shape[0], dtype=np.int64)
    for i in range(orbitals.shape[0]):
        out[i] = orbitals[i, 2] - n
    return out


@lean()
def _mark_together(felt: B1, room: I8, out: B1) -> None:
    """Mark the pairs of groups that a block feels both of, (n_groups, n_groups), the later one first."""
    for b in range(felt.shape[0]):
        for i in range(_felt_rows(felt[b], room)):
            for j in range(i + 1):
                out[room[i], room[j]] = True


@lean()
def _spread_matrix(flat: C, added: C, q: Q, constant: F, together: B1, row: C, m: C) -> None:
    """Write constant - Q^T g Q to m, of the groups that some block feels together."""
    for i in range(constant.shape[0]):
        for j in range(constant.shape[1]):
            m[i, j] = constant[i, j]
    for i in range(together.shape[0]):
        for j in range(i + 1):
            if together[i, j]:
                _spread_pair(flat, added, q, i, j, row, m)


@kernel()
def _felt_matrix(groups: I8, column_begin: I8, every: C, room: C) -> C:
    """Return the lower triangle of the part of a matrix on the columns of some groups, in the room given."""
    n = 0
    for group in groups:
        n += column_begin[group + 1] - column_begin[group]
    used, at = np.empty(n, np.int64), 0
    for group in groups:
        for c in range(column_begin[group], column_begin[group + 1]):
            used[at] = c
            at += 1
    m = room[: n**2].reshape(n, n)
    for i in range(n):
        for j in range(i + 1):
            m[i, j] = every[used[i], used[j]]
    return m


@lean()
def _add_spread_block(
    flat: C, added: C, q: Q, groups: I8, steps: I8, others: I8, m: C, row: C, re: F, im: F, out: C
) -> None:
    """Add b^T M^-1 b to out, (n_places,), b = Q^T g of some groups of columns towards places; ``m`` holds L of M."""
    n, column_begin = m.shape[0], q[7]
    for start in range(0, steps.shape[0], LANES):
        stop, at = min(start + LANES, steps.shape[0]), 0
        re[:n, : stop - start] = 0.0
        im[:n, : stop - start] = 0.0
        to, numbers = steps[start:stop], others[start:stop]
        for group in groups:
            _spread_couple(flat, added, q, group, column_begin[group] - at, to, numbers, row, re, im)
            at += column_begin[group + 1] - column_begin[group]
        _substitute(re, im, n, stop - start, m)
        _sum_squares(re, im, n, stop - start, m)
        for j in range(stop - start):
            out[start + j] += complex(re[n, j], im[n, j])


@kernel()
def add_spread_corrections(
    table: C,
    added: C,
    rows: I8,
    row_begin: I8,
    share_begin: I8,
    of: I8,
    share: F,
    column_begin: I8,
    constant: F,
    felt: B1,
    columns: I8,
    begin: I8,
    out: C,
) -> None:
    """Add b^T M^-1 b to out[e, j], b = Q^T g |column j>, M = constant - Q^T g Q, of the columns that j's block feels.

    The columns come block after block, from begin[i] on, and in a block best in the order of the table.

    Group i of Q's columns has the rows of Q, orbitals, from row_begin[i] on, and its columns from column_begin[i] on;
    block b feels the groups felt[b]. Row k has ``share[p]`` in column ``of[p]``, p from share_begin[k] on: few of many.
    Orbitals beyond the table's are added ones, with ``added``, (n_energies, n_added), to themselves alone. Energy by
    energy, M of all groups that any block feels together once: the blocks read much the same of the table.
    """
    n_energies, n, _, width, _ = table.shape
    first, last = _places(rows, -1, n, width, n, (width // 2) * (width + 1)), _places(rows, 1, 1, width, n, 0)
    step = _places(columns, 1, 1, width, n, 0)
    others = _beyond(columns, n)
    q = first, last, _beyond(rows, n), row_begin, share_begin, of, share, column_begin
    n_groups, most = felt.shape[1], constant.shape[0]
    together, some = np.zeros((n_groups, n_groups), np.bool_), np.empty(n_groups, np.int64)
    _mark_together(felt, some, together)
    every, room = np.empty((most, most), table.dtype), np.empty(most * most, table.dtype)
    row = np.empty(max(LANES, rows.shape[0]), table.dtype)
    re, im = np.empty((most + 1, LANES), constant.dtype), np.empty((most + 1, LANES), constant.dtype)
    for e in range(n_energies):
        flat = table[e].reshape(-1)
        _spread_matrix(flat, added[e], q, constant, together, row, every)
        for b in range(felt.shape[0]):
            groups, low, high = some[: _felt_rows(felt[b], some)], begin[b], begin[b + 1]
            if groups.size and low < high:
                m = _felt_matrix(groups, column_begin, every, room)
                factor(m)
                _add_spread_block(
                    flat, added[e], q, groups, step[low:high], others[low:high], m, row, re, im, out[e, low:high]
                )
