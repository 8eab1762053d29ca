"""The waves of defects towards the tip: gathered, mixed and laid out for one matrix product a cell."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

C = NDArray[Any]
I8 = NDArray[np.int64]
F = NDArray[Any]  # float32


@numba.njit(cache=True, error_model="numpy")
def gather(table: C, rows: I8, cells: I8, first: int, out: C) -> None:
    """Write out[e, first + i, j] = table[e, v, u, o], the wave of row i = (u, v, o) at cell j; 0 beyond the table."""
    n_energies, n_v, n_u = table.shape[:3]
    for e in range(n_energies):
        for i in range(rows.shape[0]):
            for j in range(cells.shape[0]):
                u, v = cells[j, 0] - rows[i, 0] + n_u // 2, cells[j, 1] - rows[i, 1] + n_v // 2
                if 0 <= u < n_u and 0 <= v < n_v:
                    out[e, first + i, j] = table[e, v, u, rows[i, 2]]
                else:
                    out[e, first + i, j] = 0.0


@numba.njit(cache=True, error_model="numpy")
def roots(matrices: C, weights: C) -> C:
    """Return R (n_energies, n, n) with R^T R = w_e A_e for complex symmetric A of definite imaginary part.

    A = L D L^T without pivoting, R = sqrt(w D) L^T.
    """
    n_energies, n, _ = matrices.shape
    out = np.zeros((n_energies, n, n), np.complex64)
    for e in range(n_energies):
        a = matrices[e].astype(np.complex128)
        for j in range(n):
            inverse = 1.0 / a[j, j]
            for i in range(j + 1, n):
                share = a[i, j] * inverse
                for k in range(j + 1, i + 1):
                    a[i, k] -= share * a[k, j]
            size = np.sqrt(weights[e] * a[j, j])
            out[e, j, j] = size
            for i in range(j + 1, n):
                a[i, j] *= inverse
                out[e, j, i] = size * a[i, j]
    return out


@numba.njit(cache=True, error_model="numpy")
def split(waves: C, re: F, im: F) -> None:
    """Write waves (n_energies, n_columns, n_cells, n_basis) as re + i im, each (n_cells, all columns, n_basis)."""
    n_energies, n, n_cells, n_basis = waves.shape
    for e in range(n_energies):
        for i in range(n):
            for j in range(n_cells):
                for b in range(n_basis):
                    re[j, e * n + i, b] = waves[e, i, j, b].real
                    im[j, e * n + i, b] = waves[e, i, j, b].imag


@numba.njit(cache=True, error_model="numpy", fastmath={"contract"})
def shifted(values: F, corners: I8, g: int, first: I8, across: F, along: F, out: F) -> None:
    """Write out[c, h], the nodes of cell c shifted: 4 x 4 Lagrange of values (n_heights, n_v, n_u).

    Node (v, u) of a cell takes values from (v, u) + its corner + ``first`` on, weights ``across`` (v), ``along`` (u).
    """
    for c in range(corners.shape[0]):
        for h in range(values.shape[0]):
            for j in range(g):
                v, u = corners[c, 0] + first[0] + j, corners[c, 1] + first[1]
                row = out[c, h, j * g : (j + 1) * g]
                row[:] = 0.0
                for q in range(4):
                    for p in range(4):
                        weight = across[q] * along[p]
                        from_row = values[h, v + q, u + p : u + p + g]
                        for i in range(g):
                            row[i] += weight * from_row[i]
