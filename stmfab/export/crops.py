"""Crops around isolated defects: which defects stand alone, and an image cut out around each, in nm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from ..physics.units import Bools, Floats
from ..specs import DEFECT_MARGIN_nm

CUBIC = 3  # order of the spline between pixels


def isolated(points_nm: Floats, isolation_nm: float) -> Bools:
    """Return which of some points, (n_points, 2), have no other one within a distance, in the plane."""
    if len(points_nm) < 2:
        return np.ones(len(points_nm), np.bool_)
    nearest_nm: Floats = cKDTree(points_nm).query(points_nm, k=2)[0][:, 1]
    return nearest_nm > isolation_nm


def inside(places: Floats, shape: tuple[int, int], *, pixel_nm: float, crop_nm: float, isolation_nm: float) -> Bools:
    """Return around which pixels (row, col), (n_places, 2), a crop lies in the image and all its neighbours are known.

    The table of defects ends ``specs.DEFECT_MARGIN_nm`` outside the frame.
    """
    margin = max(crop_nm / 2, isolation_nm - DEFECT_MARGIN_nm) / pixel_nm
    beyond = np.array(shape) - 0.5
    return np.asarray(((places - margin >= -0.5) & (places + margin <= beyond)).all(axis=1))


def cut(
    image: NDArray[np.floating], places: Floats, *, pixel_nm: float, crop_nm: float, pixels: int
) -> NDArray[np.float32]:
    """Return crops of an image around pixels (row, col), (n_places, 2), each less its mean: (n_places, pixels, pixels).

    A cubic spline goes through the pixels of the image; where those of the crop are coarser, the image is first blurred
    to their width: a pixel of width w has the variance w^2 / 12.
    """
    pitch = crop_nm / pixels / pixel_nm
    blurred = ndimage.gaussian_filter(image.astype(np.float64), np.sqrt(max(0.0, pitch**2 - 1) / 12), mode="mirror")
    spline = ndimage.spline_filter(blurred, CUBIC, mode="mirror")
    steps = (np.arange(pixels) - (pixels - 1) / 2) * pitch
    at = np.empty((2, len(places), pixels, pixels))
    at[0] = places[:, 0, None, None] + steps[:, None]
    at[1] = places[:, 1, None, None] + steps
    found: Floats = ndimage.map_coordinates(spline, at, order=CUBIC, mode="mirror", prefilter=False)
    crops: NDArray[np.float32] = (found - found.mean(axis=(1, 2), keepdims=True)).astype(np.float32)
    return crops
