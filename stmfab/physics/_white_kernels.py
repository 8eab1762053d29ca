"""White noise: Gaussian and nearly Gaussian numbers, several side by side."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

F4 = NDArray[np.float32]
U4 = NDArray[np.uint32]
I4 = NDArray[np.int32]

ONE, HALF, LN2 = np.float32(1.0), np.float32(0.5), 0.6931471805599453
ROOT_HALF = np.int32(0x3F3504F3)  # the bits of sqrt(1/2)
LANES, PAIR = 16, np.uint32(0x00FF00FF)
BYTES_MEAN, BYTES_SIGMA = 510, np.sqrt((256.0**2 - 1) / 3)  # of the sum of four numbers of 8 bits


@kernel(forceinline=True)
def _draw(state: U4, words: U4) -> None:
    """Write the next word of each lane to ``words``, (``LANES``,).

    Of xoshiro128++ generators side by side (D. Blackman and S. Vigna, ACM Trans. Math. Softw. 47, 36 (2021),
    doi:10.1145/3460772).
    """
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    for lane in range(LANES):
        total = np.uint32(s0[lane] + s3[lane])
        words[lane] = np.uint32(np.uint32((total << np.uint32(7)) | (total >> np.uint32(25))) + s0[lane])
        shifted = np.uint32(s1[lane] << np.uint32(9))
        s2[lane] ^= s0[lane]
        s3[lane] ^= s1[lane]
        s1[lane] ^= s2[lane]
        s0[lane] ^= s3[lane]
        s2[lane] ^= shifted
        s3[lane] = np.uint32(s3[lane] << np.uint32(11)) | np.uint32(s3[lane] >> np.uint32(21))


@kernel(forceinline=True)
def _sums(words: U4, scale: np.float32, noise: F4) -> None:
    """Write the sums of the four bytes of each word, less their mean, times ``scale``."""
    for lane in range(LANES):
        pairs = np.uint32((words[lane] & PAIR) + (np.uint32(words[lane] >> np.uint32(8)) & PAIR))
        both = np.int32((pairs & np.uint32(0xFFFF)) + (pairs >> np.uint32(16)))
        noise[lane] = scale * np.float32(np.int32(both - np.int32(BYTES_MEAN)))


@kernel(forceinline=True)
def _radii(words: I4, bits: I4, radii: F4) -> None:
    """Write sqrt(-2 ln u), u uniform in (0, 1] from the words, to ``radii``, whose bits are ``bits``.

    u = m 2**k, m from 1/sqrt(2) to sqrt(2), ln m = 2 artanh((m - 1) / (m + 1)) by its series.
    """
    for lane in range(LANES):
        radii[lane] = (np.float32(words[lane] & np.int32(0x7FFFFFFF)) + HALF) * np.float32(2.0**-31)
    for lane in range(LANES):
        words[lane] = (bits[lane] - ROOT_HALF) >> np.int32(23)
        bits[lane] -= words[lane] << np.int32(23)
    for lane in range(LANES):
        t = (radii[lane] - ONE) / (radii[lane] + ONE)
        square = t * t
        tail = np.float32(1 / 5) + square * (np.float32(1 / 7) + square * np.float32(1 / 9))
        log = np.float32(words[lane]) * np.float32(LN2) + (t + t) * (ONE + square * (np.float32(1 / 3) + square * tail))
        radii[lane] = np.sqrt(max(np.float32(-2.0) * log, np.float32(0.0)))


@kernel(forceinline=True)
def _polar(words: U4, radii: F4, scale: np.float32, one: F4, two: F4) -> None:
    """Write scale r cos and scale r sin of angles, uniform on the circle, from the words.

    Two bits choose the quarter of the circle, the rest an angle from -pi/4 to pi/4: the series of both, to 3e-7.
    """
    for lane in range(LANES):
        x = np.float32(np.int32(words[lane] << np.uint32(2))) * np.float32(np.pi / 2 * 2.0**-32)
        square = x * x
        sine = np.float32(1 / 6) - square * (np.float32(1 / 120) - square * np.float32(1 / 5040))
        cosine = np.float32(1 / 24) - square * (np.float32(1 / 720) - square * np.float32(1 / 40320))
        sine, cosine = x - x * square * sine, ONE - square * (HALF - square * cosine)
        r = scale * radii[lane] * (ONE if words[lane] & np.uint32(0x80000000) else -ONE)
        turned = (words[lane] & np.uint32(0x40000000)) != 0
        one[lane], two[lane] = r * (sine if turned else cosine), r * (cosine if turned else sine)


@kernel(fastmath={"contract"})
def fill(state: U4, sigma: float, out: F4) -> None:
    """Write to each sample, (n,), sigma times the standardised sum of the four bytes of a random word.

    The words are those of ``LANES`` generators, states (4, ``LANES``), which go on from call to call.
    """
    scale, whole = np.float32(sigma / BYTES_SIGMA), out.shape[0] - out.shape[0] % LANES
    words = np.empty(LANES, dtype=np.uint32)
    for start in range(0, whole, LANES):
        _draw(state, words)
        _sums(words, scale, out[start : start + LANES])
    if whole < out.shape[0]:
        last = np.empty(LANES, dtype=np.float32)
        _draw(state, words)
        _sums(words, scale, last)
        for i in range(out.shape[0] - whole):
            out[whole + i] = last[i]


@kernel(fastmath={"contract"})
def fill_gaussian(state: U4, sigma: float, out: F4) -> None:
    """Write to each sample, (n,), Gaussian numbers of standard deviation sigma: two from two random words.

    G. E. P. Box and M. E. Muller, Ann. Math. Statist. 29, 610 (1958), doi:10.1214/aoms/1177706645: up to 6.7 sigma.
    """
    words, both, radii = np.empty(LANES, np.uint32), np.empty(2 * LANES, np.float32), np.empty(LANES, np.float32)
    signed, bits, scale = words.view(np.int32), radii.view(np.int32), np.float32(sigma)
    for start in range(0, out.shape[0], 2 * LANES):
        _draw(state, words)
        _radii(signed, bits, radii)
        _draw(state, words)
        _polar(words, radii, scale, both[:LANES], both[LANES:])
        for i in range(min(2 * LANES, out.shape[0] - start)):
            out[start + i] = both[i]
