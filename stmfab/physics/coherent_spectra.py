"""Spectra at points where amplitudes add: dI/dV(V) = C sum_j rho_j(E_F) f(r + t_j)^T rho(E_F + eV) f(r + t_j).

rho is the whole spectral matrix of the orbitals that a tip atom hears at its own point, f their vacuum solutions, kappa
that of the bias under a trapezoid: a few hundred orbitals, and tenths of a second a point.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from . import adatoms, coherent, greens, halos, tables
from .crystal import Scene
from .green_tables import green_table, in_steps
from .heard import Atoms
from .lobes import lobe
from .tables import Keep
from .tips import Tip
from .units import Complexes, Floats, Ints

UNHEARD = 2e-4  # orbitals whose amplitude is below this share of the largest; test_spectra.py


def at_point(
    scene: Scene,
    tip: Tip,
    point_nm: Floats,
    at_eV: Floats,
    kappas: Floats,
    table_eV: tuple[float, float],
    *,
    keep: Keep = tables.made_anew,
) -> Floats:
    """Return sum_j rho_j(0) f^T rho(E) f at one point and energies from the Fermi level, each with its kappa, (n,).

    ``table_eV`` holds all energies, shifted by any charge: the ends of a table of Green functions that ``keep`` keeps.
    """
    material, change, kappa = scene.material, scene.change, float(kappas.min())
    atoms = coherent.heard_atoms(tip.positions_nm, tip.density(np.zeros(1))[:, 0], kappa_per_nm=kappa)
    points_nm = point_nm + atoms.ways_nm
    orbitals = _heard(scene, tip, points_nm, kappa)
    changed = greens.changed_orbitals(change)
    ways_nm = changed[:, :2] @ material.lattice_nm - point_nm[:2]
    felt = np.hypot(ways_nm[:, 0], ways_nm[:, 1]) < coherent.DEFECT_REACH_nm
    cells = np.concatenate([orbitals[orbitals[:, 2] < material.n_orbitals, :2], changed[felt, :2]])
    low, high = (end / material.broadening_eV for end in table_eV)
    table = green_table(
        material, math.floor(low), math.ceil(high), in_steps(int(np.ptp(cells, axis=0).max())), exact=True, keep=keep
    )
    g = greens.green(table, change, orbitals, felt=felt)
    weights = _weights(scene, table.energies_eV, at_eV, point_nm)
    if np.ptp(kappas) == 0:
        return np.asarray((weights.T @ _forms(scene, tip, orbitals, points_nm, kappa, g, atoms)).imag)
    return np.array(
        [
            (own @ _forms(scene, tip, orbitals, points_nm, float(kappa), g, atoms)).imag
            for own, kappa in zip(weights.T, kappas, strict=True)
        ]
    )


def _heard(scene: Scene, tip: Tip, points_nm: Floats, kappa: float) -> Ints:
    """Return the orbitals (u, v, orbital) that tip atoms at points hear, the added ones last."""
    material, change = scene.material, scene.change
    under = np.unique(np.floor(points_nm[:, :2] @ material.to_cells).astype(np.int64), axis=0)
    near = coherent.orbitals_near(material, float(points_nm[:, 2].max()))
    every = (near + np.column_stack([under, 0 * under[:, :1]])[:, None]).reshape(-1, 3)
    gone = {tuple(row) for row in change.removed.tolist()}
    lattice = np.array([row for row in np.unique(every, axis=0).tolist() if tuple(row) not in gone])
    orbitals = np.concatenate([lattice, adatoms.orbitals(material, change)])
    loud = [share * _amplitudes(scene, shape, orbitals, points_nm, kappa) ** 2 for shape, share in tip.waves]
    loudest = np.sqrt(sum(loud)).max(axis=1)
    return np.asarray(orbitals[loudest > UNHEARD * loudest.max()])


def _amplitudes(scene: Scene, shape: str, orbitals: Ints, points_nm: Floats, kappa: float) -> Floats:
    """Return f of orbitals at points, (n_orbitals, n_points)."""
    material, change = scene.material, scene.change
    added = orbitals[:, 2] - material.n_orbitals
    out = np.empty((len(orbitals), len(points_nm)))
    out[added < 0] = coherent.amplitudes(material, orbitals[added < 0], points_nm, kappa_per_nm=kappa, tip=shape)
    for row in np.flatnonzero(added >= 0):
        number = int(added[row])
        ways_nm = points_nm - change.added_nm[number]
        out[row] = lobe(change.added_orbitals[number], ways_nm, kappa_per_nm=kappa, tip=shape)
    return out


def _forms(
    scene: Scene, tip: Tip, orbitals: Ints, points_nm: Floats, kappa: float, g: Complexes, atoms: Atoms
) -> NDArray[np.complex128]:
    """Return sum_j rho_j(0) f^T G f at every energy, (n_energies,)."""
    total = np.zeros(len(g), dtype=np.complex128)
    for shape, share in tip.waves:
        f = _amplitudes(scene, shape, orbitals, points_nm, kappa)
        total += ((g @ f.astype(g.dtype)) * f).sum(axis=1) @ (share * atoms.shares)
    return total


def _weights(
    scene: Scene, energies_eV: NDArray[np.complex128], at_eV: Floats, point_nm: Floats
) -> NDArray[np.complex128]:
    """Return W_n of a density of states at energies, (n_energies, n), the levels shifted as at a point."""
    sigma_eV = scene.material.broadening_eV
    levels_eV = scene.halos.levels_eV(sigma_eV)
    by_level = [greens.exact_contour_weights(energies_eV, at_eV - level, sigma_eV) for level in levels_eV]
    shift_eV = scene.halos.shift_eV(point_nm[None, :2])
    return np.asarray(halos.between_levels(np.array(by_level)[:, None], levels_eV, shift_eV)[0])
