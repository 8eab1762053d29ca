"""What a store says about a sample beside its images: the table of defects, and the derived numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import scenes
from .parts import defect_kinds
from .physics import orbital_scene, structure, targets
from .physics.crystal import Imaged
from .physics.orbital_field import OrbitalImage
from .physics.path import Path
from .physics.scan import Scan
from .physics.surface_field import Surface
from .physics.targets import LAYERS, Labels
from .plan import Parameters, Plan, arrays
from .scenes import Scene
from .specs import DEFECT_MARGIN_nm

Arrays = dict[str, NDArray[Any]]


def known(
    scene: Scene, imaged: Imaged, path: Path, recorded: Scan, tip_raised: Callable[[], NDArray[np.bool_]]
) -> Labels:
    """Return what the targets of a sample are drawn from."""
    x_nm, y_nm = path.forward_pixels()
    material = scene.material
    every = [placed for _, placed in scene.members.values()]
    sites = np.repeat(
        np.array([placed.site for placed in every], dtype=np.int64), [len(placed.cells) for placed in every]
    )
    cells = np.concatenate([np.zeros((0, 2), dtype=np.int64), *(placed.cells for placed in every)])
    return Labels(
        material=material,
        field=imaged.fields,
        log_setpoint=imaged.log_setpoint,
        path=path,
        x_nm=x_nm,
        y_nm=y_nm,
        ideal_nm=imaged.ideal_nm,
        events=recorded.events[0],
        topography_nm=recorded.topography_nm,
        defect_sites_nm=(
            scene.places_nm if isinstance(scene, orbital_scene.Scene) else structure.positions(material, cells, sites)
        ),
        defect_layers=np.array([LAYERS.index(site.layer) for site in material.sites])[sites],
        tip_raised=tip_raised,
        surface=imaged if isinstance(imaged, (Surface, OrbitalImage)) else None,
    )


def channel_images(plan: Plan, recorded: Scan) -> Arrays:
    """Return the recorded images that a plan asks for."""
    made = {"topography": recorded.topography_nm[0], "topography_backward": recorded.topography_nm[1]}
    if recorded.current_nA is not None:
        made |= {"current": recorded.current_nA[0], "current_backward": recorded.current_nA[1]}
    return {name: made[name] for name in plan.channels}


def check_finite(made: Arrays) -> None:
    """Hold every image and number of a sample against NaN and infinity; padding of the table of defects is exempt.

    Raises
    ------
    ArithmeticError
        Naming the first array that is not finite.
    """
    for name, array in made.items():
        if array.dtype.kind == "f" and not name.startswith("defect_") and not np.isfinite(array.sum()):
            raise ArithmeticError(f"NaN after stage {name}")


def target_images(plan: Plan, labels: Labels) -> Arrays:
    """Return the images of every target of a plan."""
    made: Arrays = {}
    for name, target in plan.targets.items():
        specs = target.arrays(name, len(labels.x_nm))
        made |= {spec.name: image for spec, image in zip(specs, target.render(labels), strict=True)}
    return made


def defect_table(plan: Plan, drawn: Parameters, scene: Scene, labels: Labels) -> Arrays:
    """Return the padded table of the defects in and around the frame; empty rows hold NaN, -1 or False.

    Raises
    ------
    OverflowError
        If a sample has more defects than the table has rows (odds below ``specs.OVERFLOW_ODDS``).
    """
    specs = {spec.name: spec for spec in arrays(plan) if spec.dims == ("defect",)}
    if not specs:
        return {}
    (n_rows,) = specs["defect_kind"].shape
    pixels = targets.pixels_of(labels.x_nm, labels.y_nm, labels.defect_sites_nm)
    margin = DEFECT_MARGIN_nm / drawn.raster.size_nm * drawn.raster.pixels
    listed = ((pixels > -0.5 - margin) & (pixels < drawn.raster.pixels - 0.5 + margin)).all(axis=1)
    if listed.sum() > n_rows:
        raise OverflowError(f"sample {drawn.index}: {listed.sum()} defects do not fit the table's {n_rows} rows")
    columns = {name: column[listed] for name, column in _columns(plan, scene, labels, pixels).items()}
    return {"defect_count": np.array(listed.sum())} | {
        f"defect_{name}": _padded(column, n_rows) for name, column in columns.items()
    }


def _columns(plan: Plan, scene: Scene, labels: Labels, pixels: NDArray[np.float64]) -> Arrays:
    """Return the columns of the table of defects, a row for every defect of the scene."""
    members = list(scene.members.values())
    counts = [len(placed.cells) for _, placed in members]
    known = list(defect_kinds(plan.sample_kind).values())
    kinds = [known.index(kind) for kind, _ in members]
    values = {key for kind, _ in members for key in scenes.value_keys(kind)}
    return {
        "kind": np.repeat(kinds, counts),
        "name": np.repeat(np.arange(len(members)), counts),
        "site": np.repeat([placed.site for _, placed in members], counts),
        "layer": labels.defect_layers,
        "x_nm": labels.defect_sites_nm[:, 0],
        "y_nm": labels.defect_sites_nm[:, 1],
        "row": pixels[:, 0],
        "col": pixels[:, 1],
        "in_view": targets.in_view(pixels, *labels.x_nm.shape),
    } | {
        key: np.concatenate([placed.values.get(key, np.full(len(placed.cells), np.nan)) for _, placed in members])
        for key in values
    }


def _padded(column: NDArray[Any], n_rows: int) -> NDArray[Any]:
    """Return a column lengthened to the table's rows."""
    empty: Any = {"f": np.nan, "b": False}.get(column.dtype.kind, -1)
    out = np.full(n_rows, empty, dtype=column.dtype)
    out[: len(column)] = column
    return out


def derived(drawn: Parameters, imaged: Imaged, recorded: Scan, path: Path) -> Arrays:
    """Return the numbers that ``plan.DERIVED`` names, and the pixel pitch."""
    raster = drawn.raster
    return {
        "setpoint_nA": np.exp(imaged.log_setpoint) * imaged.field.polarity,
        "height_nm": np.float64(imaged.height_nm),
        "kappa_per_nm": np.float64(drawn.junction.decay_per_nm),
        "ideal_range_nm": np.float64(imaged.range_nm),
        "sub_steps": np.float64(path.n_sub),
        "loop_radius": np.float64(recorded.loop_radius),
        "stopped": _share(recorded.events, 1),
        "limited": _share(recorded.events, 2),
        "outside": _share(recorded.events, 4),
        "pixel_size_nm": np.float64(raster.size_nm / raster.pixels),
    }


def _share(events: NDArray[np.uint8], bit: int) -> np.float64:
    """Return the share of pixels that saw an event."""
    return np.float64(np.count_nonzero(events & bit) / events.size)
