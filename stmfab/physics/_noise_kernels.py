"""Noise in time, added to ln|I| of samples that follow one another, through the lines: (n,)."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]

RENEWED = 64  # points after which a turn is worked out anew

fast = kernel(fastmath={"contract"})


@kernel()
def wander(innovations: F4, kept: float) -> None:
    """Replace unit normal numbers, (2, n), by signals of unit variance that keep a share from point to point."""
    new = np.sqrt(1.0 - kept * kept)
    for axis in range(innovations.shape[0]):
        for i in range(1, innovations.shape[1]):
            innovations[axis, i] = kept * innovations[axis, i - 1] + new * innovations[axis, i]


@fast
def turned(envelope: F4, angle: float, out: F4) -> None:
    """Write to out, (n, 4), an envelope a, (2, n + 1), and its rise to the next point, both times exp(i k angle).

    The turn goes on by products, and anew from the cosine every ``RENEWED`` points.
    """
    step_cos, step_sin, cos, sin = np.cos(angle), np.sin(angle), 1.0, 0.0
    for k in range(out.shape[0]):
        if k % RENEWED == 0:
            cos, sin = np.cos(k * angle), np.sin(k * angle)
        x, y = envelope[0, k], envelope[1, k]
        x_rise, y_rise = envelope[0, k + 1] - x, envelope[1, k + 1] - y
        out[k, 0], out[k, 1] = cos * x - sin * y, sin * x + cos * y
        out[k, 2], out[k, 3] = cos * x_rise - sin * y_rise, sin * x_rise + cos * y_rise
        cos, sin = cos * step_cos - sin * step_sin, sin * step_cos + cos * step_sin


@fast
def add_carried(points: F4, within: F4, first: int, out: F4) -> None:
    """Add Re((a + share rise) exp(i w t)) to the samples, (n,), the ``first`` of them in time.

    ``points``, (n_points, 4), are a and its rise to the next point, turned by w t at the point; ``within``,
    (3, n_between), the cosine and the sine of w t and the share, for the samples from a point to the next.
    """
    n_between, i = within.shape[1], 0
    while i < out.shape[0]:
        k = (first + i) // n_between
        j = first + i - k * n_between
        n = min(n_between - j, out.shape[0] - i)
        row, cos, sin, share = out[i : i + n], within[0, j : j + n], within[1, j : j + n], within[2, j : j + n]
        x, y, x_rise, y_rise = points[k, 0], points[k, 1], points[k, 2], points[k, 3]
        for m in range(n):
            row[m] += (x + share[m] * x_rise) * cos[m] - (y + share[m] * y_rise) * sin[m]
        i += n


@fast
def add_steady(points: F4, within: F4, first: int, out: F4) -> None:
    """Add oscillations of constant amplitudes to the samples, (n,), the ``first`` of them in time.

    ``points``, (n_points, n_waves, 2), are the amplitudes that go with cosine and sine from a point on; ``within``,
    (n_waves, 2, n_between), cosine and sine for the samples from a point to the next.
    """
    n_between, i = within.shape[2], 0
    while i < out.shape[0]:
        k = (first + i) // n_between
        j = first + i - k * n_between
        n = min(n_between - j, out.shape[0] - i)
        row = out[i : i + n]
        for wave in range(within.shape[0]):
            cos, sin = within[wave, 0, j : j + n], within[wave, 1, j : j + n]
            x, y = points[k, wave, 0], points[k, wave, 1]
            for m in range(n):
                row[m] += x * cos[m] + y * sin[m]
        i += n


@fast
def add_joined(points: F4, n_between: int, scale: float, first: int, out: F4) -> None:
    """Add scale times points, one every so many samples, joined by straight lines, to the samples, (n,)."""
    size, i = np.float32(scale), 0
    step = np.float32(scale / n_between)
    while i < out.shape[0]:
        k = (first + i) // n_between
        j = first + i - k * n_between
        n = min(n_between - j, out.shape[0] - i)
        rise, row = step * (points[k + 1] - points[k]), out[i : i + n]
        value = size * points[k] + np.float32(np.int32(j)) * rise
        for m in range(n):
            row[m] += value + np.float32(np.int32(m)) * rise
        i += n


@kernel()
def add_means(points: F4, n_points: int, scale: float, out: F4) -> None:
    """Add scale times the mean of ``n_points`` points to each sample (n,)."""
    for i in range(out.shape[0]):
        total = np.float32(0.0)
        for k in range(i * n_points, (i + 1) * n_points):
            total += points[k]
        out[i] += scale / n_points * total


@kernel()
def add_stays(begins: F8, ends: F8, height: float, out: F4) -> None:
    """Add height times the share of each sample (n,) that lies between a beginning and its end, in samples."""
    size, whole = float(out.shape[0]), np.float32(height)
    for stay in range(begins.shape[0]):
        begin, end = max(0.0, begins[stay]), min(ends[stay], size)
        if not begin < end:
            continue
        first, last = int(begin), int(end)
        if first == last:
            out[first] += height * (end - begin)
            continue
        out[first] += height * (first + 1 - begin)
        for i in range(first + 1, last):
            out[i] += whole
        if end > last:
            out[last] += height * (end - last)
