"""Adding up the current of lobes on a grid: the tables of figures, and terraces at their heights.

The ``N_HEIGHTS`` of a table are the innermost index of every array, next to each other in memory.
"""

import numpy as np
from numpy.typing import NDArray

from .compiled import kernel

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
I8 = NDArray[np.int64]
I4 = NDArray[np.int32]
B1 = NDArray[np.bool_]
LN_2 = np.float32(np.log(2))
ROOT_HALF = 0x3F3504F3  # the bits of sqrt(1/2) in single precision
FRACTION, FRACTION_BITS = 0x7FFFFF, 23
NOTHING, TOO_MUCH = -127, 128  # the power of two of 0 and of what is below it, of infinity and of what is no number
N_HEIGHTS = 8  # a constant: the compiler takes eight at once
LEVEL_nm = 1e-7  # a terrace is as high as its reference there
DOWN = 0.9  # of a step: where the reference is so far down, the lobes of the higher terrace are far aside

inlined = kernel(forceinline=True, fastmath={"contract"})


@kernel(fastmath={"contract"})
def add_figures(columns: I8, rows: I8, strengths: F4, which: I8, tables: F4, shapes: I8, out: F4) -> None:
    """Add figures of lobes to the current, out (n_v, n_u * N_HEIGHTS).

    A figure's table starts at its column and row of nodes; what is outside is left out. A row of ``shapes`` is where a
    table starts in ``tables`` and how many rows and columns of nodes it has.
    """
    width = out.shape[1] // N_HEIGHTS
    for s in range(columns.size):
        start, n_rows, n_columns = shapes[which[s]]
        low, high = max(0, columns[s]), min(width, columns[s] + n_columns)
        if low >= high:
            continue
        start, strength = start + (low - columns[s]) * N_HEIGHTS, strengths[s]
        for i in range(max(0, -rows[s]), min(n_rows, out.shape[0] - rows[s])):
            to = out[rows[s] + i, low * N_HEIGHTS : high * N_HEIGHTS]
            part = tables[start + i * n_columns * N_HEIGHTS :]
            for k in range(to.size):
                to[k] += strength * part[k]


@inlined
def _monomials(currents: F4, to_monomials: F8, out: F8) -> None:
    """Write the coefficients of the polynomial through the logarithms of some currents at the nodes to out."""
    out[:] = 0
    for k in range(N_HEIGHTS):
        log = np.log(np.float64(currents[k]))
        for m in range(N_HEIGHTS):
            out[m] += to_monomials[m, k] * log


@inlined
def _straight_outside(monomials: F8, s: float) -> float:
    """Return a polynomial's value at s, outside [-1, 1] that of the straight line through its edge."""
    edge = min(1.0, max(-1.0, s))
    value = slope = 0.0
    for m in range(monomials.size - 1, -1, -1):
        slope = slope * edge + value
        value = value * edge + monomials[m]
    return float(value + slope * (s - edge))


@inlined
def _add_from_below(
    own: F4, beneath: F4, above: float, step: float, fall: tuple[float, float], room: F8, from_values: F8, out: F4
) -> None:
    """Add the current of one terrace's lobes at a node whose reference is lower, negatively ``above`` it, to out.

    As it is known at the heights over the terrace, or, ``beneath`` them and where lobes are far aside, over the next.
    ``room``, (3, N_HEIGHTS), begins with the nodes.
    """
    (nodes, monomials, lower), (half, kappa), near = room, fall, own[0] > 0
    if abs(above + step) < LEVEL_nm:
        out += beneath
        return
    _monomials(beneath, from_values, lower)
    if near:
        _monomials(own, from_values, monomials)
    for k in range(N_HEIGHTS):
        s, t = nodes[k] + above / half, nodes[k] + (above + step) / half
        if not near or s < -1 or (above < -DOWN * step and t < 1):
            out[k] += np.exp(_straight_outside(lower, t) - 2 * kappa * (above + step))
        else:
            out[k] += np.exp(_straight_outside(monomials, s) - 2 * kappa * above)


@kernel(fastmath={"contract"})
def add_terrace(
    current: F4,
    below: F4,
    reference: F8,
    terrace: tuple[float, float],
    fall: tuple[float, float],
    nodes: F8,
    to_monomials: F8,
    out: F4,
) -> None:
    """Add the current of the lobes of one ``terrace``, (its height, that of a step), to out (n_v, n_u * N_HEIGHTS).

    At heights over the ``reference``, (n_v, n_u). The current over exp(-2 kappa height) is given, in the shape of out,
    at half times the ``nodes`` around the middle of the heights over the terrace itself and, ``below``, of those over
    the next lower one, no rows where nothing is seen from there; ``fall`` is (half, kappa). It is 0 at all heights
    where no lobe reaches.
    """
    (own, step), (half, kappa), room = terrace, fall, np.empty((3, N_HEIGHTS))
    room[0], monomials = nodes, room[1]
    for i in range(reference.shape[0]):
        for j in range(reference.shape[1]):
            above, first = reference[i, j] - own, j * N_HEIGHTS
            if abs(above) < LEVEL_nm:
                for k in range(first, first + N_HEIGHTS):
                    out[i, k] += current[i, k]
            elif above < 0 and below.shape[0] > 0 and below[i, first] > 0:
                at = slice(first, first + N_HEIGHTS)
                _add_from_below(current[i, at], below[i, at], above, step, fall, room, to_monomials, out[i, at])
            elif current[i, first] > 0:
                _monomials(current[i, first : first + N_HEIGHTS], to_monomials, monomials)
                for k in range(N_HEIGHTS):
                    rise = _straight_outside(monomials, nodes[k] + above / half)
                    out[i, first + k] += np.exp(rise - 2 * kappa * above)


@inlined
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


@inlined
def _logarithms(numbers: F4, powers: I4) -> None:
    """Turn numbers into their natural logarithms, 1e-7 wrong at most; NaN where they are not above 0 and finite.

    x = 2^n m with m from sqrt(1/2) to sqrt(2): ln x = n ln 2 + 2 (s + s^3 / 3 + s^5 / 5 + s^7 / 7), s = (m - 1) /
    (m + 1): |s| < 0.172, and the next term is 3e-8.
    """
    bits = numbers.view(np.int32)
    for k in range(bits.size):
        over = bits[k] - ROOT_HALF
        powers[k] = over >> FRACTION_BITS
        bits[k] = (over & FRACTION) + ROOT_HALF
    for k in range(numbers.size):
        s = (numbers[k] - np.float32(1)) / (numbers[k] + np.float32(1))
        square = s * s
        series = np.float32(1 / 3) + square * (np.float32(1 / 5) + square * np.float32(1 / 7))
        whole = np.float32(powers[k]) if NOTHING < powers[k] < TOO_MUCH else np.float32(np.nan)
        numbers[k] = whole * LN_2 + np.float32(2) * s * (np.float32(1) + square * series)


@inlined
def _ends(known: B1) -> tuple[int, int]:
    """Return the first of some cells in a row that is known, and the one after the last."""
    first, last = 0, known.size
    while first < last and not known[first]:
        first += 1
    while last > first and not known[last - 1]:
        last -= 1
    return first, last


@kernel(fastmath={"contract"})
def logarithms(current: F4, computed: B1, per_cell: tuple[int, int]) -> None:
    """Turn the current, (n_v, n_u * N_HEIGHTS), into its logarithm; NaN in cells not ``computed``."""
    powers, numbers_a_cell = np.empty(current.shape[1], np.int32), per_cell[0] * N_HEIGHTS
    for i in range(current.shape[0]):
        known = computed[i // per_cell[1]]
        first, last = _ends(known)
        _logarithms(current[i, first * numbers_a_cell : last * numbers_a_cell], powers)
        for cell in range(known.size):
            if not known[cell]:
                current[i, cell * numbers_a_cell : (cell + 1) * numbers_a_cell] = np.nan


@kernel()
def take(made: F4, reference: F8, own: float, out: F4) -> None:
    """Write polynomials, (n_v, n_u, N_HEIGHTS), to out where the ``reference``, (n_v, n_u), is a terrace's height."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            if abs(reference[i, j] - own) < LEVEL_nm:
                for k in range(N_HEIGHTS):
                    out[i, j, k] = made[i, j, k]


@kernel(fastmath={"contract"})
def between_terraces(
    logs: F4,
    reference: F8,
    terraces: tuple[float, float],
    from_values: F8,
    base: F8,
    shift: tuple[float, float, float],
    out: F4,
) -> None:
    """Turn logarithms into polynomials p(start + scale s) where no terrace, (lowest, step) of them, is level.

    ``shift`` is (first, rise, scale): start is ``first`` + ``rise`` times the ``reference``, (n_v, n_u); a row of
    ``from_values`` is what a logarithm adds to the coefficients of p, to which ``base`` is added.
    """
    monomials, (lowest, step), (first, rise, scale) = np.empty(N_HEIGHTS), terraces, shift
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            above = reference[i, j] - lowest
            if abs(above - np.rint(above / step) * step) >= LEVEL_nm:
                monomials[:] = base
                for k in range(N_HEIGHTS):
                    log = np.float64(logs[i, j * N_HEIGHTS + k])
                    for m in range(N_HEIGHTS):
                        monomials[m] += from_values[k, m] * log
                _shift(monomials, first + rise * reference[i, j], scale)
                for k in range(N_HEIGHTS):
                    out[i, j, k] = monomials[k]
