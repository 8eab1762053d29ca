"""Defects of crystals made of atoms that the lattice has not: antisites, adatoms, and the table of every kind.

A guest is a set of added orbitals bound to the nearest atoms of the lattice by two-centre integrals.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from . import structure
from .defects import (
    NEAREST,
    NO_ORBITALS,
    CrystalDefect,
    Divacancy,
    Dopant,
    LateralDivacancy,
    Placed,
    Substitution,
    Vacancy,
    combined,
    site_orbitals,
)
from .greens import Cluster, Perturbation
from .keys import key
from .materials import Material, two_centre
from .units import Floats, Ints

KINETIC_eV_nm2 = 0.0762  # hbar^2 / m
HARRISON = {"ss_sigma": -1.40, "pp_sigma": 3.24, "pp_pi": -0.81, "dd_sigma": -16.2, "dd_pi": 8.75, "dd_delta": 0.0}
D_RADIUS_nm = {
    "Mo": 0.122,
    "W": 0.127,
}  # r_d of the d shells; with HARRISON: Electronic Structure, 1980, tables 2-1, 15-1
CELLS = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=2)))  # (v, u) around a guest's
PLANE_nm = 0.05  # atoms this much below the highest are of the top layer
SPOTS = 24  # places along each side of a cell among which a hollow is looked for: halves and thirds


def nearest_atoms(material: Material, place_nm: Floats, *, without: int | None = None) -> tuple[Ints, Floats]:
    """Return the atoms (u, v, site) nearest to a place by cell (0, 0), and the ways there, (n, 3) each.

    Those within ``NEAREST`` of the shortest distance; ``without`` is a site of the cell (0, 0) that does not count.
    """
    n_sites = len(material.sites)
    atoms = np.column_stack([np.repeat(CELLS[:, ::-1], n_sites, axis=0), np.tile(np.arange(n_sites), len(CELLS))])
    if without is not None:
        atoms = atoms[(atoms != (0, 0, without)).any(axis=1)]
    ways_nm = structure.positions(material, atoms[:, :2], atoms[:, 2]) - place_nm
    distance_nm = np.linalg.norm(ways_nm, axis=1)
    near = distance_nm < NEAREST * distance_nm.min()
    return atoms[near], ways_nm[near]


def bound(
    material: Material,
    cell: Ints,
    place_nm: Floats,
    orbitals: Sequence[str],
    *,
    onsite_eV: float,
    atoms: Ints,
    hops_eV: Sequence[Floats],
    own_eV: Floats | None = None,
) -> Perturbation:
    """Return what a guest changes: orbitals at a place of a cell (u, v), bound to atoms (u, v, site) of cell (0, 0).

    ``hops_eV`` are those from the guest's orbitals to each atom's, (n_orbitals, n_of_atom), ``own_eV`` those among
    them.
    """
    n = len(orbitals)
    own = np.column_stack([np.zeros((n, 2), dtype=np.int64), material.n_orbitals + np.arange(n)])
    theirs = [site_orbitals(material, atom[None, :2], int(atom[2]))[0] for atom in atoms]
    near, hops = np.concatenate(theirs), np.concatenate(list(hops_eV), axis=1)
    matrix = np.zeros((n + len(near), n + len(near)))
    matrix[:n, n:], matrix[n:, :n] = hops, hops.T
    if own_eV is not None:
        matrix[:n, :n] = own_eV
    cluster = Cluster(np.concatenate([own, near]) + np.append(cell, 0), matrix)
    at_nm = place_nm + np.append(cell @ material.lattice_nm, 0.0)
    return Perturbation(
        NO_ORBITALS,
        NO_ORBITALS,
        np.zeros(0),
        [cluster],
        np.full(n, onsite_eV),
        np.tile(at_nm, (n, 1)),
        tuple(orbitals),
    )


def _copies(orbitals: Sequence[str]) -> Ints:
    """Return which copy of its like each orbital of an atom is: with spin-orbit coupling there are two."""
    return np.array([orbitals[:i].count(name) for i, name in enumerate(orbitals)])


def _hops(row: Sequence[str], column: Sequence[str], way_nm: Floats, integrals_eV: Mapping[str, float]) -> Floats:
    """Return ``two_centre.hops`` from each copy of one atom's orbitals to the same copy of another's: spins stay."""
    same = _copies(row)[:, None] == _copies(column)
    return np.asarray(two_centre.hops(row, column, way_nm, integrals_eV) * same)


def _spin_orbit(material: Material, site: int) -> Floats:
    """Return what couples the copies of a site's orbitals, its spin-orbit coupling as in ``with_spin_orbit``."""
    own, copy = material.site_orbitals[site], _copies(material.sites[site].orbitals)
    return np.asarray(material.hoppings_eV[0, 0][np.ix_(own, own)] * (copy[:, None] != copy))


@dataclass(frozen=True)
class Antisite(CrystalDefect):
    """An atom of the crystal's other species on a site, bound to the nearest atoms, of its own, by Harrison's rule.

    Where the material has spin-orbit coupling, it has that of its species.
    """

    site: str = key("site of the material, for example W or Se_top", fixed=True)
    density_per_nm2: float = key("mean number per area; the count is Poisson", at_least=0)
    onsite_eV: float = key("level of its orbitals from the Fermi level", per_defect=True)
    bond_ratio: float = key("hopping to the nearest atoms, over Harrison's", default=1.0, per_defect=True)
    rise_nm: float = key("how far it stands above its site", default=0.0, at_least=-0.1, at_most=0.25, per_defect=True)

    @staticmethod
    def sites(material: Material) -> list[str]:
        """Return the sites it can take."""
        return [site.name for i, site in enumerate(material.sites) if _other(material, i) is not None]

    @staticmethod
    def species_on(material: Material, site: int) -> str:
        """Return the species of one on a site of a material."""
        other = _other(material, site)
        assert other is not None  # sites
        return f"{material.sites[other].species}_{material.sites[site].species}"

    @staticmethod
    def perturbation(material: Material, placed: Placed) -> Perturbation:
        """Return the change of the Hamiltonian by some of them."""
        other = _other(material, placed.site)
        assert other is not None  # sites
        orbitals, own_eV = material.sites[other].orbitals, _spin_orbit(material, other)
        atoms, ways_nm = nearest_atoms(material, material.positions_nm[placed.site], without=placed.site)
        names = [material.sites[atom[2]].orbitals for atom in atoms]
        changes = [Vacancy.perturbation(material, placed)]

        @functools.cache
        def harrisons(rise_nm: float) -> list[Floats]:
            """Return the hops to the atoms around, by Harrison's rule: the same for all that stand as high."""
            ways = [way - np.array([0.0, 0.0, rise_nm]) for way in ways_nm]
            about = zip(names, ways, strict=True)
            return [_hops(orbitals, theirs, way, _harrison(material, other, way)) for theirs, way in about]

        values = (placed.values[name].tolist() for name in ("onsite_eV", "bond_ratio", "rise_nm"))
        for cell, onsite_eV, ratio, rise_nm in zip(placed.cells, *values, strict=True):
            hops_eV = [ratio * hops for hops in harrisons(rise_nm)]
            place_nm = material.positions_nm[placed.site] + np.array([0.0, 0.0, rise_nm])
            at = material, cell, place_nm, orbitals
            changes.append(bound(*at, onsite_eV=onsite_eV, atoms=atoms, hops_eV=hops_eV, own_eV=own_eV))
        return combined(changes, n_orbitals=material.n_orbitals)

    @staticmethod
    def places_nm(material: Material, placed: Placed) -> Floats:
        """Return where some of them are, shape (n_defects, 3)."""
        places = CrystalDefect.places_nm(material, placed)
        places[:, 2] += placed.values["rise_nm"]
        return places


def _other(material: Material, site: int) -> int | None:
    """Return the site whose atom an antisite puts on a site: of the nearest species, if hops to that are known."""
    atoms, _ = nearest_atoms(material, material.positions_nm[site], without=site)
    other = int(atoms[0, 2])
    shells = {two_centre.SHELL[orbital] for orbital in material.sites[other].orbitals}
    species = material.sites[other].species
    known = shells in ({"s"}, {"p"}) or (shells == {"d"} and species in D_RADIUS_nm)
    return other if known and species != material.sites[site].species else None


def _harrison(material: Material, site: int, way_nm: Floats) -> dict[str, float]:
    """Return the two-centre integrals between two atoms of a site's species.

    V = eta hbar^2 / (m d^2), of d shells eta hbar^2 r_d^3 / (m d^5).

    References
    ----------
    W. A. Harrison, Electronic Structure and the Properties of Solids (1980), eqs. 2-4 and 15-19.
    """
    distance_nm, species = float(np.linalg.norm(way_nm)), material.sites[site].species
    radius_nm = D_RADIUS_nm.get(species, 0.0)
    return {
        f"{name}_eV": eta
        * KINETIC_eV_nm2
        * (radius_nm**3 / distance_nm**5 if name.startswith("dd") else distance_nm**-2)
        for name, eta in HARRISON.items()
    }


@dataclass(frozen=True)
class Adatom(CrystalDefect):
    """An atom on the surface: one orbital, bound to the nearest atoms of the lattice.

    None of its orbitals turns about the normal: spin-orbit coupling L_z S_z leaves each of the two spins one of them.
    """

    on_top: ClassVar[bool] = True

    site: str = key("site of the material that it stands over or beside", fixed=True)
    density_per_nm2: float = key("mean number per area; the count is Poisson", at_least=0)
    height_nm: float = key("height over the top layer", at_least=0.05, at_most=0.35, per_defect=True)
    onsite_eV: float = key("level of its orbital from the Fermi level", per_defect=True)
    hopping_eV: float = key("sigma hopping to each of the nearest atoms", per_defect=True)
    position: str = key(
        "over the site, half-way to the next atom of the top layer, or in the widest gap beside it",
        default="top",
        one_of=("top", "bridge", "hollow"),
        fixed=True,
    )
    orbital: str = key("its orbital", default="s", one_of=("s", "pz", "dz2"), fixed=True)

    @staticmethod
    def perturbation(material: Material, placed: Placed) -> Perturbation:
        """Return the change of the Hamiltonian by some of them."""
        orbital = (1 + int(_copies(material.sites[0].orbitals).max())) * (placed.words["orbital"],)
        beside_nm, changes = _beside_nm(material, placed), []
        values = (placed.values[name] for name in ("height_nm", "onsite_eV", "hopping_eV"))
        for cell, height_nm, onsite_eV, hopping_eV in zip(placed.cells, *values, strict=True):
            place_nm = np.append(beside_nm, material.positions_nm[:, 2].max() + height_nm)
            atoms, ways_nm = nearest_atoms(material, place_nm)
            sigma_eV = {name: hopping_eV for name in two_centre.INTEGRALS if name.endswith("_sigma_eV")}
            hops_eV = [
                _hops(orbital, material.sites[atom[2]].orbitals, way, sigma_eV)
                for atom, way in zip(atoms, ways_nm, strict=True)
            ]
            guest = bound(material, cell, place_nm, orbital, onsite_eV=onsite_eV, atoms=atoms, hops_eV=hops_eV)
            changes.append(guest)
        return combined(changes, n_orbitals=material.n_orbitals)

    @staticmethod
    def places_nm(material: Material, placed: Placed) -> Floats:
        """Return where some of them are, shape (n_defects, 3)."""
        places = np.empty((len(placed.cells), 3))
        places[:, :2] = _beside_nm(material, placed) + placed.cells @ material.lattice_nm
        places[:, 2] = material.positions_nm[:, 2].max() + placed.values["height_nm"]
        return places


def _beside_nm(material: Material, placed: Placed) -> Floats:
    """Return where adatoms of the cell (0, 0) stand, (2,)."""
    own_nm = material.positions_nm[placed.site, :2]
    cells_nm = CELLS[:, ::-1] @ material.lattice_nm
    if placed.words["position"] == "top":
        return own_nm
    if placed.words["position"] == "bridge":
        z = material.positions_nm[:, 2]
        top = material.positions_nm[z > z.max() - PLANE_nm, :2]
        ways_nm = (top[:, None] + cells_nm - own_nm).reshape(-1, 2)
        away_nm = np.linalg.norm(ways_nm, axis=1)
        return np.asarray(own_nm + ways_nm[np.where(away_nm < PLANE_nm, np.inf, away_nm).argmin()] / 2)
    v, u = np.divmod(np.arange(SPOTS**2), SPOTS)
    spots_nm = np.column_stack([u, v]) / SPOTS @ material.lattice_nm
    atoms_nm = (material.positions_nm[:, None, :2] + cells_nm).reshape(-1, 2)
    free_nm = np.linalg.norm(spots_nm[:, None] - atoms_nm, axis=2).min(axis=1)
    widest = spots_nm[free_nm > free_nm.max() - PLANE_nm**2]
    images = (widest[:, None] + cells_nm).reshape(-1, 2)
    return np.asarray(images[np.linalg.norm(images - own_nm, axis=1).argmin()])


@dataclass(frozen=True)
class Blob(CrystalDefect):
    """Something physisorbed that no state resolves: the tip is raised by a smooth bump, the lattice shows on it."""

    on_top: ClassVar[bool] = True

    site: str = key("site of the material that it is centred on", fixed=True)
    density_per_nm2: float = key("mean number per area; the count is Poisson", at_least=0)
    height_pm: float = key("height of its middle", above=0, at_most=800, per_defect=True)
    fwhm_nm: float = key("full width at half its height", at_least=0.4, at_most=5, per_defect=True)


DEFECTS: Mapping[str, type[CrystalDefect]] = {
    "vacancy": Vacancy,
    "dopant": Dopant,
    "divacancy": Divacancy,
    "substitution": Substitution,
    "antisite": Antisite,
    "adatom": Adatom,
    "blob": Blob,
    "lateral_divacancy": LateralDivacancy,
}
