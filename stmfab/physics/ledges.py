"""Steps of a surface with rows: edges along the lattice with kinks two cells deep, and the terraces between them.

Rows turn by 90 degrees at every single step, so that edges along the rows of the upper terrace (S_A, smooth) and edges
across them (S_B, rough) take turns by themselves.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from . import _ledges_kernels
from .keys import check_ranges, key
from .units import Floats, Ints

KINK_CELLS = 2  # an edge moves by whole dimers, along itself and across
REACH_KINKS = 1024  # an edge is drawn so far to either side, some 800 nm
LEAST_TERRACE = 0.2  # of the mean width: the next edge is at least this far


@dataclass(frozen=True)
class Ledges:
    """A flight of single steps with kinks, going down along a direction."""

    count: int = key("number of steps", at_least=0, at_most=20)
    terrace_nm: float = key("mean width of the terraces between them", above=0)
    spread: float = key("how much the widths differ: standard deviation over mean", default=0.3, at_least=0, at_most=1)
    direction_deg: float = key("direction in which they go down, counter-clockwise from the sample's x", default=0.0)
    offset_nm: float = key("place of the flight's middle along that direction", default=0.0)
    smooth_kinks: float = key(
        "chance of a kink a dimer, edges along the rows of the upper terrace", default=0.04, at_least=0, at_most=1
    )
    rough_kinks: float = key(
        "chance of a kink a dimer, edges across the rows of the upper terrace", default=0.5, at_least=0, at_most=1
    )

    stray_nm: float = key("how far edges stray from their mean direction", default=3.0, above=0)
    rim_percent: float = key("how much stronger the edges of upper terraces are", default=25.0, above=-100)
    capture_nm: float = key(
        "adsorbates so near to an edge have moved to it, and pin it", default=0.0, at_least=0, at_most=1
    )

    def __post_init__(self) -> None:
        check_ranges(self)

    def flight(self, cells_nm: tuple[float, float], *, turns: bool, rng: np.random.Generator) -> Edges:
        """Return the drawn edges on a lattice of cells so wide along x and y."""
        quarter = round(self.direction_deg / 90) % 4
        aside = math.tan(math.radians(self.direction_deg) - round(self.direction_deg / 90) * math.pi / 2)
        widths = self.terrace_nm * np.maximum(1 + self.spread * rng.standard_normal(self.count), LEAST_TERRACE)
        places_nm = np.cumsum(widths)
        places_nm += self.offset_nm - (places_nm.mean() if self.count else 0.0)
        down_nm, along_nm = cells_nm[quarter % 2], cells_nm[1 - quarter % 2]
        slope = (1 if quarter in (1, 2) else -1) * aside * along_nm / down_nm
        chances = [self._kinks(self.count - n, quarter, turns) for n in range(self.count)]
        tether = max(1.0, self.stray_nm / down_nm / KINK_CELLS)
        places = places_nm / down_nm / math.cos(math.atan(aside))
        walks = _apart(places, [_walk(chance, slope, tether, rng) for chance in chances])
        return Edges(quarter, places, tuple(walks), math.log1p(self.rim_percent / 100), self.capture_nm)

    def _kinks(self, upper: int, quarter: int, turns: bool) -> float:
        """Return the chance of a kink of the edge below a terrace, where edges run across the descent."""
        along_rows = not turns or upper % 2 != quarter % 2
        return self.smooth_kinks if along_rows else self.rough_kinks


def _walk(chance: float, slope: float, tether: float, rng: np.random.Generator) -> Ints:
    """Return how far an edge is from its place, in kinks, at REACH_KINKS dimers to either side of its middle."""
    out = np.zeros(2 * REACH_KINKS, dtype=np.int64)
    _ledges_kernels.walk(rng.random(out.size), chance, slope, tether, out)
    return out


def _apart(places: Floats, walks: list[Ints]) -> list[Ints]:
    """Return the walks of edges at places in cells that nowhere touch: each is a dimer or more below the last."""
    kinks, out = np.round(places / KINK_CELLS).astype(np.int64), list(walks)
    for n in range(1, len(out)):
        above = np.pad(out[n - 1] + kinks[n - 1] - kinks[n], 1, mode="edge")
        out[n] = np.maximum(out[n], np.max([above[:-2], above[1:-1], above[2:]], axis=0) + 1)
    return out


@dataclass(frozen=True)
class Edges:
    """Edges, from the highest terrace down.

    ``quarter`` is the direction of descent, 0 to 3: x, y, -x, -y; ``places`` where edges cross it, in cells;
    ``walks`` how far each edge strays, in kinks; ``rim`` the change of ln I along the upper terraces' edges,
    ``capture_nm`` how far off adsorbates have moved to one.
    """

    quarter: int
    places: Floats
    walks: tuple[Ints, ...]
    rim: float = 0.0
    capture_nm: float = 0.0

    def levels(self, u: Ints, v: Ints) -> Ints:
        """Return the number of the terrace of cells in columns u and rows v, 0 the lowest, shape (n_v, n_u).

        Raises
        ------
        ArithmeticError
            If the cells reach beyond the edges' ends.
        """
        down, along = (u, v) if self.quarter % 2 == 0 else (v, u)
        down = down if self.quarter < 2 else -1 - down
        kink = np.floor_divide(along, KINK_CELLS) + REACH_KINKS
        if self.walks and (kink.min() < 0 or kink.max() >= 2 * REACH_KINKS):
            raise ArithmeticError("the frame reaches beyond the ends of the steps")
        out = np.zeros((len(down), len(along)), dtype=np.int64)
        for place, walk in zip(self.places, self.walks, strict=True):
            edge = KINK_CELLS * (round(place / KINK_CELLS) + walk[kink])
            out += down[:, None] < edge
        return out.T if self.quarter % 2 == 0 else out


@functools.cache
def flat() -> Edges:
    """Return a surface without steps."""
    return Edges(0, np.zeros(0), ())
