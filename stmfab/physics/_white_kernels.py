"""White noise: nearly Gaussian numbers, several side by side."""

import numba
import numpy as np
from numpy.typing import NDArray

F4 = NDArray[np.float32]
U4 = NDArray[np.uint32]

LANES, PAIR = 16, np.uint32(0x00FF00FF)
BYTES_MEAN, BYTES_SIGMA = 510, np.sqrt((256.0**2 - 1) / 3)  # of the sum of four numbers of 8 bits


@numba.njit(cache=True, error_model="numpy", forceinline=True)
def _draw(state: U4, scale: np.float32, noise: F4) -> None:
    """Write the next number of each lane to ``noise``, (``LANES``,)."""
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
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
        noise[lane] = scale * np.float32(np.int32(both - np.int32(BYTES_MEAN)))


@numba.njit(cache=True, error_model="numpy", fastmath={"contract"})
def fill(state: U4, sigma: float, out: F4) -> None:
    """Write to each sample, (n,), sigma times the standardised sum of the four bytes of a random word.

    The words are those of xoshiro128++ generators side by side, states (4, ``LANES``), which go on from call to call
    (D. Blackman and S. Vigna, ACM Trans. Math. Softw. 47, 36 (2021), doi:10.1145/3460772).
    """
    scale, whole = np.float32(sigma / BYTES_SIGMA), out.shape[0] - out.shape[0] % LANES
    for start in range(0, whole, LANES):
        _draw(state, scale, out[start : start + LANES])
    if whole < out.shape[0]:
        last = np.empty(LANES, dtype=np.float32)
        _draw(state, scale, last)
        out[whole:] = last[: out.shape[0] - whole]
