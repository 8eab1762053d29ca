"""Targets: what a network learns, drawn in the frame of the scan from the labels of the sample world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _targets_kernels, levelling
from .field import CurrentField
from .keys import check_ranges, key
from .materials import Material
from .path import Path, distortion
from .scan import perfect_height
from .units import Bools, Floats, Ints

LAYERS = ("top", "middle", "bottom")
IN_VIEW_PIXELS = 0.75  # a defect this far outside the frame still counts as in view


@dataclass(frozen=True)
class ArraySpec:
    """One array of a dataset: name, dimensions and shape of one sample, dtype, unit, meaning, and its role.

    Roles: image, target, label, parameter.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    unit: str
    long_name: str
    role: str


@dataclass(frozen=True)
class Labels:
    """What is known about one sample, for its targets to be drawn.

    Attributes
    ----------
    x_nm, y_nm : arrays of shape (n_rows, n_cols)
        Mean true position of each forward pixel, in the sample frame.
    ideal_nm : array of shape (n_rows, n_cols)
        Constant-current topography on the nominal raster.
    events : uint8 array of shape (n_rows, n_cols)
    topography_nm : array of shape (2, n_rows, n_cols)
        As recorded, forward and backward.
    defect_sites_nm : array of shape (n_defects, 3)
    defect_layers : int array of shape (n_defects,)
        Positions in ``LAYERS``.
    """

    material: Material
    field: CurrentField
    log_setpoint: float
    path: Path
    x_nm: Floats
    y_nm: Floats
    ideal_nm: Floats
    events: NDArray[np.uint8]
    topography_nm: Floats
    defect_sites_nm: Floats
    defect_layers: Ints


def _image(name: str, pixels: int, unit: str, meaning: str, dtype: str = "float32") -> ArraySpec:
    return ArraySpec(name, ("y", "x"), (pixels, pixels), dtype, unit, meaning, "target")


@dataclass(frozen=True)
class LatticeCone:
    """Lattice: clip(1.1 - d / (a/2), 0, 1), d from (x, y, 0) on the true path to the nearest atom or vacant site."""

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        return [_image(name, pixels, "1", "cone map of the lattice sites, true path")]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's images."""
        material, image = labels.material, np.empty(labels.x_nm.shape)
        half_nm = material.lattice_constant_nm / 2
        sites = material.positions_nm
        shown = sites[np.abs(sites[:, 2]) < _targets_kernels.CONE_TOP * half_nm]  # deeper ones never show
        cells = material.lattice_nm, material.to_cells
        _targets_kernels.site_cones(labels.x_nm, labels.y_nm, *cells, shown, half_nm, image)
        return [image]


@dataclass(frozen=True)
class DefectCone:
    """Defects: clip(1.1 - d / (a/2), 0, 1), d in the plane from the true path to the nearest defect site."""

    layer: str = key("layer whose defects are drawn", default="all", one_of=("all", *LAYERS), fixed=True)

    def __post_init__(self) -> None:
        check_ranges(self)

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        where = "all layers" if self.layer == "all" else f"{self.layer} layer"
        return [_image(name, pixels, "1", f"cone map of the defects ({where}), true path")]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's images."""
        shown: Bools = np.ones(len(labels.defect_layers), dtype=np.bool_)
        if self.layer != "all":
            shown = labels.defect_layers == LAYERS.index(self.layer)
        image, points = np.empty(labels.x_nm.shape), labels.defect_sites_nm[shown]
        _targets_kernels.point_cones(labels.x_nm, labels.y_nm, points, labels.material.lattice_constant_nm / 2, image)
        return [image]


@dataclass(frozen=True)
class Ideal:
    """Ideal: constant-current topography of a perfect microscope on the nominal raster, without tilt, in nm."""

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        return [_image(name, pixels, "nm", "constant-current topography, nominal raster")]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's images."""
        return [labels.ideal_nm]


@dataclass(frozen=True)
class Clean:
    """Clean: what a perfect loop would command along the true forward path, tilt included, in nm."""

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        return [_image(name, pixels, "nm", "constant-current topography, true path, tilt included")]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's images."""
        at = labels.x_nm, labels.y_nm, labels.path.floors()[0]
        return [perfect_height(labels.field, *at, labels.path, log_setpoint=labels.log_setpoint)]


@dataclass(frozen=True)
class Events:
    """Events at a forward pixel, as bits; 32, ringing, is defined by ``loop.Ringing``."""

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        bits = "1 z stop, 2 slew or step limit, 4 outside the tabulated heights, 8 jump of the tip, 32 ringing"
        meaning = f"events, bits: {bits}, 64 amplifier at the end of its range"
        return [_image(name, pixels, "1", meaning, "uint8")]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's images."""
        return [labels.events]


@dataclass(frozen=True)
class TruePath:
    """Path: where the tip really was at each forward pixel, in the sample frame, nm."""

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        return [_image(f"{name}_{axis}_nm", pixels, "nm", f"true {axis} of the tip, sample frame") for axis in "xy"]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's images."""
        return [labels.x_nm, labels.y_nm]


@dataclass(frozen=True)
class Distortion:
    """Distortion: where the tip really was less where it was meant to be, along the frame's x and y, both ways, nm."""

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        ways = (("", "forward"), ("_backward", "backward"))
        return [
            _image(f"{name}{suffix}_{axis}_nm", pixels, "nm", f"true less nominal position along {axis}, {way}")
            for suffix, way in ways
            for axis in "xy"
        ]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's images: forward x, y, then backward x, y."""
        return list(distortion(labels.path))


@dataclass(frozen=True)
class Levelled:
    """Levelled: the recorded topography as a reader would prepare it: less its plane, its lines' medians, or both."""

    by: str = key(
        "what is taken off: the best plane; the median of each line; the plane, then the medians; or a parabola a line",
        default="plane",
        one_of=("plane", "lines", "plane_and_lines", "parabolas"),
        fixed=True,
    )
    way: str = key("the pass", default="forward", one_of=("forward", "backward"), fixed=True)

    def __post_init__(self) -> None:
        check_ranges(self)

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        meaning = f"recorded topography, {self.way}, less {self.by.replace('_', ' ')}"
        return [ArraySpec(name, ("y", "x"), (pixels, pixels), "float32", "nm", meaning, "image")]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's images."""
        image = labels.topography_nm[("forward", "backward").index(self.way)]
        along_x = labels.path.raster.fast_axis == "x"
        lines = levelling.LEVELLINGS[self.by](image if along_x else image.T)
        return [lines if along_x else lines.T]


Target: TypeAlias = LatticeCone | DefectCone | Ideal | Clean | Events | TruePath | Distortion | Levelled

TARGETS: Mapping[str, type[Target]] = {
    "lattice": LatticeCone,
    "defects": DefectCone,
    "ideal": Ideal,
    "clean": Clean,
    "events": Events,
    "path": TruePath,
    "distortion": Distortion,
    "levelled": Levelled,
}
CHANNELS = ("topography", "topography_backward", "current", "current_backward")


def pixels_of(x_nm: Floats, y_nm: Floats, points_nm: Floats) -> Floats:
    """Return the fractional pixels (row, col) at which a path x, y (n_rows, n_cols) passes points, (n_points, 2)."""
    out = np.empty((len(points_nm), 2))
    _targets_kernels.pixels_of(x_nm, y_nm, np.ascontiguousarray(points_nm[:, :2]), out)
    return out


def in_view(pixels: Floats, n_rows: int, n_cols: int) -> Bools:
    """Return which fractional pixels (row, col) lie in the frame or ``IN_VIEW_PIXELS`` outside its outer centres."""
    inside = (pixels > -IN_VIEW_PIXELS) & (pixels < np.array([n_rows, n_cols]) - 1 + IN_VIEW_PIXELS)
    return np.asarray(inside.all(axis=1))
