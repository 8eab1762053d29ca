"""Marking the lattice cells that a path needs, and distances to them."""

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
B1 = NDArray[np.bool_]


@numba.njit(cache=True, error_model="numpy")
def _same_cells(first: float, last: float, n_grid: int) -> tuple[float, float]:
    """Return the range [least, most) of nodes whose first stencil node (-2) and last one (+3) lie in these cells."""
    return max(first * n_grid + 2, last * n_grid - 3), min((first + 1) * n_grid + 2, (last + 1) * n_grid - 3)


@numba.njit(cache=True, error_model="numpy")
def mark_cells(x: F8, y: F8, inverse: F8, n_grid: int, low: I8, cells: B1) -> None:
    """Mark the cells holding the nodes of the 4 x 4 stencils along straight lines x, y (n_lines, n_points).

    Marked a node at a time, one node wider than the stencil: between two marked points no other cell is needed. As long
    as the line stays within [least, most) of both coordinates, its stencils lie in the cells marked last.
    """
    for line in range(x.shape[0]):
        least_u, most_u, least_v, most_v = np.inf, -np.inf, np.inf, -np.inf
        last_u = (x[line, 0] * inverse[0, 0] + y[line, 0] * inverse[1, 0]) * n_grid
        last_v = (x[line, 0] * inverse[0, 1] + y[line, 0] * inverse[1, 1]) * n_grid
        for p in range(x.shape[1]):
            u = (x[line, p] * inverse[0, 0] + y[line, p] * inverse[1, 0]) * n_grid
            v = (x[line, p] * inverse[0, 1] + y[line, p] * inverse[1, 1]) * n_grid
            steps = 0
            if not (least_u <= u < most_u and least_v <= v < most_v):  # else all since the last point stayed there
                steps = int(max(abs(u - last_u), abs(v - last_v))) + 1
            for step in range(1, steps + 1):
                share = step / steps
                node_u, node_v = np.floor(last_u + share * (u - last_u)), np.floor(last_v + share * (v - last_v))
                if least_u <= node_u < most_u and least_v <= node_v < most_v:
                    continue
                # np.floor of a quotient of small whole numbers is exact, and five times as fast as //
                u_first, u_last = np.floor((node_u - 2) / n_grid), np.floor((node_u + 3) / n_grid)
                v_first, v_last = np.floor((node_v - 2) / n_grid), np.floor((node_v + 3) / n_grid)
                least_u, most_u = _same_cells(u_first, u_last, n_grid)
                least_v, most_v = _same_cells(v_first, v_last, n_grid)
                top, bottom = int(v_first) - low[1], int(v_last) - low[1]
                left, right = int(u_first) - low[0], int(u_last) - low[0]
                cells[top, left] = cells[top, right] = cells[bottom, left] = cells[bottom, right] = True
            last_u, last_v = u, v


@numba.njit(cache=True, error_model="numpy")
def grow(cells: B1, offsets: I8, grown: B1) -> None:
    """Mark every cell reached from a marked cell by one of the offsets."""
    for v in range(cells.shape[0]):
        for u in range(cells.shape[1]):
            if cells[v, u]:
                for o in range(offsets.shape[0]):
                    grown[v + offsets[o, 1], u + offsets[o, 0]] = True


@numba.njit(cache=True, error_model="numpy")
def near(points: F8, centres: F8, distance: float) -> B1:
    """Return which points lie within a distance of any centre."""
    out = np.zeros(points.shape[0], dtype=np.bool_)
    low_x, high_x, low_y, high_y = np.inf, -np.inf, np.inf, -np.inf
    for c in range(centres.shape[0]):
        low_x, high_x = min(low_x, centres[c, 0]), max(high_x, centres[c, 0])
        low_y, high_y = min(low_y, centres[c, 1]), max(high_y, centres[c, 1])
    for p in range(points.shape[0]):
        beyond_x = max(low_x - points[p, 0], points[p, 0] - high_x)
        beyond_y = max(low_y - points[p, 1], points[p, 1] - high_y)
        if beyond_x > distance or beyond_y > distance:
            continue  # so far outside that no centre can be near
        for c in range(centres.shape[0]):
            dx, dy = points[p, 0] - centres[c, 0], points[p, 1] - centres[c, 1]
            if dx * dx + dy * dy <= distance * distance:
                out[p] = True
                break
    return out
