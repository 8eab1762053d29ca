"""Pictures and charts that a page carries in itself: PNG from pixels, SVG from numbers."""

from __future__ import annotations

import base64
import html
import math
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BARS = (240, 56)  # units of a chart of bars; a page scales it to its column
PLOT = (420, 250)
LEFT, BOTTOM, TOP, RIGHT = 46, 34, 10, 10  # units about a plot, for its numbers
DECADE_TICKS = 3  # from so many decades on an axis has ticks at decades only


def png(rgb: NDArray[np.uint8]) -> bytes:
    """Return an image, shape (n_rows, n_cols, 3), as the bytes of a PNG.

    References
    ----------
    ISO/IEC 15948:2004, Portable Network Graphics: signature, IHDR, IDAT (zlib, filter 0), IEND.
    """
    n_rows, n_cols, _ = rgb.shape
    lines = np.zeros((n_rows, 1 + 3 * n_cols), np.uint8)
    lines[:, 1:] = rgb.reshape(n_rows, -1)
    head = struct.pack(">IIBBBBB", n_cols, n_rows, 8, 2, 0, 0, 0)
    blocks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in blocks
    )


def inline(rgb: NDArray[np.uint8]) -> str:
    """Return an image as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png(rgb)).decode()}"


def bars(counts: Sequence[float], name: str) -> str:
    """Return a histogram as SVG: its bars side by side, the highest as high as the chart."""
    width, height = BARS
    step, most = width / len(counts), max(*counts, 1e-300)
    shown = "".join(
        f'<rect x="{i * step:.2f}" y="{height * (1 - count / most):.2f}" '
        f'width="{max(step - 1, step / 2):.2f}" height="{height * count / most:.2f}"/>'
        for i, count in enumerate(counts)
    )
    return (
        f'<svg class="bars" viewBox="0 0 {width} {height + 1}" preserveAspectRatio="none" role="img" '
        f'aria-label="{html.escape(name)}">{shown}<path d="M0 {height + 0.5}H{width}"/></svg>'
    )


@dataclass(frozen=True)
class Curve:
    """One line of a plot, with the band about it that most samples lie in."""

    name: str
    style: str
    y: NDArray[np.float64]
    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None


def plot(x: NDArray[np.float64], curves: Sequence[Curve], *, x_name: str, y_name: str) -> str:
    """Return curves over x on logarithmic axes as SVG; points that are not finite and positive are left out."""
    every = [part for curve in curves for part in (curve.y, curve.low, curve.high) if part is not None]
    heights = np.concatenate([part[np.isfinite(part) & (part > 0)] for part in every])
    axis_x = Axis.of(float(x.min()), float(x.max()), LEFT, PLOT[0] - RIGHT)
    axis_y = Axis.of(float(heights.min()), float(heights.max()), PLOT[1] - BOTTOM, TOP)
    inside = "".join(_curve(x, curve, axis_x, axis_y) for curve in curves)
    grid = "".join(_ticks(axis_x, axis_y))
    names = (
        f'<text class="name" x="{PLOT[0] - RIGHT}" y="{PLOT[1] - 4}" text-anchor="end">{html.escape(x_name)}</text>'
        f'<text class="name" x="{LEFT}" y="{TOP - 1}">{html.escape(y_name)}</text>'
    )
    label = html.escape(f"{y_name} over {x_name}")
    head = f'<svg class="plot" viewBox="0 -6 {PLOT[0]} {PLOT[1] + 6}" role="img" aria-label="{label}">'
    return f"{head}{grid}{inside}{names}</svg>"


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis: from low to high between two places of the chart."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def of(cls, low: float, high: float, start: float, end: float) -> Axis:
        """Return the axis of some values, a little longer than they need."""
        room = 0.04 * math.log(high / low) + 0.01
        return cls(low * math.exp(-room), high * math.exp(room), start, end)

    def at(self, value: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Return the place of values."""
        share = np.log(np.asarray(value) / self.low) / math.log(self.high / self.low)
        return np.asarray(self.start + share * (self.end - self.start))

    def ticks(self) -> list[float]:
        """Return round values on the axis: decades, and between few of them twos and fives."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = (1,) if math.log10(self.high / self.low) >= DECADE_TICKS else (1, 2, 5)
        return [v for d in decades for s in steps if self.low <= (v := float(f"{s}e{d}")) <= self.high]


def _ticks(axis_x: Axis, axis_y: Axis) -> Iterator[str]:
    for value in axis_x.ticks():
        place = float(axis_x.at(value))
        yield f'<path class="grid" d="M{place:.1f} {axis_y.start}V{axis_y.end}"/>'
        yield f'<text x="{place:.1f}" y="{axis_y.start + 13}" text-anchor="middle">{_shown(value)}</text>'
    for value in axis_y.ticks():
        place = float(axis_y.at(value))
        yield f'<path class="grid" d="M{axis_x.start} {place:.1f}H{axis_x.end}"/>'
        yield f'<text x="{axis_x.start - 5}" y="{place + 4:.1f}" text-anchor="end">{_shown(value)}</text>'


def _shown(value: float) -> str:
    if 1e-2 <= value < 1e4:
        return f"{value:g}"
    digits, power = f"{value:e}".split("e")
    return f'{"" if float(digits) == 1 else f"{float(digits):g}·"}10<tspan dy="-4" font-size="8">{int(power)}</tspan>'


def _curve(x: NDArray[np.float64], curve: Curve, axis_x: Axis, axis_y: Axis) -> str:
    band = ""
    if curve.low is not None and curve.high is not None:
        there = np.isfinite(curve.low) & np.isfinite(curve.high) & (curve.low > 0)
        around = [*_points(x[there], curve.high[there], axis_x, axis_y)]
        around += reversed([*_points(x[there], curve.low[there], axis_x, axis_y)])
        band = f'<polygon class="band {curve.style}" points="{" ".join(around)}"/>'
    there = np.isfinite(curve.y) & (curve.y > 0)
    points = " ".join(_points(x[there], curve.y[there], axis_x, axis_y))
    return f'{band}<polyline class="line {curve.style}" points="{points}"/>'


def _points(x: NDArray[np.float64], y: NDArray[np.float64], axis_x: Axis, axis_y: Axis) -> Iterator[str]:
    yield from (f"{a:.1f},{b:.1f}" for a, b in zip(axis_x.at(x), axis_y.at(y), strict=True))


def legend(curves: Sequence[Curve]) -> str:
    """Return the names of curves beside strokes of their styles."""
    return "".join(
        f'<span class="key"><svg viewBox="0 0 18 4"><path class="line {curve.style}" d="M0 2H18"/></svg>'
        f"{html.escape(curve.name)}</span>"
        for curve in curves
    )


def shares(counts: Mapping[str, float]) -> str:
    """Return counts as a table of words, bars and numbers."""
    whole, most = sum(counts.values()) or 1, max([*counts.values(), 1e-300])
    rows = "".join(
        f"<tr><th>{html.escape(word)}</th>"
        f'<td class="share"><i style="width:{100 * count / most:.1f}%"></i></td>'
        f"<td>{count:,.0f}</td><td>{100 * count / whole:.1f} %</td></tr>"
        for word, count in counts.items()
    )
    return f'<table class="shares">{rows}</table>'
