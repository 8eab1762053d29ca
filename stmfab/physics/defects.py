"""Defects: kinds of change to a perfect crystal, and where they are placed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from . import _defects_kernels
from .greens import Cluster, Perturbation
from .keys import KeyRangeError, check_ranges, key
from .materials import Material
from .structure import TILE_CELLS
from .units import Bools, Floats, Ints

SAME_PLACE_nm, NEAREST = 1e-6, 1.05  # atoms in a column; shells of neighbours: the next is 10 % farther or more
FIRST_CANDIDATES = 12  # candidates drawn a tile, before more are asked for


@dataclass(frozen=True)
class Placed:
    """Defects of one member of a recipe: cells (u, v), shape (n_defects, 2), site index, values, each (n_defects,)."""

    cells: Ints
    site: int
    values: Mapping[str, Floats]

    def kept(self, chosen: np.typing.NDArray[np.bool_]) -> Placed:
        """Return some of the defects, ``chosen`` of shape (n_defects,)."""
        return Placed(self.cells[chosen], self.site, {name: column[chosen] for name, column in self.values.items()})


NO_ORBITALS = np.zeros((0, 3), dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How the defects of one name lie to one another: without these keys anywhere, each for itself."""

    min_distance_nm: float | None = key("least distance between two of them; the density stays", default=None, above=0)
    cluster_n: float | None = key("mean number in a cluster: clusters and members are Poisson", default=None, above=0)
    cluster_radius_nm: float | None = key("radius of a cluster", default=None, above=0)

    def __post_init__(self) -> None:
        check_ranges(self)
        if (self.cluster_n is None) != (self.cluster_radius_nm is None):
            raise KeyRangeError("cluster_n", "one without the other", "given together with cluster_radius_nm")


@dataclass(frozen=True)
class Vacancy(Spread):
    """A missing atom: its orbitals are removed from the Hamiltonian, exactly."""

    site: str = key("site of the material, for example Se_top", fixed=True)
    density_per_nm2: float = key("mean number per area; the count is Poisson", at_least=0)

    @staticmethod
    def sites(material: Material) -> list[str]:
        """Return the sites it can take."""
        return [site.name for site in material.sites]

    @staticmethod
    def perturbation(material: Material, placed: Placed) -> Perturbation:
        """Return the change of the Hamiltonian by some of them."""
        gone = site_orbitals(material, placed.cells, placed.site)
        return Perturbation(gone.reshape(-1, 3), NO_ORBITALS, np.zeros(0))


@dataclass(frozen=True)
class Divacancy(Spread):
    """Two missing atoms, the site's and the one straight below or above it."""

    site: str = key("site of the material with another one below or above it, for example S_top", fixed=True)
    density_per_nm2: float = key("mean number per area; the count is Poisson", at_least=0)

    @staticmethod
    def sites(material: Material) -> list[str]:
        """Return the sites it can take."""
        return [site.name for i, site in enumerate(material.sites) if len(_column(material, i)) == 2]

    @staticmethod
    def perturbation(material: Material, placed: Placed) -> Perturbation:
        """Return the change of the Hamiltonian by some of them."""
        gone = [site_orbitals(material, placed.cells, site) for site in _column(material, placed.site)]
        return Perturbation(np.concatenate([part.reshape(-1, 3) for part in gone]), NO_ORBITALS, np.zeros(0))


@dataclass(frozen=True)
class Dopant(Spread):
    """A foreign atom on a lattice site: the on-site energy of its orbitals is shifted."""

    site: str = key("site of the material, for example Se_top", fixed=True)
    density_per_nm2: float = key("mean number per area; the count is Poisson", at_least=0)
    onsite_eV: float = key("shift of the on-site energy", per_defect=True)

    @staticmethod
    def sites(material: Material) -> list[str]:
        """Return the sites it can take."""
        return [site.name for site in material.sites]

    @staticmethod
    def perturbation(material: Material, placed: Placed) -> Perturbation:
        """Return the change of the Hamiltonian by some of them."""
        orbitals = site_orbitals(material, placed.cells, placed.site)
        shift_eV = np.repeat(placed.values["onsite_eV"], orbitals.shape[1])
        used = shift_eV != 0
        return Perturbation(NO_ORBITALS, orbitals.reshape(-1, 3)[used], shift_eV[used])


@dataclass(frozen=True)
class Substitution(Spread):
    """A foreign atom of the same shells on a lattice site: other on-site energies, stronger or weaker bonds."""

    site: str = key("site of the material, for example Se_top", fixed=True)
    density_per_nm2: float = key("mean number per area; the count is Poisson", at_least=0)
    onsite_eV: float = key("shift of the on-site energy", per_defect=True)
    bond_ratio: float = key("hopping to the nearest atoms, over that of the atom replaced", per_defect=True)
    neighbour_eV: float = key("shift of the on-site energy of the nearest atoms", default=0.0, per_defect=True)

    @staticmethod
    def sites(material: Material) -> list[str]:
        """Return the sites it can take."""
        return [site.name for site in material.sites]

    @staticmethod
    def perturbation(material: Material, placed: Placed) -> Perturbation:
        """Return the change of the Hamiltonian by some of them."""
        own = np.flatnonzero(material.orbital_site == placed.site)
        near, hops_eV = bonds_of(material, placed.site)
        atom = np.concatenate([np.column_stack([np.zeros((len(own), 2), dtype=np.int64), own]), near])
        values = (placed.values[name] for name in ("onsite_eV", "bond_ratio", "neighbour_eV"))
        clusters = []
        for cell, onsite_eV, ratio, neighbour_eV in zip(placed.cells, *values, strict=True):
            matrix = np.diag(np.repeat([onsite_eV, neighbour_eV], [len(own), len(near)]))
            matrix[: len(own), len(own) :] = (ratio - 1) * hops_eV
            matrix[len(own) :, : len(own)] = (ratio - 1) * hops_eV.T
            clusters.append(Cluster(atom + np.append(cell, 0), matrix))
        return Perturbation(NO_ORBITALS, NO_ORBITALS, np.zeros(0), clusters)


Defect: TypeAlias = Vacancy | Dopant | Divacancy | Substitution

DEFECTS: Mapping[str, type[Defect]] = {
    "vacancy": Vacancy,
    "dopant": Dopant,
    "divacancy": Divacancy,
    "substitution": Substitution,
}


def _column(material: Material, site: int) -> list[int]:
    """Return the sites straight above and below one, itself first."""
    beside_nm = np.linalg.norm(material.positions_nm[:, :2] - material.positions_nm[site, :2], axis=1)
    return [site, *(i for i in np.flatnonzero(beside_nm < SAME_PLACE_nm).tolist() if i != site)]


def bonds_of(material: Material, site: int) -> tuple[Ints, Floats]:
    """Return the orbitals (u, v, orbital) of the atoms nearest to a site of cell (0, 0), and its hops to them.

    Shapes (n_near, 3) and (n_own, n_near), in eV. Nearest: within ``NEAREST`` of the shortest distance.
    """
    own = np.flatnonzero(material.orbital_site == site)
    distance_nm = {
        (u, v, other): float(np.linalg.norm(place + np.append(np.array([u, v]) @ material.lattice_nm, 0)))
        for u, v in material.hoppings_eV
        for other, place in enumerate(material.positions_nm - material.positions_nm[site])
        if (u, v, other) != (0, 0, site)
    }
    least_nm = min(distance_nm.values())
    near = [
        (u, v, orbital)
        for (u, v, other), distance in sorted(distance_nm.items())
        if distance < NEAREST * least_nm
        for orbital in np.flatnonzero(material.orbital_site == other).tolist()
    ]
    hops_eV = [material.hoppings_eV[u, v][own, orbital] for u, v, orbital in near]
    return np.array(near), np.column_stack(hops_eV)


def poisson_counts(uniforms: Floats, mean: float) -> Ints:
    """Return Poisson counts by inversion of the distribution function, shape (n,) as ``uniforms``; mean below 700."""
    return np.asarray(_defects_kernels.poisson(uniforms, mean))


def place(
    taken: Bools, *, tiles: Ints, mean_per_tile: float, n_values: int, uniforms: Callable[[int], Floats]
) -> tuple[Ints, Floats]:
    """Return the cells (n_defects, 2) of one member's defects and their uniform numbers (n_defects, n_values).

    In every fixed tile a Poisson number of defects; each takes the tile's next candidate place that is free, so that
    another member, or a larger window, moves nothing else.

    Parameters
    ----------
    taken : array of shape (n_tiles, TILE_CELLS**2)
        Which places of the member's site are occupied; the defects' places are marked.
    tiles : int array of shape (n_tiles, 2)
    uniforms : callable
        n_words -> numbers in (0, 1) of each tile, shape (n_tiles, n_words): the count's, then for each candidate one
        for its place and ``n_values`` more. More words must not change the first ones.

    Raises
    ------
    ArithmeticError
        If a tile has fewer free places than defects.
    """
    stride, n_candidates = 1 + n_values, FIRST_CANDIDATES
    while True:
        words = uniforms(1 + stride * n_candidates)
        most, seated, cells, values = _defects_kernels.place(words, mean_per_tile, tiles, TILE_CELLS, taken, n_values)
        if most:
            raise ArithmeticError(f"{most} defects do not fit the {TILE_CELLS**2} places of a tile")
        if seated:
            return cells, values
        n_candidates *= 2


def site_orbitals(material: Material, cells: Ints, site: int) -> Ints:
    """Return the orbitals (u, v, orbital) of one site in several cells, shape (n_cells, n_orbitals_of_site, 3)."""
    own = np.flatnonzero(material.orbital_site == site)
    out = np.empty((len(cells), len(own), 3), dtype=np.int64)
    out[:, :, :2] = cells[:, None, :]
    out[:, :, 2] = own
    return out


def combined(changes: list[Perturbation]) -> Perturbation:
    """Return several changes of the Hamiltonian as one; without any, the perfect crystal."""
    nothing = Perturbation(np.zeros((0, 3), dtype=np.int64), np.zeros((0, 3), dtype=np.int64), np.zeros(0))
    every = [nothing, *changes]
    return Perturbation(
        np.concatenate([change.removed for change in every]),
        np.concatenate([change.shifted for change in every]),
        np.concatenate([change.shift_eV for change in every]),
        [cluster for change in every for cluster in change.clusters],
        np.concatenate([change.added_eV for change in every]),
    )
