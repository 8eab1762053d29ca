"""The waves of defects towards the tip: gathered, mixed and laid out for one matrix product a cell."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

C = NDArray[Any]
I8 = NDArray[np.int64]
F = NDArray[Any]  # float32


@kernel()
def gather(table: F, start: int, rows: I8, cells: I8, first: int, out: F) -> None:
    """Write out[e, first + i, :, j] = table[v, u, o, start + e], the wave of row i = (u, v, o) at cell j; 0 beyond it.

    Tables (n_v, n_u, n, n_energies, 2, n_basis) and waves (n_energies, n_rows, 2, n_cells, n_basis): the axis of two is
    real and imaginary parts.
    """
    n_v, n_u = table.shape[:2]
    n_energies, n_basis = out.shape[0], out.shape[4]
    for i in range(rows.shape[0]):
        for j in range(cells.shape[0]):
            u, v = cells[j, 0] - rows[i, 0] + n_u // 2, cells[j, 1] - rows[i, 1] + n_v // 2
            if not (0 <= u < n_u and 0 <= v < n_v):
                out[:, first + i, :, j] = 0.0
                continue
            waves = table[v, u, rows[i, 2]]
            for e in range(n_energies):
                for part in range(2):
                    for b in range(n_basis):
                        out[e, first + i, part, j, b] = waves[start + e, part, b]


@kernel()
def roots(matrices: C, columns: I8, weights: C) -> tuple[F, F]:
    """Return real and imaginary part of R for columns of parts: Re (R x) = to_re x, Im (R x) = to_im x.

    R^T R = w_e A_e for complex symmetric A, the part of a matrix on ``columns``, of definite imaginary part:
    A = L D L^T without pivoting, R = sqrt(w D) L^T, upper triangular. Both are (n_energies, n, 2 n), the real and the
    imaginary part of x one after the other.
    """
    n_energies, n = matrices.shape[0], columns.shape[0]
    to_re, to_im = np.zeros((n_energies, n, 2 * n), np.float32), np.zeros((n_energies, n, 2 * n), np.float32)
    a = np.empty((n, n), np.complex128)
    for e in range(n_energies):
        for i in range(n):
            for j in range(i + 1):
                a[i, j] = matrices[e, columns[i], columns[j]]
        for j in range(n):
            inverse = 1.0 / a[j, j]
            for i in range(j + 1, n):
                share = a[i, j] * inverse
                for k in range(j + 1, i + 1):
                    a[i, k] -= share * a[k, j]
            size = np.sqrt(weights[e] * a[j, j])
            for i in range(j, n):
                root = size if i == j else size * (a[i, j] * inverse)
                to_re[e, j, 2 * i], to_re[e, j, 2 * i + 1] = root.real, -root.imag
                to_im[e, j, 2 * i], to_im[e, j, 2 * i + 1] = root.imag, root.real
    return to_re, to_im


@kernel(fastmath={"contract"})
def shifted(values: F, corners: I8, g: int, first: I8, across: F, along: F, out: F) -> None:
    """Write out[c, h], the nodes of cell c shifted: 4 x 4 Lagrange of values (n_heights, n_v, n_u).

    Node (v, u) of a cell takes values from (v, u) + its corner + ``first`` on, weights ``across`` (v), ``along`` (u).
    """
    n_heights, n_v, n_u = values.shape
    p0, p1, p2, p3 = along[0], along[1], along[2], along[3]
    q0, q1, q2, q3 = across[0], across[1], across[2], across[3]
    rows = np.empty((n_v, n_u), values.dtype)
    for h in range(n_heights):
        for v in range(n_v):
            row = values[h, v]
            for u in range(n_u - 3):
                rows[v, u] = p0 * row[u] + p1 * row[u + 1] + p2 * row[u + 2] + p3 * row[u + 3]
        for c in range(corners.shape[0]):
            for j in range(g):
                v, u = corners[c, 0] + first[0] + j, corners[c, 1] + first[1]
                for i in range(g):
                    above = q0 * rows[v, u + i] + q1 * rows[v + 1, u + i]
                    out[c, h, j * g + i] = above + q2 * rows[v + 2, u + i] + q3 * rows[v + 3, u + i]
