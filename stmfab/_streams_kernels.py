"""Philox 4x64-10: a block of four random words is a pure function of a key (2 words) and a counter (4 words)."""

from __future__ import annotations

import numba
import numpy as np

# J. K. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC'11 (2011), doi:10.1145/2063384.2063405, table 2
_ROUNDS = 10
_MULTIPLIER_0 = np.uint64(0xD2E7470EE14C6C93)
_MULTIPLIER_1 = np.uint64(0xCA5A826395121157)
_WEYL_0 = np.uint64(0x9E3779B97F4A7C15)
_WEYL_1 = np.uint64(0xBB67AE8584CAA73B)
_LOW = np.uint64(0xFFFFFFFF)
_HALF_BITS = np.uint64(32)
_MANTISSA_SHIFT = np.uint64(12)  # 52 of 64 bits: (n + 1/2) 2^-52 is then exact and strictly inside (0, 1)
_MANTISSA_UNIT = 2.0**-52


@numba.njit("uint64(uint64, uint64)", cache=True, inline="always")
def _high_product(a, b):  # type: ignore[no-untyped-def]
    """Return the upper 64 bits of a 64 x 64-bit product."""
    a_low, a_high = a & _LOW, a >> _HALF_BITS
    b_low, b_high = b & _LOW, b >> _HALF_BITS
    carry = (a_low * b_low) >> _HALF_BITS
    middle = a_high * b_low + carry
    other = a_low * b_high + (middle & _LOW)
    return a_high * b_high + (middle >> _HALF_BITS) + (other >> _HALF_BITS)


@numba.njit(cache=True, inline="always")
def _block(key, c0, c1, c2, c3):  # type: ignore[no-untyped-def]
    """Return the four Philox words of one counter under a key (2,)."""
    k0, k1 = key[0], key[1]
    for _ in range(_ROUNDS):
        high_0, low_0 = _high_product(_MULTIPLIER_0, c0), _MULTIPLIER_0 * c0
        high_1, low_1 = _high_product(_MULTIPLIER_1, c2), _MULTIPLIER_1 * c2
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
        k0, k1 = k0 + _WEYL_0, k1 + _WEYL_1
    return c0, c1, c2, c3


@numba.njit(cache=True)
def words(key, counters, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (n, 4) with the Philox words of counters (n, 4) under one key (2,); all uint64."""
    for i in range(counters.shape[0]):
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = _block(
            key, counters[i, 0], counters[i, 1], counters[i, 2], counters[i, 3]
        )


@numba.njit(cache=True)
def uniforms(random_words, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (n,) with float64 numbers strictly inside (0, 1), one of each random word (n,)."""
    for i in range(random_words.shape[0]):
        out[i] = (np.float64(random_words[i] >> _MANTISSA_SHIFT) + 0.5) * _MANTISSA_UNIT


@numba.njit(cache=True)
def tile_uniforms(key, index, tiles, limit, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (n_tiles, n_words) with numbers in (0, 1): of tile (u, v), block after block under one key.

    Return whether all coordinates of tiles are below ``limit``.
    """
    for t in range(out.shape[0]):
        if max(abs(tiles[t, 0]), abs(tiles[t, 1])) >= limit:
            return False
        place = (np.uint64(tiles[t, 0]) & _LOW) | ((np.uint64(tiles[t, 1]) & _LOW) << _HALF_BITS)
        for first in range(0, out.shape[1], 4):
            block = _block(key, np.uint64(first // 4), np.uint64(index), place, np.uint64(0))
            for lane in range(min(4, out.shape[1] - first)):
                out[t, first + lane] = (np.float64(block[lane] >> _MANTISSA_SHIFT) + 0.5) * _MANTISSA_UNIT
    return True
