"""Gathering lattice Green functions between the orbitals of a perturbation and the sites of a scene."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

C = NDArray[Any]
I8 = NDArray[np.int64]
F = NDArray[Any]  # float32 or float64, as the table

ADDED = -(2**62)  # stands for no place in the table


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


@numba.njit(cache=True, error_model="numpy")
def factor(m: C) -> None:
    """Replace complex symmetric matrices (n_energies, n, n) by L (unit, below the diagonal) and 1/D of L D L^T.

    Without pivoting: safe because Im M is positive definite.
    """
    n = m.shape[1]
    for e in range(m.shape[0]):
        a = m[e]
        for j in range(n):
            inverse = 1.0 / a[j, j]
            for i in range(j + 1, n):
                share = a[i, j] * inverse
                for k in range(j + 1, i + 1):
                    a[i, k] -= share * a[k, j]
            for i in range(j + 1, n):
                a[i, j] *= inverse
            a[j, j] = inverse


@numba.njit(cache=True, error_model="numpy", forceinline=True, fastmath={"contract"})
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


@numba.njit(cache=True, error_model="numpy", forceinline=True, fastmath={"contract"})
def _add_squares(re: F, im: F, n: int, width: int, a: C, out: C) -> None:
    """Add sum_i y_i^2 / D_i to out; row n of re and im is where the sum gathers."""
    re[n, :width] = 0.0
    im[n, :width] = 0.0
    for i in range(n):
        x, y = a[i, i].real, a[i, i].imag
        for s in range(width):
            square = re[i, s] * re[i, s] - im[i, s] * im[i, s]
            cross = (re[i, s] + re[i, s]) * im[i, s]
            re[n, s] += x * square - y * cross
            im[n, s] += x * cross + y * square
    for s in range(width):
        out[s] += complex(re[n, s], im[n, s])


@numba.njit(cache=True, error_model="numpy")
def add_corrections(table: C, rows: I8, columns: I8, factors: C, work: F, out: C) -> None:
    """Add b^T M^-1 b to out[e, j], b_i = <row i| g(z_e) |column j>, M as ``factor`` left it.

    The columns go in groups that fit ``work`` (2, n_rows + 1, width): real and imaginary parts lie apart, so that a
    group's columns fill the lanes of the processor.
    """
    n_energies, n, _, width, _ = table.shape
    first, step = _places(rows, -1, n, width, n), _places(columns, 1, 1, width, n)
    centre = (width // 2) * (width + 1)
    re, im, lanes = work[0], work[1], work.shape[2]
    for e in range(n_energies):
        flat = table[e].reshape(-1)
        for start in range(0, columns.shape[0], lanes):
            stop = min(start + lanes, columns.shape[0])
            for i in range(rows.shape[0]):
                for j in range(start, stop):
                    b = flat[centre + first[i] + step[j]]
                    re[i, j - start], im[i, j - start] = b.real, b.imag
            _substitute(re, im, rows.shape[0], stop - start, factors[e])
            _add_squares(re, im, rows.shape[0], stop - start, factors[e], out[e, start:stop])


@numba.njit(cache=True, error_model="numpy")
def add_given_corrections(coupled: C, factors: C, work: F, out: C) -> None:
    """Add b^T M^-1 b to out[e, j], b = coupled[e, :, j], M as ``factor`` left it."""
    re, im, lanes = work[0], work[1], work.shape[2]
    n_energies, n, n_columns = coupled.shape
    for e in range(n_energies):
        for start in range(0, n_columns, lanes):
            stop = min(start + lanes, n_columns)
            re[:n, : stop - start] = coupled[e, :, start:stop].real
            im[:n, : stop - start] = coupled[e, :, start:stop].imag
            _substitute(re, im, n, stop - start, factors[e])
            _add_squares(re, im, n, stop - start, factors[e], out[e, start:stop])
