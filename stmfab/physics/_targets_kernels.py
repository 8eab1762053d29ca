"""Cone maps of sites and defects, and where points of the sample lie in the recorded image."""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel, lean

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
I8 = NDArray[np.int64]

MAX_STEPS = 12
PIECE = 8  # of a row, in reaches of a cone
CONE_TOP = 1.1  # of a cone cut flat at 1: it reaches 1.1 half lattice constants; J. Luzny, Synthetic-STM-Imaging (2025)
SMOOTHING = 4  # pixels: the slope of the path is taken over this distance, so that one jittered line does not rule it


@kernel()
def _cones(nearest2: F8, half: float, image: F8) -> None:
    """Write clip(1.1 - d / half, 0, 1) of squared distances."""
    for p in range(nearest2.shape[0]):
        image[p] = min(max(CONE_TOP - np.sqrt(nearest2[p]) / half, 0.0), 1.0)


@kernel()
def _in_reach(lattice: F8, sites: F8, reach: float) -> F8:
    """Return the sites, in a cell and those around it, that may lie within reach of a point of the cell's base, (n, 3).

    All that lie within reach of the circle around the cell.
    """
    x, y = (lattice[0, 0] + lattice[1, 0]) / 2, (lattice[0, 1] + lattice[1, 1]) / 2
    half_x, half_y = (lattice[0, 0] - lattice[1, 0]) / 2, (lattice[0, 1] - lattice[1, 1]) / 2
    radius = np.sqrt(max(x * x + y * y, half_x * half_x + half_y * half_y))
    found, n = np.empty((9 * sites.shape[0], 3)), 0
    for dv in range(-1, 2):
        for du in range(-1, 2):
            for s in range(sites.shape[0]):
                lateral2 = reach**2 - sites[s, 2] ** 2
                if lateral2 > 0.0:
                    for k in range(2):
                        found[n, k] = sites[s, k] + du * lattice[0, k] + dv * lattice[1, k]
                    found[n, 2] = sites[s, 2]
                    n += (found[n, 0] - x) ** 2 + (found[n, 1] - y) ** 2 < (radius + np.sqrt(lateral2)) ** 2
    return found[:n]


@kernel()
def site_cones(x: F8, y: F8, lattice: F8, inverse: F8, sites: F8, half: float, out: F8) -> None:
    """Write the cone of the distance in space from each point (x, y, 0) to the nearest lattice site of any cell.

    ``x, y, out`` are images (n_rows, n_cols), ``sites`` (n_sites, 3). A row at a time, the points innermost: SIMD.
    """
    n, near = x.shape[1], _in_reach(lattice, sites, CONE_TOP * half)
    from_x, from_y, nearest2 = np.empty(n), np.empty(n), np.empty(n)
    for row in range(x.shape[0]):
        for p in range(n):
            u = np.floor(x[row, p] * inverse[0, 0] + y[row, p] * inverse[1, 0])
            v = np.floor(x[row, p] * inverse[0, 1] + y[row, p] * inverse[1, 1])
            from_x[p] = u * lattice[0, 0] + v * lattice[1, 0] - x[row, p]
            from_y[p] = u * lattice[0, 1] + v * lattice[1, 1] - y[row, p]
            nearest2[p] = np.inf
        for s in range(near.shape[0]):
            for p in range(n):
                dx, dy = from_x[p] + near[s, 0], from_y[p] + near[s, 1]
                nearest2[p] = min(nearest2[p], dx * dx + dy * dy + near[s, 2] * near[s, 2])
        _cones(nearest2, half, out[row])


@lean()
def _around(x: F8, y: F8, reach: float, points: F8, some: I8, out: I8) -> int:
    """Write which of ``some`` points lie within reach of the rectangle around all (x, y); return how many do."""
    low_x, high_x, low_y, high_y = x[0], x[0], y[0], y[0]
    for p in range(x.shape[0]):
        low_x, high_x, low_y, high_y = min(low_x, x[p]), max(high_x, x[p]), min(low_y, y[p]), max(high_y, y[p])
    n = 0
    for k in range(some.shape[0]):
        right, up = points[some[k], 0], points[some[k], 1]
        if low_x - reach <= right <= high_x + reach and low_y - reach <= up <= high_y + reach:
            out[n] = some[k]
            n += 1
    return n


@lean()
def _nearest2(x: F8, y: F8, points: F8, some: I8, out: F8) -> None:
    """Write the squared distance in the plane from each (x, y) to the nearest of some points."""
    out[:] = np.inf
    for k in range(some.shape[0]):
        right, up = points[some[k], 0], points[some[k], 1]
        for p in range(x.shape[0]):
            dx, dy = right - x[p], up - y[p]
            out[p] = min(out[p], dx * dx + dy * dy)


@lean()
def _nearest2_in_row(x: F8, y: F8, reach: float, points: F8, room: tuple[I8, I8, I8], out: F8) -> None:
    """Write the squared distances along a row, infinite out of reach: piece by piece where the row is long."""
    every, near, nearer = room
    n, n_near = x.shape[0], _around(x, y, reach, points, every, near)
    span = max(abs(x[n - 1] - x[0]), abs(y[n - 1] - y[0]))
    piece = n // (1 + int(span / (PIECE * reach))) + 1
    if piece > n:
        _nearest2(x, y, points, near[:n_near], out)
        return
    for start in range(0, n, piece):
        stop = min(start + piece, n)
        n_nearer = _around(x[start:stop], y[start:stop], reach, points, near[:n_near], nearer)
        _nearest2(x[start:stop], y[start:stop], points, nearer[:n_nearer], out[start:stop])


@kernel()
def point_cones(x: F8, y: F8, points: F8, half: float, out: F8) -> None:
    """Write the cone of the distance in the plane from each (x, y) to the nearest of ``points`` (n_points, 2).

    ``x, y, out`` are images (n_rows, n_cols). A row at a time: points out of a row's reach cannot show in it.
    """
    every, nearest2 = np.arange(points.shape[0]), np.empty(x.shape[1])
    room = every, every.copy(), every.copy()
    for row in range(x.shape[0]):
        _nearest2_in_row(x[row], y[row], CONE_TOP * half, points, room, nearest2)
        _cones(nearest2, half, out[row])


@lean()
def _position(image: F8, row: float, col: float) -> float:
    """Return an image's bilinear value at a fractional pixel, its nearest edge's outside."""
    row = min(max(row, 0.0), image.shape[0] - 1.0)
    col = min(max(col, 0.0), image.shape[1] - 1.0)
    i, j = min(int(row), image.shape[0] - 2), min(int(col), image.shape[1] - 2)
    r, c = row - i, col - j
    upper = image[i, j] * (1 - c) + image[i, j + 1] * c
    lower = image[i + 1, j] * (1 - c) + image[i + 1, j + 1] * c
    return float(upper * (1 - r) + lower * r)


@lean()
def _slopes(image: F8, row: float, col: float) -> tuple[float, float]:
    """Return the change of an image per row and per column around a fractional pixel."""
    last_row, last_col = image.shape[0] - 1.0, image.shape[1] - 1.0
    up, down = max(min(row, last_row) - SMOOTHING, 0.0), min(max(row, 0.0) + SMOOTHING, last_row)
    left, right = max(min(col, last_col) - SMOOTHING, 0.0), min(max(col, 0.0) + SMOOTHING, last_col)
    by_row = (_position(image, down, col) - _position(image, up, col)) / (down - up)
    by_col = (_position(image, row, right) - _position(image, row, left)) / (right - left)
    return by_row, by_col


@lean()
def pixels_of(x: F8, y: F8, points: F8, out: F8) -> None:
    """Write the fractional pixels (row, col) at which the path x, y (n_rows, n_cols) passes points (n_points, 2).

    Newton's iteration on the path, continued straight outside the frame; the best of its steps is kept.
    """
    for p in range(points.shape[0]):
        row, col = (x.shape[0] - 1) / 2, (x.shape[1] - 1) / 2
        least = np.inf
        for _ in range(MAX_STEPS):
            x_row, x_col = _slopes(x, row, col)
            y_row, y_col = _slopes(y, row, col)
            beyond_row = row - min(max(row, 0.0), x.shape[0] - 1.0)
            beyond_col = col - min(max(col, 0.0), x.shape[1] - 1.0)
            miss_x = points[p, 0] - _position(x, row, col) - x_row * beyond_row - x_col * beyond_col
            miss_y = points[p, 1] - _position(y, row, col) - y_row * beyond_row - y_col * beyond_col
            miss = miss_x * miss_x + miss_y * miss_y
            if miss < least:
                least, out[p, 0], out[p, 1] = miss, row, col
            det = x_row * y_col - x_col * y_row
            row += (y_col * miss_x - x_col * miss_y) / det
            col += (x_row * miss_y - y_row * miss_x) / det
