"""What sits on a metal (111) face: single scatterers by density, and corrals built of adatoms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

from .defects import Spread
from .keys import check_ranges, key
from .materials import Material
from .placement import nearest_cells
from .units import Floats, Ints


@dataclass(frozen=True)
class Adatom(Spread):
    """An atom of the metal on top of the terrace."""

    density_per_nm2: float = key("mean number per area; the count is Poisson", at_least=0)
    site: str = key("site: top, hcp or fcc", default="fcc", fixed=True)
    height_pm: float = key(
        "height over the terrace at the setpoint", default=80.0, above=-500, at_most=150, per_defect=True
    )
    fwhm_nm: float = key("full width at half its height", default=0.75, at_least=0.45, at_most=2, per_defect=True)
    albedo: float = key("alpha; 0 scatters as a black dot", default=0.0, at_least=0, at_most=1, per_defect=True)
    phase_deg: float = key("phase delta of the scattered s wave", default=90.0, per_defect=True)

    @staticmethod
    def sites(material: Material) -> list[str]:
        """Return the sites it can take."""
        return [site.name for site in material.sites]


@dataclass(frozen=True)
class CarbonMonoxide(Adatom):
    """A CO molecule upright on an atom: a dark spot under a metal tip."""

    site: str = key("site: top, hcp or fcc", default="top", fixed=True)
    height_pm: float = key(
        "height over the terrace at the setpoint", default=-38.0, above=-500, at_most=150, per_defect=True
    )
    fwhm_nm: float = key("full width at half its height", default=0.6, at_least=0.45, at_most=2, per_defect=True)


@dataclass(frozen=True)
class MissingAtom(Adatom):
    """A missing atom of the terrace."""

    site: str = key("site: top, hcp or fcc", default="top", fixed=True)
    height_pm: float = key(
        "height over the terrace at the setpoint", default=-30.0, above=-500, at_most=150, per_defect=True
    )
    fwhm_nm: float = key("full width at half its height", default=0.5, at_least=0.45, at_most=2, per_defect=True)
    albedo: float = key("alpha; 0 scatters as a black dot", default=0.6, at_least=0, at_most=1, per_defect=True)
    phase_deg: float = key("phase delta of the scattered s wave", default=-60.0, per_defect=True)


@dataclass(frozen=True)
class Substitutional(Adatom):
    """A foreign atom in the terrace."""

    site: str = key("site: top, hcp or fcc", default="top", fixed=True)
    height_pm: float = key(
        "height over the terrace at the setpoint", default=-12.0, above=-500, at_most=150, per_defect=True
    )
    fwhm_nm: float = key("full width at half its height", default=0.5, at_least=0.45, at_most=2, per_defect=True)
    albedo: float = key("alpha; 0 scatters as a black dot", default=1.0, at_least=0, at_most=1, per_defect=True)
    phase_deg: float = key("phase delta of the scattered s wave", default=-40.0, per_defect=True)


SCATTERERS: Mapping[str, type[Adatom]] = {
    "adatom": Adatom,
    "co": CarbonMonoxide,
    "vacancy": MissingAtom,
    "substitutional": Substitutional,
}


@dataclass(frozen=True, kw_only=True)
class Ring:
    """A closed ring of adatoms."""

    atom: ClassVar[type[Adatom]] = Adatom
    n_atoms: int = key("number of adatoms", at_least=0, at_most=200)
    center_x_nm: float = key("centre in the sample frame, x", default=0.0)
    center_y_nm: float = key("centre in the sample frame, y", default=0.0)
    direction_deg: float = key("direction of the first atom, or of the line", default=0.0)
    height_pm: float = key(
        "height of the adatoms over the terrace at the setpoint", default=80.0, above=-500, at_most=150
    )
    fwhm_nm: float = key("full width of the adatoms at half their height", default=0.75, at_least=0.45, at_most=2)
    albedo: float = key("alpha; 0 scatters as a black dot", default=0.0, at_least=0, at_most=1)
    phase_deg: float = key("phase delta of the scattered s wave", default=90.0)
    diameter_nm: float = key("diameter of the ring", above=0)

    def __post_init__(self) -> None:
        check_ranges(self)

    def places_nm(self, rng: np.random.Generator) -> Floats:
        """Return where the atoms are meant to be around the centre, shape (n_atoms, 2)."""
        angles = math.radians(self.direction_deg) + 2 * math.pi * np.arange(self.n_atoms) / max(1, self.n_atoms)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1) * (self.diameter_nm / 2)


@dataclass(frozen=True, kw_only=True)
class Line(Ring):
    """A straight line of adatoms."""

    diameter_nm: float = key("length from the first to the last atom", above=0)

    def places_nm(self, rng: np.random.Generator) -> Floats:
        """Return where the atoms are meant to be around the centre, shape (n_atoms, 2)."""
        angle = math.radians(self.direction_deg)
        run_nm: Floats = (
            self.diameter_nm * (np.arange(self.n_atoms) - (self.n_atoms - 1) / 2) / max(1, self.n_atoms - 1)
        )
        return np.outer(run_nm, [math.cos(angle), math.sin(angle)])


@dataclass(frozen=True, kw_only=True)
class Cluster(Ring):
    """Adatoms strewn at random over a disc."""

    diameter_nm: float = key("diameter of the disc", above=0)

    def places_nm(self, rng: np.random.Generator) -> Floats:
        """Return where the atoms are meant to be around the centre, shape (n_atoms, 2)."""
        radius_nm, angle = self.diameter_nm / 2 * np.sqrt(rng.random(self.n_atoms)), rng.random(self.n_atoms)
        return np.stack([radius_nm * np.cos(2 * math.pi * angle), radius_nm * np.sin(2 * math.pi * angle)], axis=1)


Corral: TypeAlias = Ring

CORRALS: Mapping[str, type[Corral]] = {"ring": Ring, "line": Line, "random": Cluster}
CORRAL_SITE = "fcc"


def corral_cells(corral: Corral, lattice: Material, rng: np.random.Generator) -> Ints:
    """Return the cells (u, v) whose hollow each atom of a corral takes, shape (n, 2): the nearest free lattice sites.

    Two atoms meant for one site share it: they are one.
    """
    hollow = lattice.positions_nm[lattice.site_index(CORRAL_SITE), :2]
    wanted_nm = corral.places_nm(rng) + np.array([corral.center_x_nm, corral.center_y_nm]) - hollow
    return np.unique(nearest_cells(lattice, wanted_nm), axis=0)
