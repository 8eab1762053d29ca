"""Materials as data: lattice, sites, orbitals, hopping blocks, Fermi level, source."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .units import Floats, Ints


@dataclass(frozen=True)
class Site:
    """An atom of the cell: name, species, layer (top, middle, bottom), position (nm), number of orbitals."""

    name: str
    species: str
    layer: str
    position_nm: tuple[float, float, float]
    n_orbitals: int = 1


@dataclass(frozen=True, eq=False)  # one object a material: hashed by identity, for what is computed once of it
class Material:
    """A crystal with the tight-binding Hamiltonian H(k) = sum_R H(R) exp(i k.R).

    Attributes
    ----------
    lattice_nm : array of shape (2, 2)
        Rows: the lattice vectors a1, a2.
    sites : tuple of Site
        Orbitals are numbered site after site.
    hoppings_eV : mapping of (u, v) to array of shape (n_orbitals, n_orbitals)
        Real blocks H(R) = <cell 0| H |cell R>, R = u a1 + v a2; the on-site block at (0, 0); H(-R) = H(R)^T.
    fermi_eV, broadening_eV : float
        Fermi level, and the default Gaussian broadening (standard deviation) of the density of states.
    mean_ldos_per_eV : float
        Mean density of states of a pristine top atom near the Fermi level, per spin: the sample's share of the
        current's calibration (a fixed constant, so that a scene's images do not depend on another's).
    source : str
        Where the parameters come from.

    Raises
    ------
    ValueError
        If a block has the wrong shape, or the Hamiltonian is not symmetric.
    """

    name: str
    lattice_nm: Floats
    sites: tuple[Site, ...]
    hoppings_eV: Mapping[tuple[int, int], Floats]
    fermi_eV: float
    broadening_eV: float
    mean_ldos_per_eV: float
    source: str

    def __post_init__(self) -> None:
        n = self.n_orbitals
        for (u, v), block in self.hoppings_eV.items():
            if block.shape != (n, n):
                raise ValueError(f"{self.name}: hopping block {u, v} has shape {block.shape}, not {n, n}")
            partner = self.hoppings_eV.get((-u, -v))
            if partner is None or not np.array_equal(partner, block.T):
                raise ValueError(f"{self.name}: H({-u}, {-v}) is not the transpose of H({u}, {v})")

    @functools.cached_property
    def n_orbitals(self) -> int:
        """Number of orbitals in a cell."""
        return sum(site.n_orbitals for site in self.sites)

    @functools.cached_property
    def orbital_site(self) -> Ints:
        """Site index of each orbital, shape (n_orbitals,)."""
        return np.repeat(np.arange(len(self.sites)), [site.n_orbitals for site in self.sites])

    @functools.cached_property
    def positions_nm(self) -> Floats:
        """Positions of the cell's sites, shape (n_sites, 3)."""
        return np.array([site.position_nm for site in self.sites])

    @functools.cached_property
    def to_cells(self) -> Floats:
        """The matrix from positions (x, y) in nm to cells (u, v), shape (2, 2)."""
        return np.asarray(np.linalg.inv(self.lattice_nm))

    @functools.cached_property
    def cell_area_nm2(self) -> float:
        """Area of the unit cell in nm^2."""
        return abs(float(np.linalg.det(self.lattice_nm)))

    @functools.cached_property
    def lattice_constant_nm(self) -> float:
        """Length of the first lattice vector in nm."""
        return float(np.linalg.norm(self.lattice_nm[0]))

    def site_index(self, name: str) -> int:
        """Return the index of a site by its name; ValueError if there is none."""
        return [site.name for site in self.sites].index(name)


def triangular_lattice(a_nm: float) -> Floats:
    """Return the lattice vectors a (1, 0) and a (1/2, sqrt(3)/2), shape (2, 2)."""
    return a_nm * np.array([[1.0, 0.0], [0.5, math.sqrt(3) / 2]])


def bonds(n_orbitals: int, links_eV: Mapping[tuple[int, int, int, int], float]) -> dict[tuple[int, int], Floats]:
    """Return hopping blocks from links (orbital, orbital', u, v) -> energy; each link's reverse is added.

    A link from an orbital to itself in cell (0, 0) is its on-site energy and has no reverse.
    """
    blocks: dict[tuple[int, int], Floats] = {(0, 0): np.zeros((n_orbitals, n_orbitals))}
    for (row, column, u, v), energy in links_eV.items():
        blocks.setdefault((u, v), np.zeros((n_orbitals, n_orbitals)))[row, column] += energy
        if (row, column, u, v) != (column, row, 0, 0):
            blocks.setdefault((-u, -v), np.zeros((n_orbitals, n_orbitals)))[column, row] += energy
    return blocks


def _wse2_one_orbital() -> Material:
    a_nm, hopping_eV = 0.332, 1.19
    se_top, se_bottom, w = 0, 1, 2
    metal_cells = ((0, 0), (0, -1), (1, -1))  # of the three W nearest to a Se of cell (0, 0)
    links = {(se, w, *cell): hopping_eV for se, cell in itertools.product((se_top, se_bottom), metal_cells)}
    return Material(
        name="wse2-s",
        lattice_nm=triangular_lattice(a_nm),
        sites=(
            Site("Se_top", "Se", "top", (0.0, 0.0, 0.0)),
            Site("Se_bottom", "Se", "bottom", (0.0, 0.0, -a_nm)),
            Site("W", "W", "middle", (0.0, a_nm / math.sqrt(3), -a_nm / 2)),
        ),
        hoppings_eV=bonds(3, links),
        fermi_eV=0.0,
        broadening_eV=0.1,
        mean_ldos_per_eV=0.51,  # Se_top, |E - E_F| <= 0.5 eV; test_greens.py::test_mean_ldos_of_wse2
        source="the published one-orbital model: J. Luzny, Synthetic-STM-Imaging (2025)",
    )


MATERIALS: Mapping[str, Material] = {m.name: m for m in (_wse2_one_orbital(),)}
