"""Noise of the junction, in time: what disturbs ln|I| inside the loop, each source a kind in physical units.

A disturbance dz of the gap is one of -2 kappa dz in ln|I|. Sources are white (one number an averaging time),
spectral (stationary and Gaussian: their power densities add up to one spectrum), or signals in time of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import constants, fft

from . import _noise_kernels
from .keys import check_ranges, key
from .spectrum import periodic, stationary
from .units import ELEMENTARY_CHARGE_C, NA_PER_A, Floats, Floats32

Real = TypeVar("Real", np.float32, np.float64)
Heard: TypeAlias = Callable[[int, Floats32], None]  # adds the disturbance of some lines, from the first on, to ln|I|

NM_PER_PM = 1e-3
OHM_PER_GOHM = 1e9
A_PER_fA = 1e-15
POINTS_NEEDED, POINTS_JOINED = 2.5, 3.0  # a period of a spectrum's highest frequency: as they are, joined by lines
WAVE_SAMPLES = 1024  # of an oscillation, from one whose phase is worked out to the next
NARROW_Q, STEP_OF_MEMORY = 10.0, 0.1  # a line this narrow is a carrier; the steps of its amplitude, in memory times,
CARRIED_POINTS = 0.03  # where its spectrum would need more points a sample than this: they cost thirty times as much


@dataclass(frozen=True)
class Tone:
    """What turns a disturbance into one of ln|I|.

    ``log_spread`` is the standard deviation of ln|I| along the first line at constant height.
    """

    kappa_per_nm: float
    setpoint_nA: float
    log_spread: float

    @property
    def log_per_pm(self) -> float:
        """Change of ln|I| a pm of the gap."""
        return 2 * self.kappa_per_nm * NM_PER_PM


@dataclass(frozen=True)
class Clock:
    """When ln|I| is heard: ``n_lines`` lines (the settling line first) of ``n_samples`` samples, ``step_s`` apart."""

    n_lines: int
    n_samples: int
    step_s: float

    @property
    def size(self) -> int:
        """Samples of the whole scan."""
        return self.n_lines * self.n_samples

    @property
    def end_s(self) -> float:
        """Duration of the whole scan."""
        return self.size * self.step_s


@dataclass(frozen=True)
class WhiteLogNoise:
    """White noise on ln|I| inside the loop, as a share of the spread of ln|I| along the first line (published set)."""

    share: float = key("sigma of a pixel / std of ln|I| along the first line at constant setpoint height", at_least=0)

    def __post_init__(self) -> None:
        check_ranges(self)

    def log_sigma(self, tone: Tone, *, pixel_s: float) -> float:
        """Return the rms of a pixel's ln|I|."""
        return self.share * tone.log_spread


@dataclass(frozen=True)
class WhiteHeightNoise:
    """White mechanical noise of the gap inside the loop: adds -2 kappa dz to ln|I|."""

    rms_pm: float = key("rms of a pixel's mean gap", at_least=0)

    def __post_init__(self) -> None:
        check_ranges(self)

    def log_sigma(self, tone: Tone, *, pixel_s: float) -> float:
        """Return the rms of a pixel's ln|I|: 2 kappa times the rms of its gap."""
        return tone.log_per_pm * self.rms_pm


@dataclass(frozen=True)
class AmplifierNoise:
    """Shot noise, the feedback resistor's Johnson noise, and the amplifier's own, at the setpoint current.

    One-sided density S = 2 e I + 4 k T / R + (extra)^2 in A^2/Hz, white up to the preamplifier's pole; in ln|I| it is
    S / I^2 (H. Nyquist, Phys. Rev. 32, 110 (1928), doi:10.1103/PhysRev.32.110).
    """

    resistor_GOhm: float = key("feedback resistor of the current amplifier", default=1.0, above=0)
    temperature_K: float = key("temperature of the resistor; 0: no Johnson noise", default=295.0, at_least=0)
    extra_fA_per_sqrt_Hz: float = key("further white current noise", default=0.0, at_least=0)

    def __post_init__(self) -> None:
        check_ranges(self)

    def density_A2_per_Hz(self, current_nA: float) -> float:
        """Return the one-sided power density of the current."""
        shot: float = 2 * ELEMENTARY_CHARGE_C * current_nA / NA_PER_A
        johnson: float = 4 * constants.k * self.temperature_K / (self.resistor_GOhm * OHM_PER_GOHM)
        return shot + johnson + (self.extra_fA_per_sqrt_Hz * A_PER_fA) ** 2

    def sigma_nA(self, current_nA: Floats, *, pixel_s: float) -> Floats:
        """Return the rms of a pixel at currents of any size, shaped as they are."""
        still_A2 = self.density_A2_per_Hz(0.0)
        shot_A2 = (self.density_A2_per_Hz(1.0) - still_A2) * np.abs(current_nA)
        return np.asarray(NA_PER_A * np.sqrt((still_A2 + shot_A2) / (2 * pixel_s)))

    def log_sigma(self, tone: Tone, *, pixel_s: float) -> float:
        """Return the rms of a pixel's ln|I|: a mean over T passes 1 / (2 T) of a white spectrum."""
        current_A = tone.setpoint_nA / NA_PER_A
        return math.sqrt(self.density_A2_per_Hz(tone.setpoint_nA) / (2 * pixel_s)) / current_A


@dataclass(frozen=True)
class FlickerNoise:
    """1/f noise of the gap: amplitude density ``pm_per_sqrt_Hz`` at 1 Hz, falling as 1/sqrt(f) to the corner.

    Above the corner it falls as 1/f in amplitude; below one period of twice the scan it is constant.
    """

    pm_per_sqrt_Hz: float = key("amplitude density of the gap at 1 Hz", at_least=0)
    corner_Hz: float = key("upper end of the 1/f band", default=100.0, above=0)

    def __post_init__(self) -> None:
        check_ranges(self)

    def power_pm2_per_Hz(self, f_Hz: NDArray[Real]) -> NDArray[Real]:
        """Return the one-sided power density of the gap at frequencies above 0."""
        return np.asarray(self.pm_per_sqrt_Hz**2 / f_Hz / (1 + (f_Hz / self.corner_Hz) ** 2))

    @property
    def highest_Hz(self) -> float:
        """Frequency above which nothing of it is seen."""
        return 4 * self.corner_Hz

    @property
    def memory_s(self) -> float:
        """Time in which a line dies out: it has none."""
        return 0.0


@dataclass(frozen=True)
class Vibration:
    """Random vibration of the gap at a resonance: a Lorentzian line of given rms, frequency and quality factor."""

    rms_pm: float = key("rms of the gap", at_least=0)
    frequency_Hz: float = key("resonance frequency", above=0)
    Q: float = key("quality factor: frequency over the width of the line", default=30.0, at_least=0.5)

    def __post_init__(self) -> None:
        check_ranges(self)

    def power_pm2_per_Hz(self, f_Hz: NDArray[Real]) -> NDArray[Real]:
        """Return the one-sided power density of the gap: white force on an oscillator, variance rms^2."""
        x = f_Hz / self.frequency_Hz
        line = 1 / ((1 - x**2) ** 2 + (x / self.Q) ** 2)
        return np.asarray(self.rms_pm**2 * 2 / (math.pi * self.Q * self.frequency_Hz) * line)

    @property
    def highest_Hz(self) -> float:
        """Frequency above which nothing of it is seen."""
        return self.frequency_Hz * (1 + 4 / self.Q)

    @property
    def memory_s(self) -> float:
        """Time in which it dies out."""
        return self.Q / (math.pi * self.frequency_Hz)

    def heard(self, clock: Clock, tone: Tone, rng: np.random.Generator) -> Heard:
        """Return what a line with a large Q adds to ln|I|.

        Re(a exp(i w t)): a wanders with the line's width, by exact steps of a tenth of its memory, and straight between
        them; means over samples weaken the oscillation alone.
        """
        turn = 2 * math.pi * self.frequency_Hz * clock.step_s
        memory = 2 * self.Q / turn
        n_between = max(1, int(STEP_OF_MEMORY * memory))
        kept = math.exp(-n_between / memory)
        envelope = rng.standard_normal((2, clock.size // n_between + 2), dtype=np.float32)
        _noise_kernels.wander(envelope, kept)
        straight = (1 - kept) / 3 * (1 - n_between**-2)  # lost by the straight lines between points
        heard = np.sinc(self.frequency_Hz * clock.step_s) / math.sqrt(1 - straight)
        envelope *= np.float32(tone.log_per_pm * self.rms_pm * heard)
        points = np.empty((envelope.shape[1] - 1, 4), np.float32)
        _noise_kernels.turned(envelope, n_between * turn, points)
        between = np.arange(n_between)
        within = np.stack([np.cos(turn * between), np.sin(turn * between), between / n_between]).astype(np.float32)
        return lambda first, out: _noise_kernels.add_carried(points, within, first * clock.n_samples, out.reshape(-1))


@dataclass(frozen=True)
class Hum:
    """Pick-up of the mains: the gap oscillates at a frequency and its harmonics, phases drawn, continuous in time."""

    pm: float = key("amplitude of the gap at the fundamental", at_least=0)
    frequency_Hz: float = key("fundamental frequency", default=50.0, above=0)
    harmonics: int = key("number of harmonics, the fundamental included", default=1, at_least=1, at_most=50)
    falloff: float = key("harmonic n has the amplitude pm / n^falloff", default=1.0, at_least=0)

    def __post_init__(self) -> None:
        check_ranges(self)

    def heard(self, clock: Clock, tone: Tone, rng: np.random.Generator) -> Heard:
        """Return what it adds to ln|I|: means over the samples."""
        phases = rng.uniform(0, 2 * math.pi, self.harmonics)
        orders = np.arange(1, self.harmonics + 1)
        omega = 2 * math.pi * self.frequency_Hz * orders
        left = np.sinc(omega * clock.step_s / (2 * math.pi))
        amplitudes = tone.log_per_pm * self.pm * orders**-self.falloff * left
        at_point = np.multiply.outer((np.arange(0, clock.size, WAVE_SAMPLES) + 0.5) * clock.step_s, omega) + phases
        after = np.multiply.outer(omega * clock.step_s, np.arange(WAVE_SAMPLES))
        points = (amplitudes * np.stack([np.sin(at_point), np.cos(at_point)])).transpose(1, 2, 0).astype(np.float32)
        points, within = (
            np.ascontiguousarray(points),
            np.stack([np.cos(after), np.sin(after)], axis=1).astype(np.float32),
        )
        return lambda first, out: _noise_kernels.add_steady(points, within, first * clock.n_samples, out.reshape(-1))


@dataclass(frozen=True)
class LineOffsets:
    """Random offset of the gap from line to line, with a memory: power density 1 / f^exponent over the lines."""

    rms_pm: float = key("rms of the step from one line to the next, over sqrt(2)", at_least=0)
    exponent: float = key("1: pink; 0: independent lines; 2: a random walk", default=1.0, at_least=0, at_most=2)

    def __post_init__(self) -> None:
        check_ranges(self)

    def heard(self, clock: Clock, tone: Tone, rng: np.random.Generator) -> Heard:
        """Return what it adds to ln|I|: the same all along a line, both ways."""
        n = 2 * clock.n_lines  # twice as long: the first line knows nothing of the last
        cycles = fft.rfftfreq(n)
        power = np.zeros(len(cycles))
        power[1:] = cycles[1:] ** -self.exponent
        half_step2 = (power * (1 - np.cos(2 * math.pi * cycles))).mean()  # half the mean square of a step
        drawn = periodic(power / half_step2, n, rng)[: clock.n_lines, None]
        offsets = (tone.log_per_pm * self.rms_pm * drawn).astype(np.float32)

        def add(first: int, out: Floats32) -> None:
            out += offsets[first : first + len(out)]

        return add


@dataclass(frozen=True)
class Telegraph:
    """An unstable tip: the gap jumps up and down between two states, each left at a rate of its own."""

    pm: float = key("height of the jump", at_least=0)
    up_per_s: float = key("rate of leaving the lower state", above=0)
    down_per_s: float = key("rate of leaving the upper state", above=0)

    def __post_init__(self) -> None:
        check_ranges(self)

    def heard(self, clock: Clock, tone: Tone, rng: np.random.Generator) -> Heard:
        """Return what it adds to ln|I|: means over the samples."""
        return self._raised(clock, rng, height=-tone.log_per_pm * self.pm)

    def raised(self, clock: Clock, rng: np.random.Generator) -> Floats32:
        """Return the share of each sample that the tip spends in the upper state, (n_lines, n_samples)."""
        out = np.zeros((clock.n_lines, clock.n_samples), dtype=np.float32)
        self.raising(clock, rng)(0, out)
        return out

    def raising(self, clock: Clock, rng: np.random.Generator) -> Heard:
        """Return how to add what ``raised`` gives of some lines."""
        return self._raised(clock, rng, height=1.0)

    def _raised(self, clock: Clock, rng: np.random.Generator, *, height: float) -> Heard:
        """Return a height times the share of each sample spent in the upper state."""
        rates = self.up_per_s, self.down_per_s
        raised = bool(rng.random() < self.up_per_s / (self.up_per_s + self.down_per_s))
        means_s, at_s = 1 / np.array([rates[raised], rates[not raised]]), np.zeros(1)
        while at_s[-1] < clock.end_s:
            pairs = 8 + math.ceil((clock.end_s - at_s[-1]) / means_s.sum())
            lasts_s = rng.standard_exponential((pairs, 2)) * means_s
            at_s = np.append(at_s[:-1], np.cumsum(np.append(at_s[-1], lasts_s)))
        stays = at_s / clock.step_s
        begins, ends = stays[:-1][not raised :: 2], stays[1:][not raised :: 2]

        def add(first: int, out: Floats32) -> None:
            start = first * clock.n_samples
            some = slice(ends.searchsorted(start), begins.searchsorted(start + out.size))
            if some.start < some.stop:
                _noise_kernels.add_stays(begins[some] - start, ends[some] - start, height, out.reshape(-1))

        return add


White: TypeAlias = WhiteLogNoise | WhiteHeightNoise | AmplifierNoise
Spectral: TypeAlias = FlickerNoise | Vibration
Signal: TypeAlias = Hum | LineOffsets | Telegraph
Noise: TypeAlias = White | Spectral | Signal

NOISES: Mapping[str, type[Noise]] = {
    "white_log": WhiteLogNoise,
    "white_height": WhiteHeightNoise,
    "amplifier": AmplifierNoise,
    "flicker": FlickerNoise,
    "vibration": Vibration,
    "hum": Hum,
    "line_offset": LineOffsets,
    "telegraph": Telegraph,
}
Streams: TypeAlias = Callable[[str], np.random.Generator]


def white_log_sigma(sources: Mapping[str, Noise], tone: Tone, *, pixel_s: float) -> float:
    """Return the rms of a pixel's ln|I| from all white sources, added in quadrature."""
    return math.hypot(*(s.log_sigma(tone, pixel_s=pixel_s) for s in sources.values() if isinstance(s, White)))


def coloured(sources: Mapping[str, Noise], clock: Clock, tone: Tone, streams: Streams) -> list[Heard]:
    """Return what all that is not white adds to ln|I|.

    ``streams`` gives the random stream of a name: that of a signal or a narrow line is its source's, the other spectral
    sources share one.
    """
    alone = {name: s for name, s in sorted(sources.items()) if isinstance(s, Signal) or _is_carrier(s, clock)}
    spectral = [s for name, s in sources.items() if isinstance(s, Spectral) and name not in alone]
    heard = [source.heard(clock, tone, streams(f"noise.{name}")) for name, source in alone.items()]
    return [*heard, _spectral(spectral, clock, tone, streams("noise.spectrum"))] if spectral else heard


def _is_carrier(source: Noise, clock: Clock) -> TypeGuard[Vibration]:
    """Return whether a source is a line so narrow and so fast that its wandering amplitude is less work than itself."""
    if not isinstance(source, Vibration):
        return False
    return source.Q >= NARROW_Q and POINTS_JOINED * source.highest_Hz * clock.step_s >= CARRIED_POINTS


def _spectral(sources: list[Spectral], clock: Clock, tone: Tone, rng: np.random.Generator) -> Heard:
    """Return what one Gaussian signal with the sum of the sources' power densities adds to ln|I|.

    It is drawn at as many points as its highest frequency needs. Where these are fewer than the samples they are
    joined by straight lines, whose loss is made up for; else a sample is the mean of its points: what is faster comes
    back weaker and slower, as from a real converter.
    """
    highest_Hz = max(source.highest_Hz for source in sources)
    n_between = int(1 / (POINTS_JOINED * highest_Hz * clock.step_s))
    n_points = 1 if n_between else math.ceil(POINTS_NEEDED * highest_Hz * clock.step_s)
    step_s = n_between * clock.step_s if n_between else clock.step_s / n_points

    def density(f_Hz: Floats32) -> Floats32:
        power = np.zeros_like(f_Hz)
        for source in sources:
            power += source.power_pm2_per_Hz(f_Hz)
        turn = np.float32(math.pi * step_s) * f_Hz
        if not n_between:
            return np.asarray(power * np.square(np.sin(turn) / turn))  # means over a step
        kept = np.square(np.sin(turn) / (n_between * np.sin(turn / n_between)))  # by straight lines, in amplitude
        return np.asarray(power / (kept * kept))

    n = clock.size // n_between + 2 if n_between else n_points * clock.size
    drawn = stationary(density, n, step_s=step_s, memory_s=max(source.memory_s for source in sources), rng=rng)
    if n_between:
        return lambda first, out: _noise_kernels.add_joined(
            drawn, n_between, tone.log_per_pm, first * clock.n_samples, out.reshape(-1)
        )
    a_line = n_points * clock.n_samples
    return lambda first, out: _noise_kernels.add_means(
        drawn[first * a_line :], n_points, tone.log_per_pm, out.reshape(-1)
    )
