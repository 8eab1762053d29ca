"""The T-matrix: lattice Green functions between the changed orbitals and the sites of a scene."""

import functools
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

C = NDArray[Any]
I8 = NDArray[np.int64]
B1 = NDArray[np.bool_]
F = NDArray[Any]  # float32 or float64, as the table

LANES = 128  # columns solved side by side; real and imaginary parts of 30 defects' are 31 kB
ADDED = -(2**62)  # stands for no place in the table

lean = functools.partial(numba.njit, cache=True, error_model="numpy", _nrt=False)  # see _field_kernels


@numba.njit(cache=True, error_model="numpy")
def _places(orbitals: I8, sign: int, stride: int, width: int, n: int) -> I8:
    """Return each orbital's share of a table's flat index, orbitals as (u, v, orbital); -1 for added orbitals."""
    out = np.empty(orbitals.shape[0], dtype=np.int64)
    for i in range(orbitals.shape[0]):
        u, v, orbital = orbitals[i]
        out[i] = (orbital * stride * width + sign * v) * width + sign * u if orbital < n else ADDED
    return out


@numba.njit(cache=True, error_model="numpy")
def gather(table: C, rows: I8, columns: I8, out: C) -> None:
    """Write out[e, i, j] = <row i| g(z_e) |column j>, orbitals as (u, v, orbital); the table holds <0| g |R>.

    Orbitals beyond the table's are added ones: left alone.
    """
    n_energies, n, _, width, _ = table.shape
    first, step = _places(rows, -1, n, width, n), _places(columns, 1, 1, width, n)
    centre = (width // 2) * (width + 1)
    for e in range(n_energies):
        flat = table[e].reshape(-1)
        for i in range(first.shape[0]):
            if first[i] != ADDED:
                for j in range(step.shape[0]):
                    if step[j] != ADDED:
                        out[e, i, j] = flat[centre + first[i] + step[j]]


@lean()
def factor(a: C) -> None:
    """Replace a complex symmetric matrix (n, n), given below its diagonal, by L (unit) and 1/D of L D L^T.

    Without pivoting: safe because Im M is positive definite.
    """
    n = a.shape[0]
    for j in range(n):
        inverse = 1.0 / a[j, j]
        for i in range(j + 1, n):
            share = a[i, j] * inverse
            for k in range(j + 1, i + 1):
                a[i, k] -= share * a[k, j]
        for i in range(j + 1, n):
            a[i, j] *= inverse
        a[j, j] = inverse


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


@numba.njit(cache=True, error_model="numpy")
def _grouped(block: I8, n_blocks: int) -> tuple[I8, I8]:
    """Return the members block after block, and where each block begins, (n_blocks + 1,)."""
    begin = np.zeros(n_blocks + 1, dtype=np.int64)
    for number in block:
        begin[number + 1] += 1
    begin = np.cumsum(begin)
    members, place = np.empty(block.shape[0], dtype=np.int64), begin.copy()
    for i in range(block.shape[0]):
        members[place[block[i]]] = i
        place[block[i]] += 1
    return members, begin


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


@numba.njit(cache=True, error_model="numpy")
def add_corrections(table: C, rows: I8, inverse: F, felt: B1, columns: I8, block: I8, out: C) -> None:
    """Add b^T M^-1 b to out[e, j], b_i = <row i| g(z_e) |column j>, M_ii' = inverse_i delta_ii' - <row i| g |row i'>.

    Column j belongs to block[j], which feels the rows of felt[block[j]], (n_blocks, n_rows). The columns go in groups,
    real and imaginary parts apart, so that a group's columns fill the lanes of the processor.
    """
    n_energies, n, _, width, _ = table.shape
    first = _places(rows, -1, n, width, n) + (width // 2) * (width + 1)
    last = _places(rows, 1, 1, width, n)
    members, begin = _grouped(block, felt.shape[0])
    step = _places(columns, 1, 1, width, n)[members]
    most = felt.sum(axis=1).max()
    re, im = np.empty((most + 1, LANES), inverse.dtype), np.empty((most + 1, LANES), inverse.dtype)
    room = np.empty(most * most, table.dtype)
    for e in range(n_energies):
        flat = table[e].reshape(-1)
        for b in range(felt.shape[0]):
            used = np.nonzero(felt[b])[0]
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


@lean(fastmath={"contract"})
def _spread_rows(flat: C, first: I8, last: I8, begin: I8, of: I8, share: F, row: C, half: C) -> None:
    """Write Q^T g to half, (n_columns, n_rows); Q as in ``add_spread_corrections``."""
    half[:] = 0.0
    for k in range(first.shape[0]):
        for j in range(last.shape[0]):
            row[j] = flat[np.uint64(first[k] + last[j])]
        for p in range(begin[k], begin[k + 1]):
            for j in range(last.shape[0]):
                half[of[p], j] += share[p] * row[j]


@lean(fastmath={"contract"})
def _spread_matrix(inverse: F, begin: I8, of: I8, share: F, half: C, m: C) -> None:
    """Write inverse - half Q below and on the diagonal of m; Q as in ``add_spread_corrections``."""
    for i in range(m.shape[0]):
        for j in range(i + 1):
            m[i, j] = 0.0
        m[i, i] = inverse[i]
    for k in range(half.shape[1]):
        for p in range(begin[k], begin[k + 1]):
            for i in range(of[p], m.shape[0]):
                m[i, of[p]] -= share[p] * half[i, k]


@lean(fastmath={"contract"})
def _spread_couple(
    flat: C, rows: I8, steps: I8, begin: I8, of: I8, share: F, re: F, im: F, re_row: F, im_row: F
) -> None:
    """Write Q^T g towards places ``steps`` to the rows of re and im; Q as in ``add_spread_corrections``."""
    width = steps.shape[0]
    re[:, :width] = 0.0
    im[:, :width] = 0.0
    for k in range(rows.shape[0]):
        for j in range(width):
            g = flat[np.uint64(rows[k] + steps[j])]
            re_row[j], im_row[j] = g.real, g.imag
        for p in range(begin[k], begin[k + 1]):
            c, s = of[p], share[p]
            for j in range(width):
                re[c, j] += s * re_row[j]
                im[c, j] += s * im_row[j]


@numba.njit(cache=True, error_model="numpy")
def add_spread_corrections(
    table: C,
    rows: I8,
    row_begin: I8,
    inverse: F,
    inverse_begin: I8,
    share_begin: I8,
    of: I8,
    share: F,
    columns: I8,
    block: I8,
    out: C,
) -> None:
    """Add b^T M^-1 b to out[e, j], b = Q^T g |column j>, M = diag(inverse) - Q^T g Q, Q that of column j's block.

    Block b has the rows of Q, orbitals, from row_begin[b] on, and its columns from inverse_begin[b] on. Row k has
    ``share[p]`` in the block's column ``of[p]``, p from share_begin[k] on: few of many. Energy by energy: the blocks
    read much the same of the table.
    """
    n_energies, n, _, width, _ = table.shape
    first = _places(rows, -1, n, width, n) + (width // 2) * (width + 1)
    last, step = _places(rows, 1, 1, width, n), _places(columns, 1, 1, width, n)
    members, begin = _grouped(block, row_begin.shape[0] - 1)
    for b in range(begin.shape[0] - 1):  # neighbours in the table are read one after the other
        own = members[begin[b] : begin[b + 1]]
        members[begin[b] : begin[b + 1]] = own[np.argsort(step[own])]
    step = step[members]
    most, n_rows = np.diff(inverse_begin).max(), np.diff(row_begin).max()
    re, im = np.empty((most + 1, LANES), inverse.dtype), np.empty((most + 1, LANES), inverse.dtype)
    re_row, im_row = np.empty(LANES, inverse.dtype), np.empty(LANES, inverse.dtype)
    row, half, room = (
        np.empty(n_rows, table.dtype),
        np.empty((most, n_rows), table.dtype),
        np.empty(most**2, table.dtype),
    )
    for e in range(n_energies):
        flat = table[e].reshape(-1)
        for b in range(begin.shape[0] - 1):
            k, n_columns = slice(row_begin[b], row_begin[b + 1]), inverse_begin[b + 1] - inverse_begin[b]
            if n_columns == 0:
                continue
            shares, m = share_begin[row_begin[b] : row_begin[b + 1] + 1], room[: n_columns**2].reshape(n_columns, -1)
            bare = inverse[inverse_begin[b] : inverse_begin[b + 1]]
            _spread_rows(flat, first[k], last[k], shares, of, share, row, half[:n_columns, : k.stop - k.start])
            _spread_matrix(bare, shares, of, share, half[:n_columns, : k.stop - k.start], m)
            factor(m)
            for start in range(begin[b], begin[b + 1], LANES):
                stop = min(start + LANES, begin[b + 1])
                _spread_couple(flat, first[k], step[start:stop], shares, of, share, re, im, re_row, im_row)
                _substitute(re, im, n_columns, stop - start, m)
                _sum_squares(re, im, n_columns, stop - start, m)
                for j in range(start, stop):
                    out[e, members[j]] += complex(re[n_columns, j - start], im[n_columns, j - start])


@numba.njit(cache=True, error_model="numpy")
def add_given_corrections(coupled: C, matrices: C, out: C) -> None:
    """Add b^T M^-1 b to out[e, j], b = coupled[e, :, j], M = matrices[e]: these are lost."""
    n_energies, n, n_columns = coupled.shape
    re, im = np.empty((n + 1, LANES), coupled.real.dtype), np.empty((n + 1, LANES), coupled.real.dtype)
    for e in range(n_energies):
        factor(matrices[e])
        for start in range(0, n_columns, LANES):
            stop = min(start + LANES, n_columns)
            re[:n, : stop - start] = coupled[e, :, start:stop].real
            im[:n, : stop - start] = coupled[e, :, start:stop].imag
            _substitute(re, im, n, stop - start, matrices[e])
            _sum_squares(re, im, n, stop - start, matrices[e])
            for s in range(stop - start):
                out[e, start + s] += complex(re[n, s], im[n, s])
