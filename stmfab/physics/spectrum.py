"""Gaussian signals of a given power density, drawn wave by wave."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from scipy import fft

from .units import Floats, Floats32
from .white import fill_white, white_state

Density: TypeAlias = Callable[[Floats32], Floats32]  # one-sided, of frequencies above 0

SLOW = 32  # waves that fit into the signal's period, below which there is one of every half wave too
PIECES = 16 * SLOW  # straight ones, of these: eight and more a wave
SPARE = 1 / SLOW  # of the signal is not kept: what is faster remembers no longer
MEMORIES = 3  # nor so many times its longest memory
GAUSSIAN = 1024  # numbers are truly Gaussian, those of the slowest waves; any more add up to a Gaussian signal
BLOCK = 1 << 13  # waves whose density is worked out at once


def stationary(
    density_per_Hz: Density, n: int, *, step_s: float, memory_s: float, rng: np.random.Generator
) -> Floats32:
    """Return n points or more, ``step_s`` apart, of a Gaussian signal with a one-sided power density.

    It is the sum of the waves that fit into its period, a little more than what is kept, and of the slow ones, up to
    ``SLOW`` waves, that fit into twice the period: its ends have no more to do with one another than those of a signal
    of twice the length, of which half is kept. ``memory_s`` is how long its narrowest line remembers.
    """
    spare = max(SPARE * n, MEMORIES * memory_s / step_s)
    spacing = fft.next_fast_len(math.ceil((n + spare) / PIECES), real=True)
    size = PIECES * spacing
    wave_Hz = 1 / (size * step_s)
    waves = np.empty(size // 2 + 1, np.complex64)
    numbers = waves.view(np.float32)
    numbers[:GAUSSIAN] = rng.standard_normal(len(numbers[:GAUSSIAN]), dtype=np.float32)
    fill_white(numbers[GAUSSIAN:], 1.0, white_state(rng))
    waves[0] = 0.0
    for start in range(1, len(waves), BLOCK):
        some = waves[start : start + BLOCK]
        power = density_per_Hz(np.float32(wave_Hz) * np.arange(start, start + len(some), dtype=np.float32))
        some *= np.sqrt(np.float32(size**2 / 4 * wave_Hz) * power)
    waves[1:SLOW] *= np.float32(math.sqrt(0.5))  # the odd waves have the other half
    drawn = fft.irfft(waves, size).reshape(PIECES, spacing)
    slow = _half_waves(density_per_Hz, wave_Hz, rng)
    drawn += slow[:-1, None]
    drawn += np.diff(slow)[:, None] * (np.arange(spacing, dtype=np.float32) / np.float32(spacing))
    return np.asarray(drawn.reshape(-1))


def _half_waves(density_per_Hz: Density, wave_Hz: float, rng: np.random.Generator) -> Floats32:
    """Return the slow waves that fit an odd number of times into twice a period, at the ends of its pieces."""
    halves = np.arange(1, 2 * SLOW, 2)
    lost = np.sinc(halves / (2 * PIECES)) ** 2  # by the straight lines between the ends
    power = density_per_Hz((halves * (wave_Hz / 2)).astype(np.float32)) * (wave_Hz / 2)
    waves = np.zeros(PIECES + 1, np.complex64)
    real, imaginary = rng.standard_normal((2, SLOW))
    waves[halves] = PIECES * np.sqrt(power) / lost * (real + 1j * imaginary)
    return np.asarray(fft.irfft(waves, 2 * PIECES)[: PIECES + 1])


def periodic(power: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Return a periodic Gaussian signal, (n,), whose variance is the mean of ``power``, (n // 2 + 1,), over all."""
    real, imaginary = rng.standard_normal((2, len(power)))
    return np.asarray(fft.irfft(np.sqrt(power * (n / 2)) * (real + 1j * imaginary), n))
