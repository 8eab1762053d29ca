"""Hoppings between two atoms from two-centre integrals of Slater and Koster."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..units import Floats

SHELL = {"s": "s", "pz": "p", "px": "p", "py": "p", "dz2": "d", "dxz": "d", "dyz": "d", "dxy": "d", "dx2-y2": "d"}
X, Y, Z = np.eye(3)
TENSORS: Mapping[str, Floats] = {
    "s": np.array(1.0),
    "px": X,
    "py": Y,
    "pz": Z,
    "dxy": np.outer(X, Y) + np.outer(Y, X),
    "dxz": np.outer(X, Z) + np.outer(Z, X),
    "dyz": np.outer(Y, Z) + np.outer(Z, Y),
    "dx2-y2": np.outer(X, X) - np.outer(Y, Y),
    "dz2": (2 * np.outer(Z, Z) - np.outer(X, X) - np.outer(Y, Y)) / math.sqrt(3),
}
ABOUT_Z = {  # orbitals of each shell by their momentum about the bond: sigma, pi, delta
    "s": (("s",),),
    "p": (("pz",), ("px", "py")),
    "d": (("dz2",), ("dxz", "dyz"), ("dxy", "dx2-y2")),
}
BONDS = ("sigma", "pi", "delta")
INTEGRALS = tuple(
    f"{one}{other}_{bond}_eV"
    for one, other in ("ss", "sp", "sd", "pp", "pd", "dd")
    for bond in BONDS[: min(len(ABOUT_Z[one]), len(ABOUT_Z[other]))]
)


def hops(row: Sequence[str], column: Sequence[str], way_nm: Floats, integrals_eV: Mapping[str, float]) -> Floats:
    """Return the hops from orbitals of one atom to those of another one ``way_nm`` (3,) away, (n_row, n_column).

    <row| H |column> = sum_m V_m <row|m> <m|column>, m about the bond; V_ba = (-1)^(l_a + l_b) V_ab.

    References
    ----------
    J. C. Slater and G. F. Koster, Phys. Rev. 94, 1498 (1954), doi:10.1103/PhysRev.94.1498, table I.
    """
    overlaps = _overlaps({*row, *column}, _turn_from_z(way_nm / np.linalg.norm(way_nm)))
    out = np.zeros((len(row), len(column)))
    for i, bra in enumerate(row):
        for j, ket in enumerate(column):
            one, other = SHELL[bra], SHELL[ket]
            swapped = "spd".index(one) > "spd".index(other)
            pair = other + one if swapped else one + other
            sign = (-1) ** ("spd".index(one) + "spd".index(other)) if swapped else 1
            for bond, bras, kets in zip(BONDS, ABOUT_Z[one], ABOUT_Z[other], strict=False):
                through = sum(overlaps[bra, m] * overlaps[ket, n] for m, n in zip(bras, kets, strict=True))
                out[i, j] += sign * integrals_eV.get(f"{pair}_{bond}_eV", 0.0) * through
    return out


def _turn_from_z(way: Floats) -> Floats:
    """Return a rotation that takes z to a unit vector."""
    across = np.cross(Z, way) if np.hypot(way[0], way[1]) > 1e-9 else X  # any perpendicular one along z itself
    across = across / np.linalg.norm(across)
    return np.column_stack([across, np.cross(way, across), way])


def _overlaps(orbitals: Iterable[str], turn: Floats) -> dict[tuple[str, str], float]:
    """Return <orbital | turned orbital> of orbitals and, turned, all those of their shells."""
    tensors = {orbital: TENSORS[orbital] for orbital in orbitals}
    found: dict[tuple[str, str], float] = {}
    for about_z in sorted({each for orbital in tensors for each in itertools.chain(*ABOUT_Z[SHELL[orbital]])}):
        turned = TENSORS[about_z]
        for axis in range(turned.ndim):
            turned = np.moveaxis(np.tensordot(turn, turned, axes=(1, axis)), 0, axis)
        own = {orbital: tensor for orbital, tensor in tensors.items() if SHELL[orbital] == SHELL[about_z]}
        found |= {(orbital, about_z): float((t * turned).sum() / max(1, t.ndim)) for orbital, t in own.items()}
    return found
