"""The imperfect microscope: raster, lateral distortions, z piezo and feedback, each a kind in physical units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, TypeAlias

import numpy as np
from scipy.optimize import brentq

from .keys import KeyRangeError, check_ranges, exactly_one, key
from .noise import Noise
from .units import Bools, Floats

S_PER_MIN = 60.0
NM_PER_UM, NM_PER_PM = 1e3, 1e-3
SINE_LAG_LINEAR, SINE_LAG_PER_nm = 0.0087, 3.7e-6  # PHYSICS.md C.5, measured on one scanner
LOOP_A = 0.5  # share of V lost to the loop at small signals in a loop given by its opening; PHYSICS.md C.5
WIDEST_LOOP = 2.0  # p of ``_loop_shape`` at which the loop opens 21.7 % of its travel, hardly wider above


@dataclass(frozen=True)
class Raster:
    """The commanded frame: square pixels, line after line, forward then backward; arrays are (y, x) in space."""

    size_nm: float = key("width of the square frame (pixel pitch = size / pixels)", above=0, at_most=10_000)
    pixels: int = key("pixels along each axis", at_least=2, at_most=8192, fixed=True)
    dwell_s: float = key("time spent on one pixel", default=1e-3, above=0)
    sub_steps: int = key("time steps a pixel (at least)", default=10, at_least=1, fixed=True)
    rotation_deg: float = key("frame against lattice, counter-clockwise", default=0.0)
    center_x_nm: float = key("frame centre in the sample frame, x", default=0.0)
    center_y_nm: float = key("frame centre in the sample frame, y", default=0.0)
    fast_axis: str = key("axis of the scan lines", default="x", one_of=("x", "y"))
    fast_direction: int = key("direction of the forward pass along the fast axis", default=1, one_of=(-1, 1))
    slow_direction: int = key("direction of the line order along the slow axis", default=1, one_of=(-1, 1))

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Feedback:
    """PID on the log current: e = ln(|I|/I_set); u = Kp e + Ki sum(e) + Kd (e_k - e_{k-1}); z = u, + = retract.

    ``loop_gain`` r = 2 kappa Ki is the share of the error removed by one update; ``crossover_Hz`` f = r / (2 pi dt)
    is the same in time. Kp and Kd are ratios to Ki.
    """

    update: str = key(
        "controller updates: once a pixel, or at every sub-step",
        default="pixel",
        one_of=("pixel", "continuous"),
    )
    loop_gain: float | None = key("relative integral gain r of one update", default=None, at_least=0)
    crossover_Hz: float | None = key("integral gain as a frequency", default=None, above=0)
    proportional: float = key("Kp / Ki", default=0.0, at_least=0)
    derivative: float = key("Kd / Ki", default=0.0, at_least=0)
    preamplifier_Hz: float | None = key("corner of the current amplifier's pole; none: infinite", default=None, above=0)
    step_limit: float | None = key(
        "largest move of one update, in units of the ideal image's peak-to-peak", default=None, above=0
    )
    slew_nm_per_s: float | None = key("largest speed of z; none: unlimited", default=None, above=0)
    z_min_nm: float = key("lower physical stop of z, as gap from point contact", default=0.05)
    z_max_nm: float = key("upper physical stop of z, as gap from point contact", default=10.0, above=0)

    def __post_init__(self) -> None:
        check_ranges(self)
        exactly_one(self, "loop_gain", "crossover_Hz")
        if self.z_max_nm <= self.z_min_nm:
            raise KeyRangeError("z_max_nm", self.z_max_nm, f"above z_min_nm = {self.z_min_nm:g}")


@dataclass(frozen=True)
class FrameCreep:
    """The published creep: displacement = efold * ln(1 + (ratio - 1) t / T), T the frame time."""

    x_nm_per_efold: float = key("gamma along x", default=0.0)
    y_nm_per_efold: float = key("gamma along y", default=0.0)
    x_ratio: float = key("m along x", default=1.0, above=0)
    y_ratio: float = key("m along y", default=1.0, above=0)

    def __post_init__(self) -> None:
        check_ranges(self)

    def displacement(self, t_s: Floats, *, frame_s: float) -> tuple[Floats, Floats]:
        """Return the displacement along the frame's x and y (nm) at times since the first recorded pixel."""
        elapsed = np.maximum(t_s, 0)
        return (
            self.x_nm_per_efold * np.log(1 + (self.x_ratio - 1) / frame_s * elapsed),
            self.y_nm_per_efold * np.log(1 + (self.y_ratio - 1) / frame_s * elapsed),
        )


@dataclass(frozen=True)
class LogCreep:
    """Creep after a move of the piezo: displacement = move * percent/100 * log10(1 + t / onset), t since the move.

    The frame is centred on where the tip has crept to at the first recorded pixel.
    """

    x_move_nm: float = key("last move along x", default=0.0)
    y_move_nm: float = key("last move along y", default=0.0)
    percent_per_decade: float = key("creep rate, % of the move a decade of time", default=1.5, at_least=0)
    onset_s: float = key("time scale of the onset", default=0.1, above=0)
    wait_s: float = key("time between the move and the first recorded pixel", default=0.0, at_least=0)

    def __post_init__(self) -> None:
        check_ranges(self)

    def displacement(self, t_s: Floats, *, frame_s: float) -> tuple[Floats, Floats]:
        """Return the displacement along the frame's x and y (nm) at times since the first recorded pixel.

        Counted from where the tip is at the first recorded pixel; nothing has moved before the move.
        """
        since_move = np.maximum(t_s + self.wait_s, 0) / self.onset_s
        decades = np.log10(1 + since_move) - math.log10(1 + self.wait_s / self.onset_s)
        crept = self.percent_per_decade / 100 * decades
        return self.x_move_nm * crept, self.y_move_nm * crept


@dataclass(frozen=True)
class FrameDrift:
    """Linear drift given by its total over the frame."""

    x_nm_per_frame: float = key("drift along x over the frame", default=0.0)
    y_nm_per_frame: float = key("drift along y over the frame", default=0.0)

    def __post_init__(self) -> None:
        check_ranges(self)

    def velocity_nm_per_s(self, *, frame_s: float) -> tuple[float, float]:
        """Return the speed along the frame's x and y."""
        return self.x_nm_per_frame / frame_s, self.y_nm_per_frame / frame_s

    @property
    def walk_nm_per_sqrt_s(self) -> float:
        """Return the strength of the random walk: none."""
        return 0.0


@dataclass(frozen=True)
class LinearDrift:
    """Linear drift given by its speed, and a random walk on top."""

    x_nm_per_min: float = key("speed along x", default=0.0)
    y_nm_per_min: float = key("speed along y", default=0.0)
    walk_nm_per_sqrt_min: float = key("random walk on each axis: rms after one minute", default=0.0, at_least=0)

    def __post_init__(self) -> None:
        check_ranges(self)

    def velocity_nm_per_s(self, *, frame_s: float) -> tuple[float, float]:
        """Return the speed along the frame's x and y."""
        return self.x_nm_per_min / S_PER_MIN, self.y_nm_per_min / S_PER_MIN

    @property
    def walk_nm_per_sqrt_s(self) -> float:
        """Return the rms of the random walk on each axis after one second."""
        return self.walk_nm_per_sqrt_min / math.sqrt(S_PER_MIN)


@dataclass(frozen=True)
class Jitter:
    """One random lateral offset a line, independent along the fast and the slow axis."""

    fast_nm: float = key("rms along the fast axis", default=0.0, at_least=0)
    slow_nm: float = key("rms along the slow axis", default=0.0, at_least=0)

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Tilt:
    """The sample plane's slope against the scan plane."""

    x_deg: float = key("slope along the frame's x axis", default=0.0, above=-60, below=60)
    y_deg: float = key("slope along the frame's y axis", default=0.0, above=-60, below=60)

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def gradient(self) -> tuple[float, float]:
        """Return the rise of the sample plane per nm along the frame's x and y."""
        return math.tan(math.radians(self.x_deg)), math.tan(math.radians(self.y_deg))


@dataclass(frozen=True)
class Scanner:
    """What the lateral scanner does wrong at every move: gains, an axis that leans, z that changes with x and y."""

    x_gain_percent: float = key("x moves by this much more than it is told", default=0.0, above=-50, below=50)
    y_gain_percent: float = key("y moves by this much more than it is told", default=0.0, above=-50, below=50)
    skew_deg: float = key("the y axis leans towards x", default=0.0, above=-30, below=30)
    bow_radius_um: float | None = key("the tip moves on a sphere of this radius; none: a plane", default=None, above=0)
    z_per_x_percent: float = key("z crosstalk of a move along x", default=0.0, above=-50, below=50)
    z_per_y_percent: float = key("z crosstalk of a move along y", default=0.0, above=-50, below=50)

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def matrix(self) -> Floats:
        """Return the matrix from commanded to true moves along the frame's x and y, shape (2, 2)."""
        lean = math.radians(self.skew_deg)
        x_gain, y_gain = 1 + self.x_gain_percent / 100, 1 + self.y_gain_percent / 100
        return np.array([[x_gain, y_gain * math.sin(lean)], [0.0, y_gain * math.cos(lean)]])

    def lift_nm(self, x_nm: Floats, y_nm: Floats) -> Floats:
        """Return how much farther z must reach at offsets from the frame's centre."""
        lift: Floats = self.z_per_x_percent / 100 * x_nm + self.z_per_y_percent / 100 * y_nm
        if self.bow_radius_um is not None:
            lift = lift + (x_nm**2 + y_nm**2) / (2 * NM_PER_UM * self.bow_radius_um)
        return lift


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

        h = brentq(lambda h: float(loop(width, h)) - h, 0.0, LOOP_A * width, xtol=1e-15)
        travel = share * width - (loop(share * width, h) + h)
        return np.asarray(length_nm * (share - travel / (width - 2 * h)))


@dataclass(frozen=True)
class TipJumps:
    """Sudden changes of the tip: it ends elsewhere from then on, higher or lower and to the side; Poisson in time."""

    per_frame: float = key("mean number in a frame", at_least=0, at_most=1000)
    height_pm: float = key("rms of the jump in height", default=0.0, at_least=0)
    lateral_nm: float = key("rms of the jump to the side, on each axis", default=0.0, at_least=0, at_most=5)

    def __post_init__(self) -> None:
        check_ranges(self)

    def draw(self, frame_s: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return the times of the jumps after the frame's start, (n,), ascending, and their x, y, z in nm, (n, 3).

        z is by how much the tip became longer.
        """
        times_s = np.sort(rng.uniform(0, frame_s, rng.poisson(self.per_frame)))
        rms_nm = np.array([self.lateral_nm, self.lateral_nm, self.height_pm * NM_PER_PM])
        return times_s, rms_nm * rng.standard_normal((len(times_s), 3))


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


Creep: TypeAlias = FrameCreep | LogCreep
Drift: TypeAlias = FrameDrift | LinearDrift
LateralHysteresis: TypeAlias = SineLag | LoopLag
ZPiezo: TypeAlias = LinearPiezo | BoucWen | HysteresisLoop

CREEPS: Mapping[str, type[Creep]] = {"frame": FrameCreep, "log": LogCreep}
DRIFTS: Mapping[str, type[Drift]] = {"frame": FrameDrift, "linear": LinearDrift}
LATERAL_HYSTERESES: Mapping[str, type[LateralHysteresis]] = {"sine": SineLag, "loop": LoopLag}
Z_PIEZOS: Mapping[str, type[ZPiezo]] = {"linear": LinearPiezo, "bouc_wen": BoucWen, "loop": HysteresisLoop}


@dataclass(frozen=True)
class Instrument:
    """Everything between the commanded raster and the recorded image. An absent part is an ideal one."""

    feedback: Feedback | None = None
    noise: Mapping[str, Noise] = field(default_factory=dict)
    creep: Creep | None = None
    drift: Drift | None = None
    jitter: Jitter | None = None
    scanner: Scanner | None = None
    lateral_hysteresis: LateralHysteresis | None = None
    tip_jumps: TipJumps | None = None
    tilt: Tilt | None = None
    z_piezo: ZPiezo | None = None


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

    p = brentq(lambda p: 100 * loop(p)[2] - opening_percent, 1e-9, WIDEST_LOOP, xtol=1e-12)
    b, travel, _ = loop(p)
    return b, travel
