"""Piezos: hysteresis of z and of the fast axis, and the resonance of z, each a kind in physical units."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, TypeAlias

import numpy as np
from scipy.linalg import expm

from .keys import check_ranges, key
from .units import Bools, Floats

LOOP_A = 0.5  # share of V lost to the loop at small signals in a loop given by its opening
WIDEST_LOOP = 2.0  # p of ``_loop_shape`` at which the loop opens 21.7 % of its travel, hardly wider above
CYCLE_POINTS = 101  # one way of a loop as it is drawn
SINE_LAG_LINEAR, SINE_LAG_PER_nm = 0.0087, 3.7e-6  # measured on one scanner


def _root(function: Callable[[float], float], low: float, high: float, *, xtol: float) -> float:
    """Return where a function is zero between two numbers."""
    from scipy.optimize import brentq  # here, for it takes as long to import as numba

    return float(brentq(function, low, high, xtol=xtol))


@dataclass(frozen=True)
class LinearPiezo:
    """A z piezo without hysteresis: the tip goes where it is told."""

    def bouc_wen(self) -> BoucWen:
        """Return the piezo as a loop that never opens."""
        return BoucWen(A=0.0, B=0.0, C=0.0, stroke_nm=1.0)


@dataclass(frozen=True)
class BoucWen:
    """Hysteresis of the z piezo: x = gain * stroke * (V - H), dH = A dV - B |dV| H - C dV |H|, V = z / stroke.

    The small-signal gain is 1 - A. ``stroke_nm`` None is the published convention: the ideal image's peak-to-peak.
    """

    A: float = key("linear share of the loop", at_least=0, at_most=1)
    B: float = key("shape of the loop", at_least=0)
    C: float = key("shape of the loop", at_least=0)
    stroke_nm: float | None = key("unit of V; none: the ideal image's peak-to-peak", default=None, above=0)
    gain: float = key("calibration: 1 is the bare, uncalibrated piezo", default=1.0, above=0)
    joint: ClassVar[tuple[str, ...]] = ("A", "B", "C")
    joint_words: ClassVar[str] = "1 - A - max(B - C, 0) A / (B + C) above 0: the piezo must follow its command's sign"

    def __post_init__(self) -> None:
        check_ranges(self)

    @staticmethod
    def joint_holds(A: Floats, B: Floats, C: Floats) -> Bools:
        """Return whether dx/dV > 0 on the whole loop: |H| stays below A / (B + C), dH/dV below A + (B - C) |H|."""
        reach = np.divide(A, B + C, out=np.zeros(np.shape(A)), where=B + C > 0)
        return np.asarray(1 - A - np.maximum(B - C, 0) * reach > 0)

    def bouc_wen(self) -> BoucWen:
        """Return the piezo itself."""
        return self


@dataclass(frozen=True)
class HysteresisLoop:
    """Bouc-Wen hysteresis given as a user reads it off a loop: opening in % of the full stroke, calibrated there."""

    opening_percent: float = key("opening of the loop at full stroke, % of the travel", at_least=0, below=20)
    stroke_nm: float = key("full stroke at which opening and calibration hold", default=100.0, above=0)

    def __post_init__(self) -> None:
        check_ranges(self)

    def bouc_wen(self) -> BoucWen:
        """Return the Bouc-Wen piezo with this opening whose travel over the full stroke is the stroke."""
        shape, travel = _loop_shape(self.opening_percent)
        return BoucWen(A=LOOP_A, B=shape, C=shape, stroke_nm=self.stroke_nm, gain=1 / travel)


@dataclass(frozen=True)
class SineLag:
    """Hysteresis of the fast axis as measured on a scanner: the tip lags by k/2 sin(pi x / L) over a line of length L.

    k(L) = scale (0.0087 L + 3.7e-6 L^2 / nm); the shape is that of Rev. Sci. Instrum. 90, 023704 (2019).
    """

    scale: float = key("lag over that of the measured scanner", default=1.0, at_least=0)

    def __post_init__(self) -> None:
        check_ranges(self)

    def lag_nm(self, share: Floats, *, length_nm: float) -> Floats:
        """Return how far the tip is behind its command after shares 0 to 1 of a line."""
        mismatch_nm = self.scale * length_nm * (SINE_LAG_LINEAR + SINE_LAG_PER_nm * length_nm)
        return np.asarray(mismatch_nm / 2 * np.sin(math.pi * share))


@dataclass(frozen=True)
class LoopLag:
    """Hysteresis of the fast axis as a Bouc-Wen loop, of an opening given at full stroke, in its steady cycle."""

    opening_percent: float = key("opening of the loop at full stroke, % of the travel", at_least=0, below=20)
    stroke_nm: float = key("full stroke of the scanner", default=1000.0, above=0)

    def __post_init__(self) -> None:
        check_ranges(self)

    def lag_nm(self, share: Floats, *, length_nm: float) -> Floats:
        """Return how far the tip is behind its command after shares 0 to 1 of a line whose ends are calibrated.

        With B = C = b, H rises from -h with slope A to zero, then as A / (2 b) (1 - exp(-2 b V)), and must end at h.
        """
        b, _ = _loop_shape(self.opening_percent)
        if b == 0:
            return np.zeros(np.shape(share))
        width = length_nm / self.stroke_nm

        def loop(v: Floats | float, h: float) -> Floats:
            beyond = v - h / LOOP_A
            return np.where(beyond < 0, LOOP_A * beyond, -LOOP_A / (2 * b) * np.expm1(-2 * b * np.maximum(beyond, 0)))

        h = _root(lambda h: float(loop(width, h)) - h, 0.0, LOOP_A * width, xtol=1e-15)
        travel = share * width - (loop(share * width, h) + h)
        return np.asarray(length_nm * (share - travel / (width - 2 * h)))


@dataclass(frozen=True)
class Resonance:
    """The z piezo swings about where it is driven to: an oscillator y'' + w/Q y' + w^2 (y - u) = 0, w = 2 pi f."""

    frequency_Hz: float = key("resonance frequency", above=0)
    Q: float = key("quality factor", default=20.0, at_least=0.5)

    def __post_init__(self) -> None:
        check_ranges(self)

    def swing(self, step_s: float) -> tuple[float, float, float, float]:
        """Return the matrix, row by row, that takes (y - u, y' / w) over a time in which u rests: exact."""
        rate = np.array([[0.0, 1.0], [-1.0, -1 / self.Q]])
        (a, b), (c, d) = expm(2 * math.pi * self.frequency_Hz * step_s * rate).tolist()
        return a, b, c, d


def cycle(piezo: BoucWen, *, stroke_nm: float) -> tuple[Floats, Floats]:
    """Return the settled cycle of a z piezo over a stroke and back: command and tip in nm, each of shape (n_points,).

    Over V = 0 to 1, H rises from -h with dH = (A - (B - C) H) dV to zero, then with dH = (A - (B + C) H) dV, and must
    end at h; the way back is its mirror image. x = gain (V - H), as ``BoucWen``.
    """
    a, falling, rising = piezo.A, piezo.B - piezo.C, piezo.B + piezo.C

    def loop(v: Floats, h: float) -> Floats:
        below = -h + (a + falling * h) * _saturating(v, falling)
        zero = math.log1p(falling * h / a) / falling if falling else h / a
        return np.where(v < zero, below, a * _saturating(np.maximum(v - zero, 0), rising))

    v = np.linspace(0, 1, CYCLE_POINTS)
    h_rising = np.zeros(CYCLE_POINTS)
    if a > 0:
        widest = a / rising if rising else a
        h_rising = loop(v, _root(lambda h: float(loop(v[-1:], h)[0]) - h, 0.0, widest, xtol=1e-15))
    command = np.concatenate([v - 0.5, 0.5 - v])
    return stroke_nm * command, piezo.gain * stroke_nm * (command - np.concatenate([h_rising, -h_rising]))


def _saturating(v: Floats, rate: float) -> Floats:
    """Return (1 - exp(-rate v)) / rate."""
    return np.asarray(-np.expm1(-rate * v) / rate if rate else v)


LateralHysteresis: TypeAlias = SineLag | LoopLag
ZPiezo: TypeAlias = LinearPiezo | BoucWen | HysteresisLoop

LATERAL_HYSTERESES: Mapping[str, type[LateralHysteresis]] = {"sine": SineLag, "loop": LoopLag}
Z_PIEZOS: Mapping[str, type[ZPiezo]] = {"linear": LinearPiezo, "bouc_wen": BoucWen, "loop": HysteresisLoop}


@lru_cache(maxsize=256)
def _loop_shape(opening_percent: float) -> tuple[float, float]:
    """Return B = C and the travel per unit V of the loop with A = 1/2 that opens by a given % of its travel.

    Steady loop over |V| <= 1/2 with B = C = b: H rises from -h with slope A to zero, then bends towards A / (2 b) and
    must end at h. With y the part of V after the zero and p = 2 b y, that is y = p / (p + 1 - e^-p), h = A (1 - y).
    The opening is widest at V = 0.
    """
    if opening_percent == 0:
        return 0.0, 1 - LOOP_A

    def loop(p: float) -> tuple[float, float, float]:
        y = p / (p - math.expm1(-p))
        b = p / (2 * y)
        travel = 1 - 2 * LOOP_A * (1 - y)
        half_opening = -LOOP_A / (2 * b) * math.expm1(-2 * b * (y - 0.5))
        return b, travel, 2 * half_opening / travel

    p = _root(lambda p: 100 * loop(p)[2] - opening_percent, 1e-9, WIDEST_LOOP, xtol=1e-12)
    b, travel, _ = loop(p)
    return b, travel
