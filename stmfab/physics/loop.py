"""The feedback loop as a linear system: its gains and times, its poles, and how it rings."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _loop_kernels
from .instrument import Feedback
from .path import Path

Swing = tuple[float, float, float, float]
NO_SWING: Swing = (0.0, 0.0, 0.0, 0.0)
RING_ERROR, RING_SIGMAS = 0.05, 5.0  # a swing is an error of ln|I| beyond this, and beyond so many sigma of its noise
RING_OVERSHOOT = 0.2  # a loop rings if more than this share of an error comes back on the other side
RING_SLACK = 1.5  # a swing may take so many half periods of the loop


class Gains(NamedTuple):
    """The controller per update: z moves by Kp e + Ki sum(e) + Kd (e - last e), in nm a unit of ln|I|."""

    proportional_nm: float
    integral_nm: float
    derivative_nm: float


class Timing(NamedTuple):
    """Sub-steps an update, and the share of its last ln|I| that the amplifier keeps from sub-step to sub-step."""

    per_update: int
    memory: float


class Ringing(NamedTuple):
    """What is called ringing: ``N_SWINGS`` errors in a row beyond ``error``, each on the other side than the last.

    Between two swings there are at most ``window`` updates, one and a half of the loop's own half periods, so that
    what a slow loop misses of a surface is no ringing. 0: the loop does not ring.
    """

    error: float
    window: int


N_SWINGS = 4


def loop_timing(feedback: Feedback, path: Path) -> Timing:
    """Return how often the controller updates and how fast the amplifier forgets."""
    per_update = path.n_sub if feedback.update == "pixel" else 1
    if feedback.preamplifier_Hz is None:
        return Timing(per_update, 0.0)
    return Timing(per_update, math.exp(-2 * math.pi * feedback.preamplifier_Hz * path.sub_step_s))


def loop_gains(feedback: Feedback, *, kappa_per_nm: float, update_s: float) -> Gains:
    """Return the gains of one update: Ki = r / (2 kappa), r = 2 pi f dt where the crossover frequency f is given."""
    if feedback.loop_gain is not None:
        share = feedback.loop_gain
    else:
        share = 2 * math.pi * (feedback.crossover_Hz or 0.0) * update_s
    integral_nm = share / (2 * kappa_per_nm)
    return Gains(feedback.proportional * integral_nm, integral_nm, feedback.derivative * integral_nm)


def poles(gains: Gains, timing: Timing, swing: Swing = NO_SWING, *, log_slope_per_nm: float) -> NDArray[np.complex128]:
    """Return the eigenvalues of the linearised discrete loop, (6,); its errors grow if one lies beyond the unit circle.

    State: move of z, sum of errors, last error, amplifier, tip, its speed. A row says how a quantity depends on the
    state at the last update; -slope * tip is what the amplifier hears, ``swing`` the tip's answer to a sub-step.
    """
    states = np.eye(6)
    _loop_kernels.update((*gains,), *timing, swing, float(log_slope_per_nm), states)
    return np.asarray(np.linalg.eigvals(states), dtype=np.complex128)


def ringing(poles: NDArray[np.complex128], noise_sigma: float) -> Ringing:
    """Return what is called ringing of a loop with some poles; ``noise_sigma`` is the rms of ln|I| an update.

    A pole of angle phi swings over in pi / phi updates; |pole|^(pi / phi) of the error is then on the other side.
    """
    size = np.abs(poles)
    angle = np.abs(np.angle(poles[size > 0]))
    half = math.pi / angle[angle > 0]
    swinging = half[size[size > 0][angle > 0] ** half > RING_OVERSHOOT]
    window = math.ceil(RING_SLACK * float(swinging.max())) if swinging.size else 0
    return Ringing(max(RING_ERROR, RING_SIGMAS * noise_sigma), window)


def mark_swings(
    heights_nm: NDArray[np.float64], events: NDArray[np.uint8], ring: Ringing, gains: Gains, *, cut: int, bit: int
) -> None:
    """Add a bit to the events of pixels in which a loop with one update a pixel rings, both (n,) in time.

    Its moves stand for the errors: one of ``ring.error`` moves z by Ki times that, or less after the events ``cut``.
    """
    if ring.window:
        _loop_kernels.mark_swings(heights_nm, gains.integral_nm * ring.error, ring.window, N_SWINGS, cut, bit, events)
