"""The coherent current through orbitals that the lattice has not: their own waves, and the lattice's beside them.

J = f^T G f over all orbitals: with c_a = Q^T g e_a, the added ones have G_ab = delta_ab / (z - eps_a) + c_a^T M^-1 c_b
among themselves, and c_a^T M^-1 Q^T g towards the lattice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import greens
from .greens import GreenTable, Perturbation
from .lobes import lobe
from .materials import Material
from .units import Complexes, Floats, Floats32, Ints

REACH_nm = 1.5  # an added orbital farther than this from the tip carries nothing


@dataclass(frozen=True)
class Guests:
    """The added orbitals of a scene under a tip.

    Attributes
    ----------
    material : Material
    change : Perturbation
    points_nm : array of shape (n_points, 3)
        The points of a cell.
    kappa_per_nm, tip : float, str
        Decay constant, and shape of the tip's orbital.
    coupled : complex array of shape (n_energies, n_added, n_columns)
        c_a.
    own : complex array of shape (n_energies, n_added)
        1 / (z - eps_a).
    weights : complex array of shape (n_added, n_energies)
        w_n at each one's shift of the levels.
    """

    material: Material
    change: Perturbation
    points_nm: Floats
    kappa_per_nm: float
    tip: str
    coupled: Complexes
    own: Complexes
    weights: NDArray[np.complex128]

    def current(self, inverse: Complexes, columns: Ints, waves: Complexes, cells: Ints, *, basis: Floats32) -> Floats32:
        """Return what they add to J at the points of cells (u, v), (n_cells, n_points).

        Parameters
        ----------
        inverse : complex array of shape (n_energies, n_columns, n_columns)
            M^-1.
        columns : int array of shape (n_felt,)
            The columns whose waves, (n_energies, n_felt, n_cells, n_basis), are felt at the cells.
        """
        origins_nm = cells @ self.material.lattice_nm
        away_nm = np.linalg.norm(self.change.added_nm[:, None, :2] - origins_nm, axis=2).min(axis=1)
        spread_nm = float(np.linalg.norm(self.material.lattice_nm.sum(axis=0)))
        near = np.flatnonzero(away_nm < REACH_nm + spread_nm)
        out = np.zeros((len(cells), len(self.points_nm)))
        if not len(near):
            return out.astype(np.float32)
        solved = self.coupled[:, near] @ inverse
        among = solved @ np.swapaxes(self.coupled[:, near], 1, 2)
        among[:, range(len(near)), range(len(near))] += self.own[:, near]
        strengths = np.einsum("an,nab->ab", self.weights[near], among).imag
        weighed = self.weights[near].T[:, :, None] * solved[:, :, columns]
        beside = np.einsum("nac,nckb->akb", weighed, waves, optimize=True).imag
        points_nm = self.points_nm + np.column_stack([origins_nm, np.zeros(len(cells))])[:, None]
        heard = np.array(
            [
                lobe(
                    self.change.added_orbitals[number],
                    points_nm - self.change.added_nm[number],
                    kappa_per_nm=self.kappa_per_nm,
                    tip=self.tip,
                )
                for number in near
            ]
        )
        for f, own, lattice in zip(heard, strengths, beside, strict=True):
            out += f * (2 * (lattice @ basis) + np.tensordot(own, heard, axes=1))
        return out.astype(np.float32)


def guests(
    material: Material,
    table: GreenTable,
    change: Perturbation,
    weights: NDArray[np.complex128],
    *,
    points_nm: Floats,
    kappa_per_nm: float,
    tip: str,
) -> Guests | None:
    """Return the added orbitals of a scene, each with its weights (n_added, n_energies); None without any."""
    if not len(change.added_eV):
        return None
    orbitals, clusters = greens.column_groups(change)
    n_columns = len(orbitals) + sum(len(cluster.vectors) for cluster in clusters)
    own = 1 / (table.energies_eV[:, None] - change.added_eV)
    spread = np.zeros((len(change.added_eV), n_columns))
    first = len(orbitals)
    for cluster in clusters:
        vectors, added = cluster.vectors, cluster.orbitals[:, 2] - material.n_orbitals
        for entry in np.flatnonzero(added >= 0):
            spread[added[entry], first : first + len(vectors)] += vectors[:, entry]
        first += len(vectors)
    return Guests(material, change, points_nm, kappa_per_nm, tip, own[:, :, None] * spread, own, weights)
