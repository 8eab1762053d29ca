"""Levelling: what readers take off a topography before they look at it; images as scan lines, (n_lines, n_pixels)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from .units import Floats


def less_plane(lines: Floats) -> Floats:
    """Return an image less its best plane (least squares)."""
    y, x = (np.arange(n) - (n - 1) / 2 for n in lines.shape)
    along = (lines * x).mean() / (x**2).mean()
    across = (lines * y[:, None]).mean() / (y**2).mean()
    return np.asarray(lines - lines.mean() - along * x - across * y[:, None])


def less_medians(lines: Floats) -> Floats:
    """Return an image each of whose lines has a median of zero."""
    return np.asarray(lines - np.median(lines, axis=1, keepdims=True))


def less_parabolas(lines: Floats) -> Floats:
    """Return an image less the best parabola of each line (least squares)."""
    x = np.linspace(-1, 1, lines.shape[1])
    terms, _ = np.linalg.qr(np.vander(x, 3))
    return np.asarray(lines - (lines @ terms) @ terms.T)


LEVELLINGS: Mapping[str, Callable[[Floats], Floats]] = {
    "plane": less_plane,
    "lines": less_medians,
    "plane_and_lines": lambda lines: less_medians(less_plane(lines)),
    "parabolas": less_parabolas,
}
