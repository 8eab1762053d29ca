"""The incoherent current of a crystal's scene: what of it each atom carries, at its own shift and through each barrier.

A node of the barrier has a decay constant and its own window weights; most junctions have one. Where charges shift the
levels, the weights are tabulated at several shifts and each atom's strength is taken in between.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import adatoms, barrier, current, greens, halos, structure
from .current import Heights, Mixed, Pairs
from .greens import Perturbation
from .halos import Halos
from .junction import Junction
from .materials import Material
from .structure import Window
from .tips import Tip
from .units import Complexes, Floats, Floats32, Ints


@dataclass(frozen=True)
class Node:
    """A decay constant, the weights of energies that have it, (n_levels * n_energies, n_mixed), and its pairs."""

    kappa_per_nm: float
    few: Mixed
    carried: Pairs


@dataclass(frozen=True)
class Way:
    """The way from a sample to a tip.

    Attributes
    ----------
    energies_eV : complex array of shape (n_energies,)
        Where the Green function is needed.
    levels_eV : array of shape (n_levels,)
        Shifts of the density of states at which strengths are tabulated.
    nodes : sequence of Node
    whole, sites : Window, int array of shape (n, 3)
        The sites (u, v, site) that carry current, and a window that holds them.
    """

    energies_eV: NDArray[np.complex128]
    levels_eV: Floats
    nodes: Sequence[Node]
    whole: Window
    sites: Ints


def way(
    material: Material,
    tip: Tip,
    junction: Junction,
    table: Heights,
    *,
    view: Window,
    halo: Halos,
    at_V: float | None = None,
) -> Way:
    """Return the way from the sample to a tip above a window of cells: of the current, or of dI/dV at a bias."""
    sigma_eV, fermi_eV = material.broadening_eV, junction.fermi_eV or 0.0
    levels_eV = halo.levels_eV(sigma_eV)
    weights: list[tuple[float, NDArray[np.complex128]]] = []
    if at_V is None:
        low, high = junction.window_eV
        energies_eV = greens.contour(low - levels_eV[-1], high - levels_eV[0], sigma_eV)
        for node in barrier.nodes(junction, table.z_mid_nm):
            at_levels = [
                current.window_weights(
                    energies_eV,
                    tip,
                    bias_V=junction.sample_bias_V,
                    broadening_eV=sigma_eV,
                    fermi_eV=fermi_eV - level,
                    weigh=node.weigh,
                )
                for level in levels_eV
            ]
            weights.append((node.kappa_per_nm, np.concatenate(at_levels)))
    else:
        at_eV = at_V + fermi_eV
        energies_eV = greens.exact_contour(at_eV - levels_eV[-1], at_eV - levels_eV[0], sigma_eV)
        at_levels = [
            current.point_weights(energies_eV, tip, at_eV=at_eV - level, broadening_eV=sigma_eV) for level in levels_eV
        ]
        weights.append((barrier.of_bias(junction, at_V), np.concatenate(at_levels)))
    nodes = [_node(material, tip, kappa, given, table) for kappa, given in weights]
    offsets, used = ([getattr(node.carried, of) for node in nodes] for of in ("offsets", "used"))
    whole, sites = structure.sites_reached(view, np.concatenate(offsets), np.concatenate(used))
    return Way(energies_eV, levels_eV, nodes, whole, sites)


def _node(material: Material, tip: Tip, kappa: float, weights: NDArray[np.complex128], table: Heights) -> Node:
    few = current.mixed(weights, tip, kappa_per_nm=kappa)
    return Node(kappa, few, current.pairs(material, tip, few.mixing, kappa_per_nm=kappa, table=table))


def current_in_cells(
    through: Way,
    local: Complexes,
    orbitals: Ints,
    tip: Tip,
    table: Heights,
    *,
    change: Perturbation,
    halo: Halos,
    material: Material,
    view: Window,
) -> Floats32:
    """Return |I| in the cells of a window, (n_cells, n_heights * n_grid**2), in nA.

    Parameters
    ----------
    local : complex array of shape (n_energies, n_orbitals)
        G on ``orbitals``.
    orbitals : int array of shape (n_orbitals, 3)
        Rows (u, v, orbital): those of the sites, site after site, then the added ones.
    """
    n_added, total = len(change.added_eV), None
    n_lattice = len(orbitals) - n_added
    lattice, added = (local[:, :n_lattice], local[:, n_lattice:]) if n_added else (local, local[:, :0])
    lattice, orbitals = np.ascontiguousarray(lattice), orbitals[:n_lattice]
    site_shift_eV, added_shift_eV = np.zeros(len(through.sites)), halo.shift_eV(change.added_nm[:, :2])
    if len(through.levels_eV) > 1:
        site_shift_eV = halo.shift_eV(structure.positions(material, through.sites[:, :2], through.sites[:, 2])[:, :2])
    for node in through.nodes:
        by_level = node.few.weights.reshape(len(through.levels_eV), len(through.energies_eV), -1)
        strengths = _strengths(through, lattice, orbitals, by_level, site_shift_eV, change, material)
        kappa = node.kappa_per_nm
        found = current.current_in_cells(
            strengths,
            node.few.mixing,
            node.carried,
            table,
            material=material,
            view=view,
            whole=through.whole,
            kappa_per_nm=kappa,
        )
        if n_added:
            levels = np.array([(added.T @ weights.astype(added.dtype)).imag for weights in by_level])
            own = halos.between_levels(levels, through.levels_eV, added_shift_eV) @ node.few.mixing
            adatoms.add_current(found, own, tip, table, change=change, material=material, view=view, kappa_per_nm=kappa)
        total = found if total is None else total + found
    assert total is not None  # a barrier has a node
    return total


def _strengths(
    through: Way,
    local: Complexes,
    orbitals: Ints,
    by_level: NDArray[np.complex128],
    shift_eV: Floats,
    change: Perturbation,
    material: Material,
) -> Floats32:
    """Return A over the window of all sites, (n_v, n_u, n_sites, n_mixed), each site's at its own shift."""
    (u, v, site), whole = through.sites.T, through.whole
    strengths = functools.partial(current.site_strengths, change=change, material=material, whole=whole)
    if len(by_level) == 1:
        return strengths(local, weights=by_level[0], orbitals=orbitals)
    some = halos.needed(through.levels_eV, shift_eV)
    at, levels_eV = (v - whole.v0, u - whole.u0, site), through.levels_eV[some]
    n_orbitals = np.array([one.n_orbitals for one in material.sites])[site]
    values = []
    for weights, taken in zip(by_level[some], halos.taken(levels_eV, shift_eV), strict=True):
        own = np.repeat(taken, n_orbitals)
        value = strengths(np.ascontiguousarray(local[:, own]), weights=weights, orbitals=orbitals[own])
        values.append(value[at])
    out = np.zeros((*whole.cells.shape, len(material.sites), by_level.shape[2]), dtype=np.float32)
    out[at] = halos.between_levels(np.array(values), levels_eV, shift_eV)
    return out
