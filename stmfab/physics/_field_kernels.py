"""Interpolation of a current field at points, and its inversion for the height at a given current."""

from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
Four = tuple[float, float, float, float]

MAX_NEWTON = 60
SETTLED = 1e-5  # of the half width of the heights: the step after it is of the order of its square, 2e-11 nm

# node by node: the 4-point Lagrange weights (nodes -1, 0, 1, 2) are CUBIC_0 + t CUBIC_1 + t^2 CUBIC_2 + t^3 CUBIC_3
ZERO = (0.0, 0.0, 0.0, 0.0)
CUBIC_0 = (0.0, 1.0, 0.0, 0.0)
CUBIC_1 = (-1 / 3, -1 / 2, 1.0, -1 / 6)
CUBIC_2 = (1 / 2, -1.0, 1 / 2, 0.0)
CUBIC_3 = (-1 / 6, 1 / 2, -1 / 2, 1 / 6)
ir = cast(Any, cgutils).ir  # llvmlite, as numba sees it
LANES = ir.VectorType(ir.DoubleType(), 4)
FOUR = cast(Any, types).UniTuple(types.float64, 4)
declared: Any = cgutils.get_or_insert_function  # by name in the module that is compiled
MULTIPLY_ADD = ir.FunctionType(LANES, [LANES, LANES, LANES])

inlined = numba.njit(cache=True, error_model="numpy", forceinline=True)


def _to_lanes(builder: Any, four: Any) -> Any:
    """Return a tuple of four numbers as one vector."""
    lanes = ir.Constant(LANES, ir.Undefined)
    for k in range(4):
        lanes = builder.insert_element(lanes, builder.extract_value(four, k), ir.IntType(32)(k))
    return lanes


def _from_lanes(builder: Any, lanes: Any) -> Any:
    """Return one vector as a tuple of four numbers."""
    four = ir.Constant(ir.ArrayType(ir.DoubleType(), 4), ir.Undefined)
    for k in range(4):
        four = builder.insert_value(four, builder.extract_element(lanes, ir.IntType(32)(k)), k)
    return four


def _plus_code(_typing: Any, a: Any, _share: Any, _b: Any) -> Any:
    """Return the types and the code of ``_plus``."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        a, share, b = args
        shares = ir.Constant(LANES, ir.Undefined)
        for k in range(4):
            shares = builder.insert_element(shares, share, ir.IntType(32)(k))
        multiply_add = declared(builder.module, MULTIPLY_ADD, "llvm.fmuladd.v4f64")
        return _from_lanes(builder, builder.call(multiply_add, [shares, _to_lanes(builder, b), _to_lanes(builder, a)]))

    return a(a, types.float64, a), generate


def _four_code(_typing: Any, coefficients: Any, _at: Any) -> Any:
    """Return the types and the code of ``_four``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        numbers = ir.VectorType(ir.FloatType(), 4)
        place = builder.bitcast(builder.gep(data, [args[1]]), numbers.as_pointer())
        return _from_lanes(builder, builder.fpext(builder.load(place, align=4), LANES))

    return FOUR(coefficients, types.intp), generate


# a + share b, and four numbers of an array in memory order: four lanes at once, which numba does not find by itself
_plus: Callable[[Four, float, Four], Four] = cast(Any, intrinsic)(_plus_code)
_four: Callable[[F4, int], Four] = cast(Any, intrinsic)(_four_code)


@inlined
def _scaled(share: float, a: Four) -> Four:
    """Return share a."""
    return _plus(ZERO, share, a)


@inlined
def _lagrange(t: float) -> Four:
    """Return the 4-point Lagrange weights at t."""
    return _plus(CUBIC_0, t, _plus(CUBIC_1, t, _plus(CUBIC_2, t, CUBIC_3)))


@inlined
def _row(coefficients: F4, at: int, step: int, w: Four) -> Four:
    """Return four heights of four neighbouring nodes, the first from number ``at`` on, weighted."""
    left = _plus(_scaled(w[0], _four(coefficients, at)), w[1], _four(coefficients, at + step))
    right = _plus(_scaled(w[2], _four(coefficients, at + 2 * step)), w[3], _four(coefficients, at + 3 * step))
    return _plus(left, 1.0, right)


@inlined
def _add_nodes(coefficients: F4, iu: int, iv: int, rows: tuple[Four, Four, Four, Four], out: F8, at: int) -> None:
    """Add the 4 x 4 nodes around cell (iu, iv), weighted row by row, to the height polynomial out[at].

    Four heights at a time; where their number is no multiple of four, the last four overlap the ones before.
    """
    n = coefficients.shape[2]
    width = coefficients.shape[1] * n
    first = (iv - 1) * width + (iu - 1) * n
    place = out[at]
    for done in range(0, n, 4):
        start = min(done, n - 4)
        k = first + start
        below = _plus(_row(coefficients, k, n, rows[0]), 1.0, _row(coefficients, k + width, n, rows[1]))
        k += 2 * width
        above = _plus(_row(coefficients, k, n, rows[2]), 1.0, _row(coefficients, k + width, n, rows[3]))
        both = _plus(below, 1.0, above)
        if start == done:
            place[start] += both[0]
        if start + 1 >= done:
            place[start + 1] += both[1]
        if start + 2 >= done:
            place[start + 2] += both[2]
        place[start + 3] += both[3]


@numba.njit(cache=True, error_model="numpy")
def interpolate(coefficients: F4, x: F8, y: F8, to_grid: Four, origin: tuple[float, float]) -> F8:
    """Return the height polynomials at points; NaN outside the grid.

    ``to_grid`` is (u of x, u of y, v of x, v of y): grid coordinates a nm.
    """
    n_v, n_u, n_k = coefficients.shape
    out = np.empty((x.size, n_k))
    for p in range(x.size):
        right, up = x[p] - origin[0], y[p] - origin[1]
        u, v = right * to_grid[0] + up * to_grid[1], right * to_grid[2] + up * to_grid[3]
        iu, iv = int(np.floor(u)), int(np.floor(v))
        if iu < 1 or iv < 1 or iu + 2 >= n_u or iv + 2 >= n_v:
            out[p, :] = np.nan
            continue
        out[p, :] = 0.0
        a, b = _lagrange(u - iu), _lagrange(v - iv)
        rows = (_scaled(b[0], a), _scaled(b[1], a), _scaled(b[2], a), _scaled(b[3], a))
        _add_nodes(coefficients, iu, iv, rows, out, p)
    return out


@numba.njit(cache=True, error_model="numpy")
def _value_slope(c: F8, s: float) -> tuple[float, float]:
    """Return value and slope of one height polynomial at s: a straight line outside [-1, 1]."""
    edge = min(max(s, -1.0), 1.0)
    value, slope = 0.0, 0.0
    for k in range(c.shape[0] - 1, -1, -1):
        slope = slope * edge + value
        value = value * edge + c[k]
    return value + slope * (s - edge), slope


@numba.njit(cache=True, error_model="numpy")
def evaluate(polynomials: F8, s: F8) -> F8:
    """Return the polynomials' values at s."""
    out = np.empty(s.shape[0])
    for p in range(s.shape[0]):
        out[p], _ = _value_slope(polynomials[p], s[p])
    return out


@numba.njit(cache=True, error_model="numpy")
def invert(polynomials: F8, level: float) -> F8:
    """Return s at which each polynomial has the value ``level`` (Newton), NaN where it does not settle."""
    out = np.empty(polynomials.shape[0])
    for p in range(polynomials.shape[0]):
        s, settled = 0.0, False
        for _ in range(MAX_NEWTON):
            value, slope = _value_slope(polynomials[p], s)
            step = (level - value) / slope
            s += step
            if abs(step) < SETTLED:
                settled = True
                break
        out[p] = s if settled else np.nan
    return out
