"""The logarithm of creep and the exponential of relaxation at many times, several side by side."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

F8 = NDArray[np.float64]
U8 = NDArray[np.uint64]

BLOCK = 512
PIECE, CLOSE = 64, 0.03  # times, of which those this near in ratio take ten terms of a series, to 1e-16
LN2 = 0.6931471805599453
BIAS = np.uint64(1024 << 52)  # keeps the exponents below positive
ROOT_HALF = np.uint64(0x3FE6A09E667F3BCD)  # the bits of sqrt(1/2)
ROUNDING = 1.5 * 2.0**52  # a number plus this has its nearest whole number in its last bits
WHOLE, AS_WHOLE = np.uint64(0x4330000000000000), 2.0**52  # 2**52 with k in its last bits is the number 2**52 + k


@kernel(fastmath={"contract"})
def _log(bits: U8, exponent: U8, mantissa: U8, out: F8) -> None:
    """Write ln(x) to out, x positive and normal, given by its bits.

    x = m 2**k with m from 1/sqrt(2) to sqrt(2), ln(m) = 2 artanh((m - 1) / (m + 1)) by its series, to 1e-15.
    """
    for i in range(bits.shape[0]):
        k = (bits[i] + BIAS - ROOT_HALF) >> np.uint64(52)
        mantissa[i] = bits[i] + BIAS - (k << np.uint64(52))
        exponent[i] = k | WHOLE
    m, shifted = mantissa.view(np.float64), exponent.view(np.float64)
    for i in range(bits.shape[0]):
        t = (m[i] - 1.0) / (m[i] + 1.0)
        s = t * t
        tail = 1 / 11 + s * (1 / 13 + s * (1 / 15 + s * (1 / 17 + s / 19)))
        series = 1.0 + s * (1 / 3 + s * (1 / 5 + s * (1 / 7 + s * (1 / 9 + s * tail))))
        out[i] = (shifted[i] - (AS_WHOLE + 1024.0)) * LN2 + (t + t) * series


@kernel(fastmath={"contract"})
def efolds(t: F8, start: float, rate: float, out: F8) -> None:
    """Write ln(1 + rate (t - start)) of times (n,) to out, 0 before the start; NaN where that is not defined."""
    x = np.empty(BLOCK)
    exponent, mantissa = np.empty(BLOCK, dtype=np.uint64), np.empty(BLOCK, dtype=np.uint64)
    bits = x.view(np.uint64)
    for first in range(0, t.shape[0], BLOCK):
        n = min(BLOCK, t.shape[0] - first)
        defined = True
        for i in range(n):
            since = t[first + i] - start
            x[i] = 1.0 + rate * (since if since > 0.0 else 0.0)
            defined = defined and x[i] > 1e-300
        _log(bits[:n], exponent, mantissa, out[first : first + n])
        if not defined:
            for i in range(n):
                if not x[i] > 1e-300:
                    out[first + i] = np.nan


@kernel(fastmath={"contract"})
def crept(t: F8, start: float, rate: float, less: float, out: F8) -> None:
    """Write ln(1 + rate (t - start)) - less of times that ascend in each row, (n_rows, n), to out; see ``efolds``.

    Near the first of a piece it is its logarithm and ln(1 + v) = v - v^2 / 2 + ...
    """
    for row in range(t.shape[0]):
        for first in range(0, t.shape[1], PIECE):
            times, piece = t[row, first : first + PIECE], out[row, first : first + PIECE]
            begin = 1.0 + rate * (times[0] - start)
            share = rate / begin
            if times[0] >= start and share * (times[-1] - times[0]) < CLOSE:
                at, value = times[0], np.log(begin) - less
                for i in range(times.size):
                    v = share * (times[i] - at)
                    tail = 1 / 6 - v * (1 / 7 - v * (1 / 8 - v * (1 / 9 - v * (1 / 10))))
                    series = 1.0 - v * (1 / 2 - v * (1 / 3 - v * (1 / 4 - v * (1 / 5 - v * tail))))
                    piece[i] = value + v * series
            else:
                efolds(times, start, rate, piece)
                for i in range(piece.size):
                    piece[i] -= less


@kernel(fastmath={"contract"})
def _exp(x: F8, power: U8, out: F8) -> None:
    """Write exp(x) to out, |x| below 700: 2**k times the Taylor series of what is left, to 1e-15."""
    for i in range(x.shape[0]):
        shifted = x[i] * (1.0 / LN2) + ROUNDING  # k is in its last bits
        t = x[i] - (shifted - ROUNDING) * LN2
        tail = 1 / 5040 + t * (1 / 40320 + t * (1 / 362880 + t * (1 / 3628800 + t * (1 / 39916800 + t / 479001600))))
        series = 1 / 6 + t * (1 / 24 + t * (1 / 120 + t * (1 / 720 + t * tail)))
        out[i] = 1.0 + t * (1.0 + t * (0.5 + t * series))
        x[i] = shifted
    k = x.view(np.uint64)
    for i in range(x.shape[0]):
        power[i] = (k[i] + np.uint64(1023)) << np.uint64(52)
    scale = power.view(np.float64)
    for i in range(x.shape[0]):
        out[i] *= scale[i]


@kernel(fastmath={"contract"})
def relaxed(t: F8, tau: float, size: float, out: F8) -> None:
    """Write size (1 - exp(-t / tau)) of times (n_rows, n) to out; the exponent is held within +-700.

    Near the first of a piece it is its exponential times exp(v) = 1 + v + v^2 / 2 + ...
    """
    x, power = np.empty(PIECE), np.empty(PIECE, dtype=np.uint64)
    for row in range(t.shape[0]):
        for first in range(0, t.shape[1], PIECE):
            times, piece = t[row, first : first + PIECE], out[row, first : first + PIECE]
            farthest, at = 0.0, times[0]
            for i in range(times.size):
                farthest = max(farthest, abs(times[i] - at))
            if farthest < CLOSE * abs(tau) and abs(at) < 700.0 * abs(tau):
                gone, left = size * -np.expm1(-at / tau), size * np.exp(-at / tau)
                for i in range(times.size):
                    v = (at - times[i]) / tau
                    tail = 1 / 24 + v * (1 / 120 + v * (1 / 720 + v * (1 / 5040 + v * (1 / 40320))))
                    piece[i] = gone - left * (v * (1.0 + v * (1 / 2 + v * (1 / 6 + v * tail))))
            else:
                n = times.size
                for i in range(n):
                    x[i] = max(min(-times[i] / tau, 700.0), -700.0)
                _exp(x[:n], power[:n], piece)
                for i in range(n):
                    piece[i] = size * (1.0 - piece[i])
