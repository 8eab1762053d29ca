"""Lattice Green functions of the infinite crystal, and of the crystal with any defects, by the T-matrix.

G = g + g Q M^-1 Q^T g,   M = Lambda^-1 - Q^T g Q,   V = Q Lambda Q^T, Lambda^-1 = 0 of removed orbitals.

Removed orbitals are exact (the limit of an infinite on-site energy); no patch of crystal has an edge.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import fft

from . import _greens_kernels
from .changes import Bound as Bound
from .changes import Cluster as Cluster
from .changes import Columns
from .changes import Perturbation as Perturbation
from .contours import contour as contour
from .contours import contour_weights as contour_weights
from .contours import exact_contour as exact_contour
from .contours import exact_contour_weights as exact_contour_weights
from .materials import Material
from .units import Bools, Complexes, Floats, Ints

FIRST_N_K, LAST_N_K = 64, 2048
EDGE_N_K = 48  # a multiple of three
MANY_ORBITALS, ENERGIES_AT_ONCE = 8, 4  # of a cell: a table of so many is made by pairs of them, some energies at once
FEW_ENERGIES = 12  # of a longer contour, for the choice of the k-grid
IMAGE_ERROR = 1e-6  # relative error of g by the periodic images of the k-grid; test_greens.py::test_k_grid_is_converged


@dataclass(frozen=True)
class GreenTable:
    """g(R, z) = <0| (z - H)^-1 |R> of a perfect crystal.

    Attributes
    ----------
    energies_eV : complex array of shape (n_energies,)
        z = x_n + i eta, measured from the Fermi level.
    g : complex array of shape (n_energies, n_orbitals, n_orbitals, 2 reach + 1, 2 reach + 1), 1/eV
        Row orbital in cell 0, column orbital in cell R = (u, v), at [..., v + reach, u + reach].
    """

    energies_eV: NDArray[np.complex128]
    g: Complexes

    @property
    def reach(self) -> int:
        """Largest |u| and |v| in the table."""
        return int(self.g.shape[-1]) // 2

    @functools.cached_property
    def local(self) -> Complexes:
        """The local g on the orbitals of a cell, shape (n_energies, n_orbitals)."""
        return np.ascontiguousarray(np.diagonal(self.g[:, :, :, self.reach, self.reach], axis1=1, axis2=2))

    def at(self, energies_eV: NDArray[np.complex128]) -> GreenTable:
        """Return the part of the table at some of its energies, neighbours in ascending order."""
        first = int(np.argmin(np.abs(self.energies_eV - energies_eV[0])))
        part = slice(first, first + len(energies_eV))
        found = GreenTable(self.energies_eV[part], self.g[part])
        vars(found)["local"] = self.local[part]  # looked up once: its places in the table are far apart
        return found


def bloch_hamiltonian(material: Material, n_k: int) -> NDArray[np.complex128]:
    """Return H(k) on an n_k x n_k grid of the Brillouin zone, shape (n_k, n_k, n_orbitals, n_orbitals), axes (v, u)."""
    phases = np.exp(2j * math.pi * np.arange(n_k) / n_k)
    h = np.zeros((n_k, n_k, material.n_orbitals, material.n_orbitals), dtype=np.complex128)
    for (u, v), block in material.hoppings_eV.items():
        h += np.multiply.outer(phases**v, phases**u)[:, :, None, None] * block
    return h


def bands(material: Material, n_k: int, *, n_rows: int | None = None) -> tuple[Floats, NDArray[np.complex128]]:
    """Return the levels (n_rows, n_k, n_orbitals) and states (.., n_orbitals, n_bands) of H(k), the gap widened.

    ``n_rows``, absent: n_k, are the first ones of the grid.
    """
    levels, states = np.linalg.eigh(bloch_hamiltonian(material, n_k)[:n_rows])
    if material.n_filled is not None:
        levels[..., material.n_filled :] += material.scissor_eV
    return levels, states


@functools.lru_cache(maxsize=16)  # asked by every check of a recipe
def band_edges(material: Material) -> tuple[float, float] | None:
    """Return the highest filled and the lowest empty energy of a material with a gap, from its Fermi level, in eV.

    Of the levels themselves, without broadening, on a k-grid that holds Gamma and K; E(-k) = E(k), so of half of it.
    """
    if material.n_filled is None:
        return None
    levels = np.linalg.eigvalsh(bloch_hamiltonian(material, EDGE_N_K)[: EDGE_N_K // 2 + 1]) - material.fermi_eV
    filled, empty = levels[..., material.n_filled - 1], levels[..., material.n_filled] + material.scissor_eV
    return float(filled.max()), float(empty.min())


def lattice_green(
    material: Material, energies_eV: NDArray[np.complex128], *, n_k: int, reach: int, dtype: DTypeLike = np.complex64
) -> GreenTable:
    """Return the Green function between cell 0 and the cells within ``reach``, exact for an n_k x n_k torus.

    g(R, z) = 1/n_k^2 sum_k [z - H(k)]^-1 exp(-i k.R), by the eigenvectors of H(k) and one FFT a pair of orbitals.

    Raises
    ------
    ValueError
        If ``reach`` is beyond half the torus.
    """
    if 2 * reach + 1 > n_k:
        raise ValueError(f"reach {reach} needs a k-grid of at least {2 * reach + 1}, not {n_k}")
    table = _by_pairs if material.n_orbitals >= MANY_ORBITALS else _by_matrices
    energies_eV = np.asarray(energies_eV, dtype=np.complex128)
    return GreenTable(energies_eV, table(material, energies_eV, n_k=n_k, reach=reach, dtype=dtype))


def _by_matrices(
    material: Material, energies_eV: NDArray[np.complex128], *, n_k: int, reach: int, dtype: DTypeLike
) -> Complexes:
    """Return g energy by energy."""
    levels, states = bands(material, n_k)
    n, cells = material.n_orbitals, np.arange(-reach, reach + 1) % n_k
    g = np.empty((len(energies_eV), n, n, len(cells), len(cells)), dtype=dtype)
    for index, energy in enumerate(energies_eV):
        scaled = states / (energy + material.fermi_eV - levels)[:, :, None, :]
        at_k = np.moveaxis(scaled @ np.conj(np.swapaxes(states, -1, -2)), (2, 3), (0, 1))
        g[index] = np.fft.fft2(at_k)[:, :, cells[:, None], cells[None, :]] / n_k**2
    return g


def _by_pairs(
    material: Material, energies_eV: NDArray[np.complex128], *, n_k: int, reach: int, dtype: DTypeLike
) -> Complexes:
    """Return g a few energies at a time, of the pairs of orbitals a <= b and from half of the zone.

    H is real in space, so that states of -k are the complex conjugates of those of k, and g_ba(R) = g_ab(-R).
    """
    n_rows = n_k // 2 + 1
    levels, states = bands(material, n_k, n_rows=n_rows)
    n, cells, opposite = material.n_orbitals, np.arange(-reach, reach + 1) % n_k, -np.arange(n_k)
    a, b = np.triu_indices(n)
    g = np.empty((len(energies_eV), n, n, len(cells), len(cells)), dtype=dtype)
    at_k = np.empty((n_k, n_k, len(a), ENERGIES_AT_ONCE), dtype=np.complex128)
    for first in range(0, len(energies_eV), ENERGIES_AT_ONCE):
        part = slice(first, first + ENERGIES_AT_ONCE)
        at_k = at_k[..., : len(energies_eV[part])]
        for row in range(n_rows):
            pairs = states[row][:, a] * np.conj(states[row][:, b])
            poles = 1 / (energies_eV[part] + material.fermi_eV - levels[row][:, :, None])
            even, odd = ((half @ poles.view(np.float64)).view(np.complex128) for half in (pairs.real, pairs.imag))
            at_k[-row, opposite] = even - 1j * odd
            at_k[row] = even + 1j * odd
        at_k = fft.fft(at_k, axis=0, overwrite_x=True)
        for row, cell in enumerate(cells):
            values = fft.fft(at_k[cell], axis=0)[cells] / n_k**2
            g[part, a, b, row], g[part, b, a, -1 - row] = values.T, values[::-1].T
    return g


def converged_n_k(material: Material, energies_eV: NDArray[np.complex128], *, reach: int) -> int:
    """Return the size of a k-grid that shows no periodic images within ``reach`` cells: one of a fast transform.

    The images of a point at ``reach`` stand n_k - reach cells away. g decays exponentially: its decay over half of a
    coarse torus, where images only add to it, says how far they must be. The grid must also hold the table itself.

    Raises
    ------
    ArithmeticError
        If even the largest grid is too coarse: Im z is too small for a table in k space.
    """
    half, some = FIRST_N_K // 2 - 1, energies_eV[:: max(1, len(energies_eV) // FEW_ENERGIES)]
    g = np.abs(lattice_green(material, some, n_k=FIRST_N_K, reach=half).g)
    decay_a_cell = math.log(g[..., half, half].max() / max(g[..., 0, :].max(), g[..., :, 0].max())) / half
    needed = reach + math.log(1 / IMAGE_ERROR) / decay_a_cell if decay_a_cell > 0 else math.inf
    if needed > LAST_N_K:
        raise ArithmeticError(f"{material.name}: no k-grid up to {LAST_N_K} resolves Im z = {energies_eV.imag.min():g}")
    least = math.ceil(max(needed, 2 * reach + 1, FIRST_N_K))
    return int(fft.next_fast_len(least)) if material.n_orbitals >= MANY_ORBITALS else 1 << math.ceil(math.log2(least))


def _between(table: GreenTable, perturbation: Perturbation, rows: Ints, columns: Ints) -> Complexes:
    """Return the unperturbed g between orbitals, added ones included, shape (n_energies, n_rows, n_columns)."""
    out = np.empty((len(table.energies_eV), len(rows), len(columns)), dtype=table.g.dtype)
    _greens_kernels.gather(table.g, rows, columns, out)
    if len(perturbation.added_eV):
        n_lattice = table.g.shape[1]
        _add_orbitals(out, table.energies_eV, perturbation.added_eV, rows[:, 2] - n_lattice, columns[:, 2] - n_lattice)
    return out


def _add_orbitals(
    g: Complexes, energies_eV: NDArray[np.complex128], added_eV: Floats, rows: Ints, columns: Ints
) -> None:
    """Write 1 / (z - eps) between an added orbital (row or column >= 0) and itself, zero between it and all others."""
    g[:, rows >= 0, :] = 0
    g[:, :, columns >= 0] = 0
    for row in np.flatnonzero(rows >= 0):
        for column in np.flatnonzero(columns == rows[row]):
            g[:, row, column] = 1 / (energies_eV - added_eV[rows[row]])


def changed_orbitals(perturbation: Perturbation) -> Ints:
    """Return the orbitals (u, v, orbital) whose changes a block may feel, shape (n_changed, 3)."""
    return perturbation.columns.orbitals


def local_green(
    table: GreenTable, perturbation: Perturbation, orbitals: Ints, *, blocks: tuple[Ints, Bools] | None = None
) -> Complexes:
    """Return the diagonal of G on orbitals (u, v, orbital), shape (n_energies, n_orbitals), in 1/eV.

    Real Hamiltonians only (G is then symmetric). A removed orbital's G is 0 to rounding: leave it out of any sum.

    Parameters
    ----------
    blocks : (int array of shape (n_orbitals,), bool array of shape (n_blocks, n_changed)), optional
        The block of each of ``orbitals``, and which of the ``changed_orbitals`` each block feels: with many changes the
        cost then grows with the area, not with its cube.

    References
    ----------
    E. N. Economou, Green's Functions in Quantum Physics (2006), ch. 6, doi:10.1007/3-540-28841-4.
    """
    local, q = _local_bare(table, perturbation, orbitals), perturbation.columns
    if not q.n_columns:
        return local
    one_block = np.zeros(len(orbitals), dtype=np.int64), np.ones((1, len(q.orbitals)), dtype=np.bool_)
    block, felt = blocks or one_block
    if not q.clusters and not len(perturbation.added_eV):
        inverse = q.inverse.astype(local.real.dtype)
        _greens_kernels.add_corrections(table.g, q.orbitals, inverse, felt, orbitals, block, local)
        return local
    flat = q.flat(local.real.dtype)
    added = _added_green(table, perturbation)
    order = np.lexsort((*orbitals.T[:2], orbitals[:, 2], block))  # in a block neighbours in the table, u fastest
    columns, begin = orbitals[order], np.searchsorted(block[order], np.arange(len(felt) + 1))
    corrections = np.zeros(local.shape, local.dtype)
    _greens_kernels.add_spread_corrections(table.g, added, *flat, q.groups_felt(felt), columns, begin, corrections)
    local[:, order] += corrections
    return local


def _local_bare(table: GreenTable, perturbation: Perturbation, orbitals: Ints) -> Complexes:
    """Return the unperturbed local g of orbitals, added ones included, shape (n_energies, n_orbitals)."""
    if not len(perturbation.added_eV):
        return table.local[:, orbitals[:, 2]]
    return np.concatenate([table.local, _added_green(table, perturbation)], axis=1)[:, orbitals[:, 2]]


def _added_green(table: GreenTable, perturbation: Perturbation) -> Complexes:
    """Return 1 / (z - eps) of the added orbitals, shape (n_energies, n_added)."""
    return np.asarray(1 / (table.energies_eV[:, None] - perturbation.added_eV), dtype=table.g.dtype)


def _matrix(table: GreenTable, perturbation: Perturbation, q: Columns) -> Complexes:
    """Return M = Lambda^-1 - Q^T g Q, shape (n_energies, n_columns, n_columns)."""
    among = _between(table, perturbation, q.orbitals, q.orbitals)
    if q.clusters:
        spread = q.spread.astype(table.g.dtype)
        among = spread @ among @ spread.T
    m: Complexes = q.constant.astype(table.g.dtype) - among
    return m


def _coupled(table: GreenTable, perturbation: Perturbation, q: Columns, orbitals: Ints) -> Complexes:
    """Return Q^T g towards orbitals, shape (n_energies, n_columns, n_orbitals)."""
    coupled = _between(table, perturbation, q.orbitals, orbitals)
    return q.spread.astype(table.g.dtype) @ coupled if q.clusters else coupled


def changed(table: GreenTable, perturbation: Perturbation) -> Complexes:
    """Return M, shape (n_energies, n_columns, n_columns); its columns are those of ``column_groups``."""
    return _matrix(table, perturbation, perturbation.columns)


def column_groups(perturbation: Perturbation) -> tuple[Ints, tuple[Bound, ...]]:
    """Return Q's columns: first single orbitals (n, 3), then those of each cluster."""
    q = perturbation.columns
    return q.orbitals[: len(q.inverse)], q.clusters


def green(table: GreenTable, perturbation: Perturbation, orbitals: Ints, *, felt: Bools | None = None) -> Complexes:
    """Return G among orbitals (u, v, orbital), shape (n_energies, n_orbitals, n_orbitals), in 1/eV.

    ``felt`` says of which changed orbitals changes are felt, (n_changed,); absent: of all.
    """
    bare = _between(table, perturbation, orbitals, orbitals)
    q = perturbation.columns
    q = q if felt is None or not q.n_columns else q.felt(felt)
    if not q.n_columns:
        return bare
    coupled = _coupled(table, perturbation, q, orbitals)
    solved = np.linalg.inv(_matrix(table, perturbation, q)) @ coupled
    return np.asarray(bare + np.swapaxes(coupled, 1, 2) @ solved)
