"""What a defect of a surface of units in rows is: an edit of sites, lobes scaled or removed, lobes added, a swelling.

An edit is written in the frame of its unit: along the row, across it towards the side of the site that it sits on.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import numpy as np

from .defects import Spread
from .keys import key
from .materials import Material
from .orbitals import TOP
from .units import Floats, Ints

SILICON, GERMANIUM, RUTILE = "si001-h", "ge001", "tio2-110"
DIMERS = (SILICON, GERMANIUM)
HALF_nm = 0.12  # dangling bonds and hydrides sit so far from the middle of their dimer
ROW_nm = 0.768
DIMER_nm = 0.384


class Scaled(NamedTuple):
    """Lobes of the unit so many units along and across that carry another share; ``side`` 0: both sides."""

    along: int
    across: int = 0
    side: int = 0
    layer: int = TOP
    filled: float = 0.0
    empty: float = 0.0


class Added(NamedTuple):
    """A lobe that is not the surface's, ``z_nm`` over the top layer; it stands so much lower than its defect."""

    along_nm: float = 0.0
    across_nm: float = 0.0
    z_nm: float = 0.0
    below_filled_pm: float = 0.0
    below_empty_pm: float = 0.0
    kappa_ratio: float = 1.0


@dataclass(frozen=True)
class Edit:
    """What a defect changes; the added lobes together stand the defect's height over the terrace at ``probe_nm``.

    That height is of the surface's nominal biases. ``swell_nm``, if not 0, is the standard deviation of a swelling of
    that height instead.
    """

    scaled: tuple[Scaled, ...] = ()
    added: tuple[Added, ...] = ()
    probe_nm: tuple[float, float] = (0.0, 0.0)
    swell_nm: float = 0.0
    footprint: tuple[tuple[int, int], ...] = field(default=())  # units it takes, so many along and across
    flipped: tuple[tuple[int, int], ...] = field(default=())  # units that turn from one buckled state to the other
    low_bias_pm: tuple[float, float] = (0.0, 0.0)  # so much higher it stands at the low biases, filled and empty

    @functools.cached_property
    def scaled_table(self) -> Floats:
        """The scaled lobes, rows of ``Scaled``, (n_scaled, 6)."""
        return np.array(self.scaled, dtype=np.float64).reshape(-1, len(Scaled._fields))

    @functools.cached_property
    def footprint_table(self) -> Ints:
        """The units that it takes, (n, 2)."""
        return np.array(self.footprint, dtype=np.int64).reshape(-1, 2)

    @functools.cached_property
    def added_table(self) -> Floats:
        """The added lobes, rows of ``Added``, (n_added, 6)."""
        return np.array(self.added, dtype=np.float64).reshape(-1, len(Added._fields))

    @functools.lru_cache(maxsize=256)  # noqa: B019  # of constants of the module, but for shapes that are drawn
    def stretched(self, ratio: float) -> Edit:
        """Return the edit on a surface whose cells are wider by a ratio."""
        added = [lobe._replace(along_nm=ratio * lobe.along_nm, across_nm=ratio * lobe.across_nm) for lobe in self.added]
        along_nm, across_nm = self.probe_nm
        return replace(self, added=tuple(added), probe_nm=(ratio * along_nm, ratio * across_nm))


def gone(*units: tuple[int, int], side: int = 0) -> tuple[Scaled, ...]:
    """Return that the top lobes of units are missing."""
    return tuple(Scaled(along, across, side) for along, across in units)


def rim(*units: tuple[int, int], factor: float) -> tuple[Scaled, ...]:
    """Return that the top lobes of units are dimmer or brighter."""
    return tuple(Scaled(along, across, filled=factor, empty=factor) for along, across in units)


OWN = ((0, 0),)
AROUND = ((-1, 0), (1, 0), (0, 1), (0, -1), (-2, 0), (2, 0))


@dataclass(frozen=True)
class SiteDefect(Spread):
    """A defect of known heights over the terrace at the setpoint, in filled and in empty states."""

    surfaces: ClassVar[tuple[str, ...]] = (SILICON,)
    cell_nm: ClassVar[float | None] = DIMER_nm  # along the row, of the surface that it is drawn for; None: of any
    edit: ClassVar[Edit] = Edit()
    reach_nm: ClassVar[float] = 0.5  # its pixels lie so far around its place
    random: ClassVar[bool] = False  # whether each one has a shape of its own
    mobile: ClassVar[bool] = False  # whether it moves to a step that is near
    density_per_nm2: float = key(
        "mean number per area; the count is Poisson, less those that lie on another", at_least=0
    )
    site: str = key("site of the material", default="unit", fixed=True)

    @classmethod
    def sites(cls, material: Material) -> list[str]:
        """Return the sites it can take."""
        return ["unit"] if material.name in cls.surfaces else []

    @classmethod
    def shaped(cls, values: Mapping[str, float], rng: np.random.Generator | None) -> Edit:
        """Return the edit of one of them; ``rng`` where each one has a shape of its own."""
        return cls.edit


def height_key(filled: bool, pm: float) -> float:
    """Return the key of a height in filled or in empty states."""
    meaning = f"height over the terrace at the setpoint, {'filled' if filled else 'empty'} states"
    height: float = key(meaning, default=pm, above=-200, at_most=1000, per_defect=True)
    return height
