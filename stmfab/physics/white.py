"""White noise, Gaussian; and for the many nearly so, at half the cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import _white_kernels
from .units import Floats32


def white_state(rng: np.random.Generator) -> NDArray[np.uint32]:
    """Return the state that ``fill_white`` and ``fill_gaussian`` begin with."""
    words = np.asarray(rng.bit_generator.random_raw(2 * _white_kernels.LANES))
    return words.view(np.uint32).reshape(4, -1)


def fill_white(out: Floats32, sigma: float, state: NDArray[np.uint32]) -> None:
    """Fill samples of any shape with white noise of a given rms, nearly Gaussian: the sum of four uniform numbers each.

    ``state`` goes on.
    """
    _white_kernels.fill(state, sigma, out.reshape(-1))


def fill_gaussian(out: Floats32, sigma: float, state: NDArray[np.uint32]) -> None:
    """Fill samples of any shape with Gaussian white noise of a given rms; ``state`` goes on."""
    _white_kernels.fill_gaussian(state, sigma, out.reshape(-1))
