"""Noise in time, added to ln|I| of every sample: (n_lines, n_samples), line after line."""

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
U8 = NDArray[np.uint64]

WORD_MEAN, WORD_SIGMA = 2 * 65535.0, np.sqrt((65536.0**2 - 1) / 3)  # of the sum of four numbers of 16 bits


@numba.njit(cache=True, error_model="numpy")
def add_white(words: U8, sigma: float, out: F4) -> None:
    """Add to each sample, (n,), sigma times the standardised sum of a word's four numbers of 16 bits."""
    low, scale = np.uint64(0xFFFF), np.float32(sigma / WORD_SIGMA)
    for i in range(out.shape[0]):
        word = words[i]
        first = np.int64(word & low) + np.int64((word >> np.uint64(16)) & low)
        second = np.int64((word >> np.uint64(32)) & low) + np.int64(word >> np.uint64(48))
        out[i] += scale * np.float32(first + second - np.int64(WORD_MEAN))


@numba.njit(cache=True, error_model="numpy")
def wander(innovations: F8, kept: float) -> None:
    """Replace unit normal numbers, (2, n), by signals of unit variance that keep a share from point to point."""
    new = np.sqrt(1.0 - kept * kept)
    for axis in range(innovations.shape[0]):
        for i in range(1, innovations.shape[1]):
            innovations[axis, i] = kept * innovations[axis, i - 1] + new * innovations[axis, i]


@numba.njit(cache=True, error_model="numpy")
def add_carried(envelope: F8, points_a_sample: float, turn: F8, line_turn: F8, out: F4) -> None:
    """Add Re(envelope exp(i w t)) to (n_lines, n_samples): the envelope, (2, n), by straight lines.

    exp(i w t) as cosine and sine: ``turn`` of the samples within a line, ``line_turn`` of the lines' starts.
    """
    n = out.shape[1]
    for line in range(out.shape[0]):
        c, s = line_turn[line, 0], line_turn[line, 1]
        for i in range(n):
            at = (line * n + i + 0.5) * points_a_sample
            k = int(at)
            share = at - k
            real = envelope[0, k] + share * (envelope[0, k + 1] - envelope[0, k])
            imaginary = envelope[1, k] + share * (envelope[1, k + 1] - envelope[1, k])
            x, y = c * turn[i, 0] - s * turn[i, 1], c * turn[i, 1] + s * turn[i, 0]
            out[line, i] += real * x - imaginary * y


@numba.njit(cache=True, error_model="numpy")
def add_joined(points: F4, points_a_sample: float, scale: float, out: F4) -> None:
    """Add scale times the points, joined by straight lines, to the samples (n,)."""
    for i in range(out.shape[0]):
        at = (i + 0.5) * points_a_sample
        k = int(at)
        share = at - k
        out[i] += scale * (points[k] + share * (points[k + 1] - points[k]))


@numba.njit(cache=True, error_model="numpy")
def add_means(points: F4, n_points: int, scale: float, out: F4) -> None:
    """Add scale times the mean of ``n_points`` points to each sample (n,)."""
    for i in range(out.shape[0]):
        total = np.float32(0.0)
        for k in range(i * n_points, (i + 1) * n_points):
            total += points[k]
        out[i] += scale / n_points * total


@numba.njit(cache=True, error_model="numpy")
def add_stays(begins: F8, ends: F8, height: float, out: F4) -> None:
    """Add height times the share of each sample (n,) that lies between a beginning and its end, in samples."""
    for stay in range(begins.shape[0]):
        end = min(ends[stay], float(out.shape[0]))
        for i in range(int(begins[stay]), int(np.ceil(end))):
            out[i] += height * (min(end, i + 1.0) - max(begins[stay], float(i)))
