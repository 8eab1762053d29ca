"""Spin-orbit coupling: a material whose two spins are two copies of its orbitals, in real numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from ..units import Floats, Ints
from .material import Material

TURNED_INTO = {"px": ("py", 1), "dxz": ("dyz", 1), "dx2-y2": ("dxy", 2)}  # L_z |px> = i |py>, L_z |dx2-y2> = 2i |dxy>


def with_spin_orbit(material: Material, coupling_eV: Mapping[str, float]) -> Material:
    """Return a material with coupling lambda L_z S_z of each species; its gap and Fermi level are not touched.

    Of the two spins, H and its complex conjugate, A + iB and A - iB, the real [[A, -B], [B, A]] on two copies of the
    orbitals holds both: the sum over the copies is the sum over spins, and what is done to both copies of an orbital
    is done to both spins. The terms that flip spins, L_x S_x + L_y S_y, are left out: in a layer with a mirror plane
    they mix bands of opposite parity only; at K they move an edge by up to 15 meV (test_spin.py).

    References
    ----------
    G.-B. Liu et al., Phys. Rev. B 88, 085433 (2013), section III.C, doi:10.1103/PhysRevB.88.085433.
    """
    n, order = material.n_orbitals, _both_copies(material)
    turning = np.zeros((n, n))
    first = 0
    for site in material.sites:
        for orbital, (other, quanta) in TURNED_INTO.items():
            if orbital in site.orbitals and site.species in coupling_eV:
                i, j = first + site.orbitals.index(orbital), first + site.orbitals.index(other)
                turning[[j, i], [i, j]] = np.array([0.5, -0.5]) * quanta * coupling_eV[site.species]
        first += site.n_orbitals
    blocks = {}
    for cell, block in material.hoppings_eV.items():
        b: Floats = turning if cell == (0, 0) else np.zeros((n, n))
        blocks[cell] = np.block([[block, -b], [b, block]])[np.ix_(order, order)]
    return dataclasses.replace(
        material,
        name=f"{material.name}-so",
        sites=tuple(dataclasses.replace(site, orbitals=2 * site.orbitals) for site in material.sites),
        hoppings_eV=blocks,
        mean_ldos_per_eV=2 * material.mean_ldos_per_eV,
        n_filled=None if material.n_filled is None else 2 * material.n_filled,
    )


def _both_copies(material: Material) -> Ints:
    """Return the numbers of the doubled orbitals in the order of the sites: a site's first copy, then its second."""
    order: list[int] = []
    for site in range(len(material.sites)):
        own = material.site_orbitals[site].tolist()
        order += [*own, *(number + material.n_orbitals for number in own)]
    return np.array(order)
