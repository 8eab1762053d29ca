"""The coherent current: amplitudes of all orbitals under the tip add before they are squared.

I(r) = C sum_j c_j J(r + t_j),   J(r) = Im sum_n w_n f(r)^T G(z_n) f(r),   G = g + g Q M^-1 Q^T g,

over tip atoms j at t_j; f_a(r) is orbital a's true vacuum solution at r (with Chen's rule, its derivative), w_n the
weights of the front atom's window, c_j another atom's share of them. Near a cell f(r) = B(r)^T P^T: a few combinations
P of the orbitals reach the tip, so that J is a small quadratic form a cell, summed over energies before the tip is.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import _coherent_kernels, greens, structure
from .coherent_guests import Guests
from .current import Heights, heights
from .field import CurrentField
from .greens import GreenTable, Perturbation
from .halos import between_levels
from .heard import Atoms as Atoms
from .heard import heard_atoms as heard_atoms
from .heard import window_under as window_under
from .lobes import TIP_SHAPES as TIP_SHAPES
from .lobes import bessel as bessel
from .lobes import lobe as lobe
from .materials import Material
from .structure import Window
from .units import Complexes, Floats, Floats32, Ints

LATERAL_nm, HIGHER = 1.5, 1.5  # orbitals farther than this from the tip, and this much more per nm above 0.6 nm, carry
HIGH_nm = 0.6  # nothing: test_coherent.py::test_field_accuracy
DEFECT_REACH_nm = 3.0  # nor do a defect's waves beyond this
UNHEARD = 1e-5  # nor does an orbital whose largest amplitude is below this share of the largest
RANK_ERROR = 2e-4  # of the amplitude; test_coherent.py::test_field_accuracy
GRID = 10  # nodes a cell, along u and v: amplitudes interfere; test_coherent.py::test_field_accuracy
NODE_ERROR = 1e-9  # of a shift, in nodes
SAME_LAYER_nm = 1e-8  # atoms of a tip that differ less in height share their values
STATES_N_K = 24  # a multiple of three: it holds K
BLOCK = 3  # cells that are summed together, along u and v
PART_NUMBERS = 1 << 15  # of waves at so many energies that they stay near the processor
UNDIVIDED = 12  # so small a triangular matrix is multiplied whole
MAX_CLUSTER_TABLES = 8  # some 50 MB each
HEIGHT_STEP_nm = 0.1


@dataclass(frozen=True, eq=False)  # hashed by identity, for what is computed once of it
class Vacuum:
    """What a material's orbitals let through to the tip over a cell, for one kappa, tip shape and table of heights.

    Attributes
    ----------
    basis : array of shape (n_basis, n_points)
        B at the cell's points, heights, then nodes fastest.
    bare : complex array of shape (n_energies, n_basis, n_basis)
        P^T g(z_n) P of the perfect crystal.
    waves : array of shape (2 reach + 1, 2 reach + 1, n_orbitals, n_energies, 2, n_basis)
        P^T g(z_n), real and imaginary parts, from an orbital of the cell (0, 0) to the cell (u, v) at
        [v + reach, u + reach, orbital].
    """

    energies_eV: NDArray[np.complex128]
    basis: Floats32
    bare: Complexes
    waves: Floats32

    @functools.cached_property
    def pairs(self) -> tuple[Ints, Ints]:
        """The rows and columns of the upper triangle of a form, each (n_pairs,)."""
        return np.triu_indices(len(self.basis))

    @functools.cached_property
    def products(self) -> Floats32:
        """What each pair of the basis adds at the cell's points, (n_pairs, n_points): f^T F f = F_pairs products."""
        row, column = self.pairs
        twice = np.where(row == column, 1, 2).astype(np.float32)[:, None]
        return np.asarray(twice * self.basis[row] * self.basis[column])


def orbitals_near(material: Material, z_nm: float) -> Ints:
    """Return the orbitals (u, v, orbital) that carry current to a tip over the cell (0, 0), shape (n, 3)."""
    radius_nm = LATERAL_nm + HIGHER * max(0.0, z_nm - HIGH_nm)
    spread_nm = float(np.linalg.norm(material.lattice_nm, axis=1).max())
    middle_nm = material.lattice_nm.sum(axis=0) / 2
    cells = structure.cells_within(material, radius_nm + 2 * spread_nm)
    found = [
        np.column_stack([cells, np.full(len(cells), orbital)])[
            np.linalg.norm(cells @ material.lattice_nm + material.positions_nm[site, :2] - middle_nm, axis=1)
            < radius_nm + spread_nm / 2
        ]
        for orbital, site in enumerate(material.orbital_site)
    ]
    return np.concatenate(found)


def reach(material: Material, table: Heights) -> int:
    """Return the cells that a table of Green functions must reach for ``vacuum``."""
    return int(np.abs(orbitals_near(material, float(table.nodes_nm[-1]))[:, :2]).max()) + _wave_reach(material)


def _wave_reach(material: Material) -> int:
    return int(np.abs(structure.cells_within(material, DEFECT_REACH_nm)).max())


def stepped(table: Heights, depth_nm: float) -> Heights:
    """Return the heights at which the front atom alone is tabulated: in steps, so that one table serves many samples.

    The atoms behind it are up to ``depth_nm`` higher.
    """
    low, high = table.z_mid_nm - table.z_half_nm, table.z_mid_nm + table.z_half_nm + depth_nm
    step = HEIGHT_STEP_nm
    return heights(step * math.floor(low / step), step * math.ceil(high / step), least_grid=table.n_grid)


def points_of_cell(material: Material, table: Heights) -> Floats:
    """Return the points (x, y, z) of a cell, heights, then nodes (v, then u) fastest, shape (n_points, 3)."""
    g, z = table.n_grid, table.nodes_nm
    lateral = np.indices((g, g)).reshape(2, -1)[::-1].T / g @ material.lattice_nm
    return np.column_stack([np.tile(lateral, (len(z), 1)), np.repeat(z, g * g)])


def amplitudes(material: Material, orbitals: Ints, points_nm: Floats, *, kappa_per_nm: float, tip: str) -> Floats:
    """Return f of orbitals (u, v, orbital) at points (n_points, 3), shape (n_orbitals, n_points)."""
    names = [name for site in material.sites for name in site.orbitals]
    where = structure.positions(material, orbitals[:, :2], material.orbital_site[orbitals[:, 2]])
    out = np.empty((len(orbitals), len(points_nm)))
    for number, name in enumerate(names):
        own = orbitals[:, 2] == number
        out[own] = lobe(name, points_nm - where[own][:, None], kappa_per_nm=kappa_per_nm, tip=tip)
    return out


def darkest_share(material: Material, window_eV: tuple[float, float], *, kappa_per_nm: float, z_nm: float) -> float:
    """Return the least current over the perfect cell over the largest, of the states in a window, under an s tip.

    Graphene's states near its Fermi level all vanish over the middle of the hexagon: the logarithm of the current has a
    hole there, which no table holds.
    """
    levels, states = greens.bands(material, STATES_N_K)
    low, high = (edge + material.fermi_eV for edge in window_eV)
    v, u, band = np.nonzero((low - material.broadening_eV <= levels) & (levels <= high + material.broadening_eV))
    near = orbitals_near(material, z_nm)
    lateral = np.indices((GRID, GRID)).reshape(2, -1)[::-1].T / GRID @ material.lattice_nm
    points_nm = np.column_stack([lateral, np.full(len(lateral), z_nm)])
    heard = amplitudes(material, near, points_nm, kappa_per_nm=kappa_per_nm, tip="s")
    phases = np.exp(2j * math.pi / STATES_N_K * (np.outer(u, near[:, 0]) + np.outer(v, near[:, 1])))
    current = (np.abs((states[v, u][np.arange(len(band)), :, band][:, near[:, 2]] * phases) @ heard) ** 2).sum(axis=0)
    return float(current.min() / current.max()) if len(band) else 1.0


def vacuum(material: Material, green: GreenTable, table: Heights, *, kappa_per_nm: float, tip: str) -> Vacuum:
    """Return what reaches the tip over a cell, for all energies of a table of Green functions."""
    near, points_nm = orbitals_near(material, float(table.nodes_nm[-1])), points_of_cell(material, table)
    even = np.exp(kappa_per_nm * points_nm[:, 2])  # so that every height counts alike
    found = amplitudes(material, near, points_nm, kappa_per_nm=kappa_per_nm, tip=tip) * even
    heard = np.abs(found).max(axis=1) > UNHEARD * np.abs(found).max()
    near, found = near[heard], found[heard]
    sizes2, shapes = np.linalg.eigh(found.T @ found)  # the squares of the singular values, and the right vectors
    loud = shapes[:, sizes2 > RANK_ERROR**2 * sizes2[-1]][:, ::-1]
    combine: Floats = (found @ loud / np.linalg.norm(found @ loud, axis=0)).astype(np.float32)
    basis = np.linalg.norm(found @ loud, axis=0)[:, None] * loud.T / even
    reach = _wave_reach(material)
    shape = 2 * reach + 1, 2 * reach + 1, material.n_orbitals, len(green.energies_eV), 2, len(basis)
    parts, bare = np.empty(shape, dtype=np.float32), np.empty((shape[3], *2 * shape[-1:]), dtype=green.g.dtype)
    for number, energy in enumerate(green.energies_eV):
        waves = _waves(green.at(np.array([energy])), near, combine, reach=reach)
        parts[..., number, 0, :], parts[..., number, 1, :] = waves.real, waves.imag
        over_cell = waves[reach - near[:, 1], reach - near[:, 0], near[:, 2]]
        bare[number] = over_cell.T @ combine.astype(waves.dtype)
    return Vacuum(green.energies_eV, basis.astype(np.float32), bare, parts)


def _waves(part: GreenTable, near: Ints, combine: Floats, *, reach: int) -> Complexes:
    """Return P^T g from each orbital of cell 0 to the cells within reach, (n_v, n_u, n_orbitals, n_basis)."""
    middle, width = part.reach, 2 * reach + 1
    if int(np.abs(near[:, :2]).max()) + reach > middle:
        raise ValueError(f"a table of {middle} cells is too small for waves to {reach} cells")
    to_orbital = np.ascontiguousarray(np.moveaxis(part.g[0], 0, -1))
    between = np.empty((len(near), width, width, part.g.shape[1]), dtype=part.g.dtype)
    for number, (u, v, orbital) in enumerate(near.tolist()):
        rows, columns = (slice(middle - reach + shift, middle + reach + 1 + shift) for shift in (v, u))
        between[number] = to_orbital[orbital, rows, columns]
    waves = between.reshape(len(near), -1).T @ combine.astype(part.g.dtype)
    return np.asarray(waves.reshape(width, width, part.g.shape[1], -1))


def summed(alone: CurrentField, whole: Window, atoms: Atoms, table: Heights, *, view: Window) -> Floats32:
    """Return sum_j c_j J(r + t_j) at the points of a window's cells, (n_cells, n_points).

    ``alone`` is the field of one J over the cells of ``whole``.
    """
    total = np.zeros((len(view.indices), table.n_heights, table.n_grid**2), dtype=np.float32)
    for logs, _, share in shifted(alone, whole, atoms, table, view=view):
        np.exp(logs, out=logs)
        logs *= np.float32(share)
        total += logs
    return total.reshape(len(total), -1)


def shifted(
    alone: CurrentField, whole: Window, atoms: Atoms, table: Heights, *, view: Window
) -> Iterator[tuple[Floats32, float, float]]:
    """Yield a field's values under each atom of a tip, (n_cells, n_heights, n_nodes), how much higher it is, and c_j.

    The array is the same every time. A tip atom's shift is the same number of nodes at every node: one stencil serves
    them all.
    """
    g, cells = table.n_grid, view.indices
    corners = (cells - (whole.u0, whole.v0))[:, ::-1] * g
    n_v, n_u, n = alone.coefficients.shape
    out = np.empty((len(cells), table.n_heights, g * g), dtype=np.float32)
    above_nm, layer = np.unique(np.round(atoms.ways_nm[:, 2] / SAME_LAYER_nm) * SAME_LAYER_nm, return_inverse=True)
    for number, above in enumerate(above_nm.tolist()):
        s = (table.nodes_nm + above - alone.z_mid_nm) / alone.z_half_nm
        to_values = straight_beyond(s, n).astype(np.float32)
        values = (to_values.T @ alone.coefficients.reshape(-1, n).T).reshape(-1, n_v, n_u)
        for (right, up, _), share in zip(atoms.ways_nm[layer == number], atoms.shares[layer == number], strict=True):
            nodes = np.array([right, up]) @ np.linalg.inv(alone.steps_nm)
            first = np.floor(nodes + NODE_ERROR).astype(np.int64)
            along, across = (_lagrange(node) for node in nodes - first)
            _coherent_kernels.shifted(values, corners, g, first[::-1] - 1, across, along, out)
            yield out, above, float(share)


def straight_beyond(s: Floats, n_coefficients: int) -> Floats:
    """Return the powers of s (n,), (n_coefficients, n), of polynomials that are straight lines beyond |s| = 1."""
    edge, power = np.clip(s, -1, 1), np.arange(n_coefficients)[:, None]
    slope = power * edge ** np.maximum(power - 1, 0)
    return np.asarray(edge**power + slope * (s - edge))


def _lagrange(t: float) -> Floats32:
    """Return the weights of the nodes -1, 0, 1, 2 at t."""
    weights = -t * (t - 1) * (t - 2) / 6, (t**2 - 1) * (t - 2) / 2, -t * (t + 1) * (t - 2) / 2, t * (t**2 - 1) / 6
    return np.array(weights, dtype=np.float32)


def intensities(
    through: Vacuum,
    table: GreenTable,
    change: Perturbation,
    weights: NDArray[np.complex128],
    cells: Ints,
    *,
    material: Material,
    levels_eV: Floats,
    shift_eV: Floats,
    guests: Guests | None = None,
) -> Floats32:
    """Return J at the points of cells (u, v), shape (n_cells, n_points), in 1/eV.

    Parameters
    ----------
    table : GreenTable
        At the energies of the window.
    weights : complex array of shape (n_levels, n_energies)
        w_n of the front atom where the levels are shifted by ``levels_eV``, (n_levels,).
    shift_eV : array of shape (n_cells,)
        By how much they are at each cell.
    guests : Guests, optional
        The added orbitals.
    """
    first = int(np.argmin(np.abs(through.energies_eV - table.energies_eV[0])))
    energies = slice(first, first + len(table.energies_eV))
    bare = [np.tensordot(own, through.bare[energies], axes=1).imag.astype(np.float32) for own in weights]
    sources = _sources(through, change)
    row, column = through.pairs
    upper = np.array(bare)[:, None, row, column]
    inverse = np.linalg.inv(greens.changed(table, change)) if sources else None
    out = np.empty((len(cells), through.products.shape[1]), dtype=np.float32)
    for block in _blocks(cells):
        some = [near for source in sources if len((near := source.near(cells[block], material)).rows)]
        forms = np.repeat(upper, len(block), axis=1)
        if inverse is not None and some:
            waves = [_scattered(some, energies, inverse, own, cells[block])[:, row, column] for own in weights]
            forms = forms + np.array(waves)
        out[block] = between_levels(forms, levels_eV, shift_eV[block]) @ through.products
        if guests is not None and inverse is not None and some:
            columns = np.concatenate([source.columns for source in some])
            gathered = _gathered(some, energies, cells[block])
            complexes = gathered[:, :, 0] + np.complex64(1j) * gathered[:, :, 1]
            out[block] += guests.current(inverse, columns, complexes, cells[block], basis=through.basis)
    return out


def _blocks(cells: Ints) -> list[Ints]:
    """Return the numbers of cells (u, v) of each square of ``BLOCK`` x ``BLOCK`` cells that holds any."""
    _, square = np.unique(cells // BLOCK, axis=0, return_inverse=True)
    return [np.flatnonzero(square.ravel() == number) for number in range(square.max() + 1)]


@dataclass(frozen=True)
class _Source:
    """Columns of Q that share a table of waves, as ``Vacuum.waves``: row (u, v, o) is the wave o from cell (u, v)."""

    table: Floats32
    rows: Ints
    columns: Ints

    def near(self, cells: Ints, material: Material) -> _Source:
        """Return the columns that are felt by some cells close together."""
        way_nm = (self.rows[:, :2] - cells.mean(axis=0)) @ material.lattice_nm
        spread_nm = np.linalg.norm((cells - cells.mean(axis=0)) @ material.lattice_nm, axis=1).max()
        kept = np.linalg.norm(way_nm, axis=1) < DEFECT_REACH_nm + spread_nm
        return _Source(self.table, self.rows[kept], self.columns[kept])


def _sources(through: Vacuum, change: Perturbation) -> list[_Source]:
    """Return all columns of Q: single orbitals, and those of each sort of cluster."""
    orbitals, clusters = greens.column_groups(change)
    found = [_Source(through.waves, orbitals, np.arange(len(orbitals)))] if len(orbitals) else []
    sorts: dict[tuple[bytes, bytes], list[_Source]] = {}
    first = len(orbitals)
    for cluster in clusters:
        touched, vectors = cluster.orbitals, cluster.vectors
        ways, n = _alike(touched - [*touched[0, :2], 0], through.waves.shape[2]), len(vectors)
        rows = np.column_stack([np.tile(touched[0, :2], (n, 1)), np.arange(n)])
        table = _cluster_waves(through, ways.tobytes(), vectors.tobytes(), n)
        sorts.setdefault((ways.tobytes(), vectors.tobytes()), []).append(_Source(table, rows, first + np.arange(n)))
        first += n
    for alike in sorts.values():
        rows, columns = (np.concatenate([getattr(one, name) for one in alike]) for name in ("rows", "columns"))
        found.append(_Source(alike[0].table, rows, columns))
    return found


def _alike(ways: Ints, n_orbitals: int) -> Ints:
    """Return a cluster's orbitals with the added ones numbered from ``n_orbitals`` on, as all of a sort have it."""
    added = ways[:, 2] >= n_orbitals
    out = ways.copy()
    out[added, 2] = n_orbitals + np.arange(int(added.sum()))
    return out


@functools.lru_cache(maxsize=MAX_CLUSTER_TABLES)
def _cluster_waves(through: Vacuum, ways: bytes, vectors: bytes, n_columns: int) -> Floats32:
    """Return the waves of a cluster's columns of Q, as ``Vacuum.waves`` the orbitals', from its first cell."""
    orbitals = np.frombuffer(ways, dtype=np.int64).reshape(-1, 3)
    mix = np.frombuffer(vectors).reshape(n_columns, -1).astype(np.float32)
    n_v, n_u, n_orbitals, *rest = through.waves.shape
    every = np.zeros((n_v, n_u, len(orbitals), *rest), dtype=np.float32)
    for number, (u, v, orbital) in enumerate(orbitals.tolist()):
        if orbital >= n_orbitals:  # an added orbital: ``coherent_guests`` adds what it carries
            continue
        to_v, to_u = (slice(max(shift, 0), n + min(shift, 0)) for shift, n in ((v, n_v), (u, n_u)))
        of_v, of_u = (slice(max(-shift, 0), n + min(-shift, 0)) for shift, n in ((v, n_v), (u, n_u)))
        every[to_v, to_u, number] = through.waves[of_v, of_u, orbital]
    mixed = mix @ every.reshape(n_v, n_u, len(orbitals), -1)
    return np.asarray(mixed.reshape(n_v, n_u, n_columns, *rest))


def _gathered(sources: Sequence[_Source], energies: slice, cells: Ints) -> Floats32:
    """Return the waves of sources at cells, shape (n_energies, n_columns, 2, n_cells, n_basis), Re and Im apart."""
    n_columns, n_basis = sum(len(source.columns) for source in sources), sources[0].table.shape[-1]
    waves = np.empty((energies.stop - energies.start, n_columns, 2, len(cells), n_basis), dtype=np.float32)
    first = 0
    for source in sources:
        _coherent_kernels.gather(source.table, energies.start, source.rows, cells, first, waves)
        first += len(source.rows)
    return waves


def _scattered(
    sources: Sequence[_Source], energies: slice, inverse: Complexes, weights: NDArray[np.complex128], cells: Ints
) -> Floats32:
    """Return Im sum_n w_n waves^T M^-1 waves at some cells, shape (n_cells, n_basis, n_basis).

    With w M^-1 = R^T R and X = R waves it is the symmetric part of 2 (Re X)^T Im X, in real numbers throughout. R is
    upper triangular: its lower rows are taken apart.
    """
    columns = np.concatenate([source.columns for source in sources])
    n, n_cells, n_basis = len(columns), len(cells), sources[0].table.shape[-1]
    to_re, to_im = _coherent_kernels.roots(inverse, columns, weights)
    product = np.zeros((n_cells, n_basis, n_basis), dtype=np.float32)
    step = max(1, PART_NUMBERS // (n * n_cells * n_basis))
    for start in range(0, len(inverse), step):
        part = slice(start, min(start + step, len(inverse)))
        waves = _gathered(sources, slice(energies.start + part.start, energies.start + part.stop), cells)
        flat = waves.reshape(len(waves), 2 * n, -1)
        re, im = (_upper_product(root[part], flat).reshape(-1, n_cells, n_basis) for root in (to_re, to_im))
        product += re.transpose(1, 2, 0) @ im.transpose(1, 0, 2)
    return product + np.swapaxes(product, 1, 2)


def _upper_product(root: Floats32, waves: Floats32) -> Floats32:
    """Return root @ waves, (n_energies, n, 2 n) @ (n_energies, 2 n, n_columns), of which row i is 0 before 2 i."""
    n = root.shape[1]
    half = n // 2 if n > UNDIVIDED else 0
    out = np.empty((len(root), n, waves.shape[2]), dtype=np.float32)
    np.matmul(root[:, half:, 2 * half :], waves[:, 2 * half :], out=out[:, half:])
    if half:
        np.matmul(root[:, :half], waves, out=out[:, :half])
    return out
