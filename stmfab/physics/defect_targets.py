"""Targets of defects: which pixels are whose, which class they are of, where to look for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import instances, table_targets, targets
from .arrays import ArraySpec
from .instrument import NM_PER_PM
from .keys import check_ranges, key
from .orbital_image import OrbitalImage
from .point_targets import Spectra
from .targets import LAYERS, Labels, image_spec
from .units import Bools, Ints

ALL = "all"
FARTHEST = 6.0  # sigmas: a keypoint ends where it is 1.5e-8
BACKGROUND, STEP_EDGE = "background", "step edge"


@dataclass(frozen=True)
class Instances:
    """Instances: 1 + the row of the table of defects where a defect changes the height, else 0; true forward path.

    What is above the threshold in a render without noise, against one without defects, is the nearest defect's; or
    against one without each, the defect's that changes most. The table tells each one's apparent height, its visibility
    (that over the noise) and its box; the noise is stored too.
    """

    of_path: ClassVar[bool] = False

    threshold_pm: float = key("least change of height", at_least=0, fixed=True)
    sigmas: float = key("least change of height over the noise of the image", default=2.0, at_least=0, fixed=True)
    renders: str = key(
        "against one render without all defects, or one without each: exact where they overlap, and n times the work",
        default="all",
        one_of=("all", "each"),
        fixed=True,
    )
    window_nm: float = key("a defect's apparent height is the largest so far from it", default=1.5, above=0, fixed=True)

    def __post_init__(self) -> None:
        check_ranges(self)

    def threshold_nm(self, noise_nm: float) -> float:
        """Return the least change of height that is marked."""
        return max(self.threshold_pm * NM_PER_PM, self.sigmas * noise_nm)

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        meaning = "0 none, else 1 + row of the table of defects, true path"
        noise = ArraySpec(f"{name}_noise_pm", (), (), "float32", "pm", "rms of the noise of the topography", "label")
        return [image_spec(name, pixels, "1", meaning, "int16"), noise]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's image and the noise."""
        assert labels.seen is not None
        return [labels.seen.mask, np.array(labels.seen.noise_nm / NM_PER_PM)]


@dataclass(frozen=True)
class Classes:
    """Classes of pixels on the true forward path: 0 background, then a defect's class within its reach.

    On a metal a defect reaches as far as it is above a tenth of its height, and edges of steps are the last class; on a
    crystal all reach equally far. Where two do, it is the nearer one's.
    """

    of_path: ClassVar[bool] = True

    by: str = key(
        "what is a class: a kind of defects, a species, or a name of the recipe",
        default="kind",
        one_of=("kind", "name", "species"),
        fixed=True,
    )
    reach_nm: float = key("how far a defect of a crystal reaches", default=0.25, above=0, fixed=True)

    def __post_init__(self) -> None:
        check_ranges(self)

    def words(self, classes: Mapping[str, Iterable[str]], edges: Iterable[str]) -> list[str]:
        """Return the classes in the order of their numbers; ``classes`` are those of defects by what is a class."""
        return [BACKGROUND, *classes[self.by], *edges]

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        return [
            image_spec(name, pixels, "1", f"class of the pixel by {self.by} of the nearest defect, true path", "int8")
        ]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's images."""
        codes, n_classes = self._codes(labels)
        if labels.surface is not None:
            return [labels.surface.scene.class_map(labels.x_nm, labels.y_nm, codes, n_classes)]
        owner, beside_nm2 = instances.nearest(labels.x_nm, labels.y_nm, labels.defect_sites_nm)
        reached = (owner >= 0) & (beside_nm2 <= self.reach_nm**2)
        return [np.where(reached, np.append(codes, -1)[owner] + 1, 0)]

    def _codes(self, labels: Labels) -> tuple[Ints, int]:
        """Return the position of each defect's class among the classes of defects, and how many these are."""
        counts = [len(placed.cells) for _, placed in labels.members.values()]
        kinds = [labels.kinds.index(kind) for kind, _ in labels.members.values()]
        codes, n_classes = {
            "kind": (kinds, len(labels.kinds)),
            "name": (range(len(counts)), len(counts)),
            "species": (labels.species_codes, len(set(labels.species))),
        }[self.by]
        return np.repeat(np.array(codes, dtype=np.int64), counts), n_classes


@dataclass(frozen=True)
class Keypoints:
    """Keypoints: exp(-d^2 / (2 sigma^2)), d in the plane from the true path to the nearest of some defects."""

    of_path: ClassVar[bool] = True

    of: str = key("which defects: all, or those under a name of the recipe", default=ALL, fixed=True)
    layer: str = key("layer whose defects are drawn", default=ALL, one_of=(ALL, *LAYERS), fixed=True)
    sigma_nm: float = key("width sigma of a point", default=0.08, above=0, fixed=True)
    sigma_pixels: float = key("its least width in pixels", default=1.5, at_least=0, fixed=True)

    def __post_init__(self) -> None:
        check_ranges(self)

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        words = [word for word in (self.of, f"{self.layer} layer") if not word.startswith(ALL)]
        which = ", ".join(words) or "all defects"
        return [image_spec(name, pixels, "1", f"Gaussian keypoints ({which}), true path")]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's images."""
        chosen = labels.defect_sites_nm[self._chosen(labels)] * (1.0, 1.0, 0.0)
        raster = labels.path.raster
        sigma_nm = max(self.sigma_nm, self.sigma_pixels * raster.size_nm / raster.pixels)
        _, beside_nm2 = instances.nearest(labels.x_nm, labels.y_nm, chosen)
        near = beside_nm2 < (FARTHEST * sigma_nm) ** 2
        return [np.where(near, np.exp(-np.where(near, beside_nm2, 0.0) / (2 * sigma_nm**2)), 0.0)]

    def _chosen(self, labels: Labels) -> Bools:
        """Return which defects are drawn, (n_defects,)."""
        names, counts = list(labels.members), [len(placed.cells) for _, placed in labels.members.values()]
        chosen: Bools = np.repeat(np.array([self.of in (ALL, name) for name in names], dtype=np.bool_), counts)
        return chosen if self.layer == ALL else chosen & (labels.defect_layers == LAYERS.index(self.layer))


@dataclass(frozen=True)
class Dimers:
    """Units of the rows, dimers or cells: a Gaussian at each whole one, and at each that is broken or missing."""

    of_path: ClassVar[bool] = True

    sigma_nm: float = key("standard deviation of the Gaussians", default=0.085, above=0, at_most=0.3, fixed=True)

    def __post_init__(self) -> None:
        check_ranges(self)

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        """Return the arrays of this target."""
        broken = "heat map of the dimers that are broken or missing, true path"
        return [
            image_spec(name, pixels, "1", "heat map of the whole dimers, true path"),
            image_spec(f"{name}_broken", pixels, "1", broken),
        ]

    def render(self, labels: Labels) -> list[NDArray[Any]]:
        """Return the target's images."""
        assert isinstance(labels.surface, OrbitalImage)
        scene, at = labels.surface.scene, (labels.x_nm, labels.y_nm)
        return [scene.heat_map(*at, shown, sigma_nm=self.sigma_nm) for shown in (scene.whole, ~scene.whole)]


Target: TypeAlias = targets.Target | table_targets.Table | Instances | Classes | Keypoints | Dimers | Spectra

OF_DEFECTS: Mapping[str, type[Target]] = {"instances": Instances, "classes": Classes, "keypoints": Keypoints}
TARGETS: Mapping[str, type[Target]] = {**targets.TARGETS, **OF_DEFECTS}
CRYSTAL_TARGETS: Mapping[str, type[Target]] = {
    **targets.CRYSTAL_TARGETS,
    **OF_DEFECTS,
    "spectra": Spectra,
    **table_targets.CRYSTAL_TABLES,
}
SURFACE_TARGETS: Mapping[str, type[Target]] = {
    **targets.SURFACE_TARGETS,
    **OF_DEFECTS,
    **table_targets.CURVED_TABLES,
}
ORBITAL_TARGETS: Mapping[str, type[Target]] = {
    **targets.TARGETS,
    "terraces": targets.Terraces,
    **OF_DEFECTS,
    "dimers": Dimers,
    **table_targets.LATTICE_TABLES,
}
