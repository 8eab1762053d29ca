"""The linearised feedback loop, and the marks of one that rings with an update a pixel."""

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
C16 = NDArray[np.complex128]
U1 = NDArray[np.uint8]
Swing = tuple[float, float, float, float]


@numba.njit(cache=True, error_model="numpy")
def poles(gains: tuple[float, float, float], timing: tuple[int, float], swing: Swing, slope: float) -> C16:
    """Return the eigenvalues of the linearised loop from update to update; see ``loop.poles``."""
    kp, ki, kd = gains
    per_update, memory = timing
    unity, heard = np.eye(6), np.zeros(6)
    move, total, last, signal, tip, speed = unity[0], unity[1], unity[2], unity[3], unity[4], unity[5]
    n_steps = 1 if memory == 0.0 and swing == (0.0, 0.0, 0.0, 0.0) else per_update  # else every one is the first
    for _ in range(n_steps):
        away = tip - move
        tip, speed = move + swing[0] * away + swing[1] * speed, swing[2] * away + swing[3] * speed
        signal = memory * signal - (1 - memory) * slope * tip
        heard = heard + signal
    error = heard / n_steps
    target = ki * total - kd * last + (kp + ki + kd) * error
    now = np.empty((6, 6), dtype=np.complex128)
    for row, quantity in enumerate((target, total + error, error, signal, tip, speed)):
        now[row] = quantity
    return np.asarray(np.linalg.eigvals(now))


@numba.njit(cache=True, error_model="numpy")
def mark_swings(heights: F8, threshold: float, window: int, n_swings: int, cut: int, bit: int, events: U1) -> None:
    """Mark the pixels of a loop with one update a pixel that rings: see ``loop.Ringing``; a move stands for its error.

    ``heights`` are the commands in time, (n,). A move that was cut short, as the event bits ``cut`` of the next pixel
    say, is a swing of any size.
    """
    side, since, count = 0.0, 0, 0
    for i in range(heights.size - 1):
        move = heights[i + 1] - heights[i]
        since += 1
        count = 0 if since > window else count
        if (abs(move) > threshold or events[i + 1] & cut) and side != np.sign(move):
            side, since, count = np.sign(move), 0, count + 1
        if count >= n_swings:
            events[i] |= np.uint8(bit)
