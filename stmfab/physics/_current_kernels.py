"""Which pairs of a sample site and a tip atom carry current into a cell, and gathering their strengths."""

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
I8 = NDArray[np.int64]


@numba.njit(cache=True, error_model="numpy")
def near_pairs(cells: F8, sites: F8, tip: F8, nodes: F8, reach: float, z: float) -> tuple[I8, I8, I8, F4, F4]:
    """Return (cell, site, tip atom, squared lateral distance to each node, height of the site above the tip atom).

    A pair is kept if at the height z it comes closer than z + reach to some node of the cell.
    """
    centre_x, centre_y = nodes[:, 0].mean(), nodes[:, 1].mean()
    radius = 0.0
    for g in range(nodes.shape[0]):
        radius = max(radius, np.hypot(nodes[g, 0] - centre_x, nodes[g, 1] - centre_y))
    chosen = np.empty((cells.shape[0] * sites.shape[0] * tip.shape[0], 3), dtype=np.int64)
    n = 0
    for c in range(cells.shape[0]):
        for s in range(sites.shape[0]):
            for t in range(tip.shape[0]):
                lateral2 = (z + reach) ** 2 - (z - sites[s, 2] + tip[t, 2]) ** 2
                dx = cells[c, 0] + sites[s, 0] - tip[t, 0] - centre_x
                dy = cells[c, 1] + sites[s, 1] - tip[t, 1] - centre_y
                if lateral2 > 0.0 and dx * dx + dy * dy < (np.sqrt(lateral2) + radius) ** 2:
                    chosen[n, 0], chosen[n, 1], chosen[n, 2] = c, s, t
                    n += 1
    lateral = np.empty((n, nodes.shape[0]), dtype=np.float32)
    above = np.empty(n, dtype=np.float32)
    kept = 0
    for p in range(n):
        c, s, t = chosen[p, 0], chosen[p, 1], chosen[p, 2]
        height = sites[s, 2] - tip[t, 2]
        x, y = cells[c, 0] + sites[s, 0] - tip[t, 0], cells[c, 1] + sites[s, 1] - tip[t, 1]
        nearest = np.inf
        for g in range(nodes.shape[0]):
            d2 = (nodes[g, 0] - x) ** 2 + (nodes[g, 1] - y) ** 2
            lateral[kept, g] = d2
            nearest = min(nearest, d2)
        if nearest < (z + reach) ** 2 - (z - height) ** 2:
            chosen[kept, 0], chosen[kept, 1], chosen[kept, 2] = c, s, t
            above[kept] = height
            kept += 1
    return chosen[:kept, 0].copy(), chosen[:kept, 1].copy(), chosen[:kept, 2].copy(), lateral[:kept], above[:kept]


@numba.njit(cache=True, error_model="numpy")
def gather(strengths: F4, places: I8, steps: I8, out: F4) -> None:
    """Write out[c, p] = strengths[places[c] + steps[p]]."""
    for c in range(places.shape[0]):
        for p in range(steps.shape[0]):
            out[c, p] = strengths[places[c] + steps[p]]
