"""Gathering lattice Green functions between the orbitals of a perturbation and the sites of a scene."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

C = NDArray[Any]
I8 = NDArray[np.int64]
F8 = NDArray[np.float64]


@numba.njit(cache=True, error_model="numpy")
def gather(table: C, rows: I8, columns: I8, out: C) -> None:
    """Write out[e, i, j] = <row i| g(z_e) |column j>, orbitals as (u, v, orbital); the table holds <0| g |R>.

    Orbitals beyond the table's are added ones: left alone.
    """
    reach = table.shape[3] // 2
    for e in range(table.shape[0]):
        for i in range(rows.shape[0]):
            if rows[i, 2] >= table.shape[1]:
                continue
            for j in range(columns.shape[0]):
                if columns[j, 2] >= table.shape[1]:
                    continue
                du = columns[j, 0] - rows[i, 0] + reach
                dv = columns[j, 1] - rows[i, 1] + reach
                out[e, i, j] = table[e, rows[i, 2], columns[j, 2], dv, du]


@numba.njit(cache=True, error_model="numpy")
def column_products(a: C, b: C) -> C:
    """Return sum_i a[e, i, j] b[e, i, j]."""
    out = np.zeros((a.shape[0], a.shape[2]), dtype=a.dtype)
    for e in range(a.shape[0]):
        for i in range(a.shape[1]):
            for j in range(a.shape[2]):
                out[e, j] += a[e, i, j] * b[e, i, j]
    return out
