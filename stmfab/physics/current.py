"""The tunnelling current of a scene under a tip: one ``CurrentField`` a junction.

I(r) = C sum_ij A_ij(V) exp(-2 kappa |r + t_j - R_i|) over sample sites i and tip atoms j, a p wave's terms weakened,
A_ij(V) = |int_0^eV rho_j(E - eV) rho_i(E) dE|, energies from the Fermi levels, V the sample bias.
C = G0 / (e rho_t rho_s), so that a gap of z = 0 has the conductance quantum: z is counted from point contact.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from . import _current_kernels, greens, structure, tips, units
from .field import CurrentField, chebyshev_nodes, n_padded, values_to_monomials
from .greens import Perturbation
from .materials import Material
from .structure import Window
from .units import Bools, Complexes, Floats, Floats32, Ints

N_QUADRATURE, NODES_PER_BROADENING = 12, 2  # Gauss-Legendre nodes over a bias window, and more for a wide one
NEGLECTED = 8e-6  # sample-tip pairs whose share of the current is below this; test_crystal.py::test_field_accuracy
UNHEARD = 3e-6  # columns of conductances below this share of the largest are left out; test_field_accuracy
MIXING_ERROR = 6e-5  # relative; test_current.py::test_mixed_weights
FAINT, FAINT_GRID = 1e-3, 5  # pairs and columns below this share of the largest: on this coarser grid in the cell
CELLS_AT_ONCE = 256  # in a matrix product
RADIUS_STEP_nm = 0.1  # cells in reach are listed once for radii of these steps
BASE_HALF_nm, BASE_HEIGHTS, BASE_GRID = 0.2, 5, 8  # tabulated: z_mid +- 0.2 nm on 5 nodes, 8 x 8 grid nodes a cell,
NM_PER_EXTRA_HEIGHT = 0.1  # one node more for every 0.1 nm of extra range,
CLOSE_nm, CLOSE_GRID = 0.13, 10  # and a finer table where the tip comes closer than this


def calibration_nA_eV(material: Material) -> float:
    """Return C = G0 / (e rho_t rho_s) in nA eV: with A in 1/eV the current is in nA; both spins."""
    return float(units.CONDUCTANCE_QUANTUM_nA_per_V) / (tips.MEAN_LDOS_per_eV * material.mean_ldos_per_eV)


@functools.cache
def _quadrature(n_nodes: int) -> tuple[Floats, Floats]:
    """Return nodes and weights of the Gauss-Legendre rule on [-1, 1], each (n_nodes,)."""
    nodes, weights = special.roots_legendre(n_nodes)
    return nodes, weights


def window_weights(
    energies_eV: NDArray[np.complex128],
    tip: tips.Tip,
    *,
    bias_V: float,
    broadening_eV: float,
    fermi_eV: float = 0.0,
    of_contour: Callable[[NDArray[np.complex128], Floats, float], NDArray[np.complex128]] = greens.contour_weights,
    weigh: Callable[[Floats], Floats] = np.ones_like,
) -> NDArray[np.complex128]:
    """Return w_nj with A_ij = Im sum_n w_nj G_ii(z_n), shape (n_energies, n_tip).

    w_nj = |int_0^eV rho_j(E - eV) W_n(E_F + E) dE|, the sign of V taken out; W_n of the contour. ``weigh`` gives
    energies E another weight each.
    """
    at_eV, densities = _window(tip, bias_V, broadening_eV)
    densities = densities * weigh(at_eV)
    return np.asarray(of_contour(energies_eV, at_eV + fermi_eV, broadening_eV) @ densities.T)


def window_shares(tip: tips.Tip, *, bias_V: float, broadening_eV: float) -> Floats:
    """Return int_0^eV rho_j(E - eV) dE of each tip atom over that of the front atom, shape (n_tip,)."""
    totals = _window(tip, bias_V, broadening_eV)[1].sum(axis=1)
    return np.asarray(totals / totals[0])


def _window(tip: tips.Tip, bias_V: float, broadening_eV: float) -> tuple[Floats, Floats]:
    """Return energies E of a rule over a bias window and rho_j(E - eV) times its weights, (n,) and (n_tip, n)."""
    nodes, weights = _quadrature(N_QUADRATURE + math.ceil(NODES_PER_BROADENING * abs(bias_V) / broadening_eV))
    at_eV = bias_V * (nodes + 1) / 2
    return at_eV, tip.density(at_eV - bias_V) * (weights * abs(bias_V) / 2)


def point_weights(
    energies_eV: NDArray[np.complex128], tip: tips.Tip, *, at_eV: float, broadening_eV: float
) -> NDArray[np.complex128]:
    """Return w_nj with dA_ij/dV = Im sum_n w_nj G_ii(z_n) = rho_j(0) rho_i(E), shape (n_energies, n_tip).

    The tip's density is taken at its Fermi level; energies of ``greens.exact_contour``.
    """
    by_energy = greens.exact_contour_weights(energies_eV, np.array([at_eV]), broadening_eV)
    return np.asarray(by_energy @ tip.density(np.zeros(1)).T)


@dataclass(frozen=True)
class Heights:
    """The tabulated heights: ``n_heights`` Chebyshev nodes on z_mid +- z_half, and the lateral grid they need."""

    z_mid_nm: float
    z_half_nm: float
    n_heights: int
    n_grid: int

    @property
    def nodes_nm(self) -> Floats:
        """Heights in nm, ascending, shape (n_heights,)."""
        return self.z_mid_nm + self.z_half_nm * chebyshev_nodes(self.n_heights)


def heights(z_low_nm: float, z_high_nm: float, *, least_grid: int = BASE_GRID) -> Heights:
    """Return the table for a range of heights: finer, laterally and in z, the closer the tip comes."""
    half = max((z_high_nm - z_low_nm) / 2, BASE_HALF_nm)
    low = (z_high_nm + z_low_nm) / 2 - half
    extra = math.ceil(round((half - BASE_HALF_nm) * 2 / NM_PER_EXTRA_HEIGHT, 6))
    close = low < CLOSE_nm
    return Heights(low + half, half, BASE_HEIGHTS + extra + close, max(least_grid, CLOSE_GRID if close else BASE_GRID))


@dataclass(frozen=True)
class Mixed:
    """Window weights of all tip atoms as a few: w_nj = sum_r weights[n, r] mixing[r, j], to ``MIXING_ERROR``.

    Neighbouring tip atoms' densities of states differ little over a bias window, and those far behind the front carry
    little: a few columns serve dozens of atoms. The first column is the front atom's own.
    """

    weights: NDArray[np.complex128]  # (n_energies, n_mixed)
    mixing: Floats  # (n_mixed, n_tip)


def mixed(weights: NDArray[np.complex128], tip: tips.Tip, *, kappa_per_nm: float) -> Mixed:
    """Return the weights (n_energies, n_tip) compressed, each atom as exactly as its share of the current asks."""
    share = np.exp(-2 * kappa_per_nm * tip.positions_nm[:, 2])
    stacked = np.concatenate([weights.real, weights.imag]) * share
    few, mixing = _current_kernels.few_columns(stacked.T.copy(), MIXING_ERROR)
    mixing /= share
    mixing[1:, 0] = 0.0  # exactly: what only the front atom reaches needs no other column
    n = len(weights)
    return Mixed((few[:, :n] + 1j * few[:, n:]).T, mixing)


@dataclass(frozen=True)
class Pairs:
    """Sample site and tip atom pairs that carry current into a cell, and the columns that they add up to.

    A column is a sample site's current through one of the mixed tip weights; what is unheard has none.

    Attributes
    ----------
    offsets : int array of shape (n_offsets, 2)
        Cell offsets (u, v).
    numbers : int array of shape (n_offsets, n_sites, n_mixed)
        The number of each column, the loud ones first; -1 where there is none.
    columns : int array of shape (n_columns, 3)
        Offset, site and mixed weight of each column, in the order of their numbers.
    n_loud : int
        Number of loud columns.
    used : bool array of shape (n_offsets, n_sites)
        Sites that have a column.
    cells, sites, tip_atoms : int arrays of shape (n_pairs,)
        The sample site's cell (its number in ``offsets``) and number in the cell, and the tip atom.
    ways_nm : array of shape (n_pairs, 3)
        The way from the tip atom to the sample site, when the tip is at z = 0 over the cell's first node.
    close : bool array of shape (n_pairs,)
        Pairs whose share of the current is above ``FAINT``.
    p_shares : array of shape (n_tip,), or (0,) if there are none
        The share of p waves of each tip atom, see ``tips.Tip``.
    """

    offsets: Ints
    numbers: Ints
    columns: Ints
    n_loud: int
    used: Bools
    cells: Ints
    sites: Ints
    tip_atoms: Ints
    ways_nm: Floats32
    close: Bools
    p_shares: Floats32


def pairs(material: Material, tip: tips.Tip, mixing: Floats, *, kappa_per_nm: float, table: Heights) -> Pairs:
    """Return the pairs that matter anywhere in a cell.

    A pair matters if at the largest height z it comes so close that exp(-2 kappa (D - z)) exceeds ``NEGLECTED``. A
    column, the sum of mixing[r, atom] exp(-2 kappa D), matters if at the least height its bound, the atoms' largest
    shares anywhere in the cell, exceeds ``UNHEARD`` times the largest column's.
    """
    reach, nodes_nm = math.log(1 / NEGLECTED) / (2 * kappa_per_nm), table.nodes_nm
    z = float(nodes_nm[-1])
    spread = math.sqrt(float((tip.positions_nm[:, :2] ** 2).sum(axis=1).max()))
    lateral = math.sqrt((z + reach) ** 2 - z**2) + spread + 2 * material.lattice_constant_nm
    offsets, origins_nm = _offsets(material, math.ceil(lateral / RADIUS_STEP_nm))
    found = _current_kernels.near_pairs(
        origins_nm, material.positions_nm, tip.positions_nm, *cell_nodes(material, table.n_grid), reach, z
    )
    cells, sites, tip_atoms, ways_nm, nearest2_nm2 = found
    bounds, shares = np.zeros((len(offsets), len(material.sites), len(mixing))), np.empty(len(cells))
    at = ways_nm, nearest2_nm2, float(nodes_nm[0])
    _current_kernels.bound(cells, sites, tip_atoms, *at, kappa_per_nm, mixing, bounds, shares)
    faint_share = FAINT if tip.p_shares is None else UNHEARD  # p waves are weak where s waves are strong
    numbers, columns, n_loud, used = _current_kernels.number_columns(bounds, faint_share, UNHEARD)
    p_shares = np.zeros(0) if tip.p_shares is None else tip.p_shares
    close = shares > faint_share * bounds.max()
    return Pairs(
        offsets, numbers, columns, n_loud, used, cells, sites, tip_atoms, ways_nm, close, p_shares.astype(np.float32)
    )


@functools.lru_cache(maxsize=64)
def _offsets(material: Material, steps: int) -> tuple[Ints, Floats]:
    """Return the cells within ``steps`` steps of radius, (u, v), and their origins in nm, both (n_offsets, 2)."""
    offsets = structure.cells_within(material, steps * RADIUS_STEP_nm)
    return offsets, np.asarray(offsets @ material.lattice_nm)


@functools.lru_cache(maxsize=64)
def cell_nodes(material: Material, n_grid: int) -> tuple[Floats32, Floats32]:
    """Return x and y of the grid nodes of a cell in nm, v, then u, fastest, each (n_grid**2,)."""
    return _at(material, np.arange(n_grid) / n_grid)


@functools.lru_cache(maxsize=64)
def _few(material: Material, n_grid: int) -> tuple[Floats32, Floats32]:
    """Return x and y of ``FAINT_GRID``**2 Chebyshev nodes over the grid nodes of a cell in nm."""
    return _at(material, (chebyshev_nodes(FAINT_GRID) + 1) / 2 * (n_grid - 1) / n_grid)


def _at(material: Material, shares: Floats) -> tuple[Floats32, Floats32]:
    """Return x and y at shares of both lattice vectors in nm, that of the second fastest, each (n_shares**2,)."""
    v, u = np.meshgrid(shares, shares, indexing="ij")
    x, y = (np.column_stack([u.ravel(), v.ravel()]) @ material.lattice_nm).T
    return x.astype(np.float32), y.astype(np.float32)


@functools.cache
def _refinement(n_grid: int) -> Floats32:
    """Return the matrix from values at ``_few`` to those at ``cell_nodes``, (FAINT_GRID**2, n_grid**2)."""
    along = np.vander(np.linspace(-1, 1, n_grid), FAINT_GRID, increasing=True) @ values_to_monomials(FAINT_GRID)
    return np.asarray(np.kron(along, along).T, dtype=np.float32)


def site_strengths(
    local: Complexes,
    change: Perturbation,
    weights: NDArray[np.complex128],
    *,
    material: Material,
    orbitals: Ints,
    whole: Window,
) -> Floats32:
    """Return A for each mixed tip weight, shape (n_v, n_u, n_sites, n_mixed), in 1/eV; 0 away from ``orbitals``.

    The orbitals of a site add; removed orbitals carry nothing.

    Parameters
    ----------
    local : complex array of shape (n_energies, n_orbitals)
        G on ``orbitals``.
    weights : complex array of shape (n_energies, n_mixed)
    orbitals : int array of shape (n_orbitals, 3)
        Rows (u, v, orbital), inside the window ``whole``.
    """
    out = np.zeros((*whole.cells.shape, len(material.sites), weights.shape[1]), dtype=np.float32)
    _current_kernels.add_strengths(
        local,
        np.ascontiguousarray(weights, dtype=local.dtype),
        *(orbitals, material.orbital_site, change.removed),
        (whole.u0, whole.v0),
        out,
    )
    return out


def site_orbitals(material: Material, sites: Ints) -> Ints:
    """Return the orbitals (u, v, orbital) of sites (u, v, site), site after site, shape (n_orbitals, 3)."""
    n_orbitals = np.array([site.n_orbitals for site in material.sites])
    if n_orbitals.max() == 1:
        return sites
    first = np.concatenate([[0], np.cumsum(n_orbitals)[:-1]])
    count = n_orbitals[sites[:, 2]]
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.column_stack([np.repeat(sites[:, :2], count, axis=0), np.repeat(first[sites[:, 2]], count) + number])


def current_in_cells(
    strengths: Floats32,
    mixing: Floats,
    carried: Pairs,
    table: Heights,
    *,
    material: Material,
    view: Window,
    whole: Window,
    kappa_per_nm: float,
) -> Floats32:
    """Return |I| (nA) in the cells of ``view``, (n_cells, n_heights * n_grid**2), nodes fastest.

    From the strengths A (n_v, n_u, n_sites, n_mixed) over ``whole``: one matrix product over sites and mixed weights,
    for a few cells after the other, so that what is gathered for them stays near the processor.
    """
    cells, (n_u, n_sites, n_mixed), n_loud = view.indices, strengths.shape[1:], carried.n_loud
    cell, site, r = carried.columns.T
    shares = np.ascontiguousarray((mixing * calibration_nA_eV(material)).T, dtype=np.float32)
    near = _conductances(carried, shares, table, cell_nodes(material, table.n_grid), kappa_per_nm, fine=True)
    far = _conductances(carried, shares, table, _few(material, table.n_grid), kappa_per_nm, fine=False)
    near += _refined(far[:n_loud], table)
    offsets = carried.offsets[cell]
    step = ((offsets[:, 1] * n_u + offsets[:, 0]) * n_sites + site) * n_mixed + r
    place = ((cells[:, 1] - whole.v0) * n_u + cells[:, 0] - whole.u0) * (n_sites * n_mixed)
    current_nA = np.empty((len(cells), near.shape[1]), dtype=np.float32)
    room = np.empty((min(len(cells), CELLS_AT_ONCE), len(cell)), dtype=np.float32)
    for start in range(0, len(cells), CELLS_AT_ONCE):
        part = slice(start, start + CELLS_AT_ONCE)
        gathered = room[: len(place[part])]
        _current_kernels.gather(strengths.ravel(), place[part], step, gathered)
        np.matmul(gathered[:, :n_loud], near, out=current_nA[part])
        current_nA[part] += _refined(gathered[:, n_loud:] @ far[n_loud:], table)
    return current_nA


def _conductances(
    carried: Pairs,
    shares: Floats32,
    table: Heights,
    nodes: tuple[Floats32, Floats32],
    kappa_per_nm: float,
    *,
    fine: bool,
) -> Floats32:
    """Return the conductances at nodes in a cell added up in columns, (n_columns, n_heights * n_nodes).

    Of the close pairs in the loud columns if ``fine``, else of all that is left; ``shares``, (n_tip, n_mixed), weight
    the tip atoms.
    """
    n_columns, width = carried.n_loud if fine else len(carried.columns), table.n_heights * len(nodes[0])
    lanes = _current_kernels.LANES
    out = np.zeros((n_columns, -(-width // lanes) * lanes), dtype=np.float32)
    at = *nodes, table.nodes_nm.astype(np.float32), carried.ways_nm
    listed = carried.cells, carried.sites, carried.tip_atoms, carried.close
    into = carried.numbers, carried.n_loud, fine, shares
    _current_kernels.conductances(*at, kappa_per_nm, *listed, *into, carried.p_shares, out)
    return out[:, :width]


def _refined(values: Floats32, table: Heights) -> Floats32:
    """Return values at ``_few`` of cells, (n, n_heights * FAINT_GRID**2), at all their nodes."""
    few = values.reshape(-1, FAINT_GRID**2)
    return (few @ _refinement(table.n_grid)).reshape(len(values), -1)


def field_of_cells(
    current_nA: Floats32, table: Heights, *, material: Material, view: Window, polarity: int
) -> CurrentField:
    """Return the field of |I| (nA) in the cells of a window, (n_cells, n_heights * n_grid**2)."""
    g, (n_v, n_u) = table.n_grid, view.cells.shape
    coefficients = np.empty((n_v * g, n_u * g, n_padded(table.n_heights)), dtype=np.float32)
    to_monomials = values_to_monomials(table.n_heights).astype(np.float32)
    _current_kernels.lay_out(current_nA, to_monomials, view.cells, g, coefficients)
    return CurrentField(
        coefficients,
        np.array([view.u0, view.v0]) @ material.lattice_nm,
        material.lattice_nm / g,
        table.z_mid_nm,
        table.z_half_nm,
        polarity,
    )
