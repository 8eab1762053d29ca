"""What an image looks like in numbers: the quantities by which a dataset is held against real scans.

Lines are the scan lines: rows of an image whose fast axis is x. Every number is taken from the levelled image, its
best plane removed; those of one pixel row against the next see the line noise that line-levelling would hide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NORMAL_MAD = 1.4826  # standard deviation over median absolute deviation of a Gaussian
SLOPE_BAND = (2.0, 0.25)  # spectral exponents from 2 / N to 0.25 cycles a pixel
RATIO_BAND = (0.02, 0.08)  # cycles a pixel, where the slow axis is held against the fast one
WHITE_FROM = 0.375  # cycles a pixel: the top quarter of the spectrum
LARGEST_SHIFT = 0.05  # of the width, between forward and backward
STREAK_SIGMAS, STREAK_PIXELS = 4.0, 6


@dataclass(frozen=True)
class Quantity:
    """A column of the table: its unit and its meaning."""

    unit: str
    meaning: str


QUANTITIES: Mapping[str, Quantity] = {
    "tilt": Quantity("deg", "slope of the best plane"),
    "rms": Quantity("pm", "less plane and line medians"),
    "offset": Quantity("pm", "line-to-line step / sqrt(2)"),
    "offset/rms": Quantity("1", ""),
    "fast exponent": Quantity("1", "a of f^-a along the lines"),
    "slow exponent": Quantity("1", "a of f^-a across the lines"),
    "slow/fast": Quantity("1", "at 0.02-0.08 cycles a pixel"),
    "white": Quantity("pm", "top of the fast spectrum"),
    "white/rms": Quantity("1", ""),
    "fast kurtosis": Quantity("1", "of the steps along the lines"),
    "slow kurtosis": Quantity("1", "of the steps across the lines"),
    "streaks": Quantity("%", "pixels out of their lines"),
    "F-B": Quantity("pm", "rms, best shift, / sqrt(2)"),
    "F-B/rms": Quantity("1", ""),
    "F-B shift": Quantity("%", "best shift, of the width"),
}


def of_image(forward_nm: Floats, backward_nm: Floats | None, *, fast_axis: str, pixel_nm: float) -> dict[str, float]:
    """Return the quantities of one recorded image, (n_rows, n_cols); those of the backward image only with one.

    A number that a flat image has not (0 / 0) is NaN.
    """
    lines, slope = levelled(lines_of(forward_nm, fast_axis))
    flat = lines - np.median(lines, axis=1, keepdims=True)
    fast, slow = spectrum(lines), spectrum(lines.T)
    found = {
        "tilt": math.degrees(math.atan(slope / pixel_nm)),
        "rms": 1e3 * float(flat.std()),
        "offset": 1e3 * _offset(lines),
        "fast exponent": _exponent(fast),
        "slow exponent": _exponent(slow),
        "slow/fast": _ratio(slow, fast),
        "white": 1e3 * math.sqrt(float(fast[frequencies(fast) >= WHITE_FROM].mean())),
        "fast kurtosis": _kurtosis(np.diff(lines, axis=1)),
        "slow kurtosis": _kurtosis(np.diff(lines, axis=0)),
        "streaks": 100 * _streaks(lines),
    }
    if backward_nm is not None:
        back, _ = levelled(lines_of(backward_nm, fast_axis))
        difference, shift = _mismatch(lines, back)
        found |= {"F-B": 1e3 * difference, "F-B shift": 100 * shift}
    shares = {"offset/rms": "offset", "white/rms": "white", "F-B/rms": "F-B"}
    found |= {share: _over(found[part], found["rms"]) for share, part in shares.items() if part in found}
    return {name: found[name] for name in QUANTITIES if name in found}


def summary(rows: list[dict[str, float]]) -> dict[str, tuple[float, float, float]]:
    """Return the median, the 10th and the 90th percentile of each quantity over images; NaN is left out."""
    out = {}
    for name in rows[0]:
        column = np.array([row[name] for row in rows])
        there = column[np.isfinite(column)]
        median, low, high = np.percentile(there, (50, 10, 90)) if there.size else (math.nan,) * 3
        out[name] = (float(median), float(low), float(high))
    return out


def lines_of(image: Floats, fast_axis: str) -> Floats:
    """Return an image with its scan lines as rows, in float64."""
    return np.asarray(image if fast_axis == "x" else image.T, np.float64)


def levelled(lines: Floats) -> tuple[Floats, float]:
    """Return an image less its best plane, and the plane's slope a pixel."""
    n_rows, n_cols = lines.shape
    y, x = np.arange(n_rows) - (n_rows - 1) / 2, np.arange(n_cols) - (n_cols - 1) / 2
    along = float((lines * x).sum() / (n_rows * (x**2).sum()))
    across = float((lines * y[:, None]).sum() / (n_cols * (y**2).sum()))
    return lines - lines.mean() - along * x - across * y[:, None], math.hypot(along, across)


def _offset(lines: Floats) -> float:
    """Return the robust rms of the line-to-line median step over sqrt(2)."""
    steps = np.median(np.diff(lines, axis=0), axis=1)
    return float(NORMAL_MAD * np.median(np.abs(steps - np.median(steps))) / math.sqrt(2))


def spectrum(lines: Floats) -> Floats:
    """Return the power at 0 to 0.5 cycles a pixel, mean over the lines, whose mean over frequencies is the variance."""
    n = lines.shape[1]
    window = np.hanning(n + 2)[1:-1]
    waves = np.fft.rfft((lines - lines.mean(axis=1, keepdims=True)) * window)
    return np.asarray((np.abs(waves) ** 2).mean(axis=0) / (window**2).sum())


def frequencies(spectrum: Floats) -> Floats:
    """Return the frequencies of a spectrum in cycles a pixel."""
    return np.linspace(0, 0.5, len(spectrum))


def _exponent(spectrum: Floats) -> float:
    """Return a of the best f^-a."""
    cycles, n = frequencies(spectrum), 2 * (len(spectrum) - 1)
    band = (cycles >= SLOPE_BAND[0] / n) & (cycles <= SLOPE_BAND[1]) & (spectrum > 0)
    if band.sum() < 2:
        return math.nan
    return -float(np.polyfit(np.log(cycles[band]), np.log(spectrum[band]), 1)[0])


def _ratio(slow: Floats, fast: Floats) -> float:
    """Return the power across over that along the lines, in a band of low frequencies."""
    powers = []
    for spectrum in (slow, fast):
        cycles = frequencies(spectrum)
        powers.append(float(spectrum[(cycles >= RATIO_BAND[0]) & (cycles <= RATIO_BAND[1])].mean()))
    return _over(*powers)


def _over(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


def _kurtosis(steps: Floats) -> float:
    """Return the excess kurtosis."""
    centred = steps - steps.mean()
    return _over(float((centred**4).mean()), float((centred**2).mean()) ** 2) - 3


def _streaks(lines: Floats) -> float:
    """Return the share of pixels in runs where a line leaves both its neighbours to the same side."""
    before, after = lines[1:-1] - lines[:-2], lines[1:-1] - lines[2:]
    limit = STREAK_SIGMAS * NORMAL_MAD * np.median(np.abs(np.diff(lines, axis=0)))
    if limit == 0:
        return 0.0
    left = (np.minimum(np.abs(before), np.abs(after)) > limit) & (before * after > 0)
    ends = np.diff(np.pad(left, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    begins, stops = np.argwhere(ends == 1), np.argwhere(ends == -1)
    lengths = stops[:, 1] - begins[:, 1]
    return float(lengths[lengths >= STREAK_PIXELS].sum() / lines.size)


def _mismatch(forward: Floats, backward: Floats) -> tuple[float, float]:
    """Return the least rms difference of two images over sqrt(2), and the shift along the lines, of the width."""
    n = forward.shape[1]
    most = max(1, round(LARGEST_SHIFT * n))
    shifts = range(-most, most + 1)
    inside = slice(most, n - most)
    squares = [float(((forward[:, inside] - _moved(backward, s)[:, inside]) ** 2).mean()) for s in shifts]
    best = int(np.argmin(squares))
    fine = float(shifts[best])
    if 0 < best < len(squares) - 1:
        left, middle, right = squares[best - 1 : best + 2]
        fine += (left - right) / (2 * (left - 2 * middle + right)) if left - 2 * middle + right > 0 else 0.0
    difference = forward[:, inside] - _moved(backward, fine)[:, inside]
    return float(difference.std() / math.sqrt(2)), fine / n


def _moved(lines: Floats, shift: float) -> Floats:
    """Return lines moved by a number of pixels; beyond their ends they keep their last value."""
    at = np.arange(lines.shape[1]) - shift
    return np.array([np.interp(at, np.arange(lines.shape[1]), line) for line in lines])
