"""Adding up the current of lobes on a grid: a table for each kind of lobe, and terraces at their heights.

Heights are always the N of a table: the innermost index of every array, next to each other in memory.
"""

import numba
import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
I8 = NDArray[np.int64]
B1 = NDArray[np.bool_]


@numba.njit(cache=True, error_model="numpy")
def add_falls(falls: F8, step: float, shift: F8, first: F8, grid: F8, table: F8) -> None:
    """Add what one atom of the tip sees of a lobe to its table (n_v, n_u, n_heights).

    ``falls`` (n, n_heights) is the current at distances aside whose squares are 0, step, 2 step, ...; cubic between.
    Node (i, j) is at first + (j grid[0], i grid[1]) from the lobe, the atom ``shift`` further.
    """
    for i in range(table.shape[0]):
        up = first[1] + i * grid[1] + shift[1]
        for j in range(table.shape[1]):
            right = first[0] + j * grid[0] + shift[0]
            place = (right * right + up * up) / step
            n = max(1, min(int(place), falls.shape[0] - 3))
            t = min(place - n, 2.0)
            a, b = -t * (t - 1) * (t - 2) / 6, (t + 1) * (t - 1) * (t - 2) / 2
            c, d = -(t + 1) * t * (t - 2) / 2, (t + 1) * t * (t - 1) / 6
            for k in range(table.shape[2]):
                table[i, j, k] += a * falls[n - 1, k] + b * falls[n, k] + c * falls[n + 1, k] + d * falls[n + 2, k]


@numba.njit(cache=True, error_model="numpy")
def add_lobes(columns: I8, rows: I8, strengths: F4, table: F4, n_heights: int, out: F4) -> None:
    """Add lobes of one kind to the current, out (n_v, n_u * n_heights).

    A lobe's table (n_rows, n_columns * n_heights) starts at its column and row of nodes; what is outside is left out.
    """
    n_columns = table.shape[1] // n_heights
    width = out.shape[1] // n_heights
    for s in range(columns.size):
        low, high = max(0, columns[s]), min(width, columns[s] + n_columns)
        if low >= high:
            continue
        skipped, strength = (low - columns[s]) * n_heights, strengths[s]
        for i in range(max(0, -rows[s]), min(table.shape[0], out.shape[0] - rows[s])):
            to = out[rows[s] + i, low * n_heights : high * n_heights]
            part = table[i, skipped : skipped + to.size]
            for k in range(to.size):
                to[k] += strength * part[k]


@numba.njit(cache=True, error_model="numpy")
def _monomials(currents: F8, to_monomials: F8, out: F8) -> None:
    """Write the coefficients of the polynomial through the logarithms of some currents at the nodes to out."""
    out[:] = 0
    for k in range(currents.size):
        log = np.log(currents[k])
        for m in range(out.size):
            out[m] += to_monomials[m, k] * log


@numba.njit(cache=True, error_model="numpy")
def _straight_outside(monomials: F8, s: float) -> float:
    """Return a polynomial's value at s, outside [-1, 1] that of the straight line through its edge."""
    edge = min(1.0, max(-1.0, s))
    value = slope = 0.0
    for m in range(monomials.size - 1, -1, -1):
        slope = slope * edge + value
        value = value * edge + monomials[m]
    return float(value + slope * (s - edge))


@numba.njit(cache=True, error_model="numpy")
def add_terrace(current: F4, above: F8, half: float, kappa: float, nodes: F8, to_monomials: F8, out: F8) -> None:
    """Add the current of one terrace's lobes to out, both (n_v, n_u, n_heights), at heights ``above`` it, (n_v, n_u).

    The current over exp(-2 kappa height) is given at ``half`` times the ``nodes`` around the middle of the heights over
    the terrace itself; it is 0 at all heights where no lobe reaches.
    """
    n = nodes.size
    monomials, here = np.empty(n), np.empty(n)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            if current[i, j, 0] > 0:
                for k in range(n):
                    here[k] = current[i, j, k]
                if above[i, j] != 0:
                    _monomials(here, to_monomials, monomials)
                    for k in range(n):
                        rise = _straight_outside(monomials, nodes[k] + above[i, j] / half)
                        here[k] = np.exp(rise - 2 * kappa * above[i, j])
                for k in range(n):
                    out[i, j, k] += here[k]


@numba.njit(cache=True, error_model="numpy")
def _shift(monomials: F8, start: float, scale: float) -> None:
    """Turn a polynomial p(s) into p(start + scale s): Horner's scheme in place, highest power first."""
    n = monomials.size
    for m in range(n - 1):
        for k in range(n - 2, m - 1, -1):
            monomials[k] += start * monomials[k + 1]
    power = 1.0
    for k in range(n):
        monomials[k] *= power
        power *= scale


@numba.njit(cache=True, error_model="numpy")
def to_polynomials(current: F8, base: F8, computed: B1, to_monomials: F8, start: F8, scale: float, out: F4) -> None:
    """Write the polynomials of ln(current) + base to out, both (n_v, n_u, n_heights); NaN in cells not ``computed``.

    ``base`` is a polynomial already. Those that are written are p(start + scale s), start (n_v, n_u).
    """
    monomials = np.empty(base.size)
    per_v, per_u = out.shape[0] // computed.shape[0], out.shape[1] // computed.shape[1]
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            if computed[i // per_v, j // per_u]:
                _monomials(current[i, j], to_monomials, monomials)
                monomials += base
                if start[i, j] != 0 or scale != 1:
                    _shift(monomials, start[i, j], scale)
                for k in range(base.size):
                    out[i, j, k] = monomials[k]
            else:
                out[i, j] = np.nan
