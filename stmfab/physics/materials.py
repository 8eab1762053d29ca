"""Materials as data: lattice, sites, orbitals, hopping blocks, Fermi level, source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .units import Floats


@dataclass(frozen=True)
class Site:
    """An atom of the cell: name, species, layer (top, middle, bottom), position (nm), number of orbitals."""

    name: str
    species: str
    layer: str
    position_nm: tuple[float, float, float]
    n_orbitals: int = 1


@dataclass(frozen=True)
class Material:
    """A crystal with a tight-binding Hamiltonian H(k) = sum_R H(R) exp(i k.R), H(R) between cell 0 (row) and cell R."""

    name: str
    lattice_nm: Floats  # (2, 2), rows a1, a2
    sites: tuple[Site, ...]
    hoppings_eV: Mapping[tuple[int, int], Floats]  # (u, v) -> (n_orbitals, n_orbitals); on-site block at (0, 0)
    fermi_eV: float
    broadening_eV: float
    source: str


MATERIALS: Mapping[str, Material] = {}
