"""The nodes over which the field of a metal's face is tabulated: a rectangle turned with the frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from .units import Bools, Floats

MARGIN = 3  # nodes beyond the path
HALVED_MARGIN = 3
HALVED = np.array([[0, 0, 0, 1, 0, 0, 0, 0], np.array([-5, 49, -245, 1225, 1225, -245, 49, -5]) / 2048])  # Lagrange


@dataclass(frozen=True)
class Grid:
    """A rectangle of nodes turned with the frame: origin (2,), steps (2, 2) and nodes x, y (n_v, n_u)."""

    origin_nm: Floats
    steps_nm: Floats
    x_nm: Floats
    y_nm: Floats

    def padded(self, pad: int) -> Grid:
        """Return the grid with some more nodes on every side."""
        n_v, n_u = self.x_nm.shape
        return _grid(self.origin_nm - pad * self.steps_nm.sum(axis=0), self.steps_nm, n_v + 2 * pad, n_u + 2 * pad)

    @property
    def corners_nm(self) -> Floats:
        """Its corners, shape (4, 2)."""
        n_v, n_u = self.x_nm.shape
        return np.asarray(self.origin_nm + np.array([(0, 0), (n_u, 0), (0, n_v), (n_u, n_v)]) @ self.steps_nm)

    def near(self, points_nm: Floats, margin_nm: float) -> Bools:
        """Return which points (n, 2) lie on the grid or within a margin around it, shape (n,)."""
        nodes = (points_nm - self.origin_nm) @ np.linalg.inv(self.steps_nm)
        margin = margin_nm / float(np.hypot(*self.steps_nm[0]))
        return np.asarray(((nodes > -margin) & (nodes < np.array(self.x_nm.shape[::-1]) + margin)).all(axis=1))

    def thinned(self, every: int) -> tuple[Floats, Floats]:
        """Return nodes ``every`` steps apart that reach a step beyond the grid on all sides."""
        n_v, n_u = (math.ceil((n - 1) / every) + 4 for n in self.x_nm.shape)
        v, u = np.meshgrid((np.arange(n_v) - 1) * every, (np.arange(n_u) - 1) * every, indexing="ij")
        points = self.origin_nm + np.stack([u, v], axis=-1) @ self.steps_nm
        return points[..., 0], points[..., 1]


Lines = Sequence[tuple[Floats, Floats]]


def node_distance_nm(
    grids: Sequence[tuple[float, float]], raster_nm: tuple[Floats, Floats], as_wide_nm: float, *, look_nm: float
) -> float:
    """Return the distance of nodes for a frame, from rows (widest frame, distance): farther apart in wide frames.

    Of a first look, at least as far as in frames ``as_wide_nm``, and up to ``look_nm`` half a pixel.
    """
    width_nm = max(math.hypot(*(v[end] - v[0, 0] for v in raster_nm)) for end in ((0, -1), (-1, 0)))
    distance_nm = next(distance_nm for widest_nm, distance_nm in grids if max(width_nm, as_wide_nm) <= widest_nm)
    half_pixel_nm = width_nm / (2 * (len(raster_nm[0]) - 1))
    return max(distance_nm, min(look_nm, half_pixel_nm)) if as_wide_nm else distance_nm


def grid_over(lines_nm: Lines, rotation_deg: float, step_nm: float) -> Grid:
    """Return the nodes over some lines, turned with the frame."""
    angle = math.radians(rotation_deg)
    axes = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    turned = [[right * x + up * y for right, up in axes.tolist()] for x, y in lines_nm]
    low = np.min([[at.min() for at in points] for points in turned], axis=0) - MARGIN * step_nm
    high = np.max([[at.max() for at in points] for points in turned], axis=0) + MARGIN * step_nm
    n_u, n_v = np.ceil((high - low) / step_nm).astype(int) + 1
    return _grid(low @ axes, step_nm * axes, int(n_v), int(n_u))


def _grid(origin_nm: Floats, steps_nm: Floats, n_v: int, n_u: int) -> Grid:
    """Return the grid of n_v rows and n_u columns of nodes."""
    v, u = np.ogrid[:n_v, :n_u]
    x_nm, y_nm = (first + (u * along + v * up) for first, along, up in zip(origin_nm, *steps_nm, strict=True))
    return Grid(origin_nm, steps_nm, x_nm, y_nm)


def upsampled(values: Floats, shape: tuple[int, ...], every: int) -> Floats:
    """Return values on a thinned grid at its nodes (n_v, n_u), see ``Grid.thinned``: 4-point Lagrange."""
    stencils = np.stack([lagrange(t) for t in np.arange(every) / every])
    return _interpolated(values, shape, stencils, first=0)


def halved(values: Floats, shape: tuple[int, ...]) -> Floats:
    """Return values at nodes (n_v, n_u) half as far apart, the first between ``HALVED_MARGIN`` of them and the next."""
    return _interpolated(values, shape, HALVED, first=1)


def _interpolated(values: Floats, shape: tuple[int, ...], stencils: Floats, *, first: int) -> Floats:
    """Return values between nodes, as many stencils a node as there are, from the first on, along both axes."""
    along_v, along_u = (_matrix(n, n_nodes, stencils, first) for n, n_nodes in zip(shape, values.shape, strict=True))
    return np.asarray((along_u @ (along_v @ values).T).T)


def _matrix(n: int, n_nodes: int, stencils: Floats, first: int) -> sparse.csr_array:
    """Return the matrix from nodes to n points, the stencils (n_stencils, n_weights) by turns from the first on."""
    base, rest = np.divmod(np.arange(first, first + n), len(stencils))
    columns, width = base[:, None] + np.arange(stencils.shape[1]), stencils.shape[1]
    return sparse.csr_array((stencils[rest].ravel(), columns.ravel(), width * np.arange(n + 1)), shape=(n, n_nodes))


def lagrange(t: float) -> Floats:
    """Return the 4-point Lagrange weights of nodes -1, 0, 1, 2 at t."""
    return np.array(
        [
            -t * (t - 1) * (t - 2) / 6,
            (t + 1) * (t - 1) * (t - 2) / 2,
            -(t + 1) * t * (t - 2) / 2,
            (t + 1) * t * (t - 1) / 6,
        ]
    )
