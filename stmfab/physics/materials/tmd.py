"""Monolayers of MoS2, MoSe2, WS2 and WSe2: chalcogen p and metal d orbitals, by first-principles Wannier functions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from scipy import linalg

from ..units import Floats
from .material import Material, Site, triangular_lattice
from .spin import with_spin_orbit

NAMES = ("MoS2", "MoSe2", "WS2", "WSe2")  # the order of all columns below
LATTICE_nm = (0.31824, 0.33174, 0.31817, 0.33155)
THICKNESS_nm = (0.3130, 0.3345, 0.3144, 0.3363)  # between the chalcogen planes; Liu et al., PRB 88, 085433 (2013)
GAP_eV = (2.24, 2.22, 2.63, 2.27)  # measured by tunnelling: Nat. Commun. 13, 4648 (2022), table 1
# of the published model, valence and conduction band; test_tmd.py
MODEL_EDGES_eV = ((0.06170, 1.77279), (-0.05079, 1.51731), (0.04290, 1.99889), (0.01995, 1.68642))
MEAN_LDOS_per_eV = (0.252, 0.286, 0.204, 0.213)  # of a top chalcogen, over 1 eV outside each band edge; test_tmd.py
# the same with spin-orbit coupling lambda L_z S_z, both spins together
SPIN_ORBIT_eV = {"Mo": 0.0836, "W": 0.2874, "S": 0.0556, "Se": 0.2470}
SPIN_EDGES_eV = ((0.06170, 1.76830), (0.03992, 1.49778), (0.27692, 1.99537), (0.27593, 1.67121))
SPIN_MEAN_LDOS_per_eV = (0.502, 0.529, 0.347, 0.340)  # of a top chalcogen, both spins; test_tmd.py
BROADENING_eV = 0.05
N_FILLED = 7  # bands below the gap, per spin: two p shells and one d band

# Fang et al., the table; columns: MoS2, MoSe2, WS2, WSe2; orbitals numbered as in the paper, from 1
ONSITE_eV = {
    1: (1.0688, 0.78192, 1.3754, 1.0349),
    3: (-0.77546, -0.65672, -1.1278, -0.95728),
    4: (-1.2902, -1.1726, -1.5534, -1.3937),
    6: (-0.138, -0.22974, -0.039259, -0.16674),
    7: (0.08738, 0.014947, 0.19844, 0.098437),
    9: (-2.8949, -2.9015, -3.3706, -3.3642),
    10: (-1.9065, -1.7806, -2.3461, -2.182),
}
SAME_eV = {
    (1, 1): (-0.2069, -0.14602, -0.20109, -0.13951),
    (2, 2): (0.032345, 0.017738, 0.026255, 0.012861),
    (3, 3): (-0.17385, -0.21122, -0.17491, -0.21706),
    (4, 4): (0.86513, 0.9638, 0.87261, 0.97629),
    (5, 5): (-0.18725, -0.17242, -0.21869, -0.19847),
    (6, 6): (-0.29791, -0.26363, -0.37161, -0.33299),
    (7, 7): (0.2747, 0.25053, 0.35371, 0.31903),
    (8, 8): (-0.55809, -0.47341, -0.68916, -0.58366),
    (9, 9): (-0.19158, -0.2166, -0.2112, -0.23985),
    (10, 10): (0.91215, 0.99107, 0.96733, 1.047),
    (11, 11): (0.0058631, -0.0036331, 0.014269, 0.0029342),
    (3, 5): (-0.067891, -0.07347, -0.081777, -0.091183),
    (6, 8): (0.40961, 0.35202, 0.48965, 0.42334),
    (9, 11): (0.007516, 0.0047333, -0.031484, -0.037681),
    (1, 2): (-0.25616, -0.19118, -0.31058, -0.2321),
    (3, 4): (-0.099527, -0.075456, -0.11054, -0.079716),
    (4, 5): (-0.070508, -0.068039, -0.098891, -0.09203),
    (6, 7): (-0.1145, -0.096031, -0.14665, -0.12498),
    (7, 8): (-0.24872, -0.20118, -0.30304, -0.24558),
    (9, 10): (0.10626, 0.12163, 0.16454, 0.18574),
    (10, 11): (-0.038544, -0.039403, -0.10178, -0.10266),
}
BOND_eV = {
    (4, 1): (-0.7883, -0.69463, -0.88549, -0.77438),
    (3, 2): (-1.379, -1.3258, -1.4376, -1.4014),
    (5, 2): (2.1584, 1.9415, 2.3121, 2.0858),
    (9, 6): (-0.88356, -0.77195, -1.013, -0.8998),
    (11, 6): (-0.94019, -0.87375, -0.98778, -0.90437),
    (10, 7): (1.4114, 1.2677, 1.5629, 1.403),
    (9, 8): (-0.95348, -0.85776, -0.94906, -0.8548),
    (11, 8): (0.65168, 0.55453, 0.67181, 0.57113),
}
LONG_BOND_eV = {
    (9, 6): (-0.068597, -0.069127, -0.065943, -0.067618),
    (11, 6): (-0.14979, -0.15531, -0.15333, -0.16076),
    (9, 8): (-0.22048, -0.2227, -0.26184, -0.26179),
    (11, 8): (-0.24507, -0.21537, -0.27364, -0.24244),
}
SAME_ONSITE = {2: 1, 5: 4, 8: 7, 11: 10}
# cells of the hop along (a, 0), of the bond from a chalcogen to the metal at (0, a/sqrt3), of that to (0, -2a/sqrt3);
# each after the first is the one before turned by 120 degrees
SAME_CELLS = ((1, 0), (-1, 1), (0, -1))
BOND_CELLS = ((0, 0), (0, -1), (1, -1))
LONG_BOND_CELLS = ((1, -2), (1, 0), (-1, 0))
N_ORBITALS = 11
ANTISYMMETRIC = ((1, 2), (3, 4), (4, 5), (6, 7), (7, 8), (9, 10), (10, 11))
P, D = ("pz", "px", "py"), ("dz2", "dxz", "dyz", "dxy", "dx2-y2")
METAL = (6, 1, 2, 7, 8)  # the paper's numbers of D
ODD_P, EVEN_P = (3, 4, 5), (9, 10, 11)  # the paper's numbers of P, combined over the two chalcogens


def monolayer(name: str) -> Material:
    """Return a monolayer with 11 orbitals a cell, without spin-orbit coupling, its gap widened to the measured one.

    The paper's chalcogen orbitals are even and odd under the mirror; here they are those of the top and the bottom
    atom, so that one atom alone can be removed.

    References
    ----------
    S. Fang et al., Phys. Rev. B 92, 205108 (2015), doi:10.1103/PhysRevB.92.205108; the authors' parameter file.
    Gaps: Nat. Commun. 13, 4648 (2022), doi:10.1038/s41467-022-32439-1, table 1 (one method for all four).
    """
    column = NAMES.index(name)
    metal, chalcogen = name[:-1].partition("S")[0], name[len(name.partition("S")[0]) : -1]
    a_nm, thickness_nm = LATTICE_nm[column], THICKNESS_nm[column]
    top_eV, bottom_eV = MODEL_EDGES_eV[column]
    return Material(
        name=name.lower(),
        lattice_nm=triangular_lattice(a_nm),
        sites=(
            Site(f"{chalcogen}_top", chalcogen, "top", (0.0, 0.0, 0.0), P),
            Site(f"{chalcogen}_bottom", chalcogen, "bottom", (0.0, 0.0, -thickness_nm), P),
            Site(metal, metal, "middle", (0.0, a_nm / math.sqrt(3), -thickness_nm / 2), D),
        ),
        hoppings_eV=_by_site(_by_parity(column)),
        fermi_eV=top_eV + GAP_eV[column] / 2,
        broadening_eV=BROADENING_eV,
        mean_ldos_per_eV=MEAN_LDOS_per_eV[column],
        source="S. Fang et al., Phys. Rev. B 92, 205108 (2015); gap: Nat. Commun. 13, 4648 (2022)",
        n_filled=N_FILLED,
        scissor_eV=GAP_eV[column] - (bottom_eV - top_eV),
    )


def monolayer_with_spin(name: str) -> Material:
    """Return a monolayer with spin-orbit coupling: 22 orbitals a cell, the same gap, the Fermi level in its middle.

    References
    ----------
    S. Fang et al., Phys. Rev. B 92, 205108 (2015), the atoms' coupling; ``with_spin_orbit``.
    """
    column = NAMES.index(name)
    top_eV, bottom_eV = SPIN_EDGES_eV[column]
    return dataclasses.replace(
        with_spin_orbit(monolayer(name), SPIN_ORBIT_eV),
        fermi_eV=top_eV + GAP_eV[column] / 2,
        mean_ldos_per_eV=SPIN_MEAN_LDOS_per_eV[column],
        scissor_eV=GAP_eV[column] - (bottom_eV - top_eV),
    )


def _by_parity(column: int) -> dict[tuple[int, int], Floats]:
    """Return the hopping blocks between the paper's orbitals: each kind of hop, turned twice by 120 degrees."""
    onsite_eV = [ONSITE_eV[SAME_ONSITE.get(number, number)][column] for number in range(1, N_ORBITALS + 1)]
    blocks = {(0, 0): np.diag(onsite_eV)}
    same = _filled(SAME_eV, column)
    same = same + same.T - np.diag(np.diag(same))
    for row, other in ANTISYMMETRIC:
        same[row - 1, other - 1] *= -1
    kinds = (SAME_CELLS, same), (BOND_CELLS, _filled(BOND_eV, column)), (LONG_BOND_CELLS, _filled(LONG_BOND_eV, column))
    for cells, hop in kinds:
        for power, (u, v) in enumerate(cells):
            turn = np.linalg.matrix_power(_third_of_a_turn(), power)
            turned = turn @ hop @ turn.T
            blocks[u, v] = blocks.get((u, v), np.zeros_like(hop)) + turned
            blocks[-u, -v] = blocks.get((-u, -v), np.zeros_like(hop)) + turned.T
    return blocks


def _filled(table_eV: Mapping[tuple[int, int], tuple[float, ...]], column: int) -> Floats:
    """Return a table's hops of one material as a matrix between the paper's orbitals."""
    hop = np.zeros((N_ORBITALS, N_ORBITALS))
    for (row, other), energies in table_eV.items():
        hop[row - 1, other - 1] = energies[column]
    return hop


def _third_of_a_turn() -> Floats:
    """Return what a turn by 120 degrees makes of the paper's orbitals: column i holds the turned orbital i."""
    cos, sin = math.cos(2 * math.pi / 3), math.sin(2 * math.pi / 3)
    vector = np.array([[cos, -sin], [sin, cos]])  # of (x, y): p and d_xz, d_yz
    double = np.array([[cos, -sin], [sin, cos]])  # of (d_xy, d_x2-y2), by the angle -2 (120 degrees) = 120 degrees
    return np.asarray(linalg.block_diag(vector, 1, vector, 1, double, 1, vector))


def _by_site(blocks: Mapping[tuple[int, int], Floats]) -> dict[tuple[int, int], Floats]:
    """Return blocks between the paper's orbitals as blocks between those of the sites: top, bottom, metal."""
    change = np.zeros((N_ORBITALS, N_ORBITALS))
    half = math.sqrt(0.5)
    for i, (odd, even) in enumerate(zip(ODD_P, EVEN_P, strict=True)):
        sign = 1 if i == 0 else -1  # p_z odd = (top + bottom)/sqrt2, p_x and p_y odd = (top - bottom)/sqrt2
        change[i, [odd - 1, even - 1]] = half
        change[i + 3, [odd - 1, even - 1]] = sign * half, -sign * half
    for i, number in enumerate(METAL):
        change[i + 6, number - 1] = 1.0
    return {cell: change @ block @ change.T for cell, block in blocks.items()}
