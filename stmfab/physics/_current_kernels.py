"""Which pairs of a sample site and a tip atom carry current into a cell, and gathering their strengths."""

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
I8 = NDArray[np.int64]
I4 = NDArray[np.int32]

LN2 = 0.6931471805599453
ONE = np.float32(1.0)


@numba.njit(cache=True, error_model="numpy")
def _perhaps_near(cells: F8, sites: F8, tip: F8, centre: F8, radius: float, reach: float, z: float) -> I8:
    """Return rows (cell, site, tip atom) of the pairs that can come near to a circle about ``centre``."""
    chosen = np.empty((cells.shape[0] * sites.shape[0] * tip.shape[0], 3), dtype=np.int64)
    n = 0
    for c in range(cells.shape[0]):
        for s in range(sites.shape[0]):
            for t in range(tip.shape[0]):
                lateral2 = (z + reach) ** 2 - (z - sites[s, 2] + tip[t, 2]) ** 2
                dx = cells[c, 0] + sites[s, 0] - tip[t, 0] - centre[0]
                dy = cells[c, 1] + sites[s, 1] - tip[t, 1] - centre[1]
                if lateral2 > 0.0 and dx * dx + dy * dy < (np.sqrt(lateral2) + radius) ** 2:
                    chosen[n, 0], chosen[n, 1], chosen[n, 2] = c, s, t
                    n += 1
    return chosen[:n]


@numba.njit(cache=True, error_model="numpy", fastmath={"contract", "nnan", "nsz"})
def near_pairs(cells: F8, sites: F8, tip: F8, nodes: F8, reach: float, z: float) -> tuple[I8, I8, I8, F4, F4]:
    """Return (cell, site, tip atom, squared lateral distance to each node, height of the site above the tip atom).

    A pair is kept if at the height z it comes closer than z + reach to some node of the cell.
    """
    centre = np.array([nodes[:, 0].mean(), nodes[:, 1].mean()])
    radius = np.sqrt(((nodes - centre) ** 2).sum(axis=1).max())
    chosen = _perhaps_near(cells, sites, tip, centre, radius, reach, z)
    lateral = np.empty((chosen.shape[0], nodes.shape[0]), dtype=np.float32)
    above = np.empty(chosen.shape[0], dtype=np.float32)
    kept = 0
    for p in range(chosen.shape[0]):
        c, s, t = chosen[p]
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


@numba.njit(cache=True, error_model="numpy", fastmath={"contract"})
def _exp2(x: F4, exponent: I4, power: F4) -> None:
    """Replace x (from -126 to 0) by 2**x: the whole part through the exponent's bits, the rest by its Taylor series."""
    for i in range(x.shape[0]):
        whole = np.floor(x[i])
        t = np.float32(LN2) * (x[i] - whole)
        exponent[i] = (np.int32(whole) + np.int32(127)) << np.int32(23)
        tail = ONE / np.float32(120) + t * (ONE / np.float32(720) + t / np.float32(5040))
        tail = ONE / np.float32(6) + t * (ONE / np.float32(24) + t * tail)
        x[i] = ONE + t * (ONE + t * (ONE / np.float32(2) + t * tail))
    for i in range(x.shape[0]):
        x[i] *= power[i]


@numba.njit(cache=True, error_model="numpy", fastmath={"contract"})
def conductances(
    lateral2: F4, vertical2: F4, kappa: float, first: I8, n_columns: I8, atoms: I8, mixing: F4, out: F4
) -> None:
    """Add mixing[r, atom] exp(-2 kappa D) of each pair to out[first + r], over heights and nodes, nodes fastest.

    Floor of -126 in the exponent: a pair 87 e-folds down carries nothing.
    """
    n_nodes, n_heights = lateral2.shape[1], vertical2.shape[1]
    x = np.empty(n_heights * n_nodes, dtype=np.float32)
    exponent = np.empty(x.shape[0], dtype=np.int32)
    power = exponent.view(np.float32)
    slope = np.float32(-2.0 * kappa / LN2)
    for p in range(lateral2.shape[0]):
        for h in range(n_heights):
            for g in range(n_nodes):
                x[h * n_nodes + g] = max(slope * np.sqrt(lateral2[p, g] + vertical2[p, h]), np.float32(-126.0))
        _exp2(x, exponent, power)
        for r in range(n_columns[p]):
            share = mixing[r, atoms[p]]
            target = out[first[p] + r]
            for i in range(x.shape[0]):
                target[i] += share * x[i]


@numba.njit(cache=True, error_model="numpy")
def largest(conductance: F4) -> F4:
    """Return the largest absolute value of each row."""
    out = np.zeros(conductance.shape[0], dtype=np.float32)
    for row in range(conductance.shape[0]):
        for i in range(conductance.shape[1]):
            out[row] = max(out[row], abs(conductance[row, i]))
    return out


@numba.njit(cache=True, error_model="numpy")
def gather(strengths: F4, places: I8, steps: I8, out: F4) -> None:
    """Write strengths[places[c] + steps[p]] to out[c, p]."""
    for c in range(places.shape[0]):
        for p in range(steps.shape[0]):
            out[c, p] = strengths[places[c] + steps[p]]


@numba.njit(cache=True, error_model="numpy", fastmath={"contract"})
def lay_out(values: F4, to_monomials: F4, corners: I8, n_grid: int, out: F4) -> None:
    """Write the height polynomials of each cell's nodes to its place in the grid.

    ``values`` are ln|I| of a cell, over heights and, fastest, nodes (v, then u); ``corners`` the cells' first nodes
    (u, v); ``out`` is (n_v, n_u, n_coefficients), zero beyond the heights.
    """
    n_heights, n_nodes = to_monomials.shape[0], n_grid * n_grid
    powers = np.empty((n_heights, n_nodes), dtype=np.float32)
    for cell in range(values.shape[0]):
        for power in range(n_heights):
            powers[power, :] = 0.0
            for h in range(n_heights):
                share = to_monomials[power, h]
                for node in range(n_nodes):
                    powers[power, node] += share * values[cell, h * n_nodes + node]
        for node in range(n_nodes):
            v, u = corners[cell, 1] + node // n_grid, corners[cell, 0] + node % n_grid
            for power in range(n_heights):
                out[v, u, power] = powers[power, node]
            out[v, u, n_heights:] = 0.0
