"""Targets: what a network learns, drawn in the frame of the scan from the labels of the sample world.

``of_path`` says of a target that only the sample and the path decide it: junctions that share a path share it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _targets_kernels, levelling
from .arrays import ArraySpec
from .conductance import ConductanceField
from .defects import Placed
from .field import CurrentField
from .instances import Seen
from .instrument import Instrument
from .keys import check_ranges, key
from .materials import LAYERS as LAYERS
from .materials import Material
from .noise import Clock, Streams, Telegraph
from .orbital_image import OrbitalImage
from .path import Path, distortion, forward
from .scan import perfect_height
from .surface_field import Surface
from .switches import Fields
from .units import Bools, Floats, Ints

IN_VIEW_PIXELS = 0.75  # a defect this far outside the frame still counts as in view


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
    tip_raised : callable
        Gives the forward pixels, (n_rows, n_cols), in which the tip holds something or telegraph noise is up.
    members : mapping
        The defects by the recipe's names: kinds and placed defects, in the order of ``defect_sites_nm``.
    kinds : sequence of types
        The kinds of defects that there are.
    species : sequence of str
        The species of the defects of every member.
    conductance : callable
        Gives the field of dI/dV in nA/V at a bias in V.
    surface : Surface or None
        Of a metal: what its own targets are drawn from.
    seen : Seen or None
        What the defects of the table show of themselves, where a target asks.
    spectra : callable
        Gives dI/dV in nA/V at points (x, y, z) and biases, (n_points, n_biases), of a crystal.
    listed_nm : array of shape (n_rows, 3)
        The sites of the defects in the table, row by row.
    random : callable
        Gives the stream of random numbers of a name.
    """

    material: Material
    field: Fields
    log_setpoint: float
    path: Path
    x_nm: Floats
    y_nm: Floats
    ideal_nm: Floats
    events: NDArray[np.uint8]
    topography_nm: Floats
    defect_sites_nm: Floats
    defect_layers: Ints
    tip_raised: Callable[[], Bools]
    members: Mapping[str, tuple[type[Any], Placed]] = dataclasses.field(default_factory=dict)
    kinds: Sequence[type[Any]] = ()
    species: Sequence[str] = ()
    conductance: Callable[[float], CurrentField | ConductanceField] | None = None
    surface: Surface | OrbitalImage | None = None
    seen: Seen | None = None
    spectra: Callable[[Floats, Floats], Floats] | None = None
    listed_nm: Floats = dataclasses.field(default_factory=lambda: np.zeros((0, 3)))
    random: Streams | None = None

    @property
    def species_codes(self) -> list[int]:
        """The species of each member, as its position among all of them in alphabetical order."""
        words = sorted(set(self.species))
        return [words.index(word) for word in self.species]


def image_spec(name: str, pixels: int, unit: str, meaning: str, dtype: str = "float32") -> ArraySpec:
    """Return the array of a target that is an image."""
    return ArraySpec(name, ("y", "x"), (pixels, pixels), dtype, unit, meaning, "target")


@dataclass(frozen=True)
class LatticeCone:
    """Lattice: clip(1.1 - d / (a/2), 0, 1), d from (x, y, 0) on the true path to the nearest atom or vacant site."""

    of_path: ClassVar[bool] = True

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        return [image_spec(name, pixels, "1", "cone map of the lattice sites, true path")]

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

    of_path: ClassVar[bool] = True

    layer: str = key("layer whose defects are drawn", default="all", one_of=("all", *LAYERS), fixed=True)

    def __post_init__(self) -> None:
        check_ranges(self)

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        where = "all layers" if self.layer == "all" else f"{self.layer} layer"
        return [image_spec(name, pixels, "1", f"cone map of the defects ({where}), true path")]

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

    of_path: ClassVar[bool] = False

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        return [image_spec(name, pixels, "nm", "constant-current topography, nominal raster")]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's images."""
        return [labels.ideal_nm]


@dataclass(frozen=True)
class Clean:
    """Clean: what a perfect loop would command along the true forward path, tilt included, in nm."""

    of_path: ClassVar[bool] = False

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        return [image_spec(name, pixels, "nm", "constant-current topography, true path, tilt included")]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's images."""
        at = labels.x_nm, labels.y_nm, labels.path.floors()[0]
        field = labels.field.during(forward(labels.path.tip_numbers, labels.path.raster))
        return [perfect_height(field, *at, labels.path, log_setpoint=labels.log_setpoint)]


@dataclass(frozen=True)
class Events:
    """Events at a forward pixel, as bits.

    1 z stop, 2 slew or step limit, 4 outside the tabulated heights, 8 change of the tip, 16 streak: the tip holds
    something that it picked up, 32 ringing, as ``loop.Ringing`` defines it, 64 amplifier at the end of its range.
    """

    of_path: ClassVar[bool] = False

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        bits = "1 z stop, 2 slew or step limit, 4 outside the tabulated heights, 8 tip change, 16 streak, 32 ringing"
        meaning = f"events, bits: {bits}, 64 amplifier at the end of its range"
        return [image_spec(name, pixels, "1", meaning, "uint8")]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's images."""
        return [labels.events]


@dataclass(frozen=True)
class TipState:
    """Tip state at a forward pixel: how often the tip has changed by then, and whether it stands on something.

    A change within a pixel counts from the next one on. The second image is 1 where the tip holds what it picked up or
    telegraph noise is up for more than half of the pixel.
    """

    of_path: ClassVar[bool] = False

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        return [
            image_spec(name, pixels, "1", "changes of the tip so far", "int16"),
            image_spec(
                f"{name}_raised", pixels, "1", "1 where the tip holds something or telegraph noise is up", "uint8"
            ),
        ]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's images."""
        return [forward(labels.path.tip_numbers, labels.path.raster), labels.tip_raised()]


@dataclass(frozen=True)
class TruePath:
    """Path: where the tip really was at each forward pixel, in the sample frame, nm."""

    of_path: ClassVar[bool] = True

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        return [image_spec(f"{name}_{axis}_nm", pixels, "nm", f"true {axis} of the tip, sample frame") for axis in "xy"]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's images."""
        return [labels.x_nm, labels.y_nm]


@dataclass(frozen=True)
class Distortion:
    """Distortion: where the tip really was less where it was meant to be, along the frame's x and y, both ways, nm."""

    of_path: ClassVar[bool] = True

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        ways = (("", "forward"), ("_backward", "backward"))
        return [
            image_spec(f"{name}{suffix}_{axis}_nm", pixels, "nm", f"true less nominal position along {axis}, {way}")
            for suffix, way in ways
            for axis in "xy"
        ]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's images: forward x, y, then backward x, y."""
        return list(distortion(labels.path))


@dataclass(frozen=True)
class Terraces:
    """Terraces: their number along the true forward path, 0 on the lowest of the sample."""

    of_path: ClassVar[bool] = True

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        return [image_spec(name, pixels, "1", "number of the terrace, 0 the lowest, true path", "uint8")]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's images."""
        assert labels.surface is not None
        return [labels.surface.scene.terrace(labels.x_nm, labels.y_nm).astype(np.uint8)]


@dataclass(frozen=True)
class Conductance:
    """dI/dV at a bias where a perfect loop holds the tip at the setpoint, along the true forward path, nA/V."""

    of_path: ClassVar[bool] = False

    bias_V: float = key("sample bias of the spectrum's point", above=-2, below=2, fixed=True)

    def __post_init__(self) -> None:
        check_ranges(self)

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        return [image_spec(name, pixels, "nA/V", f"dI/dV at {self.bias_V:g} V, tip at the setpoint, true path")]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's images."""
        assert labels.conductance is not None
        held_nm = without_tilt(labels.field, labels.path, labels.log_setpoint)
        field = labels.conductance(self.bias_V)
        return [field.current(labels.x_nm, labels.y_nm, held_nm)]


@dataclass(frozen=True)
class Levelled:
    """Levelled: the recorded topography as a reader would prepare it: less its plane, its lines' medians, or both."""

    of_path: ClassVar[bool] = False

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


Target: TypeAlias = (
    LatticeCone
    | DefectCone
    | Ideal
    | Clean
    | Events
    | TipState
    | TruePath
    | Distortion
    | Levelled
    | Terraces
    | Conductance
)

TARGETS: Mapping[str, type[Target]] = {
    "lattice": LatticeCone,
    "defects": DefectCone,
    "ideal": Ideal,
    "clean": Clean,
    "events": Events,
    "tip_state": TipState,
    "path": TruePath,
    "distortion": Distortion,
    "levelled": Levelled,
}
CRYSTAL_TARGETS: Mapping[str, type[Target]] = {**TARGETS, "conductance": Conductance}
SURFACE_TARGETS: Mapping[str, type[Target]] = {**CRYSTAL_TARGETS, "terraces": Terraces}
CHANNELS = ("topography", "topography_backward", "current", "current_backward")


def without_tilt(field: Fields, path: Path, log_setpoint: float) -> Floats:
    """Return the constant-current heights along a true forward path over the sample's plane, (n_rows, n_cols)."""
    return field.during(forward(path.tip_numbers, path.raster)).heights(*path.forward_pixels(), log_setpoint)


def tip_raised(path: Path, instrument: Instrument, *, streams: Streams) -> Bools:
    """Return the forward pixels, (n_rows, n_cols), in which the tip holds something or telegraph noise is up."""
    raster = path.raster
    clock = Clock(raster.pixels + 1, 2 * raster.pixels, raster.dwell_s)
    raised = np.zeros((clock.n_lines, 2, raster.pixels), dtype=np.bool_)
    if path.held is not None:
        raised |= path.held
    for name, source in instrument.noise.items():
        if isinstance(source, Telegraph):
            raised |= source.raised(clock, streams(f"noise.{name}")).reshape(raised.shape) > 0.5
    return forward(raised, raster)


def pixels_of(x_nm: Floats, y_nm: Floats, points_nm: Floats) -> Floats:
    """Return the fractional pixels (row, col) at which a path x, y (n_rows, n_cols) passes points, (n_points, 2)."""
    out = np.empty((len(points_nm), 2))
    _targets_kernels.pixels_of(x_nm, y_nm, np.ascontiguousarray(points_nm[:, :2]), out)
    return out


def in_view(pixels: Floats, n_rows: int, n_cols: int) -> Bools:
    """Return which fractional pixels (row, col) lie in the frame or ``IN_VIEW_PIXELS`` outside its outer centres."""
    inside = (pixels > -IN_VIEW_PIXELS) & (pixels < np.array([n_rows, n_cols]) - 1 + IN_VIEW_PIXELS)
    return np.asarray(inside.all(axis=1))
