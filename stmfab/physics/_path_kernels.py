"""Displacements along the frame's axes, added to places in the sample."""

import numpy as np
from numpy.typing import NDArray

from .compiled import lean

F8 = NDArray[np.float64]


@lean(fastmath={"contract"})
def add_turned(right: F8, up: F8, to_sample: F8, x: F8, y: F8) -> None:
    """Add moves (right, up) along the frame's axes, each (n_lines, 2, n), turned by a matrix (2, 2), to x and y."""
    x_right, x_up, y_right, y_up = to_sample[0, 0], to_sample[0, 1], to_sample[1, 0], to_sample[1, 1]
    for line in range(x.shape[0]):
        for way in range(x.shape[1]):
            for i in range(x.shape[2]):
                x[line, way, i] += x_right * right[line, way, i] + x_up * up[line, way, i]
                y[line, way, i] += y_right * right[line, way, i] + y_up * up[line, way, i]


@lean(fastmath={"contract"})
def add_straight(starts: F8, moves: F8, to_sample: F8, x: F8, y: F8) -> None:
    """Add steady moves over each way of each line, ``starts`` and ``moves`` (2, n_lines, 2), turned, to x and y."""
    for line in range(x.shape[0]):
        for way in range(x.shape[1]):
            right, up = starts[0, line, way], starts[1, line, way]
            x_start = to_sample[0, 0] * right + to_sample[0, 1] * up
            y_start = to_sample[1, 0] * right + to_sample[1, 1] * up
            right, up = moves[0, line, way] / (x.shape[2] - 1), moves[1, line, way] / (x.shape[2] - 1)
            x_step = to_sample[0, 0] * right + to_sample[0, 1] * up
            y_step = to_sample[1, 0] * right + to_sample[1, 1] * up
            for i in range(x.shape[2]):
                x[line, way, i] += x_start + x_step * i
                y[line, way, i] += y_start + y_step * i


@lean(fastmath={"contract"})
def add_law(law: F8, per_law: F8, x: F8, y: F8, z: F8) -> None:
    """Add to places, (n_lines, 2, n), a law of time, (n_lines, 2 n), times the x, y and z, (3,), that go with it."""
    numbers, n = law.reshape(-1), law.size
    right, up, rise = x.reshape(-1), y.reshape(-1), z.reshape(-1)
    for i in range(n if per_law[0] != 0.0 or per_law[1] != 0.0 else 0):
        right[i] += per_law[0] * numbers[i]
        up[i] += per_law[1] * numbers[i]
    for i in range(n if per_law[2] != 0.0 else 0):
        rise[i] += per_law[2] * numbers[i]


@lean(fastmath={"contract"})
def add_lift(lines: F8, steps: F8, lift: F8, out: F8) -> None:
    """Add to out, (n_lines, 2, n), how far z rises by x, y and x^2 + y^2.

    ``lift``, (3,), is that of one of each; x and y are sums of ``lines``, (2, n_lines), and ``steps``, (2, 2, n).
    """
    for line in range(out.shape[0]):
        for way in range(out.shape[1]):
            for i in range(out.shape[2]):
                x, y = lines[0, line] + steps[0, way, i], lines[1, line] + steps[1, way, i]
                out[line, way, i] += lift[0] * x + lift[1] * y + lift[2] * (x * x + y * y)


@lean(fastmath={"contract"})
def add_plane(x: F8, y: F8, slope: F8, out: F8) -> None:
    """Add the height of a plane through zero at places x, y, (n_lines, 2, n), to out."""
    x_slope, y_slope = slope[0], slope[1]
    for line in range(x.shape[0]):
        for way in range(x.shape[1]):
            for i in range(x.shape[2]):
                out[line, way, i] += x_slope * x[line, way, i] + y_slope * y[line, way, i]
