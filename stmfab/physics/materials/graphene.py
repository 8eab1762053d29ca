"""Graphene: one p_z orbital an atom, hops to the first, second and third neighbours."""

from __future__ import annotations

import dataclasses
import itertools
import math

from .material import Material, Site, bonds, triangular_lattice

A_nm = 0.246
FIRST_eV, SECOND_eV, THIRD_eV = -2.7, 0.1, 0.0  # Castro Neto et al., Rev. Mod. Phys. 81, 109 (2009), section II.B
FAR_eV = (
    -3.0933,
    0.19915,
    -0.16214,
)  # Lherbier et al., Phys. Rev. B 86, 075402 (2012): pi bands of DFT to third neighbours
FAR_MEAN_LDOS_per_eV = 0.0062  # over |E| <= 0.5 eV; test_tmd.py
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
    near = {(0, 1, *cell): first_eV for cell in FIRST_CELLS} | {(0, 1, *cell): third_eV for cell in THIRD_CELLS}
    same = {(site, site, *cell): second_eV for site, cell in itertools.product((0, 1), SECOND_CELLS)}
    return Material(
        name="graphene",
        lattice_nm=triangular_lattice(A_nm),
        sites=(
            Site("A", "C", "top", (0.0, 0.0, 0.0), ("pz",)),
            Site("B", "C", "top", (0.0, A_nm / math.sqrt(3), 0.0), ("pz",)),
        ),
        hoppings_eV=bonds(2, near | same),
        fermi_eV=-3 * second_eV,
        broadening_eV=0.05,
        mean_ldos_per_eV=0.0064,
        source="A. H. Castro Neto et al., Rev. Mod. Phys. 81, 109 (2009)",
    )


def graphene_to_third_neighbours() -> Material:
    """Return graphene with hops to its first, second and third neighbours, orthogonal p_z orbitals, fitted to DFT.

    The paper's on-site energy of 0.59745 eV is -E_F here: 3 t2, so that the bands cross at the Fermi level.

    References
    ----------
    A. Lherbier et al., Phys. Rev. B 86, 075402 (2012), doi:10.1103/PhysRevB.86.075402.
    """
    return dataclasses.replace(
        graphene(*FAR_eV),
        name="graphene-3n",
        mean_ldos_per_eV=FAR_MEAN_LDOS_per_eV,
        source="A. Lherbier et al., Phys. Rev. B 86, 075402 (2012)",
    )
