"""Surfaces of local orbitals as data: cells, rows, and the lobes of charge that a tip sees over each unit of a row.

A unit is what repeats along a row: a dimer of Si(001) or Ge(001), a cell of TiO2(110). The current of one lobe falls as
exp(-2 kappa |d|), so that the Fourier components of a lattice of them fall with height as sqrt(4 kappa^2 + G^2). Two
lobes at +-u across a row give it a contrast of cos(2 pi u / period): one number a junction tells if rows are bright.

Surfaces and defects are tabulated at two biases a polarity, a low one and the nominal one; strengths are log-linear in
the bias between them, and beyond.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .keys import KeyRangeError, check_ranges, key
from .materials import Material, Site

FILLED, EMPTY = 0, 1  # the states that a junction looks at: below or above the Fermi level
TOP, SECOND = 0, 1  # layers of lobes


@dataclass(frozen=True)
class Lobe:
    """A lobe of a unit: where it is from the unit's middle, and how much it carries in filled and in empty states.

    ``low`` is the same at the low biases, (filled, empty); None: as at the nominal ones. A lobe of the top layer that
    is on a ``side`` of its unit, -1 or 1 across the row, sits at the junction's split.
    """

    filled: float
    empty: float
    side: int = 0
    along_nm: float = 0.0
    across_nm: float = 0.0
    z_nm: float = 0.0
    layer: int = TOP
    low: tuple[float, float] | None = None

    def share(self, state: int, nominal: float) -> float:
        """Return what it carries in filled or empty states at a bias so far on the way from the low to the nominal."""
        own = (self.filled, self.empty)
        return float(own[state] ** nominal * (own if self.low is None else self.low)[state] ** (1 - nominal))

    def across(self, split_nm: float) -> float:
        """Return its place across the row where lobes are split so far."""
        return self.side * split_nm if self.layer == TOP and self.side else self.across_nm


@dataclass(frozen=True, eq=False)
class OrbitalSurface:
    """A surface of units in rows.

    Attributes
    ----------
    lattice : Material
        The unreconstructed cell, its first vector along x, its second along y; its one site is where defects sit.
    step_nm : float
        Height of a single step.
    pair : int
        Cells across a row that make a unit.
    turns : bool
        Whether rows turn by 90 degrees from one terrace to the next; on the lowest they run along x.
    states : tuple of tuples of Lobe
        The lobes of a unit in each of its states; as many in every state.
    split_filled_nm, split_empty_nm : (float, float)
        How far lobes sit from the middle of their unit, across the row, at the low and at the nominal bias.
    filled_V, empty_V : (float, float)
        The low and the nominal bias of either polarity, without their signs.
    """

    lattice: Material
    step_nm: float
    pair: int
    turns: bool
    states: tuple[tuple[Lobe, ...], ...]
    split_filled_nm: tuple[float, float]
    split_empty_nm: tuple[float, float]
    filled_V: tuple[float, float]
    empty_V: tuple[float, float]

    def nominal(self, bias_V: float) -> float:
        """Return how far a bias is on the way from the low (0) to the nominal one (1) of its polarity."""
        low_V, nominal_V = self.empty_V if bias_V > 0 else self.filled_V
        return (abs(bias_V) - low_V) / (nominal_V - low_V)

    @property
    def cells_nm(self) -> tuple[float, float]:
        """Width of a cell along x and along y."""
        return float(self.lattice.lattice_nm[0, 0]), float(self.lattice.lattice_nm[1, 1])

    def axis(self, level: int) -> int:
        """Return the direction of the rows on a terrace: 0 along x, 1 along y."""
        return level % 2 if self.turns else 0

    def spacing_nm(self, axis: int) -> tuple[float, float]:
        """Return the width of a cell along the rows and across them where rows run so."""
        return self.cells_nm[axis], self.cells_nm[1 - axis]


@dataclass(frozen=True)
class Orbitals:
    """How the rows show: where their lobes sit at the junction, and how they differ from place to place."""

    split_filled_nm: float | None = key(
        "lobes from the middle of their unit in filled states; absent: the surface's own",
        default=None,
        at_least=0,
        at_most=0.4,
    )
    split_empty_nm: float | None = key(
        "lobes from the middle of their unit in empty states; absent: the surface's own",
        default=None,
        at_least=0,
        at_most=0.4,
    )
    disorder_percent: float = key("standard deviation of the units' strength", default=7.0, at_least=0, at_most=50)
    disorder_length_nm: float = key("length over which it is correlated", default=0.8, at_least=0.2, at_most=5)
    screening_nm: float = key("length over which the field of a charge is screened", default=2.1, at_least=0.3)
    halo_filled: float = key("change of ln I beside a charge of one electron, in filled states", default=0.5)
    halo_empty: float = key("change of ln I beside a charge of one electron, in empty states", default=0.9)

    def __post_init__(self) -> None:
        check_ranges(self)

    def split_nm(self, surface: OrbitalSurface, state: int, nominal: float) -> float:
        """Return how far lobes sit from the middle of their unit: the recipe's number, or the surface's at a bias.

        ``nominal`` is how far this is from the low to the nominal one.
        """
        own = (self.split_filled_nm, self.split_empty_nm)[state]
        low_nm, nominal_nm = (surface.split_filled_nm, surface.split_empty_nm)[state]
        return max(0.0, low_nm + nominal * (nominal_nm - low_nm)) if own is None else own


def _lattice(name: str, species: str, along_nm: float, across_nm: float, source: str) -> Material:
    return Material(
        name=name,
        lattice_nm=np.diag([along_nm, across_nm]),
        sites=(Site("unit", species, "top", (0.0, 0.0, 0.0)),),
        hoppings_eV={},
        fermi_eV=0.0,
        broadening_eV=0.0,
        mean_ldos_per_eV=1.0,
        source=source,
    )


A_SI_nm = 0.3840  # of the 1x1 cell, 0.5431 / sqrt(2)
STEP_SI_nm = 0.1358  # a quarter of the cube
SECOND_DEPTH_nm = 0.12


def _hydrogenated() -> OrbitalSurface:
    """Return Si(001)2x1:H: dimers of one H an atom, and the silicon of the second layer between dimers."""
    top = [Lobe(1.0, 1.0, side) for side in (-1, 1)]
    below = [Lobe(0.9, 0.9, side, A_SI_nm / 2, side * A_SI_nm / 2, -SECOND_DEPTH_nm, SECOND) for side in (-1, 1)]
    return OrbitalSurface(
        lattice=_lattice("si001-h", "H", A_SI_nm, A_SI_nm, "J. J. Boland, Adv. Phys. 42, 129 (1993)"),
        step_nm=STEP_SI_nm,
        pair=2,
        turns=True,
        states=((*top, *below),),
        split_filled_nm=(0.169, 0.152),  # rows of 16 pm at -1.2 V where they are of 27 at -2 V: see tests/silicon.py
        split_empty_nm=(0.165, 0.165),
        filled_V=(1.2, 2.0),
        empty_V=(1.2, 2.0),
    )


A_GE_nm = 0.4000
STEP_GE_nm = 0.1414
TILT_nm = 0.035  # of an atom of a buckled dimer, up or down
UP_EMPTY = 0.25  # what the upper carries in empty states, over the lower: as much as its height adds
DOWN = 0.12  # what the lower atom of a buckled dimer carries in filled states, over the upper
LOW_UP_EMPTY, LOW_DOWN = 0.12, 0.05  # at low biases dangling bonds alone carry: the buckling shows more (prior)


def _germanium() -> OrbitalSurface:
    """Return Ge(001): dimers that flip (state 0), or are buckled with one or the other atom up (1, 2)."""
    below = [Lobe(0.5, 0.5, side, A_GE_nm / 2, side * A_GE_nm / 2, -SECOND_DEPTH_nm, SECOND) for side in (-1, 1)]
    flat = [Lobe((1 + DOWN) / 2, 1.0, side) for side in (-1, 1)]
    up = ((1.0, UP_EMPTY), TILT_nm, (1.0, LOW_UP_EMPTY))
    down = ((DOWN, 1.0), -TILT_nm, (LOW_DOWN, 1.0))
    first = [Lobe(*share, side, z_nm=z_nm, low=low) for side, (share, z_nm, low) in ((-1, down), (1, up))]
    second = [Lobe(*share, side, z_nm=z_nm, low=low) for side, (share, z_nm, low) in ((-1, up), (1, down))]
    return OrbitalSurface(
        lattice=_lattice("ge001", "Ge", A_GE_nm, A_GE_nm, "H. J. W. Zandvliet, Phys. Rep. 388, 1 (2003)"),
        step_nm=STEP_GE_nm,
        pair=2,
        turns=True,
        states=((*flat, *below), (*first, *below), (*second, *below)),
        split_filled_nm=(0.13, 0.13),
        split_empty_nm=(0.13, 0.13),
        filled_V=(0.8, 1.5),
        empty_V=(0.8, 1.5),
    )


def _rutile() -> OrbitalSurface:
    """Return TiO2(110)-1x1: rows of five-fold Ti, bright in empty states, between rows of bridging O."""
    return OrbitalSurface(
        lattice=_lattice("tio2-110", "Ti", 0.2959, 0.6497, "U. Diebold, Surf. Sci. Rep. 48, 53 (2003)"),
        step_nm=0.3248,
        pair=1,
        turns=False,
        states=((Lobe(0.7, 1.0), Lobe(0.5, 0.1, along_nm=0.148, across_nm=0.3249, layer=SECOND)),),
        split_filled_nm=(0.0, 0.0),
        split_empty_nm=(0.0, 0.0),
        filled_V=(1.2, 2.0),
        empty_V=(0.9, 1.5),
    )


@dataclass(frozen=True)
class Buckling:
    """How dimers are buckled: in domains of c(4x2), of p(2x2), and of dimers that flip while the tip looks."""

    c4x2: float = key("share of c(4x2), neighbouring rows in opposite phase", default=0.5, at_least=0, at_most=1)
    p2x2: float = key("share of p(2x2), neighbouring rows in phase", default=0.25, at_least=0, at_most=1)
    domain_nm: float = key("length over which domains change", default=3.0, at_least=0.5, at_most=10)
    phase_nm: float = key(
        "length along rows and across over which the phase changes", default=4.0, at_least=0.5, at_most=10
    )
    along_rows: float = key(
        "how much longer domains and phases are along the rows than across them", default=1.0, at_least=1, at_most=5
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.c4x2 + self.p2x2 > 1:
            raise KeyRangeError("c4x2", self.c4x2, f"at most 1 together with p2x2, {self.p2x2:g}")


ORBITAL_SURFACES: Mapping[str, OrbitalSurface] = {
    surface.lattice.name: surface for surface in (_hydrogenated(), _germanium(), _rutile())
}
