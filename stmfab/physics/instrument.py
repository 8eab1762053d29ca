"""The imperfect microscope: raster, lateral distortions and feedback, each a kind in physical units."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import numpy as np

from . import _instrument_kernels
from .keys import KeyRangeError, check_ranges, exactly_one, key
from .noise import Noise
from .piezo import LateralHysteresis, Resonance, ZPiezo
from .units import Floats

LN10 = math.log(10)
S_PER_MIN = 60.0
NM_PER_UM, NM_PER_PM = 1e3, 1e-3
Bends: TypeAlias = Iterator[tuple[Floats, tuple[float, float, float]]]
"""Laws of time, and how far the tip goes along the frame's x and y, and the floor up, by one of each, in nm."""


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
    """PID on the log current: u = Kp e + Ki sum(e) + Kd (e_k - e_{k-1}); z = u, + = retract.

    e = ln(|I|/I_set), or on a linear amplifier |I|/I_set - 1: never below -1 however far out the tip is, exponential
    when it is too near. Such a loop approaches slowly, by Ki an update at most, and retracts fast.
    ``loop_gain`` r = 2 kappa Ki is the share of the error removed by one update; ``crossover_Hz`` f = r / (2 pi dt)
    is the same in time. Kp and Kd are ratios to Ki.
    """

    either: ClassVar[tuple[tuple[str, str], ...]] = (("loop_gain", "crossover_Hz"),)
    update: str = key(
        "controller updates: once a pixel, or at every sub-step",
        default="pixel",
        one_of=("pixel", "continuous"),
    )
    loop_gain: float | None = key("relative integral gain r of one update", default=None, at_least=0)
    crossover_Hz: float | None = key("integral gain as a frequency", default=None, above=0)
    proportional: float = key("Kp / Ki", default=0.0, at_least=0)
    derivative: float = key("Kd / Ki", default=0.0, at_least=0)
    amplifier: str = key(
        "what the loop compares with the setpoint: ln|I|, or the current itself",
        default="log",
        one_of=("log", "linear"),
    )
    preamplifier_Hz: float | None = key("corner of the current amplifier's pole; none: infinite", default=None, above=0)
    range_nA: float | None = key("largest current that the amplifier shows; none: any", default=None, above=0)
    step_limit: float | None = key(
        "largest move of one update, in units of the ideal image's peak-to-peak", default=None, above=0
    )
    slew_nm_per_s: float | None = key("largest speed of z; none: unlimited", default=None, above=0)
    z_min_nm: float = key("lower physical stop of z, as gap from point contact", default=0.05)
    z_max_nm: float = key("upper physical stop of z, as gap from point contact", default=10.0, above=0)

    def __post_init__(self) -> None:
        check_ranges(self)
        for names in self.either:
            exactly_one(self, *names)
        if self.z_max_nm <= self.z_min_nm:
            raise KeyRangeError("z_max_nm", self.z_max_nm, f"above z_min_nm = {self.z_min_nm:g}")


@dataclass(frozen=True)
class ConstantHeight:
    """No loop: z rests and the current is the picture; what tilt, drift and creep make of the gap is left in it."""

    lift_pm: float = key("height above the median of the constant-current image", default=0.0)
    preamplifier_Hz: float | None = key("corner of the current amplifier's pole; none: infinite", default=None, above=0)
    range_nA: float = key("largest current that the amplifier shows: 10 V over 1 GOhm", default=10.0, above=0)

    def __post_init__(self) -> None:
        check_ranges(self)

    def feedback(self) -> Feedback:
        """Return a loop without gain, or stops."""
        return Feedback(
            update="continuous",
            loop_gain=0.0,
            preamplifier_Hz=self.preamplifier_Hz,
            range_nA=self.range_nA,
            z_min_nm=-math.inf,
            z_max_nm=math.inf,
        )


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
        x_efolds, y_efolds = (_efolds(t_s, (ratio - 1) / frame_s) for ratio in (self.x_ratio, self.y_ratio))
        x_efolds *= self.x_nm_per_efold
        y_efolds *= self.y_nm_per_efold
        return x_efolds, y_efolds


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

    def bends(self, t_s: Floats) -> Bends:
        """Yield how it goes on at times since the first recorded pixel, which ascend in each row.

        Counted from where the tip is at the first recorded pixel; nothing has moved before the move.
        """
        per_efold = self.percent_per_decade / 100 / LN10
        crept = _crept(t_s, 1 / self.onset_s, start_s=-self.wait_s, since_s=0.0)
        yield crept, (self.x_move_nm * per_efold, self.y_move_nm * per_efold, 0.0)


@dataclass(frozen=True)
class ZCreep:
    """Creep of the z piezo: after a step of its command it goes on by step * percent/100 * log10(1 + t / onset).

    Its steps are the move to this surface, and those by which the loop answers jumps of the tip.
    """

    move_nm: float = key("last move of z before the frame, + away from the sample", default=-100.0)
    percent_per_decade: float = key("creep rate, % of a step a decade of time", default=1.5, at_least=0)
    onset_s: float = key("time scale of the onset", default=0.1, above=0)
    wait_s: float = key("time between the move and the first recorded pixel", default=10.0, at_least=0)

    def __post_init__(self) -> None:
        check_ranges(self)

    def bends(self, t_s: Floats, *, jump_s: Floats, jump_nm: Floats) -> Bends:
        """Yield how the sample comes nearer by it at times, which ascend in each row: zero at the first recorded pixel.

        ``jump_s`` and ``jump_nm``, (n,), are later steps of the command.
        """
        per_efold, last_s = -self.percent_per_decade / 100 / LN10, t_s.max()
        for start_s, step_nm in zip((-self.wait_s, *jump_s), (self.move_nm, *jump_nm), strict=True):
            if start_s < last_s:
                crept = _crept(t_s, 1 / self.onset_s, start_s=start_s, since_s=max(0.0, start_s))
                yield crept, (0.0, 0.0, step_nm * per_efold)


def _efolds(t_s: Floats, rate_per_s: float, *, start_s: float = 0.0) -> Floats:
    """Return ln(1 + rate (t - start)) of times of any shape, zero before the start."""
    out = np.empty(np.shape(t_s))
    _instrument_kernels.efolds(np.ravel(t_s), start_s, rate_per_s, out.reshape(-1))
    return out


def _crept(t_s: Floats, rate_per_s: float, *, start_s: float, since_s: float) -> Floats:
    """Return ln(1 + rate (t - start)), 0 before the start, less that at ``since_s``; the times ascend in each row."""
    less, out = np.zeros((1, 1)), np.empty(np.shape(t_s))
    _instrument_kernels.crept(np.full((1, 1), since_s), start_s, rate_per_s, 0.0, less)
    _instrument_kernels.crept(np.atleast_2d(t_s), start_s, rate_per_s, float(less[0, 0]), np.atleast_2d(out))
    return out


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
    z_pm_per_min: float = key("speed at which the sample comes nearer", default=0.0)
    walk_nm_per_sqrt_min: float = key("random walk on each axis: rms after one minute", default=0.0, at_least=0)

    def __post_init__(self) -> None:
        check_ranges(self)

    def velocity_nm_per_s(self, *, frame_s: float) -> tuple[float, float]:
        """Return the speed along the frame's x and y."""
        return self.x_nm_per_min / S_PER_MIN, self.y_nm_per_min / S_PER_MIN

    def bends(self, t_s: Floats) -> Bends:
        """Yield how the sample comes nearer at times since the first recorded pixel, which ascend in each row."""
        if self.z_pm_per_min != 0:
            yield t_s, (0.0, 0.0, self.z_nm_per_s)

    @property
    def z_nm_per_s(self) -> float:
        """Return the speed at which the sample comes nearer."""
        return self.z_pm_per_min * NM_PER_PM / S_PER_MIN

    @property
    def walk_nm_per_sqrt_s(self) -> float:
        """Return the rms of the random walk on each axis after one second."""
        return self.walk_nm_per_sqrt_min / math.sqrt(S_PER_MIN)


@dataclass(frozen=True)
class RelaxingDrift(LinearDrift):
    """Drift that slows down, as after a change of temperature: v(t) = v [s + (1 - s) exp(-t / tau)], and a random walk.

    The speeds v are those at the first recorded pixel, t = 0.
    """

    time_constant_min: float = key("tau", default=10.0, above=0)
    final_share: float = key("s: what is left of the speeds in the end", default=0.0)

    def velocity_nm_per_s(self, *, frame_s: float) -> tuple[float, float]:
        """Return the steady part of the speed along the frame's x and y."""
        x, y = super().velocity_nm_per_s(frame_s=frame_s)
        return self.final_share * x, self.final_share * y

    def relaxation_s(self, t_s: Floats) -> Floats:
        """Return the time in which the first speed would have gone as far as the part that dies out: seconds."""
        tau_s, out = S_PER_MIN * self.time_constant_min, np.empty(np.shape(t_s))
        _instrument_kernels.relaxed(np.atleast_2d(t_s), tau_s, (1 - self.final_share) * tau_s, np.atleast_2d(out))
        return out

    def bends(self, t_s: Floats) -> Bends:
        """Yield what dies out, and how the sample comes nearer by what is left in the end."""
        yield self.relaxation_s(t_s), (*super().velocity_nm_per_s(frame_s=1.0), self.z_nm_per_s)
        yield t_s, (0.0, 0.0, self.final_share * self.z_nm_per_s)


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

    @property
    def lift(self) -> Floats:
        """Return how much farther z must reach by offsets from the frame's centre: a nm of x, of y, a nm^2, (3,)."""
        bow_per_nm = 0.0 if self.bow_radius_um is None else 1 / (2 * NM_PER_UM * self.bow_radius_um)
        return np.array([self.z_per_x_percent / 100, self.z_per_y_percent / 100, bow_per_nm])


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
class PickUp:
    """The tip picks something up and drops it again, Poisson in time: a streak, or half a defect if it lasts."""

    per_frame: float = key("mean number in a frame", at_least=0, at_most=10_000)
    height_pm: float = key("by how much the tip is longer meanwhile; below 0: shorter")
    dwell_s: float = key("mean time until it is dropped, which is exponential", above=0)

    def __post_init__(self) -> None:
        check_ranges(self)

    def draw(self, frame_s: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return when things are picked up, after the frame's start and ascending, and when dropped, each (n,)."""
        start_s = np.sort(rng.uniform(0, frame_s, rng.poisson(self.per_frame)))
        return start_s, start_s + rng.exponential(self.dwell_s, len(start_s))


Creep: TypeAlias = FrameCreep | LogCreep
Drift: TypeAlias = FrameDrift | LinearDrift

CREEPS: Mapping[str, type[Creep]] = {"frame": FrameCreep, "log": LogCreep}
DRIFTS: Mapping[str, type[Drift]] = {"frame": FrameDrift, "linear": LinearDrift, "relaxing": RelaxingDrift}


@dataclass(frozen=True)
class Instrument:
    """Everything between the commanded raster and the recorded image. An absent part is an ideal one."""

    feedback: Feedback | None = None
    constant_height: ConstantHeight | None = None
    noise: Mapping[str, Noise] = field(default_factory=dict)
    creep: Creep | None = None
    z_creep: ZCreep | None = None
    drift: Drift | None = None
    jitter: Jitter | None = None
    scanner: Scanner | None = None
    lateral_hysteresis: LateralHysteresis | None = None
    tip_jumps: TipJumps | None = None
    pick_ups: Mapping[str, PickUp] = field(default_factory=dict)
    tilt: Tilt | None = None
    z_piezo: ZPiezo | None = None
    z_resonance: Resonance | None = None
