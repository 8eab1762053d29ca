"""Targets: what a network learns, drawn in the frame of the scan from the labels of the sample world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from .keys import check_ranges, key


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
class LatticeCone:
    """clip(1.1 - d / (a/2), 0, 1): d from the point (x, y, 0) on the true path to the nearest atom or vacant site."""


@dataclass(frozen=True)
class DefectCone:
    """clip(1.1 - d / (a/2), 0, 1): d in the plane from the true path to the nearest defect site."""

    layer: str = key(
        "layer whose defects are drawn", default="all", one_of=("all", "top", "middle", "bottom"), fixed=True
    )

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Ideal:
    """Constant-current topography of a perfect microscope on the nominal raster, without tilt, in nm."""


@dataclass(frozen=True)
class Clean:
    """Constant-current topography of a perfect loop along the true forward path, tilt included, in nm."""


@dataclass(frozen=True)
class Events:
    """What went wrong at a forward pixel, as bits: 1 z stop, 2 slew or step limit, 4 outside the tabulated heights."""


@dataclass(frozen=True)
class TruePath:
    """Where the tip really was at each forward pixel, in the sample frame, nm."""


Target: TypeAlias = LatticeCone | DefectCone | Ideal | Clean | Events | TruePath

TARGETS: Mapping[str, type[Target]] = {
    "lattice": LatticeCone,
    "defects": DefectCone,
    "ideal": Ideal,
    "clean": Clean,
    "events": Events,
    "path": TruePath,
}
CHANNELS = ("topography", "topography_backward", "current", "current_backward")
