"""A material as data: lattice, sites, orbitals, hopping blocks, Fermi level, source."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..units import Floats, Ints

ORBITALS = ("s", "pz", "px", "py", "dz2", "dxz", "dyz", "dxy", "dx2-y2")
LAYERS = ("top", "middle", "bottom")
SYMMETRY_ERROR = 1e-12  # relative: what rotating a block leaves
LEAST_DISTANCE_nm = 0.05  # atoms closer than this are a mistake: the shortest bond, of H2, is 0.074 nm


@dataclass(frozen=True)
class Site:
    """An atom of the cell: name, species, layer (top, middle, bottom), position (nm), orbitals (of ``ORBITALS``)."""

    name: str
    species: str
    layer: str
    position_nm: tuple[float, float, float]
    orbitals: tuple[str, ...] = ("s",)

    @property
    def n_orbitals(self) -> int:
        """Number of its orbitals."""
        return len(self.orbitals)


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
    n_filled : int, optional
        Number of bands below the gap; None for a material without one.
    scissor_eV : float
        How much the bands above the gap are raised: H(k) + scissor P_c(k), P_c(k) the projector on them.

    Raises
    ------
    ValueError
        If a block has the wrong shape or a number that is not finite, the Hamiltonian is not symmetric, the lattice
        vectors are parallel, two atoms sit closer than ``LEAST_DISTANCE_nm``, or a layer or an orbital is unknown.
    """

    name: str
    lattice_nm: Floats
    sites: tuple[Site, ...]
    hoppings_eV: Mapping[tuple[int, int], Floats]
    fermi_eV: float
    broadening_eV: float
    mean_ldos_per_eV: float
    source: str
    n_filled: int | None = None
    scissor_eV: float = 0.0

    def __post_init__(self) -> None:
        _check_blocks(self)
        _check_geometry(self)

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

    @functools.cached_property
    def site_orbitals(self) -> tuple[Ints, ...]:
        """The orbitals of each site, (n_orbitals_of_site,)."""
        return tuple(np.flatnonzero(self.orbital_site == site) for site in range(len(self.sites)))

    @functools.cached_property
    def layers(self) -> Ints:
        """The layer of each site, as its position in ``LAYERS``, shape (n_sites,)."""
        return np.array([LAYERS.index(site.layer) for site in self.sites])

    @functools.cached_property
    def site_names(self) -> tuple[str, ...]:
        """The names of the sites."""
        return tuple(site.name for site in self.sites)

    def site_index(self, name: str) -> int:
        """Return the index of a site by its name; ValueError if there is none."""
        return self.site_names.index(name)


def _check_blocks(material: Material) -> None:
    n, name = material.n_orbitals, material.name
    for (u, v), block in material.hoppings_eV.items():
        if block.shape != (n, n):
            raise ValueError(f"{name}: hopping block {u, v} has shape {block.shape}, not {n, n}")
        if not np.isfinite(block).all():
            raise ValueError(f"{name}: H({u}, {v}) has an entry that is not finite")
        partner = material.hoppings_eV.get((-u, -v))
        if partner is None or np.abs(partner - block.T).max() > SYMMETRY_ERROR * np.abs(block).max():
            raise ValueError(f"{name}: H({-u}, {-v}) is not the transpose of H({u}, {v})")
    if material.n_filled is not None and not 0 < material.n_filled < n:
        raise ValueError(f"{name}: {material.n_filled} bands below the gap, of {n}")


def _check_geometry(material: Material) -> None:
    name, (a1, a2) = material.name, material.lattice_nm
    if abs(a1[0] * a2[1] - a1[1] * a2[0]) < LEAST_DISTANCE_nm**2:
        raise ValueError(f"{name}: the lattice vectors are parallel")
    for site in material.sites:
        unknown = [word for word in (site.layer, *site.orbitals) if word not in (*LAYERS, *ORBITALS)]
        if unknown:
            raise ValueError(f"{name}: {site.name}: unknown {unknown[0]!r}; legal: {', '.join((*LAYERS, *ORBITALS))}")
    cells = np.array(list(itertools.product((-1, 0, 1), repeat=2))) @ material.lattice_nm
    for (i, one), (j, other) in itertools.combinations_with_replacement(enumerate(material.sites), 2):
        way = np.subtract(other.position_nm, one.position_nm)
        images = way + np.column_stack([cells, np.zeros(len(cells))])
        distance_nm = np.linalg.norm(images, axis=1)[(i != j) | cells.any(axis=1)]
        if distance_nm.min() < LEAST_DISTANCE_nm:
            raise ValueError(f"{name}: {one.name} and {other.name} are {distance_nm.min():.3g} nm apart")


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
