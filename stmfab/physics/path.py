"""Where the tip is: the raster, distorted by creep, drift, jitter and tilt, in the sample frame.

The lateral path does not depend on the feedback (only z does): it is computed first. Within a pixel the tip moves
straight and steadily, so that the path is held by the ends of its pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from . import _path_kernels, motions
from .instrument import Drift, Feedback, FrameCreep, Instrument, Jitter, Raster, Tilt
from .noise import Streams
from .piezo import LateralHysteresis, Resonance
from .units import Bools, Floats, Ints

Scalar = TypeVar("Scalar", bound=np.generic)
SUB_STEPS_PER_SWING = 4  # a period of the z piezo's resonance, which is exact between them
SUB_STEPS_PER_RADIAN = 10  # a continuous loop of crossover f steps every 1 / (10 * 2 pi f) s
PART_PLACES = 1 << 14  # of the tip, bent at once: 128 KB a coordinate


@dataclass(frozen=True)
class Path:
    """Where the tip is: line 0 settles and is not recorded; a line is a forward, then a backward pass.

    Sub-step s of pixel i is at (s + 1/2) / n_sub of the way from end i to end i + 1.

    Attributes
    ----------
    x_nm, y_nm : arrays of shape (n_lines + 1, 2, n_pixels + 1)
        Ends of the pixels in the sample frame, in time order on the backward pass too.
    n_sub : int
        Sub-steps a pixel.
    floor_nm : array of shape (n_lines + 1, 2, n_pixels + 1)
        Height of the sample plane there in the scanner's z, tilt, bow and crosstalk: zero at the frame's centre.
    cos_tilt : float
        Cosine of the angle between sample plane and scan plane.
    changes : int array of shape (n_lines + 1, 2, n_pixels + 1), or None
        How often the tip has changed by then; None: it never does.
    holding : int array of shape (n_lines + 1, 2, n_pixels + 1), or None
        How many things that it picked up the tip holds then; None: it never does.
    """

    raster: Raster
    n_sub: int
    x_nm: Floats
    y_nm: Floats
    floor_nm: Floats
    cos_tilt: float
    changes: Ints | None = None
    holding: Ints | None = None

    @property
    def sub_step_s(self) -> float:
        """Return the time between sub-steps."""
        return self.raster.dwell_s / self.n_sub

    @property
    def window_nm(self) -> tuple[float, float, float, float]:
        """Return (x_min, x_max, y_min, y_max) of the whole path, the settling line too."""
        return float(self.x_nm.min()), float(self.x_nm.max()), float(self.y_nm.min()), float(self.y_nm.max())

    @property
    def lines_nm(self) -> tuple[Floats, Floats]:
        """Return x, y of the pixels' ends, pass after pass, each (2 (n_lines + 1), n_pixels + 1)."""
        return self.x_nm.reshape(-1, self.x_nm.shape[-1]), self.y_nm.reshape(-1, self.y_nm.shape[-1])

    def sub_steps(self) -> tuple[Floats, Floats]:
        """Return the position x, y of each sub-step, each (n_lines + 1, 2, n_pixels * n_sub), in time order."""
        share = (np.arange(self.n_sub) + 0.5) / self.n_sub
        x, y = ((v[..., :-1, None] + np.diff(v)[..., None] * share) for v in (self.x_nm, self.y_nm))
        return x.reshape(*x.shape[:2], -1), y.reshape(*y.shape[:2], -1)

    def pixels(self) -> tuple[Floats, Floats]:
        """Return each pixel's mean position x, y in the sample frame, each (2, n_rows, n_cols): forward, backward."""
        return self._means(self.x_nm), self._means(self.y_nm)

    def floors(self) -> Floats:
        """Return the mean height of the sample plane at each pixel, (2, n_rows, n_cols): forward, backward."""
        return self._means(self.floor_nm)

    def forward_pixels(self) -> tuple[Floats, Floats]:
        """Return each forward pixel's mean position x, y in the sample frame, each (n_rows, n_cols)."""
        return self._means(self.x_nm[:, :1])[0], self._means(self.y_nm[:, :1])[0]

    @property
    def jumped(self) -> Bools | None:
        """Return the pixels in which the tip changed, (n_lines + 1, 2, n_pixels); None: it never does."""
        return None if self.changes is None else np.diff(self.changes) > 0

    @property
    def held(self) -> Bools | None:
        """Return the pixels in which the tip holds something, (n_lines + 1, 2, n_pixels); None: it never does."""
        return None if self.holding is None else (self.holding[..., :-1] > 0) | (self.holding[..., 1:] > 0)

    @property
    def n_changes(self) -> int:
        """Return how often the tip changes in all."""
        return 0 if self.changes is None else int(self.changes.max())

    @property
    def tip_numbers(self) -> Ints:
        """Return how often the tip had changed before each pixel, (n_lines + 1, 2, n_pixels)."""
        shape = (*self.x_nm.shape[:2], self.raster.pixels)
        return np.broadcast_to(np.int64(0), shape) if self.changes is None else self.changes[..., :-1]

    def _means(self, ends: Floats) -> Floats:
        """Return the means of the pixels' ends, settling line first, as images."""
        return images((ends[1:, :, :-1] + ends[1:, :, 1:]) / 2, self.raster)


def images(lines: NDArray[Scalar], raster: Raster) -> NDArray[Scalar]:
    """Return pixels recorded in time, (n_lines, 2, n_pixels), as images in space, (2, n_rows, n_cols), row 0 = least y.

    The backward pass is stored at the same pixels as the forward pass; the forward pass may come alone.
    """
    n_lines, n_passes, n_pixels = lines.shape
    out = np.empty((n_passes, n_lines, n_pixels), lines.dtype)
    seen = out if raster.fast_axis == "x" else out.transpose(0, 2, 1)  # line after line, pixel after pixel
    for way in range(n_passes):
        seen[way, :: raster.slow_direction, :: raster.fast_direction * (-1) ** way] = lines[:, way]
    return out


def forward(lines: NDArray[Scalar], raster: Raster) -> NDArray[Scalar]:
    """Return the forward pixels of lines (n_lines + 1, 2, n_pixels), settling line first, as an image."""
    return np.asarray(images(lines[1:, :1], raster)[0])


def nominal_raster(raster: Raster) -> tuple[Floats, Floats]:
    """Return the pixel centres x, y of the undistorted frame in the sample frame (nm), each (n_rows, n_cols)."""
    offsets = _pixel_offsets(raster)
    return _turned(raster, offsets[None, :], offsets[:, None])


def distortion(path: Path) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the true less the nominal position of each pixel along the frame's x and y: forward x, y, backward x, y.

    Each is (n_rows, n_cols), in nm.
    """
    raster, (x_nm, y_nm) = path.raster, path.pixels()
    nominal_x, nominal_y = nominal_raster(raster)
    cos, sin = _rotation(raster.rotation_deg)[:, 0]
    right, up = x_nm - nominal_x, y_nm - nominal_y
    along_x, along_y = cos * right + sin * up, cos * up - sin * right
    return along_x[0], along_y[0], along_x[1], along_y[1]


def first_line(raster: Raster) -> tuple[Floats, Floats]:
    """Return the pixel centres x, y of the first line of the undistorted frame (nm), each (n_pixels,)."""
    offsets = _pixel_offsets(raster)
    across = raster.slow_direction * offsets[0]
    return _turned(raster, offsets, across) if raster.fast_axis == "x" else _turned(raster, across, offsets)


def tip_path(
    raster: Raster, instrument: Instrument, *, streams: Streams, offset_nm: tuple[float, float] = (0.0, 0.0)
) -> Path:
    """Return where the tip is: the raster, distorted, turned into the sample frame.

    Time is zero at the start of the first recorded line; the settling line repeats that line just before. The fast axis
    moves steadily, the slow axis steps between lines. Creep, drift and jitter add displacements along the frame's
    axes; the tip follows the tilted plane, so that positions stretch by 1 / cos(tilt) along the slope; then comes the
    rotation. Hysteresis acts on the command, then the scanner's errors. A jump of the tip is spread over the pixel in
    which it falls; in z it lifts the floor: the gap is that of the atom in front; so does what it picks up. ``streams``
    gives the random streams "jitter", "walk", "tip_jumps" and "pick_ups.<name>". The sample has drifted by
    ``offset_nm`` along the frame's axes before the scan begins.
    """
    n_sub = sub_steps(raster, instrument.feedback, instrument.z_resonance)
    to_sample, slope, cos_tilt = _frame_to_sample(raster, instrument.tilt)
    frame_s = 2 * raster.pixels**2 * raster.dwell_s
    line_s, step_s = _times(raster)
    lines, steps = _line_offsets(raster), _step_offsets(raster, instrument.lateral_hysteresis)
    commanded = lines, steps
    if instrument.scanner is not None:
        lines, steps = (np.tensordot(instrument.scanner.matrix, moves, 1) for moves in (lines, steps))
    lines = lines + _line_jitter(raster, instrument.jitter, streams("jitter"))
    if instrument.drift is not None:
        velocity = np.array(instrument.drift.velocity_nm_per_s(frame_s=frame_s))
        lines = lines + velocity[:, None] * line_s
        steps = steps + velocity[:, None, None] * step_s
    if any(offset_nm):
        lines = lines + np.array(offset_nm)[:, None]
    x_nm, y_nm = _summed(to_sample @ lines, (to_sample @ steps.reshape(2, -1)).reshape(steps.shape))
    walk, t_s = _random_walk(raster, instrument.drift, streams), line_s[:, None, None] + step_s
    if walk is not None:
        _path_kernels.add_straight(*walk, to_sample, x_nm, y_nm)
    floor_nm, jumps = np.zeros_like(x_nm), motions.jumps(instrument, frame_s, streams)
    if instrument.scanner is not None:
        _path_kernels.add_lift(*commanded, instrument.scanner.lift, floor_nm)
    places_nm = x_nm, y_nm, floor_nm
    _add_bends(places_nm, instrument, t_s, jumps, frame_s, to_sample, slope)
    changes, holding = _add_changes(places_nm, instrument, frame_s, t_s, jumps, streams)
    x_nm += raster.center_x_nm
    y_nm += raster.center_y_nm
    return Path(raster, n_sub, x_nm, y_nm, floor_nm, cos_tilt, changes, holding)


def _parts(t_s: Floats) -> Iterator[slice]:
    """Yield the lines of times, (n_lines, 2, n), in parts whose places stay near the processor."""
    step = max(1, PART_PLACES // t_s[0].size)
    yield from (slice(start, start + step) for start in range(0, len(t_s), step))


def _add_bends(
    places_nm: tuple[Floats, Floats, Floats],
    instrument: Instrument,
    t_s: Floats,
    jumps: tuple[Floats, Floats],
    frame_s: float,
    to_sample: Floats,
    slope: Floats,
) -> None:
    """Add to x and y, (n_lines, 2, n), what bends in time, to the floor that and the slope of the sample's plane."""
    for part in _parts(t_s):
        x_nm, y_nm, floor_nm = (place_nm[part] for place_nm in places_nm)
        if isinstance(instrument.creep, FrameCreep):
            moves = instrument.creep.displacement(t_s[part], frame_s=frame_s)
            _path_kernels.add_turned(*moves, to_sample, x_nm, y_nm)
        for law, (x, y, z) in motions.bends(instrument, t_s[part].reshape(len(x_nm), -1), *jumps):
            _path_kernels.add_law(law, np.array([*(to_sample @ (x, y)), z]), x_nm, y_nm, floor_nm)
        _path_kernels.add_plane(x_nm, y_nm, slope, floor_nm)


def _add_changes(
    places_nm: tuple[Floats, Floats, Floats],
    instrument: Instrument,
    frame_s: float,
    t_s: Floats,
    jumps: tuple[Floats, Floats],
    streams: Streams,
) -> tuple[Ints | None, Ints | None]:
    """Add what happens to the tip to x, y and floor; return changes of the tip, and how many things it holds."""
    changes = None if instrument.tip_jumps is None else motions.add_jumps(*jumps, t_s, places_nm)
    if not instrument.pick_ups:
        return changes, None
    rise_nm, holding = motions.held(instrument.pick_ups, frame_s, t_s, streams)
    places_nm[2][:] += rise_nm
    return changes, holding


def _summed(lines: Floats, steps: Floats) -> tuple[Floats, Floats]:
    """Return x and y, each (n_lines + 1, 2, n_pixels + 1), of offsets of lines (2, n_lines + 1) and steps (2, 2, n)."""
    x, y = lines[:, :, None, None] + steps[:, None]
    return x, y


def sub_steps(raster: Raster, feedback: Feedback | None, resonance: Resonance | None = None) -> int:
    """Return the number of sub-steps a pixel: the raster's, or more where a loop or the z piezo is faster."""
    if feedback is None:
        return raster.sub_steps
    rate_Hz = 0.0 if resonance is None else SUB_STEPS_PER_SWING * resonance.frequency_Hz
    if feedback.update == "continuous" and feedback.crossover_Hz is not None:
        rate_Hz = max(rate_Hz, SUB_STEPS_PER_RADIAN * 2 * math.pi * feedback.crossover_Hz)
    return max(raster.sub_steps, math.ceil(rate_Hz * raster.dwell_s))


def _turned(raster: Raster, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return points of the frame in the sample frame (nm)."""
    rotation = _rotation(raster.rotation_deg)
    turned_x = raster.center_x_nm + rotation[0, 0] * x + rotation[0, 1] * y
    turned_y = raster.center_y_nm + rotation[1, 0] * x + rotation[1, 1] * y
    return np.asarray(turned_x), np.asarray(turned_y)


def _pixel_offsets(raster: Raster) -> Floats:
    """Return the pixel centres along one axis, zero at the frame's centre, shape (n_pixels,)."""
    return np.asarray((np.arange(raster.pixels) - (raster.pixels - 1) / 2) * (raster.size_nm / raster.pixels))


def _along_axes(raster: Raster, *, fast: Floats | float, slow: Floats | float) -> Floats:
    """Return fast and slow components as x and y components of the frame, stacked on axis 0."""
    out = np.empty((2, *np.shape(fast + slow)))
    out[0], out[1] = (fast, slow) if raster.fast_axis == "x" else (slow, fast)
    return out


def _line_offsets(raster: Raster) -> Floats:
    """Return the nominal x, y offset of each line in the frame, settling line first, shape (2, n_lines + 1)."""
    recorded = raster.slow_direction * _pixel_offsets(raster)
    return _along_axes(raster, fast=0.0, slow=np.concatenate([recorded[:1], recorded]))


def _step_offsets(raster: Raster, hysteresis: LateralHysteresis | None) -> Floats:
    """Return the x, y offset of the pixels' ends along a line, shape (2, 2, n_pixels + 1): axis, pass, time."""
    share = np.arange(raster.pixels + 1) / raster.pixels
    run_nm = (share - 0.5) * raster.size_nm
    if hysteresis is not None:
        run_nm = run_nm - hysteresis.lag_nm(share, length_nm=raster.size_nm)
    run_nm = raster.fast_direction * run_nm
    return _along_axes(raster, fast=np.array([run_nm, -run_nm]), slow=0.0)


def _times(raster: Raster) -> tuple[Floats, Floats]:
    """Return each line's start (n_lines + 1,) and the pixels' ends in a line (2, n_pixels + 1), in s."""
    pass_s = raster.pixels * raster.dwell_s
    count = np.arange(raster.pixels + 1)
    end_s = count * raster.dwell_s
    return np.asarray((count - 1) * (2 * pass_s)), np.array([end_s, end_s + pass_s])


def _line_jitter(raster: Raster, jitter: Jitter | None, rng: np.random.Generator) -> Floats:
    """Return the random x, y offset of each line in the frame, shape (2, n_lines + 1)."""
    if jitter is None:
        return np.zeros((2, raster.pixels + 1))
    fast, slow = rng.standard_normal((2, raster.pixels + 1))
    return _along_axes(raster, fast=jitter.fast_nm * fast, slow=jitter.slow_nm * slow)


def _random_walk(raster: Raster, drift: Drift | None, streams: Streams) -> tuple[Floats, Floats] | None:
    """Return a Brownian path on two axes: where each pass starts and how far it goes, each (2, n_lines + 1, 2).

    Zero at t = 0, exact at the ends of the passes and straight between them.
    """
    if drift is None or drift.walk_nm_per_sqrt_s == 0:
        return None
    rms_nm = drift.walk_nm_per_sqrt_s * math.sqrt(raster.pixels * raster.dwell_s)
    moves = rms_nm * streams("walk").standard_normal((2, 2 * (raster.pixels + 1)))
    ends = np.cumsum(moves, axis=1)
    starts = ends - moves - ends[:, 1:2]
    return starts.reshape(2, -1, 2), moves.reshape(2, -1, 2)


def _rotation(angle_deg: float) -> Floats:
    """Return the matrix of a counter-clockwise rotation, shape (2, 2)."""
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return np.array([[cos, -sin], [sin, cos]])


def _frame_to_sample(raster: Raster, tilt: Tilt | None) -> tuple[Floats, Floats, float]:
    """Return the matrix from frame to sample displacements (2, 2), the plane's slope in the sample (2,), cos(tilt).

    Along the gradient g of the plane a move d becomes sqrt(1 + g^2) d on the plane, and the plane rises by g d.
    """
    x, y = (0.0, 0.0) if tilt is None else tilt.gradient
    steepness, rotation = math.hypot(x, y), _rotation(raster.rotation_deg)
    if steepness == 0:
        return rotation, np.zeros(2), 1.0
    cos_tilt, x, y = 1 / math.hypot(1.0, steepness), x / steepness, y / steepness
    stretch = 1 / cos_tilt - 1
    to_sample = rotation @ np.array([[1 + stretch * x * x, stretch * x * y], [stretch * x * y, 1 + stretch * y * y]])
    return to_sample, rotation @ (steepness * cos_tilt * np.array([x, y])), cos_tilt
