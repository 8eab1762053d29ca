"""What each defect changes in an image: its pixels, its apparent height, and whether it shows through the noise.

From a pair of renders without noise, one with all defects and one with none: what differs at a pixel is the nearest
defect's. One render more for a sample, however many defects it has; two that overlap are told apart by their places
only. A pair of renders for each defect, with and without it alone, tells them apart as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import _instances_kernels
from .units import Floats, Ints

LEAST_NOISE_nm = 1e-5  # a microscope without noise counts as one with 0.01 pm
APPEARANCES = ("hidden", "bright", "dark")
MOST = np.iinfo(np.int16).max - 1  # defects that a map can tell apart


@dataclass(frozen=True)
class Seen:
    """What defects show of themselves in one image.

    Attributes
    ----------
    mask : int16 array of shape (n_rows, n_cols)
        0 none, else 1 + the defect's position.
    noise_nm : float
        The rms of the noise of the image.
    heights_nm : array of shape (n_defects,)
        The largest change of height at any of a defect's own pixels, with its sign; 0 for one that has none.
    boxes : int array of shape (n_defects, 4)
        First and last row, first and last column of a defect in the mask; -1 for one that has no pixel there.
    radii_nm : array of shape (n_defects,)
        Radius of a disc as large as the pixels, of those that its height is taken from, that change by half of it.
    """

    mask: NDArray[np.int16]
    noise_nm: float
    heights_nm: Floats
    boxes: Ints
    radii_nm: Floats

    @property
    def visibility(self) -> Floats:
        """The largest change of height over the noise, (n_defects,)."""
        return np.asarray(np.abs(self.heights_nm) / max(self.noise_nm, LEAST_NOISE_nm))

    @property
    def appearance(self) -> NDArray[np.int8]:
        """The look of each defect, as its position in ``APPEARANCES``, (n_defects,)."""
        shown = np.where(self.heights_nm > 0, APPEARANCES.index("bright"), APPEARANCES.index("dark"))
        return np.where(self.visibility < 1, APPEARANCES.index("hidden"), shown).astype(np.int8)


def nearest(x_nm: Floats, y_nm: Floats, sites_nm: Floats) -> tuple[Ints, Floats]:
    """Return which of some sites, (n_sites, 3), is nearest to each pixel (x, y, 0), and its squared distance beside it.

    -1 without any site; both in the shape of x, the distance in the plane, in nm^2.
    """
    owner, beside_nm2 = np.full(x_nm.shape, -1), np.full(x_nm.shape, np.inf)
    _instances_kernels.nearest(x_nm, y_nm, np.ascontiguousarray(sites_nm), owner, beside_nm2)
    return owner, beside_nm2


def seen(
    change_nm: Floats,
    x_nm: Floats,
    y_nm: Floats,
    sites_nm: Floats,
    *,
    others_nm: Floats,
    noise_nm: float,
    threshold_nm: float,
    window_nm: float,
) -> Seen:
    """Return what defects at ``sites_nm``, (n_defects, 3), show of themselves; what the others change is nobody's.

    A defect's own pixels are those nearer to it than to any other one, in space: of two in one column the lower has
    none. Its height is taken from those within ``window_nm`` in the plane; its mask holds those, however far, that
    change by more than ``threshold_nm``.

    Parameters
    ----------
    change_nm : array of shape (n_rows, n_cols)
        Height with all defects less that with none.
    x_nm, y_nm : arrays of shape (n_rows, n_cols)
        Where the pixels are.

    Raises
    ------
    OverflowError
        If there are more defects than the mask can tell apart.
    """
    if len(sites_nm) > MOST:
        raise OverflowError(f"{len(sites_nm)} defects; a map tells {MOST} apart")
    owner, beside_nm2 = nearest(x_nm, y_nm, np.concatenate([sites_nm, others_nm]))
    owner[owner >= len(sites_nm)] = -1
    heights_nm, boxes = np.zeros(len(sites_nm)), np.full((len(sites_nm), 4), -1)
    _instances_kernels.peaks(change_nm, owner, beside_nm2, window_nm**2, heights_nm)
    halves = np.append(heights_nm, 0.0)[owner] / 2
    high = (change_nm * halves >= halves**2) & (halves != 0) & (beside_nm2 <= window_nm**2)
    n_high = np.bincount(owner[high], minlength=len(sites_nm))
    mask = np.where(np.abs(change_nm) > threshold_nm, owner + 1, 0).astype(np.int16)
    _instances_kernels.boxes(mask, boxes)
    return Seen(mask, noise_nm, heights_nm, boxes, _disc_nm(n_high, x_nm, y_nm))


def seen_each(
    changes_nm: Iterable[Floats],
    x_nm: Floats,
    y_nm: Floats,
    sites_nm: Floats,
    *,
    noise_nm: float,
    threshold_nm: float,
    window_nm: float,
) -> Seen:
    """Return what defects show of themselves by the change of height that each one makes, (n_rows, n_cols) in turn.

    A defect's height is taken from its own change within ``window_nm`` in the plane; a pixel of the mask is that
    defect's that changes it most, if by more than ``threshold_nm``.

    Raises
    ------
    OverflowError
        If there are more defects than the mask can tell apart.
    """
    if len(sites_nm) > MOST:
        raise OverflowError(f"{len(sites_nm)} defects; a map tells {MOST} apart")
    most_nm, mask = np.full(x_nm.shape, threshold_nm), np.zeros(x_nm.shape, dtype=np.int16)
    heights_nm, boxes = np.zeros(len(sites_nm)), np.full((len(sites_nm), 4), -1)
    n_high = np.zeros(len(sites_nm), dtype=np.int64)
    for number, (change_nm, site_nm) in enumerate(zip(changes_nm, sites_nm, strict=True)):
        near = (x_nm - site_nm[0]) ** 2 + (y_nm - site_nm[1]) ** 2 <= window_nm**2
        own_nm = change_nm[near]
        heights_nm[number] = height_nm = own_nm[np.abs(own_nm).argmax()] if own_nm.size else 0.0
        n_high[number] = np.count_nonzero(own_nm * height_nm >= height_nm**2 / 2) if height_nm else 0
        more = np.abs(change_nm) > most_nm
        most_nm[more], mask[more] = np.abs(change_nm[more]), number + 1
    _instances_kernels.boxes(mask, boxes)
    return Seen(mask, noise_nm, heights_nm, boxes, _disc_nm(n_high, x_nm, y_nm))


def _disc_nm(n_pixels: Ints, x_nm: Floats, y_nm: Floats) -> Floats:
    """Return the radius of a disc as large as some pixels, by the mean distance of the pixels x, y (n_rows, n_cols)."""
    (right_x, right_y), (up_x, up_y) = ([np.diff(at, axis=axis).mean() for at in (x_nm, y_nm)] for axis in (1, 0))
    return np.asarray(np.sqrt(n_pixels * abs(right_x * up_y - right_y * up_x) / np.pi))


def noise_nm(recorded_nm: Floats, quiet_nm: Floats, fast_axis: str) -> float:
    """Return the rms of what noise did to an image, (n_rows, n_cols): the same scan without it is ``quiet_nm``.

    The median of each line is taken off first, as whoever looks at an image does.
    """
    noise = recorded_nm - quiet_nm
    along = 1 if fast_axis == "x" else 0
    return float(np.sqrt(np.mean((noise - np.median(noise, axis=along, keepdims=True)) ** 2)))
