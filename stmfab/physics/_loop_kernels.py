"""The linearised feedback loop, and the marks of one that rings with an update a pixel."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel, lean

F8 = NDArray[np.float64]
U1 = NDArray[np.uint8]
Gains = tuple[float, float, float]
Swing = tuple[float, float, float, float]


@lean()
def update(gains: Gains, per_update: int, memory: float, swing: Swing, slope: float, states: F8) -> None:
    """Replace states of the linearised loop, (6, n_states), by those an update later; see ``loop.poles``."""
    kp, ki, kd = gains
    n_steps = 1 if memory == 0.0 and swing == (0.0, 0.0, 0.0, 0.0) else per_update  # else every one is the first
    for k in range(states.shape[1]):
        move, total, last = states[0, k], states[1, k], states[2, k]
        signal, tip, speed, heard = states[3, k], states[4, k], states[5, k], 0.0
        for _ in range(n_steps):
            away = tip - move
            tip, speed = move + swing[0] * away + swing[1] * speed, swing[2] * away + swing[3] * speed
            signal = memory * signal - (1 - memory) * slope * tip
            heard += signal
        error = heard / n_steps
        states[0, k], states[1, k] = ki * total - kd * last + (kp + ki + kd) * error, total + error
        states[2, k], states[3, k], states[4, k], states[5, k] = error, signal, tip, speed


@kernel()
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
