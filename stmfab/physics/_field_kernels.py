"""Interpolation of a current field at points and along the path, and its inversion for the height at a current.

A node of the grid holds a height polynomial of a multiple of eight coefficients. ``grid`` turns positions in nm into
grid coordinates: (x, y) of the origin, then u of x, u of y, v of x, v of y.
"""

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from .compiled import kernel, lean

Grid = tuple[float, float, float, float, float, float]
F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
Four = tuple[float, float, float, float]

LANES = 8  # coefficients taken at once
BLOCK = 64  # points side by side where heights are sought
MAX_NEWTON = 60
SETTLED = 1e-5  # of the half width of the heights: the step after it is of the order of its square, 2e-11 nm
SEGMENT = 1.5  # grid steps that a mean of two points spans,
EVEN, BEND = 1.0, 1e-3  # or a pixel of which its middle and those of its neighbours tell; and how even their line is,
STRETCH = 1.64  # or a cubic in time: a tenth of the grid's own error,
INNER = math.sqrt(2) - 1  # through its ends and two points here, from -1 to 1, where it errs least

# node by node: the 4-point Lagrange weights (nodes -1, 0, 1, 2) are CUBIC_0 + t CUBIC_1 + t^2 CUBIC_2 + t^3 CUBIC_3
ZERO = (0.0, 0.0, 0.0, 0.0)
CUBIC_0 = (0.0, 1.0, 0.0, 0.0)
CUBIC_1 = (-1 / 3, -1 / 2, 1.0, -1 / 6)
CUBIC_2 = (1 / 2, -1.0, 1 / 2, 0.0)
CUBIC_3 = (-1 / 6, 1 / 2, -1 / 2, 1 / 6)
ir = cast(Any, cgutils).ir  # llvmlite, as numba sees it
FOUR_DOUBLES = ir.VectorType(ir.DoubleType(), 4)
EIGHT = ir.VectorType(ir.FloatType(), LANES)
INTEGER = ir.IntType(32)
declared: Any = cgutils.get_or_insert_function  # by name in the module that is compiled

inlined = lean(forceinline=True)


def _vector(builder: Any, four: Any) -> Any:
    """Return a tuple of four numbers as one vector."""
    vector = ir.Constant(FOUR_DOUBLES, ir.Undefined)
    for k in range(4):
        vector = builder.insert_element(vector, builder.extract_value(four, k), INTEGER(k))
    return vector


def _multiply_add(builder: Any, kind: Any, name: str, share: Any, b: Any, a: Any) -> Any:
    """Return a + share b of vectors of one kind, lane by lane."""
    return builder.call(declared(builder.module, ir.FunctionType(kind, [kind] * 3), name), [share, b, a])


def _plus_code(_typing: Any, a: Any, _share: Any, _b: Any) -> Any:
    """Return the types and the code of ``_plus``."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        a, share, b = args
        shares = ir.Constant(FOUR_DOUBLES, ir.Undefined)
        for k in range(4):
            shares = builder.insert_element(shares, share, INTEGER(k))
        vectors = shares, _vector(builder, b), _vector(builder, a)
        result = _multiply_add(builder, FOUR_DOUBLES, "llvm.fmuladd.v4f64", *vectors)
        four = ir.Constant(ir.ArrayType(ir.DoubleType(), 4), ir.Undefined)
        for k in range(4):
            four = builder.insert_value(four, builder.extract_element(result, INTEGER(k)), k)
        return four

    return a(a, types.float64, a), generate


def _add_nodes_code(
    _typing: Any, nodes: Any, _at: Any, _n: Any, _width: Any, p: Any, q: Any, _first: Any, out: Any
) -> Any:
    """Return the types and the code of ``_add_nodes``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        nodes, at, n, width, p, q, first, out = args
        nodes = context.make_array(signature.args[0])(context, builder, nodes).data
        place = context.make_array(signature.args[7])(context, builder, out).data
        place = builder.bitcast(place, EIGHT.as_pointer())
        total = builder.select(first, ir.Constant(EIGHT, [0.0] * LANES), builder.load(place, align=4))
        total = _with_nodes(builder, total, nodes, at, n, width, _splats(builder, p), _splats(builder, q))
        builder.store(total, place, align=4)
        return context.get_dummy_value()

    return types.void(nodes, types.intp, types.intp, types.intp, p, q, types.boolean, out), generate


def _with_nodes(builder: Any, total: Any, nodes: Any, at: Any, n: Any, width: Any, along: Any, across: Any) -> Any:
    """Return ``total`` and the eight coefficients of 4 x 4 nodes, weighted along and across the rows."""
    for j in range(4):
        row = ir.Constant(EIGHT, [0.0] * LANES)
        for share in along:
            eight = builder.load(builder.bitcast(builder.gep(nodes, [at]), EIGHT.as_pointer()), align=4)
            row = _multiply_add(builder, EIGHT, "llvm.fmuladd.v8f32", share, eight, row)
            at = builder.add(at, n)
        at = builder.add(at, builder.sub(width, builder.mul(n, n.type(4))))
        total = _multiply_add(builder, EIGHT, "llvm.fmuladd.v8f32", across[j], row, total)
    return total


def _mean_of_two_code(
    _typing: Any, nodes: Any, _at: Any, _other: Any, _width: Any, p: Any, q: Any, _p: Any, _q: Any, out: Any
) -> Any:
    """Return the types and the code of ``_mean_of_two``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        nodes, at, other_at, width, p, q, other_p, other_q, out = args
        nodes = context.make_array(signature.args[0])(context, builder, nodes).data
        place = context.make_array(signature.args[8])(context, builder, out).data
        n, zero = width.type(LANES), ir.Constant(EIGHT, [0.0] * LANES)
        one = _with_nodes(builder, zero, nodes, at, n, width, _splats(builder, p), _splats(builder, q))
        two = _with_nodes(
            builder, zero, nodes, other_at, n, width, _splats(builder, other_p), _splats(builder, other_q)
        )
        mean = builder.fmul(builder.fadd(one, two), ir.Constant(EIGHT, [0.5] * LANES))
        builder.store(mean, builder.bitcast(place, EIGHT.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(nodes, types.intp, types.intp, types.intp, p, q, p, q, out), generate


def _cubic_code(_typing: Any, nodes: Any, x: Any, out: Any) -> Any:
    """Return the types and the code of ``_cubic``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        nodes, x, out = args
        nodes = context.make_array(signature.args[0])(context, builder, nodes).data
        place = context.make_array(signature.args[2])(context, builder, out).data
        shares = ir.Constant(EIGHT, ir.Undefined)
        for k in range(LANES):
            shares = builder.insert_element(shares, x, INTEGER(k))
        total = ir.Constant(EIGHT, [0.0] * LANES)
        for power in range(3, -1, -1):
            at = builder.gep(nodes, [ir.Constant(ir.IntType(64), power * LANES)])
            eight = builder.load(builder.bitcast(at, EIGHT.as_pointer()), align=4)
            total = eight if power == 3 else builder.fadd(eight, builder.fmul(shares, total))
        builder.store(total, builder.bitcast(place, EIGHT.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(nodes, x, out), generate


def _through_code(_typing: Any, nodes: Any) -> Any:
    """Return the types and the code of ``_through``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        place = [
            builder.bitcast(builder.gep(data, [ir.Constant(ir.IntType(64), row * LANES)]), EIGHT.as_pointer())
            for row in range(8)
        ]
        first, before, after, last = (builder.load(row, align=4) for row in place[:4])
        half, scale, inverse = (ir.Constant(EIGHT, [x] * LANES) for x in (0.5, 1 / (1 - INNER**2), 1 / INNER))
        even_end, even_inner = (builder.fmul(half, builder.fadd(a, b)) for a, b in ((last, first), (after, before)))
        odd_end, odd_inner = (builder.fmul(half, builder.fsub(a, b)) for a, b in ((last, first), (after, before)))
        square = builder.fmul(scale, builder.fsub(even_end, even_inner))
        cube = builder.fmul(scale, builder.fsub(odd_end, builder.fmul(inverse, odd_inner)))
        cubic = builder.fsub(even_end, square), builder.fsub(odd_end, cube), square, cube
        for row, eight in zip(place[4:], cubic, strict=True):
            builder.store(eight, row, align=4)
        return context.get_dummy_value()

    return types.void(nodes), generate


def _splats(builder: Any, four: Any) -> list[Any]:
    """Return four numbers, each as a vector of eight."""
    numbers = builder.fptrunc(_vector(builder, four), ir.VectorType(ir.FloatType(), 4))
    lanes = (ir.Constant(ir.VectorType(INTEGER, LANES), [k] * LANES) for k in range(4))
    return [builder.shuffle_vector(numbers, numbers, lane) for lane in lanes]


# several lanes at once, which numba does not find by itself: a + share b; and adding to eight coefficients of ``out``
# (to zero where it is the ``first``) those of 4 x 4 nodes, weighted by p along and q across the rows: the first node at
# number ``at`` of the flat field, n coefficients a node, ``width`` a row; the mean of two such sums of eight; and a
# cubic in x of eight
_plus: Callable[[Four, float, Four], Four] = cast(Any, intrinsic)(_plus_code)
_add_nodes: Callable[[F4, int, int, int, Four, Four, bool, F4], None] = cast(Any, intrinsic)(_add_nodes_code)
_cubic: Callable[[F4, np.float32, F4], None] = cast(Any, intrinsic)(_cubic_code)
_through: Callable[[F4], None] = cast(Any, intrinsic)(_through_code)
_mean_of_two: Callable[[F4, int, int, int, Four, Four, Four, Four, F4], None] = cast(Any, intrinsic)(_mean_of_two_code)


@inlined
def _scaled(share: float, a: Four) -> Four:
    """Return share a."""
    return _plus(ZERO, share, a)


@inlined
def _on_grid(x: float, y: float, grid: Grid) -> tuple[float, float]:
    """Return grid coordinates (u, v) of a position in nm."""
    right, up = x - grid[0], y - grid[1]
    return right * grid[2] + up * grid[3], right * grid[4] + up * grid[5]


@inlined
def _lagrange(t: float) -> Four:
    """Return the 4-point Lagrange weights at t."""
    return _plus(CUBIC_0, t, _plus(CUBIC_1, t, _plus(CUBIC_2, t, CUBIC_3)))


@inlined
def _within(n_v: int, n_u: int, u: float, v: float) -> bool:
    """Return whether a point's nodes are in a grid."""
    return u >= 1.0 and v >= 1.0 and u < n_u - 2 and v < n_v - 2


@inlined
def _add_point(coefficients: F4, u: float, v: float, share: float, first: bool, out: F4) -> None:
    """Add ``share`` of the height polynomial at a point to ``out``, or write it if ``first``; NaN outside the grid."""
    if not _within(coefficients.shape[0], coefficients.shape[1], u, v):
        out[:] = np.nan
        return
    n = coefficients.shape[2]
    width = coefficients.shape[1] * n
    iu, iv = int(u), int(v)
    p, q = _lagrange(u - iu), _scaled(share, _lagrange(v - iv))
    corner = (iv - 1) * width + (iu - 1) * n
    if n == LANES:  # nearly always: the compiler knows the strides
        _add_nodes(coefficients, corner, LANES, width, p, q, first, out)
        return
    for start in range(0, n, LANES):
        _add_nodes(coefficients, corner + start, n, width, p, q, first, out[start:])


@lean()
def interpolate(coefficients: F4, x: F8, y: F8, grid: Grid, out: F4) -> None:
    """Write the height polynomials at points to out, (n_points, n_coefficients); NaN outside the grid."""
    for p in range(x.size):
        u, v = _on_grid(x[p], y[p], grid)
        _add_point(coefficients, u, v, 1.0, True, out[p])


@inlined
def _two_points(coefficients: F4, u: float, v: float, other_u: float, other_v: float, out: F4) -> None:
    """Write the mean of the height polynomials, of eight coefficients, at two points; NaN outside the grid."""
    n_v, n_u = coefficients.shape[0], coefficients.shape[1]
    if not (_within(n_v, n_u, u, v) and _within(n_v, n_u, other_u, other_v)):
        out[:] = np.nan
        return
    width = n_u * LANES
    iu, iv, ju, jv = int(u), int(v), int(other_u), int(other_v)
    at, other_at = (iv - 1) * width + (iu - 1) * LANES, (jv - 1) * width + (ju - 1) * LANES
    one, two = (_lagrange(u - iu), _lagrange(v - iv)), (_lagrange(other_u - ju), _lagrange(other_v - jv))
    _mean_of_two(coefficients, at, other_at, width, one[0], one[1], two[0], two[1], out)


@inlined
def _mean(coefficients: F4, u: float, v: float, du: float, dv: float, n_sub: int, out: F4) -> None:
    """Write the mean height polynomial over the n_sub sub-steps of a pixel from (u, v) to (u + du, v + dv).

    Of each short span of the pixel two points count, at the standard deviation of its sub-steps to either side of its
    middle: exact for cubics in time. Where there are as few sub-steps, these.
    """
    n_spans = int(max(abs(du), abs(dv)) * (1 / SEGMENT)) + 1
    if n_spans == 1 and n_sub > 2 and coefficients.shape[2] == LANES:  # nearly always
        aside = np.sqrt((1.0 - 1.0 / n_sub**2) * (1 / 12))
        before, after = 0.5 - aside, 0.5 + aside
        _two_points(coefficients, u + before * du, v + before * dv, u + after * du, v + after * dv, out)
        return
    if n_spans < 1 or 2 * n_spans >= n_sub:
        for n in range(n_sub):
            share = (n + 0.5) / n_sub
            _add_point(coefficients, u + share * du, v + share * dv, 1.0 / n_sub, n == 0, out)
        return
    inverse = 1.0 / n_spans
    aside = np.sqrt((inverse**2 - 1.0 / n_sub**2) * (1 / 12))
    for span in range(n_spans):
        middle = (span + 0.5) * inverse
        before, after = middle - aside, middle + aside
        _add_point(coefficients, u + before * du, v + before * dv, 0.5 * inverse, span == 0, out)
        _add_point(coefficients, u + after * du, v + after * dv, 0.5 * inverse, False, out)


@inlined
def _is_even(u: F8, v: F8) -> bool:
    """Return whether ends of pixels, in grid coordinates, lie evenly on a straight line, and close together."""
    widest, bent = 0.0, 0.0
    for i in range(u.shape[0] - 1):
        widest = max(widest, max(abs(u[i + 1] - u[i]), abs(v[i + 1] - v[i])))
    for i in range(u.shape[0] - 2):
        bend_u, bend_v = u[i] - 2.0 * u[i + 1] + u[i + 2], v[i] - 2.0 * v[i + 1] + v[i + 2]
        bent = max(bent, max(abs(bend_u), abs(bend_v)))
    return widest <= EVEN and bent <= BEND


@inlined
def _means_of_middles(middles: F4, n_sub: int, out: F4) -> None:
    """Write the means over pixels from the values at the middles of five in a row, one after the other, to ``out``.

    The mean is f + m2 f2 / 2 + m4 f4 / 24, m2 and m4 the moments of the sub-steps, f2 and f4 the derivatives by central
    differences.
    """
    inverse = 1.0 / n_sub**2
    second, fourth = (1.0 - inverse) / 12.0, (3.0 - 10.0 * inverse + 7.0 * inverse**2) / 240.0
    far = (fourth - second) / 24.0
    a, b, c = np.float32(far), np.float32(second / 2.0 - 4.0 * far), np.float32(1.0 - second + 6.0 * far)
    before, last, own = middles, middles[LANES:], middles[2 * LANES :]
    following, after = middles[3 * LANES :], middles[4 * LANES :]
    inner = out[2 * LANES :]
    for k in range(middles.shape[0] - 4 * LANES):
        inner[k] = c * own[k] + (b * (last[k] + following[k]) + a * (before[k] + after[k]))


@lean()
def pixel_means(coefficients: F4, x: F8, y: F8, grid: Grid, n_sub: int, ends: F8, middles: F4, out: F4) -> None:
    """Write each pixel's mean height polynomial over its sub-steps to out (n_passes, n_pixels, n_coefficients).

    ``x`` and ``y`` are the pixels' ends, (n_passes, n_pixels + 1). ``ends``, (2, n_pixels + 1), and ``middles``,
    (n_pixels, n_coefficients), are room for numbers: where the pixels of a pass lie evenly, one point of each will do.
    """
    u, v, n = ends[0], ends[1], out.shape[1]
    for row in range(out.shape[0]):
        for i in range(n + 1):
            u[i], v[i] = _on_grid(x[row, i], y[row, i], grid)
        first, last = n, n
        if coefficients.shape[2] == LANES and n_sub > 2 and n > 4 and _is_even(u, v):
            first, last = 2, n - 2
            for i in range(n):
                _add_point(coefficients, (u[i] + u[i + 1]) / 2, (v[i] + v[i + 1]) / 2, 1.0, True, middles[i])
            _means_of_middles(middles.reshape(-1), n_sub, out[row].reshape(-1))
        for i in range(first):
            _mean(coefficients, u[i], v[i], u[i + 1] - u[i], v[i + 1] - v[i], n_sub, out[row, i])
        for i in range(last, n):
            _mean(coefficients, u[i], v[i], u[i + 1] - u[i], v[i + 1] - v[i], n_sub, out[row, i])


@inlined
def _to_cubic(nodes: F4) -> None:
    """Write the monomial coefficients of the cubics through values at -1, -INNER, INNER, 1 (rows 0 to 3) below them."""
    if nodes.shape[1] == LANES:
        _through(nodes)
        return
    half, third = np.float32(0.5), np.float32(1 / (1 - INNER**2))
    inverse = np.float32(1 / INNER)
    for k in range(nodes.shape[1]):
        even_end, even_inner = half * (nodes[3, k] + nodes[0, k]), half * (nodes[2, k] + nodes[1, k])
        odd_end, odd_inner = half * (nodes[3, k] - nodes[0, k]), half * (nodes[2, k] - nodes[1, k])
        nodes[6, k], nodes[7, k] = third * (even_end - even_inner), third * (odd_end - inverse * odd_inner)
        nodes[4, k], nodes[5, k] = even_end - nodes[6, k], odd_end - nodes[7, k]


@inlined
def _each(coefficients: F4, u: float, v: float, du: float, dv: float, out: F4) -> None:
    """Write the height polynomial of each sub-step of a pixel, one a row of out, each by itself."""
    for n in range(out.shape[0]):
        share = (n + 0.5) / out.shape[0]
        _add_point(coefficients, u + share * du, v + share * dv, 1.0, True, out[n])


@inlined
def _stretches(coefficients: F4, u: float, v: float, du: float, dv: float, n_long: int, nodes: F4, out: F4) -> None:
    """Write the height polynomial of each sub-step of a pixel of ``n_long`` stretches from cubics in time through each.

    The first row of ``nodes`` is the height polynomial at (u, v) already; at the end that at the pixel's end.
    """
    n, n_sub, n_coefficients = 0, out.shape[0], out.shape[1]
    along, across, width = du / n_long, dv / n_long, 2.0 * n_long / n_sub
    for stretch in range(n_long):
        for node in range(1, 4):
            share = stretch + ((1 + (2 * node - 3) * INNER) / 2 if node < 3 else 1.0)
            _add_point(coefficients, u + share * along, v + share * across, 1.0, True, nodes[node])
        _to_cubic(nodes)
        middle, end = 2.0 * stretch + 1.0, n_sub if stretch == n_long - 1 else ((stretch + 1) * n_sub) // n_long
        for step in range(n, end):
            x = np.float32((step + 0.5) * width - middle)
            if n_coefficients == LANES:
                _cubic(nodes[4:], x, out[step])
            else:
                for k in range(n_coefficients):
                    out[step, k] = nodes[4, k] + x * (nodes[5, k] + x * (nodes[6, k] + x * nodes[7, k]))
        n = end
        for k in range(n_coefficients):
            nodes[0, k] = nodes[3, k]


@lean()
def step_polynomials(coefficients: F4, x: F8, y: F8, grid: Grid, nodes: F4, out: F4) -> None:
    """Write the height polynomial of every sub-step to out (n_passes, n_pixels, n_sub, n_coefficients).

    Where that is cheaper, they are cubics in time through four points of each short stretch of a pixel; the last is the
    first of the next. ``nodes`` is room for eight polynomials.
    """
    n_sub = out.shape[2]
    for row in range(out.shape[0]):
        u, v = _on_grid(x[row, 0], y[row, 0], grid)
        _add_point(coefficients, u, v, 1.0, True, nodes[0])
        for i in range(out.shape[1]):
            next_u, next_v = _on_grid(x[row, i + 1], y[row, i + 1], grid)
            du, dv = next_u - u, next_v - v
            n_long = int(max(abs(du), abs(dv)) * (1 / STRETCH)) + 1
            if n_long < 1 or 3 * n_long >= n_sub:
                _each(coefficients, u, v, du, dv, out[row, i])
                _add_point(coefficients, next_u, next_v, 1.0, True, nodes[0])
            else:
                _stretches(coefficients, u, v, du, dv, n_long, nodes, out[row, i])
            u, v = next_u, next_v


@inlined
def _load(polynomials: F4, first: int, n: int, c: F8) -> None:
    """Write n polynomials from the first on to the first columns of c (n_coefficients, BLOCK)."""
    for p in range(n):
        for k in range(polynomials.shape[1]):
            c[k, p] = polynomials[first + p, k]


@inlined
def _values(c: F8, s: F8, edge: F8, value: F8, slope: F8) -> None:
    """Write value and slope of the height polynomials in the columns of c at s: straight lines outside [-1, 1]."""
    for p in range(BLOCK):
        edge[p] = -1.0 if s[p] < -1.0 else (1.0 if s[p] > 1.0 else s[p])
        value[p], slope[p] = c[c.shape[0] - 1, p], 0.0
    for k in range(c.shape[0] - 2, -1, -1):
        for p in range(BLOCK):
            slope[p] = slope[p] * edge[p] + value[p]
            value[p] = value[p] * edge[p] + c[k, p]
    for p in range(BLOCK):
        value[p] += slope[p] * (s[p] - edge[p])


@kernel()
def evaluate(polynomials: F4, s: F8) -> F8:
    """Return the polynomials' values at s."""
    out = np.empty(s.shape[0])
    c, at = np.zeros((polynomials.shape[1], BLOCK)), np.zeros(BLOCK)
    edge, value, slope = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    for first in range(0, s.shape[0], BLOCK):
        n = min(BLOCK, s.shape[0] - first)
        _load(polynomials, first, n, c)
        at[:n] = s[first : first + n]
        _values(c, at, edge, value, slope)
        out[first : first + n] = value[:n]
    return out


@lean(fastmath={"contract"})
def weigh(polynomials: F4, weights: F8, out: F8) -> None:
    """Write the sums of the polynomials' coefficients, (n_points, n_coefficients), times weights to out."""
    for p in range(polynomials.shape[0]):
        total = 0.0
        for k in range(weights.shape[0]):
            total += weights[k] * polynomials[p, k]
        out[p] = total


@kernel()
def invert(polynomials: F4, level: float) -> F8:
    """Return s at which each polynomial has the value ``level`` (Newton), NaN where it does not settle."""
    out = np.empty(polynomials.shape[0])
    c, s, step = np.zeros((polynomials.shape[1], BLOCK)), np.empty(BLOCK), np.empty(BLOCK)
    edge, value, slope = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    for first in range(0, polynomials.shape[0], BLOCK):
        n = min(BLOCK, polynomials.shape[0] - first)
        _load(polynomials, first, n, c)
        for p in range(BLOCK):
            s[p] = (level - c[0, p]) / c[1, p]
        settled, rounds = False, 0
        while not settled and rounds < MAX_NEWTON:
            _values(c, s, edge, value, slope)
            for p in range(BLOCK):
                step[p] = (level - value[p]) / slope[p]
                s[p] += step[p]
            settled, rounds = True, rounds + 1
            for p in range(n):
                settled = settled and abs(step[p]) < SETTLED
        for p in range(n):
            out[first + p] = s[p] if abs(step[p]) < SETTLED else np.nan
    return out
