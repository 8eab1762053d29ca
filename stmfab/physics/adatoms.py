"""The incoherent current through atoms that the lattice has not: adatoms, antisites."""

from __future__ import annotations

import math

import numpy as np

from . import _adatoms_kernels, current, structure
from .current import Heights
from .greens import Perturbation
from .materials import Material
from .structure import Window
from .tips import Tip
from .units import Floats, Floats32, Ints

NEGLECTED = 1e-5  # of an atom's current right above it: nothing beyond; test_guests.py::test_field_accuracy


def orbitals(material: Material, change: Perturbation) -> Ints:
    """Return the added orbitals of a scene as rows (u, v, orbital), beside the lattice's, shape (n_added, 3)."""
    cells = np.floor(change.added_nm[:, :2] @ material.to_cells).astype(np.int64)
    return np.column_stack([cells, material.n_orbitals + np.arange(len(cells))])


def add_current(
    current_nA: Floats32,
    strengths: Floats,
    tip: Tip,
    table: Heights,
    *,
    change: Perturbation,
    material: Material,
    view: Window,
    kappa_per_nm: float,
) -> None:
    """Add what added orbitals carry to the current in a window's cells, (n_cells, n_heights * n_grid**2), in nA.

    Parameters
    ----------
    strengths : array of shape (n_added, n_tip)
        A of each orbital and tip atom, in 1/eV.
    """
    places_nm, atom = np.unique(change.added_nm, axis=0, return_inverse=True)
    shares = np.zeros((len(places_nm), len(tip.positions_nm)))
    np.add.at(shares, atom.ravel(), strengths * current.calibration_nA_eV(material))
    origins_nm = view.indices @ material.lattice_nm
    node_x, node_y = current.cell_nodes(material, table.n_grid)
    half_nm = float(np.hypot(node_x - node_x.mean(), node_y - node_y.mean()).max())
    middles_nm = origins_nm + np.array([node_x.mean(), node_y.mean()])
    heard = np.exp(-2 * kappa_per_nm * tip.positions_nm[:, 2]) > NEGLECTED
    p_shares = np.zeros(len(heard), np.float32) if tip.p_shares is None else tip.p_shares.astype(np.float32)
    spread_nm = float(np.hypot(*tip.positions_nm[heard, :2].T).max())
    for place_nm, share in zip(places_nm, shares, strict=True):
        z_nm = float(table.nodes_nm[-1]) - place_nm[2]
        lateral_nm = math.sqrt((z_nm + math.log(1 / NEGLECTED) / (2 * kappa_per_nm)) ** 2 - z_nm**2)
        near = structure.near(middles_nm, place_nm[None, :2], distance_nm=lateral_nm + spread_nm + half_nm)
        some = np.zeros((int(near.sum()), current_nA.shape[1]), dtype=np.float32)
        _adatoms_kernels.add_current(
            np.ascontiguousarray(origins_nm[near]),
            node_x,
            node_y,
            table.nodes_nm.astype(np.float32),
            place_nm[None],
            np.ascontiguousarray(tip.positions_nm[heard]),
            np.ascontiguousarray(share[None, heard]),
            p_shares[heard],
            kappa_per_nm,
            z_nm + math.log(1 / NEGLECTED) / (2 * kappa_per_nm),
            some,
        )
        current_nA[near] += some
