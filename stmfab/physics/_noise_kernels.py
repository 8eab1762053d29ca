"""Noise in time, added to ln|I| of every sample: (n_lines, n_samples), line after line."""

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
U4 = NDArray[np.uint32]

BYTES_MEAN, BYTES_SIGMA = 510, np.sqrt((256.0**2 - 1) / 3)  # of the sum of four numbers of 8 bits

fast = numba.njit(cache=True, error_model="numpy", fastmath={"contract"})


@fast
def add_white(words: U4, sigma: float, out: F4) -> None:
    """Add to each sample, (n,), sigma times the standardised sum of the four bytes of a word."""
    scale = np.float32(sigma / BYTES_SIGMA)
    for i in range(out.shape[0]):
        w = words[i]
        total = np.int32(w & 0xFF) + np.int32((w >> 8) & 0xFF) + np.int32((w >> 16) & 0xFF) + np.int32(w >> 24)
        out[i] += scale * np.float32(total - np.int32(BYTES_MEAN))


@numba.njit(cache=True, error_model="numpy")
def wander(innovations: F8, kept: float) -> None:
    """Replace unit normal numbers, (2, n), by signals of unit variance that keep a share from point to point."""
    new = np.sqrt(1.0 - kept * kept)
    for axis in range(innovations.shape[0]):
        for i in range(1, innovations.shape[1]):
            innovations[axis, i] = kept * innovations[axis, i - 1] + new * innovations[axis, i]


@fast
def add_carried(envelope: F4, points_a_sample: float, turn: F4, line_turn: F4, out: F4) -> None:
    """Add Re(envelope exp(i w t)) to (n_lines, n_samples): the envelope, (2, n), by straight lines.

    exp(i w t) as cosine and sine: ``turn``, (2, n_samples), within a line, ``line_turn``, (n_lines, 2), at its start.
    """
    step, cos, sin = np.float32(points_a_sample), turn[0], turn[1]
    for line in range(out.shape[0]):
        c, s, row = line_turn[line, 0], line_turn[line, 1], out[line]
        begin = (line * out.shape[1] + 0.5) * points_a_sample
        first = int(begin)
        rest, real, imaginary = np.float32(begin - first), envelope[0, first:], envelope[1, first:]
        for i in range(out.shape[1]):
            at = rest + np.float32(np.int32(i)) * step
            k = np.int32(at)
            share = at - np.float32(k)
            x = real[k] + share * (real[k + 1] - real[k])
            y = imaginary[k] + share * (imaginary[k + 1] - imaginary[k])
            row[i] += x * (c * cos[i] - s * sin[i]) - y * (c * sin[i] + s * cos[i])


@fast
def add_joined(points: F4, points_a_sample: float, scale: float, out: F4) -> None:
    """Add scale times the points, joined by straight lines, to the samples, (n_lines, n_samples)."""
    step, size = np.float32(points_a_sample), np.float32(scale)
    for line in range(out.shape[0]):
        begin = (line * out.shape[1] + 0.5) * points_a_sample
        first = int(begin)
        rest, near, row = np.float32(begin - first), points[first:], out[line]
        for i in range(out.shape[1]):
            at = rest + np.float32(np.int32(i)) * step
            k = np.int32(at)
            row[i] += size * (near[k] + (at - np.float32(k)) * (near[k + 1] - near[k]))


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
