"""What a store says about a sample beside its images: the table of defects, and the derived numbers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import scenes, tables
from .parameters import Parameters
from .parts import JUNCTIONS, defect_kinds
from .physics import instances, spectra, structure, surface_state, table_targets, targets
from .physics.arrays import JUNCTION
from .physics.crystal import Crystal, Imaged
from .physics.defect_targets import Instances
from .physics.instances import Seen
from .physics.instrument import NM_PER_PM
from .physics.junction import Junction
from .physics.orbital_image import OrbitalImage
from .physics.path import Path
from .physics.scan import Scan
from .physics.surface_field import Surface
from .physics.targets import LAYERS, Labels
from .plan import DERIVED, Plan
from .scenes import Scene
from .specs import DEFECT_MARGIN_nm

Arrays = dict[str, NDArray[Any]]


def known(
    plan: Plan, scene: Scene, imaged: Imaged, path: Path, recorded: Scan, tip_raised: Callable[[], NDArray[np.bool_]]
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
            structure.positions(material, cells, sites) if isinstance(scene, surface_state.Scene) else scene.places_nm
        ),
        defect_layers=_layers(scene, sites),
        members=scene.members,
        tip_raised=tip_raised,
        kinds=tuple(defect_kinds(plan.sample_kind).values()),
        species=tuple(plan.species[name] for name in scene.members),
        conductance=imaged.conductance if isinstance(imaged, (Crystal, Surface)) else None,
        surface=imaged if isinstance(imaged, (Surface, OrbitalImage)) else None,
        spectra=functools.partial(spectra.at_points, imaged, keep=tables.kept) if isinstance(imaged, Crystal) else None,
    )


def _layers(scene: Scene, sites: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the layers of defects, (n_defects,), on some sites each: their site's, or the top for what is above it."""
    own, members = scene.material.layers[sites], scene.members.values()
    on_top = [getattr(kind, "on_top", False) for kind, _ in members]
    if any(on_top):
        own[np.repeat(on_top, [len(placed.cells) for _, placed in members])] = LAYERS.index("top")
    return own


def channel_images(plan: Plan, recorded: Scan) -> Arrays:
    """Return the recorded images that a plan asks for."""
    made = {"topography": recorded.topography_nm[0], "topography_backward": recorded.topography_nm[1]}
    if recorded.current_nA is not None:
        made |= {"current": recorded.current_nA[0], "current_backward": recorded.current_nA[1]}
    return {name: made[name] for name in plan.channels}


def check_finite(plan: Plan, made: Arrays) -> None:
    """Hold every image and number of a sample against NaN and infinity; tables, which are padded, are exempt.

    Raises
    ------
    ArithmeticError
        Naming the first array that is not finite.
    """
    for name in plan.finite:
        array = made[name]
        if not math.isfinite(array.sum() if array.ndim else array):
            raise ArithmeticError(f"NaN after stage {name}")


def target_images(plan: Plan, labels: Labels) -> Arrays:
    """Return the images and the tables of every target of a plan."""
    made: Arrays = {}
    for name, target in plan.targets.items():
        specs = target.arrays(name, len(labels.x_nm))
        found = {spec.name: array for spec, array in zip(specs, target.render(labels), strict=True)}
        made |= _filled_up(plan, name, found) if isinstance(target, table_targets.Table) else found
    return made


def _filled_up(plan: Plan, name: str, table: Arrays) -> Arrays:
    """Return the arrays of a target that is a table, its columns as long as the plan has them.

    Raises
    ------
    OverflowError
        If it has more rows: drift or creep stretched the frame to more than ``specs.STRETCH`` of its area.
    """
    (n_rows,) = {spec.shape[-1] for spec in plan.arrays if spec.dims[-1:] == (name,)}
    longest = max(column.size for column in table.values())
    if longest > n_rows:
        raise OverflowError(f"{longest} rows do not fit the {n_rows} of the table {name}")
    return {own: table_targets.padded(column, n_rows) if column.ndim else column for own, column in table.items()}


@dataclass(frozen=True)
class Listed:
    """The defects in and around the frame: their sites, (n_defects, 3), and the columns of their table."""

    sites_nm: NDArray[np.float64]
    columns: Arrays


def listed(plan: Plan, drawn: Parameters, scene: Scene, labels: Labels) -> Listed:
    """Return the defects in and around the frame of a scan.

    Raises
    ------
    OverflowError
        If a sample has more defects than the table has rows (odds below ``specs.OVERFLOW_ODDS``).
    """
    n_rows = plan.n_listed
    if n_rows is None:
        return Listed(np.zeros((0, 3)), {})
    pixels = targets.pixels_of(labels.x_nm, labels.y_nm, labels.defect_sites_nm)
    margin = DEFECT_MARGIN_nm / drawn.raster.size_nm * drawn.raster.pixels
    near = ((pixels > -0.5 - margin) & (pixels < drawn.raster.pixels - 0.5 + margin)).all(axis=1)
    if near.sum() > n_rows:
        raise OverflowError(f"sample {drawn.index}: {near.sum()} defects do not fit the table's {n_rows} rows")
    columns = _columns(scene, labels) | _places(pixels, labels)
    return Listed(labels.defect_sites_nm[near], {name: column[near] for name, column in columns.items()})


def listed_again(before: Listed, labels: Labels) -> Listed:
    """Return the defects that an earlier scan listed, where they are in another."""
    pixels = targets.pixels_of(labels.x_nm, labels.y_nm, before.sites_nm)
    return Listed(before.sites_nm, before.columns | _places(pixels, labels))


def seen(target: Instances, table: Listed, labels: Labels, bare: Iterable[Imaged], quiet: Scan) -> Seen:
    """Return what the listed defects show.

    ``bare`` are the fields without any, or without each in turn, as the target asks; ``quiet`` the scan without noise.
    """
    path, log_setpoint = labels.path, labels.log_setpoint
    whole_nm = targets.without_tilt(labels.field, path, log_setpoint)
    changes_nm = (whole_nm - targets.without_tilt(imaged.fields, path, log_setpoint) for imaged in bare)
    noise_nm = instances.noise_nm(labels.topography_nm[0], quiet.topography_nm[0], path.raster.fast_axis)
    where = labels.x_nm, labels.y_nm, table.sites_nm
    if target.renders == "each":
        find = functools.partial(instances.seen_each, changes_nm, *where)
    else:
        find = functools.partial(instances.seen, next(changes_nm), *where, others_nm=_others(table, labels))
    return find(noise_nm=noise_nm, threshold_nm=target.threshold_nm(noise_nm), window_nm=target.window_nm)


def origins(scene: Scene, table: Listed, labels: Labels) -> list[tuple[str, int, int]]:
    """Return the name and the cell (u, v) of every listed defect."""
    cells = [(name, *cell) for name, (_, placed) in scene.members.items() for cell in placed.cells.tolist()]
    known = {site.tobytes(): cell for site, cell in zip(labels.defect_sites_nm, cells, strict=True)}
    return [known[site.tobytes()] for site in table.sites_nm]


def _others(table: Listed, labels: Labels) -> NDArray[np.float64]:
    """Return the sites of the defects that are not listed, (n_defects, 3)."""
    listed = {site.tobytes() for site in table.sites_nm}
    return labels.defect_sites_nm[[site.tobytes() not in listed for site in labels.defect_sites_nm]]


def with_seen(table: Listed, labels: Labels) -> Listed:
    """Return the listed defects with what they show of themselves."""
    found = labels.seen
    assert found is not None
    boxes = dict(zip(("row_min", "row_max", "col_min", "col_max"), found.boxes.T, strict=True))
    own = {
        "apparent_height_pm": found.heights_nm / NM_PER_PM,
        "visibility": found.visibility,
        "appearance": found.appearance,
        "apparent_radius_nm": found.radii_nm,
        **boxes,
    }
    return Listed(table.sites_nm, table.columns | own)


def _places(pixels: NDArray[np.float64], labels: Labels) -> Arrays:
    """Return the columns that say where defects are in the image."""
    return {"row": pixels[:, 0], "col": pixels[:, 1], "in_view": targets.in_view(pixels, *labels.x_nm.shape)}


def defect_table(plan: Plan, table: Listed) -> Arrays:
    """Return the padded table of the defects in and around the frame; empty rows hold NaN, -1 or False."""
    n_rows = plan.n_listed
    if n_rows is None:
        return {}
    return {"defect_count": np.array(len(table.sites_nm))} | {
        f"defect_{name}": table_targets.padded(column, n_rows) for name, column in table.columns.items()
    }


def _columns(scene: Scene, labels: Labels) -> Arrays:
    """Return the columns of the table of defects that the scan does not decide, a row for every defect of the scene."""
    members = list(scene.members.values())
    counts = [len(placed.cells) for _, placed in members]
    kinds = [labels.kinds.index(kind) for kind, _ in members]
    values = {key for kind, _ in members for key in scenes.value_keys(kind)}
    charges: Arrays = {}
    if "charge" not in values and any("charge" in placed.values for _, placed in members):
        own = [placed.values.get("charge", np.zeros(len(placed.cells))) for _, placed in members]
        charges = {"charge": np.concatenate(own)}
    return (
        {
            "kind": np.repeat(kinds, counts),
            "name": np.repeat(np.arange(len(members)), counts),
            "species": np.repeat(np.array(labels.species_codes, dtype=np.int64), counts),
            "site": np.repeat([placed.site for _, placed in members], counts),
            "layer": labels.defect_layers,
            "x_nm": labels.defect_sites_nm[:, 0],
            "y_nm": labels.defect_sites_nm[:, 1],
        }
        | {
            key: np.concatenate([placed.values.get(key, np.full(len(placed.cells), np.nan)) for _, placed in members])
            for key in values
        }
        | charges
    )


def derived(junction: Junction, imaged: Imaged, recorded: Scan, path: Path) -> Arrays:
    """Return the numbers that ``plan.DERIVED`` names, and the pixel pitch."""
    return {
        "setpoint_nA": np.exp(imaged.log_setpoint) * imaged.field.polarity,
        "height_nm": np.float64(imaged.height_nm),
        "kappa_per_nm": np.float64(junction.decay_per_nm),
        "ideal_range_nm": np.float64(imaged.range_nm),
        "sub_steps": np.float64(path.n_sub),
        "loop_radius": np.float64(recorded.loop_radius),
        "stopped": _share(recorded.events, 1),
        "limited": _share(recorded.events, 2),
        "outside": _share(recorded.events, 4),
        "pixel_size_nm": np.float64(path.raster.size_nm / path.raster.pixels),
    }


def _share(events: NDArray[np.uint8], bit: int) -> np.float64:
    """Return the share of pixels that saw an event."""
    return np.float64(np.count_nonzero(events & bit) / events.size)


def joined(plan: Plan, seen: Mapping[str, Arrays]) -> Arrays:
    """Return the arrays of a sample from those of each of its junctions by name: side by side where they differ."""
    first = next(iter(seen.values()))
    if not plan.junctions:
        return first
    numbers = {f"{JUNCTIONS}.{junction}.{name}": made[name] for junction, made in seen.items() for name, _ in DERIVED}
    several = {
        spec.name: np.stack([made[spec.name] for made in seen.values()])
        for spec in plan.arrays
        if spec.dims[:1] == (JUNCTION,)
    }
    return {name: array for name, array in first.items() if name not in dict(DERIVED)} | several | numbers
