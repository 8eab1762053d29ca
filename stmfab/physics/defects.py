"""Defects: kinds of change to a perfect crystal, and where they are placed."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from . import _defects_kernels, structure
from .greens import Cluster, Perturbation
from .keys import KeyRangeError, check_ranges, key
from .materials import Material
from .structure import TILE_CELLS
from .units import Bools, Floats, Ints

SAME_PLACE_nm, NEAREST = 1e-6, 1.05  # atoms in a column; shells of neighbours: the next is 10 % farther or more
FIRST_CANDIDATES = 12  # candidates drawn a tile, before more are asked for


@dataclass(frozen=True)
class Placed:
    """Defects of one member of a recipe: cells (u, v), shape (n_defects, 2), site index, values, each (n_defects,).

    ``words`` are the values of keys that are words, the same for all.
    """

    cells: Ints
    site: int
    values: Mapping[str, Floats]
    words: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def kept(self, chosen: np.typing.NDArray[np.bool_]) -> Placed:
        """Return some of the defects, ``chosen`` of shape (n_defects,)."""
        values = {name: column[chosen] for name, column in self.values.items()}
        return Placed(self.cells[chosen], self.site, values, self.words)


NO_ORBITALS = np.zeros((0, 3), dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """What the defects of one name are and how they lie to one another: each for itself where no key says otherwise."""

    shared: ClassVar[tuple[str, ...]] = ()  # keys that decide what they do and that all of a name have alike

    species: str | None = key(
        "label of what it is, for example O_S or Cr_W; absent: V_S, Se_W, ... where kind and site tell, or the kind",
        default=None,
        fixed=True,
    )
    source: str | None = key(
        "where its numbers come from, for the record: calibrated, published, or a reference", default=None, fixed=True
    )
    min_distance_nm: float | None = key("least distance between two of them; the density stays", default=None, above=0)
    cluster_n: float | None = key("mean number in a cluster: clusters and members are Poisson", default=None, above=0)
    cluster_radius_nm: float | None = key("radius of a cluster", default=None, above=0)

    def __post_init__(self) -> None:
        check_ranges(self)
        if (self.cluster_n is None) != (self.cluster_radius_nm is None):
            raise KeyRangeError("cluster_n", "one without the other", "given together with cluster_radius_nm")

    @staticmethod
    def species_on(material: Material, site: int) -> str | None:
        """Return the species of one on a site of a material; None where only its kind is known."""
        return None


PERMITTIVITY, SCREENING_nm, DEPTH_nm = 6.0, 4.0, 1.0  # of a charge, where a recipe does not say


@dataclass(frozen=True, kw_only=True)
class CrystalDefect(Spread):
    """A defect of a crystal; a charged one shifts the bands around it, see ``halos``."""

    on_top: ClassVar[bool] = False  # above the top layer, whatever site it stands over
    of_all: ClassVar[tuple[str, ...]] = ("charge", "permittivity", "screening_nm", "depth_nm")

    charge: float | None = key(
        "charge in elementary charges, absent: 0; its screened potential shifts the bands around, up if it is negative",
        default=None,
        at_least=-4,
        at_most=4,
    )
    permittivity: float | None = key(
        f"effective relative permittivity around a charge, absent: {PERMITTIVITY:g}", default=None, at_least=1
    )
    screening_nm: float | None = key(
        f"length over which a charge is screened, absent: {SCREENING_nm:g}", default=None, at_least=0.3, at_most=10
    )
    depth_nm: float | None = key(
        f"how far from the states of the image a charge sits, absent: {DEPTH_nm:g}", default=None, at_least=0.2
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.of_all[1:]:
            if self.charge is None and getattr(self, name) is not None:
                raise KeyRangeError(name, "one without a charge", "given together with charge")

    @staticmethod
    def sites(material: Material) -> list[str]:
        """Return the sites it can take."""
        return [site.name for site in material.sites]

    @staticmethod
    def perturbation(material: Material, placed: Placed) -> Perturbation:
        """Return the change of the Hamiltonian by some of them; here none."""
        return Perturbation(NO_ORBITALS, NO_ORBITALS, np.zeros(0))

    @staticmethod
    def places_nm(material: Material, placed: Placed) -> Floats:
        """Return where some of them are, shape (n_defects, 3)."""
        return structure.positions(material, placed.cells, placed.site)


@dataclass(frozen=True)
class Vacancy(CrystalDefect):
    """A missing atom: its orbitals are removed from the Hamiltonian, exactly.

    Unrelaxed, the nearest atoms keep dangling states: ``neighbour_eV`` moves them, as relaxation and charge do.
    """

    shared: ClassVar[tuple[str, ...]] = ("neighbour_eV",)

    site: str = key("site of the material, for example Se_top", fixed=True)
    density_per_nm2: float = key("mean number per area; the count is Poisson", at_least=0)
    neighbour_eV: float | None = key("shift of the on-site energy of the nearest atoms, absent: 0", default=None)

    @staticmethod
    def species_on(material: Material, site: int) -> str:
        """Return the species of one on a site of a material."""
        return f"V_{material.sites[site].species}"

    @staticmethod
    def perturbation(material: Material, placed: Placed) -> Perturbation:
        """Return the change of the Hamiltonian by some of them."""
        gone = site_orbitals(material, placed.cells, placed.site).reshape(-1, 3)
        if "neighbour_eV" not in placed.values or not placed.values["neighbour_eV"].any():
            return Perturbation(gone, NO_ORBITALS, np.zeros(0))
        near, _ = bonds_of(material, placed.site)
        cells = np.column_stack([placed.cells, np.zeros(len(placed.cells), dtype=np.int64)])
        shift_eV = np.repeat(placed.values["neighbour_eV"], len(near))
        return Perturbation(gone, (cells[:, None] + near).reshape(-1, 3), shift_eV)


@dataclass(frozen=True)
class Divacancy(CrystalDefect):
    """Two missing atoms, the site's and the one straight below or above it."""

    site: str = key("site of the material with another one below or above it, for example S_top", fixed=True)
    density_per_nm2: float = key("mean number per area; the count is Poisson", at_least=0)

    @staticmethod
    def sites(material: Material) -> list[str]:
        """Return the sites it can take."""
        return [site.name for i, site in enumerate(material.sites) if len(_column(material, i)) == 2]

    @staticmethod
    def species_on(material: Material, site: int) -> str:
        """Return the species of one on a site of a material."""
        return f"{Vacancy.species_on(material, site)}2"

    @staticmethod
    def perturbation(material: Material, placed: Placed) -> Perturbation:
        """Return the change of the Hamiltonian by some of them."""
        gone = [site_orbitals(material, placed.cells, site) for site in _column(material, placed.site)]
        return Perturbation(np.concatenate([part.reshape(-1, 3) for part in gone]), NO_ORBITALS, np.zeros(0))


@dataclass(frozen=True)
class LateralDivacancy(CrystalDefect):
    """Two missing atoms side by side: the site's and one of the nearest of its layer. Its place is half-way."""

    site: str = key("site of the material, for example S_top", fixed=True)
    density_per_nm2: float = key("mean number per area; the count is Poisson", at_least=0)
    direction_deg: float = key(
        "where the second atom is, from the sample's x: of the nearest ones that in the nearest direction",
        default=0.0,
        per_defect=True,
    )

    @staticmethod
    def species_on(material: Material, site: int) -> str:
        """Return the species of one on a site of a material."""
        return "+".join(2 * [Vacancy.species_on(material, site)])

    @staticmethod
    def perturbation(material: Material, placed: Placed) -> Perturbation:
        """Return the change of the Hamiltonian by some of them."""
        cells, sites = _second_atoms(material, placed)
        gone = [site_orbitals(material, placed.cells, placed.site).reshape(-1, 3)]
        gone += [site_orbitals(material, cells[n : n + 1], site)[0] for n, site in enumerate(sites.tolist())]
        return Perturbation(np.concatenate(gone), NO_ORBITALS, np.zeros(0))

    @staticmethod
    def places_nm(material: Material, placed: Placed) -> Floats:
        """Return where some of them are, shape (n_defects, 3)."""
        second_nm = structure.positions(material, *_second_atoms(material, placed))
        return (CrystalDefect.places_nm(material, placed) + second_nm) / 2


@dataclass(frozen=True)
class Dopant(CrystalDefect):
    """A foreign atom on a lattice site: the on-site energy of its orbitals is shifted."""

    site: str = key("site of the material, for example Se_top", fixed=True)
    density_per_nm2: float = key("mean number per area; the count is Poisson", at_least=0)
    onsite_eV: float = key("shift of the on-site energy", per_defect=True)

    @staticmethod
    def perturbation(material: Material, placed: Placed) -> Perturbation:
        """Return the change of the Hamiltonian by some of them."""
        orbitals = site_orbitals(material, placed.cells, placed.site)
        shift_eV = np.repeat(placed.values["onsite_eV"], orbitals.shape[1])
        used = shift_eV != 0
        return Perturbation(NO_ORBITALS, orbitals.reshape(-1, 3)[used], shift_eV[used])


@dataclass(frozen=True)
class Substitution(CrystalDefect):
    """A foreign atom of the same shells on a lattice site: other on-site energies, stronger or weaker bonds."""

    site: str = key("site of the material, for example Se_top", fixed=True)
    density_per_nm2: float = key("mean number per area; the count is Poisson", at_least=0)
    onsite_eV: float = key("shift of the on-site energy", per_defect=True)
    bond_ratio: float = key("hopping to the nearest atoms, over that of the atom replaced", per_defect=True)
    neighbour_eV: float = key("shift of the on-site energy of the nearest atoms", default=0.0, per_defect=True)

    @staticmethod
    def perturbation(material: Material, placed: Placed) -> Perturbation:
        """Return the change of the Hamiltonian by some of them."""
        own = material.site_orbitals[placed.site]
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


def _column(material: Material, site: int) -> list[int]:
    """Return the sites straight above and below one, itself first."""
    beside_nm = np.linalg.norm(material.positions_nm[:, :2] - material.positions_nm[site, :2], axis=1)
    return [site, *(i for i in np.flatnonzero(beside_nm < SAME_PLACE_nm).tolist() if i != site)]


def _second_atoms(material: Material, placed: Placed) -> tuple[Ints, Ints]:
    """Return the second atoms of lateral divacancies: cells (u, v), (n_defects, 2), and sites, (n_defects,)."""
    cells = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=2)))
    own_nm = material.positions_nm[placed.site]
    same = np.flatnonzero(np.abs(material.positions_nm[:, 2] - own_nm[2]) < SAME_PLACE_nm)
    cells, sites = np.repeat(cells, len(same), axis=0), np.tile(same, len(cells))
    x_nm, y_nm = (structure.positions(material, cells, sites) - own_nm)[:, :2].T
    away_nm = np.hypot(x_nm, y_nm)
    near = (away_nm > SAME_PLACE_nm) & (away_nm < NEAREST * away_nm[away_nm > SAME_PLACE_nm].min())
    ways = np.arctan2(y_nm, x_nm)[near] - np.radians(placed.values["direction_deg"])[:, None]
    chosen = np.flatnonzero(near)[np.cos(ways).argmax(axis=1)]
    return placed.cells + cells[chosen], sites[chosen]


@functools.lru_cache(maxsize=64)
def bonds_of(material: Material, site: int) -> tuple[Ints, Floats]:
    """Return the orbitals (u, v, orbital) of the atoms nearest to a site of cell (0, 0), and its hops to them.

    Shapes (n_near, 3) and (n_own, n_near), in eV. Nearest: within ``NEAREST`` of the shortest distance.
    """
    own = material.site_orbitals[site]
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
        for orbital in material.site_orbitals[other].tolist()
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
    own = material.site_orbitals[site]
    out = np.empty((len(cells), len(own), 3), dtype=np.int64)
    out[:, :, :2] = cells[:, None, :]
    out[:, :, 2] = own
    return out


def combined(changes: list[Perturbation], *, n_orbitals: int) -> Perturbation:
    """Return several changes of the Hamiltonian as one; without any, the perfect crystal of ``n_orbitals`` a cell."""
    every = [Perturbation(NO_ORBITALS, NO_ORBITALS, np.zeros(0)), *changes]
    lattice = (
        np.concatenate([change.removed for change in every]),
        np.concatenate([change.shifted for change in every]),
        np.concatenate([change.shift_eV for change in every]),
    )
    if not any(change.clusters or len(change.added_eV) for change in changes):
        return Perturbation(*lattice)
    before = np.cumsum([0, *(len(change.added_eV) for change in every)])
    return Perturbation(
        *lattice,
        [
            _renumbered(cluster, n_orbitals, number)
            for change, number in zip(every, before, strict=False)
            for cluster in change.clusters
        ],
        np.concatenate([change.added_eV for change in every]),
        np.concatenate([change.added_nm for change in every]),
        tuple(orbital for change in every for orbital in change.added_orbitals),
    )


def _renumbered(cluster: Cluster, n_orbitals: int, number: int) -> Cluster:
    """Return a cluster whose added orbitals are numbered from ``number`` on."""
    if not number or (cluster.orbitals[:, 2] < n_orbitals).all():
        return cluster
    added = cluster.orbitals[:, 2:] >= n_orbitals
    return Cluster(cluster.orbitals + np.where(added, [0, 0, number], 0), cluster.matrix_eV)
