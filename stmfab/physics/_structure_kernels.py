"""Marking the lattice cells that a path needs, and distances to them."""

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
B1 = NDArray[np.bool_]

NOWHERE = -(2**62)


@numba.njit(cache=True, error_model="numpy")
def mark_cells(x: F8, y: F8, inverse: F8, n_grid: int, low: I8, cells: B1) -> None:
    """Mark the cells holding the nodes of the 4 x 4 stencils along straight lines x, y (n_lines, n_points).

    Marked a node at a time, one node wider than the stencil: between two marked points no other cell is needed.
    """
    for line in range(x.shape[0]):
        marked_u, marked_v = NOWHERE, NOWHERE
        last_u = (x[line, 0] * inverse[0, 0] + y[line, 0] * inverse[1, 0]) * n_grid
        last_v = (x[line, 0] * inverse[0, 1] + y[line, 0] * inverse[1, 1]) * n_grid
        for p in range(x.shape[1]):
            u = (x[line, p] * inverse[0, 0] + y[line, p] * inverse[1, 0]) * n_grid
            v = (x[line, p] * inverse[0, 1] + y[line, p] * inverse[1, 1]) * n_grid
            steps = int(max(abs(u - last_u), abs(v - last_v))) + 1
            for step in range(1, steps + 1):
                share = step / steps
                node_u = int(np.floor(last_u + share * (u - last_u)))
                node_v = int(np.floor(last_v + share * (v - last_v)))
                if node_u == marked_u and node_v == marked_v:
                    continue
                marked_u, marked_v = node_u, node_v
                u_first, u_last = (node_u - 2) // n_grid - low[0], (node_u + 3) // n_grid - low[0]
                v_first, v_last = (node_v - 2) // n_grid - low[1], (node_v + 3) // n_grid - low[1]
                cells[v_first, u_first] = True
                cells[v_first, u_last] = True
                cells[v_last, u_first] = True
                cells[v_last, u_last] = True
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
    for p in range(points.shape[0]):
        for c in range(centres.shape[0]):
            dx, dy = points[p, 0] - centres[c, 0], points[p, 1] - centres[c, 1]
            if dx * dx + dy * dy <= distance * distance:
                out[p] = True
                break
    return out
