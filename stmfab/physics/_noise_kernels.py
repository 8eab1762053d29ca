"""Noise in time, added to ln|I| of every sample of some lines from the ``first`` on: (n_lines, n_samples)."""

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
U4 = NDArray[np.uint32]

LANES, PAIR = 16, np.uint32(0x00FF00FF)
BYTES_MEAN, BYTES_SIGMA = 510, np.sqrt((256.0**2 - 1) / 3)  # of the sum of four numbers of 8 bits

fast = numba.njit(cache=True, error_model="numpy", fastmath={"contract"})


@fast
def add_white(state: U4, sigma: float, out: F4) -> None:
    """Add to each sample, (n,), sigma times the standardised sum of the four bytes of a random word.

    The words are those of xoshiro128++ generators side by side, states (4, ``LANES``), which go on from call to call
    (D. Blackman and S. Vigna, ACM Trans. Math. Softw. 47, 36 (2021), doi:10.1145/3460772).
    """
    scale = np.float32(sigma / BYTES_SIGMA)
    noise = np.empty(LANES, dtype=np.float32)
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    for start in range(0, out.shape[0], LANES):
        for lane in range(LANES):
            total = np.uint32(s0[lane] + s3[lane])
            word = np.uint32(np.uint32((total << np.uint32(7)) | (total >> np.uint32(25))) + s0[lane])
            shifted = np.uint32(s1[lane] << np.uint32(9))
            s2[lane] ^= s0[lane]
            s3[lane] ^= s1[lane]
            s1[lane] ^= s2[lane]
            s0[lane] ^= s3[lane]
            s2[lane] ^= shifted
            s3[lane] = np.uint32(s3[lane] << np.uint32(11)) | np.uint32(s3[lane] >> np.uint32(21))
            pairs = np.uint32((word & PAIR) + (np.uint32(word >> np.uint32(8)) & PAIR))
            both = np.int32((pairs & np.uint32(0xFFFF)) + (pairs >> np.uint32(16)))
            noise[lane] = scale * np.float32(both - np.int32(BYTES_MEAN))
        for lane in range(min(LANES, out.shape[0] - start)):
            out[start + lane] += noise[lane]


@numba.njit(cache=True, error_model="numpy")
def wander(innovations: F8, kept: float) -> None:
    """Replace unit normal numbers, (2, n), by signals of unit variance that keep a share from point to point."""
    new = np.sqrt(1.0 - kept * kept)
    for axis in range(innovations.shape[0]):
        for i in range(1, innovations.shape[1]):
            innovations[axis, i] = kept * innovations[axis, i - 1] + new * innovations[axis, i]


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def _end(begin: float, points_a_sample: float, k: int, i: int, n: int) -> int:
    """Return the sample after i and those behind it that lie before point k + 1, n at most."""
    return min(n, max(i + 1, int(np.ceil((k + 1 - begin) / points_a_sample))))


@fast
def add_carried(envelope: F4, points_a_sample: float, turn: F4, line_turn: F4, first: int, out: F4) -> None:
    """Add Re(envelope exp(i w t)) to (n_lines, n_samples): the envelope, (2, n), by straight lines.

    exp(i w t) as cosine and sine: ``turn``, (2, n_samples), within a line, ``line_turn``, (n_lines, 2), at its start.
    """
    step, cos, sin = np.float32(points_a_sample), turn[0], turn[1]
    for line in range(out.shape[0]):
        c, s, row = line_turn[first + line, 0], line_turn[first + line, 1], out[line]
        begin = ((first + line) * out.shape[1] + 0.5) * points_a_sample
        i = 0
        while i < out.shape[1]:
            k = int(begin + i * points_a_sample)
            end = _end(begin, points_a_sample, k, i, out.shape[1])
            real, imaginary, share = envelope[0, k], envelope[1, k], np.float32(begin - k)
            rise, turned = envelope[0, k + 1] - real, envelope[1, k + 1] - imaginary
            real, imaginary = real + share * rise, imaginary + share * turned
            x, y = c * real - s * imaginary, s * real + c * imaginary
            x_step, y_step = step * (c * rise - s * turned), step * (s * rise + c * turned)
            for n in range(i, end):
                at = np.float32(np.int32(n))
                row[n] += (x + at * x_step) * cos[n] - (y + at * y_step) * sin[n]
            i = end


@fast
def add_joined(points: F4, points_a_sample: float, scale: float, first: int, out: F4) -> None:
    """Add scale times the points, joined by straight lines, to the samples, (n_lines, n_samples)."""
    step, size = np.float32(points_a_sample), np.float32(scale)
    for line in range(out.shape[0]):
        begin, row, i = ((first + line) * out.shape[1] + 0.5) * points_a_sample, out[line], 0
        while i < out.shape[1]:
            k = int(begin + i * points_a_sample)
            end = _end(begin, points_a_sample, k, i, out.shape[1])
            value, rise, share = size * points[k], size * (points[k + 1] - points[k]), np.float32(begin - k)
            for n in range(i, end):
                row[n] += value + (share + np.float32(np.int32(n)) * step) * rise
            i = end


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
