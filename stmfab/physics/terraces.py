"""The shape of a metal's surface: flights of steps one atom high, and the herringbone of Au(111).

Heights are relative to the lowest terrace. A flight goes down along ``direction_deg``; its edges wander by smooth
random curves. The herringbone is the 22 x sqrt(3) reconstruction: pairs of ridges between fcc and hcp regions, in
zigzag.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from . import _terraces_kernels
from .keys import check_ranges, key
from .units import Bools, Floats, Ints

NM_PER_PM = 1e-3
EDGE_nm = 0.22  # a step's height is smoothed by a Gaussian of this standard deviation
N_MODES = 24  # of a wandering edge
CURVE_STEP = 0.02  # radians of its shortest mode between the nodes of a table: straight between, 5e-5 of the amplitude
CURVE_BLOCK = 64  # nodes of the table made at once
LEAST_TERRACE = 0.2  # of the mean width: the next edge is at least this far
FOLDS = 2  # of the wander of an edge with kinks: a kink takes a third of the way from row to row
ROUND = 0.03  # how round the herringbone's elbows are
ELBOW_nm, ELBOWS = 0.9, 96  # half width of an elbow of uneven domains; elbows to either side that are drawn
FAR = 20.0  # times that from an elbow tanh is 1 to the last bit
ELBOW_STEP_nm, LEAST_DOMAIN = 0.05, 0.3  # of a table along the ridges; a domain of the mean length is at least this
RIDGE_nm = 0.55  # half width of a ridge; J. V. Barth et al., Phys. Rev. B 42, 9307 (1990), doi:10.1103/PhysRevB.42.9307


@dataclass(frozen=True)
class Curve:
    """A smooth random curve: sum_k a_k sin(q_k t + phase_k); arrays (n_modes,)."""

    amplitudes_nm: Floats
    numbers_per_nm: Floats
    phases: Floats

    def at(self, along_nm: Floats) -> tuple[Floats, Floats]:
        """Return the curve and its slope, each in the shape of ``along_nm``."""
        step_nm = CURVE_STEP / float(self.numbers_per_nm.max())
        first = math.floor(float(along_nm.min(initial=0.0)) / step_nm)
        last = math.ceil(float(along_nm.max(initial=0.0)) / step_nm)
        starts_nm, within_nm = np.arange(first, last + 2, CURVE_BLOCK) * step_nm, np.arange(CURVE_BLOCK) * step_nm
        waves = self.amplitudes_nm * np.exp(1j * (np.outer(starts_nm, self.numbers_per_nm) + self.phases))
        onward = np.exp(1j * np.outer(self.numbers_per_nm, within_nm))  # e^i(a + b) = e^ia e^ib: few sines
        table = np.stack([(waves @ onward).imag.ravel(), ((waves * self.numbers_per_nm) @ onward).real.ravel()])
        out = np.empty((2, along_nm.size))
        _terraces_kernels.look_up(along_nm.ravel(), first * step_nm, step_nm, table, out)
        value, slope = out.reshape(2, *along_nm.shape)
        return value, slope


def curve(rms_nm: float, length_nm: float, rng: np.random.Generator) -> Curve:
    """Return a random curve of a given root mean square, whose modes weigh 1 / (1 + (q length)^2)."""
    numbers = np.geomspace(0.1, 8.0, N_MODES) / length_nm
    weights = np.sqrt(numbers / (1 + (numbers * length_nm) ** 2) ** 2) * np.abs(rng.standard_normal(N_MODES))
    weights *= rms_nm * math.sqrt(2) / np.linalg.norm(weights)
    return Curve(weights, numbers, 2 * math.pi * rng.random(N_MODES))


@dataclass(frozen=True)
class Steps:
    """A flight of steps, each one atom high, going down along a direction."""

    count: int = key("number of steps", at_least=0, at_most=20)
    terrace_nm: float = key("mean width of the terraces between them", above=0)
    spread: float = key("how much the widths differ: standard deviation over mean", default=0.3, at_least=0, at_most=1)
    direction_deg: float = key("direction in which they go down, counter-clockwise from the sample's x", default=0.0)
    offset_nm: float = key("place of the flight's middle along that direction", default=0.0)
    wander_nm: float = key("root mean square of the edges' wandering", default=0.5, at_least=0)
    wander_length_nm: float = key("length over which an edge wanders", default=10.0, above=0)
    row_nm: float = key(
        "edges follow rows of atoms so far apart, with kinks from one to the next; 0: smooth curves",
        default=0.0,
        at_least=0,
        at_most=2,
    )
    upper_reflectivity: float = key(
        "reflectivity for electrons of the upper terrace", default=0.7, at_least=0, at_most=1
    )
    lower_reflectivity: float = key(
        "reflectivity for electrons of the lower terrace", default=0.45, at_least=0, at_most=1
    )

    def __post_init__(self) -> None:
        check_ranges(self)

    def flight(self, rng: np.random.Generator) -> Flight:
        """Return the drawn edges."""
        widths = 1 + self.spread * rng.standard_normal(self.count)
        places = np.cumsum(self.terrace_nm * np.maximum(widths, LEAST_TERRACE))
        places += self.offset_nm - (places.mean() if self.count else 0.0)
        curves = [curve(self.wander_nm, self.wander_length_nm, rng) for _ in range(self.count)]
        return Flight(self, places, tuple(curves))


@dataclass(frozen=True)
class Flight:
    """Edges, from the highest terrace down: where they cross the direction of descent, (n_steps,), and their curves."""

    steps: Steps
    places_nm: Floats
    curves: tuple[Curve, ...]

    def distances(self, x_nm: Floats, y_nm: Floats) -> Floats:
        """Return the distance of points from every edge, positive below it, shape (n_steps, *x.shape)."""
        angle = math.radians(self.steps.direction_deg)
        down, along = x_nm * math.cos(angle) + y_nm * math.sin(angle), y_nm * math.cos(angle) - x_nm * math.sin(angle)
        out = np.empty((len(self.places_nm), *x_nm.shape))
        for i, (place, edge) in enumerate(zip(self.places_nm, self.curves, strict=True)):
            wander, slope = _with_kinks(*edge.at(along), self.steps.row_nm)
            out[i] = (down - place - wander) / np.sqrt(1 + slope**2)
        return out


def _with_kinks(wander_nm: Floats, slope: Floats, row_nm: float) -> tuple[Floats, Floats]:
    """Return an edge's place and slope where it keeps to rows: v - (row / 2 pi) sin(2 pi v / row), ``FOLDS`` times."""
    for _ in range(FOLDS if row_nm > 0 else 0):
        phase = 2 * np.pi * wander_nm / row_nm
        wander_nm, slope = wander_nm - row_nm / (2 * np.pi) * np.sin(phase), slope * (1 - np.cos(phase))
    return wander_nm, slope


def passed(distances_nm: Floats) -> Floats:
    """Return how far each edge was passed, 0 above and 1 below it, from distances (n_steps, ...): a smooth step."""
    return np.asarray(special.ndtr(distances_nm / EDGE_nm))


def terrace(distances_nm: Floats) -> Ints:
    """Return the number of the terrace at points, 0 on the lowest, from distances (n_steps, ...)."""
    return np.asarray(np.sum(distances_nm < 0, axis=0), dtype=np.int64)


def shares(distances_nm: Floats) -> Floats:
    """Return each terrace's share of points, highest terrace first, (n_steps + 1, ...): they add up to 1."""
    below = passed(distances_nm)
    ones, zeros = np.ones((1, *below.shape[1:])), np.zeros((1, *below.shape[1:]))
    return np.asarray(np.concatenate([ones, below]) - np.concatenate([below, zeros]))


@dataclass(frozen=True)
class Herringbone:
    """The reconstruction of Au(111): pairs of ridges, an fcc region between pairs, an hcp region within one."""

    period_nm: float = key("distance of one pair of ridges from the next", default=6.3, above=2)
    height_pm: float = key("height of the ridges", default=20.0, at_least=0)
    fcc_share: float = key("share of the fcc regions", default=0.62, above=0.4, below=0.8)
    direction_deg: float = key("mean direction of the ridges, counter-clockwise from the sample's x", default=90.0)
    domain_nm: float = key("length from one elbow of the zigzag to the next", default=14.0, above=2)
    offset_x_nm: float = key("place of the pattern along the sample's x", default=0.0)
    offset_y_nm: float = key("place of the pattern along the sample's y", default=0.0)
    wander_nm: float = key("root mean square of the ridges' wandering", default=0.4, at_least=0)
    wander_length_nm: float = key("length over which the ridges wander", default=12.0, above=0)
    domain_spread: float = key(
        "how much the lengths between elbows differ: standard deviation over mean", default=0.0, at_least=0, at_most=1
    )

    def __post_init__(self) -> None:
        check_ranges(self)

    def pattern(self, rng: np.random.Generator) -> Pattern:
        """Return the drawn pattern."""
        along, across = (curve(self.wander_nm / math.sqrt(2), self.wander_length_nm, rng) for _ in range(2))
        if self.domain_spread == 0:
            return Pattern(self, along, across)
        lengths = np.maximum(1 + self.domain_spread * rng.standard_normal((2, ELBOWS)), LEAST_DOMAIN)
        after, before = np.cumsum(self.domain_nm * lengths, axis=1) - self.domain_nm / 2
        return Pattern(self, along, across, np.concatenate([-before[::-1], after]))


@dataclass(frozen=True)
class Pattern:
    """A herringbone and how its ridges wander; ``elbows_nm`` along them, where domains differ in length."""

    herringbone: Herringbone
    along: Curve
    across: Curve
    elbows_nm: Floats | None = None

    def heights(self, x_nm: Floats, y_nm: Floats) -> Floats:
        """Return the height of the surface in nm, in the shape of x.

        In zigzag the ridges run at +-30 degrees to their mean direction, so that along a line across the period is
        longer by 1 / cos(30 degrees); a ridge is sech^2(distance / width).
        """
        h = self.herringbone
        angle = math.radians(h.direction_deg)
        x, y = x_nm - h.offset_x_nm, y_nm - h.offset_y_nm
        along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
        across = across - self.along.at(along)[0]
        along = along + self.across.at(across)[0]
        turn, slope = _zigzag(along, h.domain_nm) if self.elbows_nm is None else _elbows(along, self.elbows_nm)
        period_nm = h.period_nm / math.cos(math.pi / 6)
        place = np.mod(across - turn + period_nm / 2, period_nm) - period_nm / 2
        place /= np.sqrt(1 + slope**2)
        half_nm = (1 - h.fcc_share) * h.period_nm / 2
        ridge = 1 / np.cosh((np.abs(place) - half_nm) / RIDGE_nm) ** 2
        return np.asarray(h.height_pm * NM_PER_PM * ridge)


def _zigzag(along_nm: Floats, domain_nm: float) -> tuple[Floats, Floats]:
    """Return a rounded zigzag of slopes +-tan(30 degrees) and its slope."""
    phase = np.pi * along_nm / domain_nm
    slope = math.tan(math.pi / 6)
    inner = (1 - ROUND) * np.sin(phase)
    value = slope * domain_nm / np.pi * np.arcsin(inner)
    return value, slope * (1 - ROUND) * np.cos(phase) / np.sqrt(1 - inner**2)


def _elbows(along_nm: Floats, elbows_nm: Floats) -> tuple[Floats, Floats]:
    """Return a zigzag of slopes +-tan(30 degrees) that turns at elbows, rounded over ``ELBOW_nm``, and its slope.

    Its slope is tan(30 degrees) (1 + 2 sum_i +-(1 + tanh((t - t_i) / w)) / 2), of signs that take turns from the first.

    Raises
    ------
    ArithmeticError
        If the points reach beyond the elbows.
    """
    low, high = float(along_nm.min(initial=0.0)), float(along_nm.max(initial=0.0))
    if low < elbows_nm[0] or high > elbows_nm[-1]:
        raise ArithmeticError("the frame reaches beyond the ends of the herringbone")
    at_nm = np.arange(low - ELBOW_STEP_nm, high + 2 * ELBOW_STEP_nm, ELBOW_STEP_nm)
    signs = np.where(np.arange(len(elbows_nm)) % 2 == 0, -1.0, 1.0)
    behind, reached = elbows_nm < at_nm[0] - FAR * ELBOW_nm, elbows_nm < at_nm[-1] + FAR * ELBOW_nm
    near = reached & ~behind
    away = (at_nm[:, None] - elbows_nm[near]) / ELBOW_nm
    passed = np.logaddexp(0, 2 * away) / 2 * ELBOW_nm  # the integral of (1 + tanh) / 2
    turns, before_nm = signs[behind].sum(), signs[behind] @ elbows_nm[behind]
    steep = math.tan(math.pi / 6)
    slope = steep * (1 + 2 * turns + (1 + np.tanh(away)) @ signs[near])
    value = steep * (at_nm + 2 * (turns * at_nm - before_nm + passed @ signs[near]))
    value -= np.interp(0.0, at_nm, value)
    return np.interp(along_nm, at_nm, value), np.interp(along_nm, at_nm, slope)


def at_edges(distances_nm: Floats, *, within_nm: float) -> Bools:
    """Return which points lie on an edge, from distances (n_steps, ...)."""
    return np.asarray((np.abs(distances_nm) < within_nm).any(axis=0))
