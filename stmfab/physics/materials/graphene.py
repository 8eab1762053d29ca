"""Graphene: one p_z orbital an atom, hops to the first, second and third neighbours."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..units import Floats
from .material import Material, Site, bonds, triangular_lattice

A_nm = 0.246
FIRST_eV, SECOND_eV, THIRD_eV = -2.7, 0.1, 0.0  # Castro Neto et al., Rev. Mod. Phys. 81, 109 (2009), section II.B
# Reich et al., Phys. Rev. B 66, 035412 (2002), fitted in the optical range: on-site, hops and overlaps to first, second
# and third neighbours
FAR_ONSITE_eV, FAR_HOPS_eV, FAR_OVERLAPS = -0.28, (-2.97, -0.073, -0.33), (0.073, 0.018, 0.026)
FAR_REACH_nm, FAR_N_K = 0.86, 48  # hops of the orthogonal orbitals beyond 6 bonds move no level by 0.3 meV; test_tmd.py
FAR_MEAN_LDOS_per_eV = 0.0079  # over |E| <= 0.5 eV; test_tmd.py
# cells of B around A at the origin: B of cell (0, 0) is at (0, a/sqrt3)
FIRST_CELLS = ((0, 0), (0, -1), (1, -1))
SECOND_CELLS = ((1, 0), (0, 1), (-1, 1))  # and back
THIRD_CELLS = ((1, -2), (1, 0), (-1, 0))


def graphene(first_eV: float = FIRST_eV, second_eV: float = SECOND_eV, third_eV: float = THIRD_eV) -> Material:
    """Return graphene, its Fermi level at the crossing of the bands.

    hbar v_F = sqrt(3)/2 a |t1 - 2 t3|; the crossing lies at -3 t2.

    References
    ----------
    A. H. Castro Neto et al., Rev. Mod. Phys. 81, 109 (2009), doi:10.1103/RevModPhys.81.109.
    """
    return Material(
        name="graphene",
        lattice_nm=triangular_lattice(A_nm),
        sites=(
            Site("A", "C", "top", (0.0, 0.0, 0.0), ("pz",)),
            Site("B", "C", "top", (0.0, A_nm / math.sqrt(3), 0.0), ("pz",)),
        ),
        hoppings_eV=_blocks(0.0, first_eV, second_eV, third_eV),
        fermi_eV=-3 * second_eV,
        broadening_eV=0.05,
        mean_ldos_per_eV=0.0064,
        source="A. H. Castro Neto et al., Rev. Mod. Phys. 81, 109 (2009)",
    )


def _blocks(same: float, first: float, second: float, third: float) -> dict[tuple[int, int], Floats]:
    """Return blocks of what p_z orbitals have with themselves and their first, second and third neighbours."""
    near = {(0, 1, *cell): first for cell in FIRST_CELLS} | {(0, 1, *cell): third for cell in THIRD_CELLS}
    alike = {(site, site, *cell): second for site, cell in itertools.product((0, 1), SECOND_CELLS)}
    return bonds(2, near | alike | {(site, site, 0, 0): same for site in (0, 1)})


def graphene_to_third_neighbours() -> Material:
    """Return graphene with hops and overlaps to third neighbours, fitted to DFT, in orthogonal orbitals.

    Of the overlapping p_z orbitals, H psi = E S psi, Loewdin's have H' = S^-1/2 H S^-1/2 and the same levels: hops of
    -2.93, 0.22 and -0.27 eV to first, second and third neighbours, and below 0.04 eV beyond.

    References
    ----------
    S. Reich et al., Phys. Rev. B 66, 035412 (2002), doi:10.1103/PhysRevB.66.035412:
    the set for the optical range, as later listings give it.
    """
    near = graphene()
    hops = _orthogonal(_blocks(FAR_ONSITE_eV, *FAR_HOPS_eV), _blocks(1.0, *FAR_OVERLAPS), near)
    return dataclasses.replace(
        near,
        name="graphene-3n",
        hoppings_eV=hops,
        fermi_eV=(FAR_ONSITE_eV - 3 * FAR_HOPS_eV[1]) / (1 - 3 * FAR_OVERLAPS[1]),
        mean_ldos_per_eV=FAR_MEAN_LDOS_per_eV,
        source="S. Reich et al., Phys. Rev. B 66, 035412 (2002)",
    )


Blocks = Mapping[tuple[int, int], Floats]


def _orthogonal(hoppings_eV: Blocks, overlaps: Blocks, of: Material) -> dict[tuple[int, int], Floats]:
    """Return the blocks of S^-1/2 H S^-1/2 up to ``FAR_REACH_nm``, for the sites of a material."""
    sizes, states = np.linalg.eigh(_over_zone(overlaps))
    root = (states / np.sqrt(sizes)[..., None, :]) @ np.conj(np.swapaxes(states, -1, -2))
    blocks = np.fft.fft2(root @ _over_zone(hoppings_eV) @ root, axes=(0, 1)).real / FAR_N_K**2
    opposite = -np.arange(FAR_N_K)
    blocks = (blocks + np.swapaxes(blocks[opposite][:, opposite], -1, -2)) / 2  # to the last bit
    cells = range(-math.ceil(FAR_REACH_nm / A_nm), math.ceil(FAR_REACH_nm / A_nm) + 1)
    lateral_nm, out = of.positions_nm[:, :2], {}
    for u, v in itertools.product(cells, cells):
        ways_nm = lateral_nm - lateral_nm[:, None] + (u, v) @ of.lattice_nm
        near = np.linalg.norm(ways_nm, axis=2) < FAR_REACH_nm
        if near.any():
            out[u, v] = np.where(near, blocks[v, u], 0.0)
    return out


def _over_zone(blocks: Blocks) -> NDArray[np.complex128]:
    """Return sum_R B(R) exp(i k.R) on a grid of the Brillouin zone, (n_k, n_k, 2, 2)."""
    cells = np.zeros((FAR_N_K, FAR_N_K, 2, 2))
    for (u, v), block in blocks.items():
        cells[v, u] = block
    return np.asarray(np.fft.ifft2(cells, axes=(0, 1)) * FAR_N_K**2)
