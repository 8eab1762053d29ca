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
    n_energies, n, _, width, _ = table.shape
    reach = width // 2
    start = np.full(rows.shape[0], -1, dtype=np.int64)
    for i in range(rows.shape[0]):
        if rows[i, 2] < n:
            start[i] = (rows[i, 2] * n * width + reach - rows[i, 1]) * width + reach - rows[i, 0]
    step = np.full(columns.shape[0], -1, dtype=np.int64)
    low_u, low_v = columns[:, 0].min(), columns[:, 1].min()
    for j in range(columns.shape[0]):
        if columns[j, 2] < n:
            step[j] = (columns[j, 2] * width + columns[j, 1] - low_v) * width + columns[j, 0] - low_u
    for e in range(n_energies):
        flat = table[e].reshape(-1)
        for i in range(rows.shape[0]):
            if rows[i, 2] < n:
                first = start[i] + low_v * width + low_u
                for j in range(columns.shape[0]):
                    if step[j] >= 0:
                        out[e, i, j] = flat[first + step[j]]


@numba.njit(cache=True, error_model="numpy")
def column_products(a: C, b: C) -> C:
    """Return sum_i a[e, i, j] b[e, i, j]."""
    out = np.zeros((a.shape[0], a.shape[2]), dtype=a.dtype)
    for e in range(a.shape[0]):
        for i in range(a.shape[1]):
            for j in range(a.shape[2]):
                out[e, j] += a[e, i, j] * b[e, i, j]
    return out
