"""Defects: kinds of change to a perfect crystal, and where they are placed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from .keys import check_ranges, key


@dataclass(frozen=True)
class Vacancy:
    """A missing atom: its orbitals are removed from the Hamiltonian, exactly."""

    site: str = key("site of the material, for example Se_top", fixed=True)
    density_per_nm2: float = key("mean number per area; the count is Poisson", at_least=0)

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Dopant:
    """A foreign atom on a lattice site: the on-site energy of its orbitals is shifted."""

    site: str = key("site of the material, for example Se_top", fixed=True)
    density_per_nm2: float = key("mean number per area; the count is Poisson", at_least=0)
    onsite_eV: float = key("shift of the on-site energy", per_defect=True)

    def __post_init__(self) -> None:
        check_ranges(self)


Defect: TypeAlias = Vacancy | Dopant

DEFECTS: Mapping[str, type[Defect]] = {"vacancy": Vacancy, "dopant": Dopant}
