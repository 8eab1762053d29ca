"""The coherent current: amplitudes of all orbitals under the tip add before they are squared.

I(r) = C sum_j c_j J(r + t_j),   J(r) = Im sum_n w_n f(r)^T G(z_n) f(r),   G = g + g Q M^-1 Q^T g,

over tip atoms j at t_j; f_a(r) is orbital a's true vacuum solution at r (with Chen's rule, its derivative), w_n the
weights of the front atom's window, c_j another atom's share of them. Near a cell f(r) = B(r)^T P^T: a few combinations
P of the orbitals reach the tip, so that J is a small quadratic form a cell, summed over energies before the tip is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import greens, structure
from .current import Heights, heights
from .field import CurrentField
from .greens import GreenTable, Perturbation
from .materials import Material
from .structure import Window
from .units import Complexes, Floats, Floats32, Ints

LATERAL_nm, HIGHER = 1.5, 1.5  # orbitals farther than this from the tip, and this much more per nm above 0.6 nm, carry
HIGH_nm = 0.6  # nothing: test_coherent.py::test_cutoffs
DEFECT_REACH_nm = 3.0  # nor do a defect's waves beyond this
UNHEARD = 1e-5  # nor does an orbital whose largest amplitude is below this share of the largest
RANK_ERROR = 1e-5  # of the amplitude; test_coherent.py::test_field_accuracy
SILENT = 1e-4  # nor a tip atom whose current is below this share of the front atom's
CELLS_AT_ONCE, HEIGHT_STEP_nm = 64, 0.1
AT_nm = 0.5  # an s orbital's amplitude is exp(-kappa d) here
TIP_SHAPES = ("s", "pz", "px", "py")


def bessel(order: int, x: Floats) -> Floats:
    """Return the modified spherical Bessel function k_l(x) = e^-x/x (l = 0), e^-x (1/x + 1/x^2) (l = 1), ..., l <= 3.

    References
    ----------
    NIST Digital Library of Mathematical Functions, 10.49.12, without its factor pi/2.
    """
    polynomials = ((1.0,), (1.0, 1.0), (1.0, 3.0, 3.0), (1.0, 6.0, 15.0, 15.0))
    return np.asarray(np.exp(-x) / x * sum(c / x**power for power, c in enumerate(polynomials[order])))


def lobe(orbital: str, ways_nm: Floats, *, kappa_per_nm: float, tip: str = "s") -> Floats:
    """Return an orbital's amplitude at the tip, ``ways_nm`` (..., 3) from the orbital, shape (...).

    f = N k_l(kappa d) Y_lm(d/|d|), one N for all, Y of mean square 1, f_s(0.5 nm) = exp(-0.5 nm kappa). A p tip feels
    the derivative of f along its axis, over kappa.

    References
    ----------
    J. Tersoff and D. R. Hamann, Phys. Rev. B 31, 805 (1985), doi:10.1103/PhysRevB.31.805;
    C. J. Chen, Phys. Rev. B 42, 8841 (1990), doi:10.1103/PhysRevB.42.8841.
    """
    distance_nm = np.linalg.norm(ways_nm, axis=-1)
    order, harmonic, gradient = _solid_harmonic(orbital, ways_nm)
    radial = bessel(order, kappa_per_nm * distance_nm) / distance_nm**order
    scale = kappa_per_nm * AT_nm
    if tip == "s":
        return np.asarray(scale * radial * harmonic)
    axis = "xyz".index(tip[1])
    slope = -bessel(order + 1, kappa_per_nm * distance_nm) / distance_nm ** (order + 1) * ways_nm[..., axis]
    return np.asarray(scale * (slope * harmonic + radial * gradient[axis] / kappa_per_nm))


def _solid_harmonic(orbital: str, ways_nm: Floats) -> tuple[int, Floats, tuple[Floats, Floats, Floats]]:
    """Return l, the solid harmonic d^l Y_lm and its gradient (x, y, z)."""
    x, y, z = np.moveaxis(ways_nm, -1, 0)
    one, none = np.ones_like(x), np.zeros_like(x)
    p, d, e = np.sqrt(3), np.sqrt(15), np.sqrt(5) / 2
    table = {
        "s": (0, one, (none, none, none)),
        "pz": (1, p * z, (none, none, p * one)),
        "px": (1, p * x, (p * one, none, none)),
        "py": (1, p * y, (none, p * one, none)),
        "dz2": (2, e * (2 * z**2 - x**2 - y**2), (-2 * e * x, -2 * e * y, 4 * e * z)),
        "dxz": (2, d * x * z, (d * z, none, d * x)),
        "dyz": (2, d * y * z, (none, d * z, d * y)),
        "dxy": (2, d * x * y, (d * y, d * x, none)),
        "dx2-y2": (2, d / 2 * (x**2 - y**2), (d * x, -d * y, none)),
    }
    return table[orbital]


@dataclass(frozen=True)
class Vacuum:
    """What a material's orbitals let through to the tip over a cell, for one kappa, tip shape and table of heights.

    Attributes
    ----------
    basis : array of shape (n_basis, n_points)
        B at the cell's points, heights, then nodes fastest.
    bare : complex array of shape (n_energies, n_basis, n_basis)
        P^T g(z_n) P of the perfect crystal.
    waves : complex array of shape (n_energies, n_orbitals, 2 reach + 1, 2 reach + 1, n_basis)
        P^T g(z_n) from an orbital of the cell (0, 0) to the cell (u, v) at [..., v + reach, u + reach, :].
    """

    energies_eV: NDArray[np.complex128]
    basis: Floats32
    bare: Complexes
    waves: Complexes

    @property
    def reach(self) -> int:
        """Largest |u| and |v| of ``waves``."""
        return int(self.waves.shape[2]) // 2


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


def vacuum(material: Material, green: GreenTable, table: Heights, *, kappa_per_nm: float, tip: str) -> Vacuum:
    """Return what reaches the tip over a cell, for all energies of a table of Green functions."""
    near, points_nm = orbitals_near(material, float(table.nodes_nm[-1])), points_of_cell(material, table)
    even = np.exp(kappa_per_nm * points_nm[:, 2])  # so that every height counts alike
    found = amplitudes(material, near, points_nm, kappa_per_nm=kappa_per_nm, tip=tip) * even
    heard = np.abs(found).max(axis=1) > UNHEARD * np.abs(found).max()
    near, found = near[heard], found[heard]
    left, sizes, right = np.linalg.svd(found, full_matrices=False)
    kept = sizes > RANK_ERROR * sizes[0]
    combine: Floats = left[:, kept].astype(np.float32)
    basis = sizes[kept, None] * right[kept] / even
    nothing = Perturbation(near[:0], near[:0], np.zeros(0))
    bare, waves = [], []
    for energy in green.energies_eV:
        part = green.at(np.array([energy]))
        bare.append(combine.T @ greens.green(part, nothing, near)[0] @ combine)
        waves.append(_waves(part, near, combine, reach=_wave_reach(material)))
    return Vacuum(green.energies_eV, basis.astype(np.float32), np.array(bare), np.array(waves))


def _waves(part: GreenTable, near: Ints, combine: Floats, *, reach: int) -> Complexes:
    """Return P^T g from each orbital of cell 0 to the cells within reach, (n_orbitals, n_v, n_u, n_basis)."""
    n, middle, width = part.g.shape[1], part.reach, 2 * reach + 1
    if int(np.abs(near[:, :2]).max()) + reach > middle:
        raise ValueError(f"a table of {middle} cells is too small for waves to {reach} cells")
    between = np.empty((len(near), n, width, width), dtype=part.g.dtype)
    for number, (u, v, orbital) in enumerate(near.tolist()):
        rows, columns = (slice(middle - reach + shift, middle + reach + 1 + shift) for shift in (v, u))
        between[number] = part.g[0, :, orbital, rows, columns]
    waves = between.reshape(len(near), -1).T @ combine.astype(part.g.dtype)
    return np.asarray(waves.reshape(n, width, width, -1))


@dataclass(frozen=True)
class Atoms:
    """The tip's atoms that carry current: where they are from the front atom, (n, 3), and their shares, (n,)."""

    ways_nm: Floats
    shares: Floats

    @property
    def depth_nm(self) -> float:
        """How far behind the front atom the last one is."""
        return float(self.ways_nm[:, 2].max())


def heard_atoms(positions_nm: Floats, shares: Floats, *, kappa_per_nm: float) -> Atoms:
    """Return a tip's atoms (n_tip, 3) with c_j exp(-2 kappa height) above ``SILENT``."""
    ways_nm = positions_nm - positions_nm[0]
    kept = np.abs(shares) * np.exp(-2 * kappa_per_nm * ways_nm[:, 2]) > SILENT * abs(shares[0])
    return Atoms(ways_nm[kept], shares[kept])


def window_under(material: Material, view: Window, atoms: Atoms) -> Window:
    """Return the cells that hold every point of a window, and its neighbours, shifted to every atom."""
    places = np.floor(atoms.ways_nm[:, :2] @ material.to_cells).astype(np.int64)
    around = np.array([(u, v) for v in range(-1, 3) for u in range(-1, 3)])
    offsets = np.unique((places[:, None] + around).reshape(-1, 2), axis=0)
    (u0, v0), reached = structure.reach(view, offsets, np.ones((len(offsets), 1), dtype=np.bool_))
    return Window(u0, v0, reached[0])


def summed(alone: CurrentField, atoms: Atoms, table: Heights, *, material: Material, view: Window) -> Floats32:
    """Return sum_j c_j J(r + t_j) at the points of a window's cells, (n_cells, n_points), from the field of one J."""
    points_nm = points_of_cell(material, table)
    origins_nm = view.indices @ material.lattice_nm
    x = (origins_nm[:, :1] + points_nm[:, 0]).ravel()
    y = (origins_nm[:, 1:] + points_nm[:, 1]).ravel()
    z = np.tile(points_nm[:, 2], len(origins_nm))
    total = np.zeros(len(x))
    for (right, up, above), share in zip(atoms.ways_nm, atoms.shares, strict=True):
        total += share * np.exp(alone.log_current(x + right, y + up, z + above))
    return total.reshape(len(origins_nm), -1).astype(np.float32)


def intensities(
    through: Vacuum, table: GreenTable, change: Perturbation, weights: NDArray[np.complex128], cells: Ints
) -> Floats32:
    """Return J at the points of cells (u, v), shape (n_cells, n_points), in 1/eV.

    Parameters
    ----------
    table : GreenTable
        At the energies of the window.
    weights : complex array of shape (n_energies,)
        w_n of the front atom.
    """
    first = int(np.argmin(np.abs(through.energies_eV - table.energies_eV[0])))
    energies = slice(first, first + len(table.energies_eV))
    bare = np.tensordot(weights, through.bare[energies], axes=1).imag.astype(np.float32)
    forms = np.broadcast_to(bare, (len(cells), *bare.shape)).copy()
    orbitals, spread, matrix = greens.changed(table, change)
    if len(orbitals):
        inverse = np.linalg.inv(matrix)
        for start in range(0, len(cells), CELLS_AT_ONCE):
            some = slice(start, start + CELLS_AT_ONCE)
            waves = _arriving(through.waves[energies], orbitals, cells[some])
            forms[some] += _scattered(waves if spread is None else _spread(spread, waves), inverse, weights)
    return np.asarray(((forms @ through.basis) * through.basis).sum(axis=1))


def _arriving(waves: Complexes, orbitals: Ints, cells: Ints) -> Complexes:
    """Return P^T g from changed orbitals to cells, shape (n_energies, n_changed, n_cells, n_basis); 0 far away."""
    reach = waves.shape[2] // 2
    way = cells[None] - orbitals[:, None, :2] + reach
    near = ((way >= 0) & (way <= 2 * reach)).all(axis=2)
    number, cell = np.nonzero(near)
    u, v = way[number, cell].T
    out = np.zeros((waves.shape[0], *near.shape, waves.shape[-1]), dtype=waves.dtype)
    out[:, number, cell] = waves[:, orbitals[number, 2], v, u]
    return out


def _spread(spread: Floats, waves: Complexes) -> Complexes:
    """Return Q^T waves, (n_energies, n_columns, n_cells, n_basis)."""
    mixed = spread.astype(waves.dtype) @ waves.reshape(*waves.shape[:2], -1)
    return mixed.reshape(waves.shape[0], len(spread), *waves.shape[2:])


def _scattered(waves: Complexes, inverse: Complexes, weights: NDArray[np.complex128]) -> Floats32:
    """Return Im sum_n w_n waves^T M^-1 waves, shape (n_cells, n_basis, n_basis)."""
    n_energies, n_changed = waves.shape[:2]
    weighted: Complexes = inverse * weights[:, None, None].astype(waves.dtype)
    solved: Complexes = (weighted @ waves.reshape(n_energies, n_changed, -1)).reshape(waves.shape)
    left, right = _stacked(waves.real, waves.imag), _stacked(solved.imag, solved.real)
    return np.asarray(left.swapaxes(1, 2) @ right, dtype=np.float32)


def _stacked(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Return two arrays (n_energies, n_changed, n_cells, n_basis) stacked as (n_cells, everything else, n_basis)."""
    n_energies, n_changed, n_cells, n_basis = first.shape
    out = np.empty((n_cells, 2, n_energies, n_changed, n_basis), dtype=np.float32)
    out[:, 0], out[:, 1] = np.moveaxis(first, 2, 0), np.moveaxis(second, 2, 0)
    return out.reshape(n_cells, -1, n_basis)
