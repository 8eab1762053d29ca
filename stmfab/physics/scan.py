"""The scan: a feedback loop on the log current draws the topography along the tip's path, line after line in time.

Recorded is the commanded z, as in a real microscope; hysteresis of the z piezo sits between command and tip.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import _scan_kernels
from .field import CurrentField, SwitchedField
from .instrument import Feedback, Instrument, Raster
from .loop import NO_SWING, Gains, Ringing, Timing, loop_gains, loop_timing, mark_swings, poles, ringing
from .noise import Clock, Heard, Noise, Streams, Telegraph, Tone, coloured, white_log_sigma
from .path import Path, Scalar, first_line, images
from .piezo import LinearPiezo
from .stages import Staged, Stages
from .switches import ChangedField, Fields, SwitchingField
from .units import Floats, Floats32, Ints
from .white import fill_gaussian, fill_white, white_state

STOP, LIMIT, RINGING = _scan_kernels.STOP, _scan_kernels.LIMIT, _scan_kernels.RINGING
JUMP, HELD = np.uint8(8), np.uint8(16)  # events, beside those of ``_scan_kernels``
CURRENT_CHANNELS = frozenset({"current", "current_backward"})
PART_NUMBERS = 1 << 18  # of height polynomials at a time: 1 MiB
LEFT_WINDOW = "the tip left the computed window of the field"


@dataclass(frozen=True)
class Scan:
    """What was recorded, forward and backward, each array (2, n_rows, n_cols).

    Attributes
    ----------
    topography_nm : array
        Commanded z in the laboratory frame, as gap from point contact over the frame's centre.
    events : array of uint8
        Bits: 1 z stop, 2 slew or step limit, 4 tip outside the tabulated heights, 8 change of the tip, 16 streak: the
        tip holds something that it picked up, 32 ringing, 64 amplifier at the end of its range.
    current_nA : array or None
        Mean current with its sign; None where no current channel was asked for.
    loop_radius : float
        Spectral radius of the linearised loop at the piezo's steepest answer: ringing grows above 1; 0 without a loop.
    """

    topography_nm: Floats
    events: NDArray[np.uint8]
    current_nA: Floats | None
    loop_radius: float


@dataclass(frozen=True)
class _Circuit:
    """What the kernels need of path and instrument; see ``_scan_kernels``.

    ``x_nm``, ``y_nm`` and ``plane_nm``, the sample plane there, are the pixels' ends, (n_passes, n_pixels + 1);
    ``tip_numbers``, (n_passes, n_pixels), how often the tip has changed; ``raised`` adds how long each switch is
    up to some lines, and ``met`` are the pixels that may meet one.
    """

    x_nm: Floats
    y_nm: Floats
    plane_nm: Floats
    tip_numbers: Ints
    raised: Sequence[Heard]
    met: Ints
    heights: tuple[float, float]
    loop: tuple[float, float, float, float, float, float]
    piezo: tuple[float, float, float, float]
    swing: tuple[float, float, float, float]
    hearing: tuple[float, bool, float]
    start_nm: float


@dataclass(frozen=True)
class _Lines:
    """What the kernels recorded, pass after pass: (n_passes, n_pixels), the first two passes, the settling line, too.

    ``reach_nm`` is the largest |H| of the z piezo.
    """

    topography_nm: Floats
    events: NDArray[np.uint8]
    current_nA: Floats | None
    reach_nm: float


@Staged
def run(
    field: Fields,
    path: Path,
    instrument: Instrument,
    *,
    log_setpoint: float,
    kappa_per_nm: float,
    ideal_range_nm: float,
    log_spread: float,
    streams: Streams,
    channels: Collection[str] = (),
    start_nm: float | None = None,
) -> Stages[Scan]:
    """Return the scan of a field along a path; without feedback that of a perfect loop with noise on its z.

    The loop, once an update: e = mean ln|I| since the last update - ln I_set; S += e;
    z = z_start + Kp e + Ki S + Kd (e - last e), + is away from the sample.

    Parameters
    ----------
    log_setpoint : float
        ln(I_set / nA).
    ideal_range_nm : float
        Peak-to-peak of the ideal image: the unit of ``step_limit`` and the default stroke of the z piezo.
    log_spread : float
        What ``WhiteLogNoise.share`` is a share of; see ``first_line_spread``.
    streams : callable
        Name -> random stream: "noise" of the white sources, "noise.<name>" and "noise.spectrum" of the others,
        "switches.<number>".
    channels : collection of str
        Channels asked for; the current is computed only if one of them needs it.
    start_nm : float, optional
        First command; by default the constant-current height at the start of the settling line.

    Raises
    ------
    ArithmeticError
        If the tip left the window in which the field was computed.
    """
    tone = Tone(kappa_per_nm, math.exp(log_setpoint), log_spread)
    current = not CURRENT_CHANNELS.isdisjoint(channels)
    feedback = instrument.feedback
    if feedback is None:
        noise = _Disturbance(instrument.noise, path, tone, streams, n_sub=1)
        return _perfect(field, path, noise, log_setpoint=log_setpoint, current=current)
    timing = loop_timing(feedback, path)
    gains = loop_gains(feedback, kappa_per_nm=kappa_per_nm, update_s=timing.per_update * path.sub_step_s)
    x_nm, y_nm = path.lines_nm
    circuit = _Circuit(
        *(x_nm, y_nm),
        plane_nm=path.floor_nm.reshape(x_nm.shape),
        tip_numbers=path.tip_numbers.reshape(len(x_nm), -1),
        raised=_raised(field, path, streams) if isinstance(field, SwitchingField) else (),
        met=field.met(x_nm, y_nm) if isinstance(field, SwitchingField) else np.zeros((0, len(x_nm), 2), np.int64),
        heights=(path.cos_tilt / field.z_half_nm, field.z_mid_nm / field.z_half_nm),
        loop=_loop(feedback, gains, _largest_move(feedback, path, timing, ideal_range_nm)),
        piezo=_piezo(instrument, ideal_range_nm),
        swing=NO_SWING if instrument.z_resonance is None else instrument.z_resonance.swing(path.sub_step_s),
        hearing=(float(log_setpoint), feedback.amplifier == "linear", _ceiling(feedback)),
        start_nm=_start_height(field, path, log_setpoint) if start_nm is None else float(start_nm),
    )
    plain = feedback.preamplifier_Hz is None and instrument.z_resonance is None and feedback.range_nA is None
    resting = plain and feedback.update == "pixel" and feedback.amplifier == "log"  # the mean of ln|I| is all
    noise = _Disturbance(instrument.noise, path, tone, streams, n_sub=1 if resting else path.n_sub)
    yield
    slope_per_nm, sigma = 2 * kappa_per_nm * path.cos_tilt, noise.sigma(timing)
    if resting:
        lines = _scan_pixels(field, circuit, path, noise, current=current)
    else:
        small = poles(gains, timing, circuit.swing, log_slope_per_nm=slope_per_nm * _steepest_answer(circuit.piezo, 0))
        lines = _scan_steps(field, circuit, path, timing, ringing(small, sigma), noise, current=current)
    steepest = slope_per_nm * _steepest_answer(circuit.piezo, lines.reach_nm)
    last = poles(gains, timing, circuit.swing, log_slope_per_nm=steepest)
    if resting:
        ring = ringing(last, sigma)
        heights_nm, events, cut = lines.topography_nm.ravel(), lines.events.ravel(), STOP | LIMIT
        mark_swings(heights_nm, events, ring, gains, cut=cut, bit=RINGING)
    return Scan(
        topography_nm=_recorded(lines.topography_nm, path.raster),
        events=_recorded(lines.events, path.raster) | _jumps(path),
        current_nA=None if lines.current_nA is None else field.polarity * _recorded(lines.current_nA, path.raster),
        loop_radius=float(np.abs(last).max()),
    )


def perfect_height(
    field: CurrentField | SwitchedField,
    x_nm: Floats,
    y_nm: Floats,
    floor_nm: Floats,
    path: Path,
    *,
    log_setpoint: float,
) -> Floats:
    """Return the z at which a perfect loop holds the tip over points of the sample, in the laboratory frame.

    ``floor_nm`` is the height of the sample plane there.

    Raises
    ------
    ArithmeticError
        If a point lies outside the window in which the field was computed.
    """
    try:
        gap_nm = field.heights(x_nm, y_nm, log_setpoint).reshape(x_nm.shape)
    except ArithmeticError as error:
        raise ArithmeticError(f"{LEFT_WINDOW}, or the current does not fall with z") from error
    return np.asarray(floor_nm + gap_nm / path.cos_tilt)


def first_line_spread(field: CurrentField, raster: Raster, *, height_nm: float) -> float:
    """Return the standard deviation of ln|I| at a constant height along the first line of the undistorted frame."""
    return float(np.std(field.log_current(*first_line(raster), height_nm)))


class _Disturbance:
    """The noise on ln|I|, pass after pass, as it is asked for."""

    def __init__(self, sources: Mapping[str, Noise], path: Path, tone: Tone, streams: Streams, *, n_sub: int) -> None:
        raster = path.raster
        self._shape = raster.pixels, n_sub
        self._sigma = white_log_sigma(sources, tone, pixel_s=raster.dwell_s) * math.sqrt(n_sub)
        self._state, self.kappa_per_nm = white_state(streams("noise")), tone.kappa_per_nm
        clock = Clock(raster.pixels + 1, 2 * raster.pixels * n_sub, raster.dwell_s / n_sub)
        self._coloured = coloured(sources, clock, tone, streams)
        self._room: Floats32 | None = None

    def sigma(self, timing: Timing) -> float:
        """Return the rms of the white noise in what the controller hears, an update."""
        n_updates = max(1, self._shape[1] // timing.per_update)
        kept = (1 - timing.memory) / (1 + timing.memory)
        return self._sigma * math.sqrt(kept * n_updates / self._shape[1])

    def of(self, passes: slice) -> Floats32:
        """Return the noise of the next passes, the two of some lines, (n_passes, n_pixels, n_sub): until the next."""
        first, end, _ = passes.indices(2 * self._shape[0] + 2)
        if self._room is None:  # one for all: a new one would be new pages
            self._room = np.empty((end - first, *self._shape), np.float32)
        noise = self._room[: end - first]
        if self._sigma > 0:  # a pixel's one number: Gaussian to its tails
            (fill_white if self._shape[1] > 1 else fill_gaussian)(noise, self._sigma, self._state)
        else:
            noise[:] = 0.0
        for add in self._coloured:
            add(first // 2, noise.reshape((end - first) // 2, -1))
        return noise


def _perfect(
    field: Fields,
    path: Path,
    noise: _Disturbance,
    *,
    log_setpoint: float,
    current: bool,
) -> Scan:
    """Return the scan of a perfect loop: constant current at each pixel's true position, the noise followed by z."""
    seen = field.during(images(path.tip_numbers[1:], path.raster))
    topography_nm = perfect_height(seen, *path.pixels(), path.floors(), path, log_setpoint=log_setpoint)
    topography_nm += _recorded(noise.of(slice(None))[..., 0], path.raster) / (2 * noise.kappa_per_nm)
    held_nA = np.full(topography_nm.shape, field.polarity * math.exp(log_setpoint)) if current else None
    return Scan(topography_nm, np.zeros(topography_nm.shape, np.uint8) | _jumps(path), held_nA, 0.0)


def _raised(field: SwitchingField, path: Path, streams: Streams) -> list[Heard]:
    """Return how to add the share of each pixel's time that each switch is up to some lines."""
    clock = Clock(path.raster.pixels + 1, 2 * path.raster.pixels, path.raster.dwell_s)
    return [
        Telegraph(0.0, switch.up_per_s, switch.down_per_s).raising(clock, streams(f"switches.{number}"))
        for number, switch in enumerate(field.switches)
    ]


def _seen(field: Fields, circuit: _Circuit, passes: slice) -> CurrentField | SwitchedField | ChangedField:
    """Return the field that the tip meets in some passes."""
    if isinstance(field, SwitchingField):
        return field.changed(circuit.raised, circuit.met[:, passes], passes.start // 2)
    return field.during(circuit.tip_numbers[passes])


def _scan_pixels(
    field: Fields,
    circuit: _Circuit,
    path: Path,
    noise: _Disturbance,
    *,
    current: bool,
) -> _Lines:
    """Scan with z at rest within each pixel."""
    c, n_passes, n = circuit, len(circuit.x_nm), path.raster.pixels
    heard, lines = noise.of(slice(None))[..., 0], _lines(n_passes, n, current=current)
    tips_nm, state = np.empty((n_passes, n)), np.zeros(_scan_kernels.N_STATE)
    for part in _parts(n_passes, n * field.n_coefficients):
        polynomials = _seen(field, c, part).pixel_means(c.x_nm[part], c.y_nm[part], path.n_sub)
        topography_nm, events = lines.topography_nm[part], lines.events[part]
        inside = _scan_kernels.scan_pixels(
            *(polynomials, c.plane_nm[part], c.heights, c.loop, c.piezo, c.hearing[0], c.start_nm),
            *(heard[part], state, topography_nm, tips_nm[part], events),
        )
        _check_window(inside)
    if lines.current_nA is not None:
        for part in _parts(n_passes, n * path.n_sub * field.n_coefficients):
            seen = _seen(field, c, part)
            polynomials = seen.step_polynomials(c.x_nm[part], c.y_nm[part], path.n_sub)
            at = c.plane_nm[part], c.heights, tips_nm[part]
            _scan_kernels.pixel_currents(polynomials, *at, heard[part], lines.current_nA[part])
    return dataclasses.replace(lines, reach_nm=float(state[8]))


def _scan_steps(
    field: Fields,
    circuit: _Circuit,
    path: Path,
    timing: Timing,
    ring: Ringing,
    noise: _Disturbance,
    *,
    current: bool,
) -> _Lines:
    """Scan with z moving within the pixels, or an amplifier that remembers the last pixel."""
    c, n_passes, n = circuit, len(circuit.x_nm), path.raster.pixels
    lines, state = _lines(n_passes, n, current=current), np.zeros(_scan_kernels.N_STATE)
    a_run = path.n_sub * max(1, _scan_kernels.RUN // path.n_sub)
    room = np.zeros(len(state)), np.empty(a_run * _scan_kernels.LANES), np.empty((4, a_run + 1))
    for part in _parts(n_passes, n * path.n_sub * field.n_coefficients):
        seen = _seen(field, c, part)
        polynomials = seen.step_polynomials(c.x_nm[part], c.y_nm[part], path.n_sub)
        current_nA = np.empty((0, 0)) if lines.current_nA is None else lines.current_nA[part]
        inside = _scan_kernels.scan_steps(
            *(polynomials, c.plane_nm[part], timing, c.heights, c.loop, c.piezo, c.swing, c.hearing, ring),
            *(c.start_nm, noise.of(part), state, *room, lines.topography_nm[part], current_nA, lines.events[part]),
        )
        _check_window(inside)
    return dataclasses.replace(lines, reach_nm=float(state[8]))


def _parts(n_passes: int, numbers_a_pass: int) -> Iterator[slice]:
    """Yield the passes in parts of whole lines whose height polynomials stay near the processor."""
    step = 2 * max(1, PART_NUMBERS // (2 * numbers_a_pass))
    yield from (slice(start, start + step) for start in range(0, n_passes, step))


def _recorded(passes: NDArray[Scalar], raster: Raster) -> NDArray[Scalar]:
    """Return passes (n_passes, n_pixels) without the settling line as images (2, n_rows, n_cols)."""
    return images(passes.reshape(-1, 2, passes.shape[1])[1:], raster)


def _jumps(path: Path) -> NDArray[np.uint8] | np.uint8:
    """Return the events of the tip itself, (2, n_rows, n_cols), or none."""
    found: NDArray[np.uint8] | np.uint8 = np.uint8(0)
    for event, pixels in ((JUMP, path.jumped), (HELD, path.held)):
        if pixels is not None:
            found = found | event * images(pixels[1:].astype(np.uint8), path.raster)
    return found


def _check_window(inside: bool) -> None:
    if not inside:
        raise ArithmeticError(LEFT_WINDOW)


def _lines(n_passes: int, n_pixels: int, *, current: bool) -> _Lines:
    """Return the place of what is recorded."""
    shape = (n_passes, n_pixels)
    return _Lines(np.empty(shape), np.empty(shape, np.uint8), np.empty(shape) if current else None, 0.0)


def _start_height(field: Fields, path: Path, log_setpoint: float) -> float:
    """Return the constant-current height at the start of the settling line."""
    first = path.x_nm[0, 0, :1], path.y_nm[0, 0, :1], path.floor_nm[0, 0, :1]
    return float(perfect_height(field.during(path.tip_numbers[0, 0, :1]), *first, path, log_setpoint=log_setpoint)[0])


def _largest_move(feedback: Feedback, path: Path, timing: Timing, ideal_range_nm: float) -> float:
    """Return the largest |dz| of one update (nm) that step limit and slew limit allow."""
    step_nm = math.inf if feedback.step_limit is None else feedback.step_limit * ideal_range_nm
    slew_nm_per_s = math.inf if feedback.slew_nm_per_s is None else feedback.slew_nm_per_s
    return min(step_nm, slew_nm_per_s * timing.per_update * path.sub_step_s)


def _loop(feedback: Feedback, gains: Gains, largest_move_nm: float) -> tuple[float, float, float, float, float, float]:
    """Return the gains, the largest move of an update and the stops as the kernels take them."""
    return *gains, float(largest_move_nm), float(feedback.z_min_nm), float(feedback.z_max_nm)


def _ceiling(feedback: Feedback) -> float:
    """Return ln of the largest current (nA) that the amplifier shows."""
    return math.inf if feedback.range_nA is None else math.log(feedback.range_nA)


def _piezo(instrument: Instrument, ideal_range_nm: float) -> tuple[float, float, float, float]:
    """Return the z piezo's A, B and C (both per nm: with V and H in nm) and gain."""
    loop = (instrument.z_piezo or LinearPiezo()).bouc_wen()
    stroke_nm = ideal_range_nm if loop.stroke_nm is None else loop.stroke_nm
    if stroke_nm <= 0:
        raise ArithmeticError("the ideal image is flat: it cannot be the z piezo's stroke; give stroke_nm")
    return float(loop.A), float(loop.B / stroke_nm), float(loop.C / stroke_nm), float(loop.gain)


def _steepest_answer(piezo: tuple[float, float, float, float], reach_nm: float) -> float:
    """Return the largest d(tip) / d(command) while |H| stays within ``reach_nm``.

    Away from zero dH/dV = A - (B + C) |H|; the tip answers by gain (1 - dH/dV), the more the fuller the loop.
    """
    a, b, c, gain = piezo
    return gain * (1 - a + (b + c) * reach_nm)
