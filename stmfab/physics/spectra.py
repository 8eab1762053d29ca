"""Spectra at points: dI/dV over the bias where the loop holds the tip at the setpoint, of a crystal.

dI/dV(V) = C sum_ij rho_tip,j(E_F) rho_i(E_F + eV) exp(-2 kappa d_ij), kappa that of the bias under a trapezoid. Each
point has its own sum over the atoms that it hears, and its own defects: a few of them, however large the frame. Of a
coherent current: ``coherent_spectra``.
"""

from __future__ import annotations

import math

import numpy as np

from . import adatoms, barrier, coherent_spectra, crystal, current, greens, halos, structure, tables
from .crystal import Crystal, Scene
from .junction import Junction
from .materials import Material
from .tables import Keep
from .tips import Tip
from .units import Bools, Floats, Ints

NEGLECTED = (
    1e-4  # atoms whose share of the current is below this are not heard; test_spectra.py::test_against_plain_sums
)
TABLE_STEP_eV = 0.5  # ends of a table of Green functions: a few serve every sample


def at_points(imaged: Crystal, points_nm: Floats, biases_V: Floats, *, keep: Keep = tables.made_anew) -> Floats:
    """Return dI/dV in nA/V at points (x, y, z), (n_points, 3), and biases, shape (n_points, n_biases).

    ``keep`` keeps tables that take seconds to make.
    """
    scene, tip, junction = imaged.scene, imaged.tip, imaged.junction
    points_nm = points_nm - np.column_stack([0 * points_nm[:, :2], scene.bumps.height_nm(points_nm[:, :2])])
    kappas = np.array([barrier.of_bias(junction, bias_V) for bias_V in biases_V.tolist()])
    if junction.current == "coherent":
        at_eV, ends_eV = biases_V + (junction.fermi_eV or 0.0), _table_eV(scene, junction, biases_V)
        out = [
            coherent_spectra.at_point(scene, tip, point_nm, at_eV, kappas, ends_eV, keep=keep) for point_nm in points_nm
        ]
    else:
        out = [_at_point(scene, tip, junction, point_nm, biases_V, kappas, keep) for point_nm in points_nm]
    return np.array(out).reshape(len(points_nm), len(biases_V)) * current.calibration_nA_eV(scene.material)


def _table_eV(scene: Scene, junction: Junction, biases_V: Floats) -> tuple[float, float]:
    """Return the ends of a table of Green functions that holds the energies of biases at any shift of the levels."""
    levels_eV, at_eV = scene.halos.levels_eV(scene.material.broadening_eV), biases_V + (junction.fermi_eV or 0.0)
    low = math.floor((at_eV.min() - levels_eV[-1]) / TABLE_STEP_eV) * TABLE_STEP_eV
    return low, math.ceil((at_eV.max() - levels_eV[0]) / TABLE_STEP_eV) * TABLE_STEP_eV


def _at_point(
    scene: Scene, tip: Tip, junction: Junction, point_nm: Floats, biases_V: Floats, kappas: Floats, keep: Keep
) -> Floats:
    """Return sum_ij rho_tip,j(0) rho_i(E) exp(-2 kappa d_ij) at one point, (n_biases,)."""
    material, n_added = scene.material, len(scene.change.added_eV)
    heard = np.exp(-2 * kappas.min() * tip.positions_nm[:, 2]) > NEGLECTED
    atoms_nm, ours = point_nm + tip.positions_nm[heard], tip.density(np.zeros(1))[heard, 0]
    sites = _sites(material, atoms_nm, float(kappas.min()))
    orbitals = np.concatenate([current.site_orbitals(material, sites), adatoms.orbitals(material, scene.change)])
    density = _densities(scene, junction, orbitals, atoms_nm, biases_V, keep)
    first = np.cumsum([0, *(material.sites[site].n_orbitals for site in sites[:, 2])])
    by_site = np.add.reduceat(density[: first[-1]], first[:-1], axis=0)
    where_nm = np.concatenate([structure.positions(material, sites[:, :2], sites[:, 2]), scene.change.added_nm])
    every = np.concatenate([by_site, density[len(density) - n_added :]])
    ways_nm = where_nm[:, None] - atoms_nm
    away_nm = np.linalg.norm(ways_nm, axis=2)
    p_shares = np.zeros(len(ours)) if tip.p_shares is None else tip.p_shares[heard]
    shares = ours * (1 - p_shares * (ways_nm[..., 2] / away_nm) ** 2)
    if np.ptp(kappas) == 0:
        return np.asarray((shares * np.exp(-2 * kappas[0] * away_nm)).sum(axis=1) @ every)
    each = [(shares * np.exp(-2 * kappa * away_nm)).sum(axis=1) @ every[:, e] for e, kappa in enumerate(kappas)]
    return np.array(each)


def _sites(material: Material, atoms_nm: Floats, kappa_per_nm: float) -> Ints:
    """Return the sites (u, v, site) that any of some tip atoms (n, 3) hears, shape (n_sites, 3), site after site."""
    z_nm = float(atoms_nm[:, 2].min())
    lateral_nm = math.sqrt((z_nm + math.log(1 / NEGLECTED) / (2 * kappa_per_nm)) ** 2 - z_nm**2)
    around = structure.cells_within(material, lateral_nm + 2 * float(np.linalg.norm(material.lattice_nm, axis=1).max()))
    under = np.unique(np.floor(atoms_nm[:, :2] @ material.to_cells).astype(np.int64), axis=0)
    cells = np.unique((under[:, None] + around).reshape(-1, 2), axis=0)
    found = []
    for site, place_nm in enumerate(material.positions_nm):
        places_nm = cells @ material.lattice_nm + place_nm[:2]
        near = structure.near(places_nm, np.ascontiguousarray(atoms_nm[:, :2]), distance_nm=lateral_nm)
        found.append(np.column_stack([cells[near], np.full(int(near.sum()), site)]))
    return np.concatenate(found)


def _densities(
    scene: Scene, junction: Junction, orbitals: Ints, atoms_nm: Floats, biases_V: Floats, keep: Keep
) -> Floats:
    """Return the densities of states of orbitals (u, v, orbital) at biases, each at its own shift, (n, n_biases)."""
    material, change, sigma_eV = scene.material, scene.change, scene.material.broadening_eV
    levels_eV, at_eV = scene.halos.levels_eV(sigma_eV), biases_V + (junction.fermi_eV or 0.0)
    low, high = (end / sigma_eV for end in _table_eV(scene, junction, biases_V))
    changed = greens.changed_orbitals(change)
    felt = structure.near(
        changed[:, :2] @ material.lattice_nm,
        np.ascontiguousarray(atoms_nm[:, :2]),
        distance_nm=crystal.DEFECT_REACH_nm,
    )
    cells = np.concatenate([orbitals[: len(orbitals) - len(change.added_eV), :2], changed[felt, :2]])
    reach = crystal.in_steps(int(np.ptp(cells, axis=0).max()))
    table = crystal.green_table(material, math.floor(low), math.ceil(high), reach, exact=True, keep=keep)
    known = _known(orbitals, changed, felt, material)
    local = np.zeros((len(table.energies_eV), len(orbitals)), dtype=table.g.dtype)
    one_block = np.zeros(np.count_nonzero(known), dtype=np.int64), felt[None]
    local[:, known] = greens.local_green(table, change, orbitals[known], blocks=one_block)
    gone = {tuple(row) for row in change.removed.tolist()}
    local[:, [tuple(row) in gone for row in orbitals.tolist()]] = 0
    by_level = [
        (local.T @ greens.exact_contour_weights(table.energies_eV, at_eV - level, sigma_eV)).imag for level in levels_eV
    ]
    shift_eV = scene.halos.shift_eV(_places_nm(scene, orbitals))
    return halos.between_levels(np.array(by_level), levels_eV, shift_eV).astype(np.float64)


def _known(orbitals: Ints, changed: Ints, felt: Bools, material: Material) -> Bools:
    """Return which orbitals count: all of the lattice, and the added ones whose bonds are felt."""
    bound = set(changed[felt, 2].tolist())
    return np.array([row[2] < material.n_orbitals or row[2] in bound for row in orbitals.tolist()], dtype=np.bool_)


def _places_nm(scene: Scene, orbitals: Ints) -> Floats:
    """Return where orbitals of the lattice and, last, the added ones are, (n_orbitals, 2)."""
    material, n_added = scene.material, len(scene.change.added_eV)
    lattice = orbitals[: len(orbitals) - n_added]
    places_nm = structure.positions(material, lattice[:, :2], material.orbital_site[lattice[:, 2]])
    return np.concatenate([places_nm[:, :2], scene.change.added_nm[:, :2]])
