"""Gathering lattice Green functions between the orbitals of a perturbation and the sites of a scene."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

C = NDArray[Any]
I8 = NDArray[np.int64]
F8 = NDArray[np.float64]

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
def column_products(a: C, b: C) -> C:
    """Return sum_i a[e, i, j] b[e, i, j]."""
    out = np.zeros((a.shape[0], a.shape[2]), dtype=a.dtype)
    for e in range(a.shape[0]):
        for i in range(a.shape[1]):
            for j in range(a.shape[2]):
                out[e, j] += a[e, i, j] * b[e, i, j]
    return out
