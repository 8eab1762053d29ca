"""What is under the tip: a kind of sample is one way from drawn parameters to current fields and labels.

Defects are drawn tile by tile, so that a longer path or another member never moves one.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from . import parts, streams
from .physics import crystal, defects, structure, surface_field, surface_state, tips
from .physics.crystal import Imaged
from .physics.defects import Placed
from .physics.materials import Material
from .physics.metals import METALS, Metal
from .physics.path import Path, forward, nominal_raster
from .physics.scatterers import CORRAL_SITE, Corral, corral_cells
from .physics.structure import TILE_CELLS, Window
from .physics.surface_field import Grid
from .physics.surface_state import SurfaceBand
from .physics.units import Bools, Ints
from .plan import DefectDraw, Parameters, Plan


def crystal_image(recipe: Plan, drawn: Parameters, path: Path) -> tuple[crystal.Scene, Imaged]:
    """Return a crystal with its defects, and its current field along a path, tip after tip."""
    later = [apex.tip() for _, apex in sorted(drawn.later_tips.items())[: path.n_changes]]
    return crystal.image(
        lambda window: scene(recipe.seed, drawn, window),
        drawn.material,
        _tip(drawn),
        drawn.junction,
        lines_nm=[path.lines_nm],
        raster_nm=nominal_raster(drawn.raster),
        window_eV=recipe.window_eV,
        later_tips=later,
        tip_numbers=forward(path.tip_numbers, drawn.raster) if later else crystal.FIRST_TIP,
    )


def _tip(drawn: Parameters) -> tips.Tip:
    """Return the tip with all its apexes."""
    return tips.joined([apex.tip() for apex in (drawn.tip, *drawn.extra_apexes.values())])


def surface_image(recipe: Plan, drawn: Parameters, path: Path) -> tuple[surface_state.Scene, surface_field.Surface]:
    """Return a metal's face with what is on it, and its current field along a path."""
    metal, band = METALS[drawn.material.name], drawn.sample.get("surface", surface_state.SurfaceBand())
    return surface_field.image(
        lambda grid, margin_nm: surface(recipe.seed, drawn, metal, band, grid, margin_nm=margin_nm),
        metal,
        band,
        _tip(drawn),
        drawn.junction,
        lines_nm=[path.lines_nm],
        raster_nm=nominal_raster(drawn.raster),
        rotation_deg=drawn.raster.rotation_deg,
    )


def surface(
    seed: int, drawn: Parameters, metal: Metal, band: SurfaceBand, grid: Grid, *, margin_nm: float
) -> surface_state.Scene:
    """Return a metal's face with the scatterers that are heard on a grid, its steps and its ridges."""
    lattice, random = metal.lattice, functools.partial(streams.stream, seed, drawn.index)
    members = placed_members(seed, drawn, lattice, structure.around(lattice, grid.corners_nm), margin_nm=margin_nm)
    site = lattice.site_index(CORRAL_SITE)
    for name, corral in sorted(drawn.sample.items()):
        if isinstance(corral, Corral):
            cells = corral_cells(corral, lattice, random(f"sample.{name}"))
            values = {key: np.full(len(cells), getattr(corral, key)) for key in value_keys(corral.atom)}
            members[name] = (corral.atom, Placed(cells, site, values))
    heard = {
        name: (kind, placed.kept(grid.near(placed.cells @ lattice.lattice_nm, margin_nm)))
        for name, (kind, placed) in members.items()
    }
    steps, herringbone = drawn.sample.get("steps"), drawn.sample.get("herringbone")
    flight = None if steps is None else steps.flight(random("sample.steps"))
    pattern = None if herringbone is None else herringbone.pattern(random("sample.herringbone"))
    return surface_state.Scene(metal, band, heard, flight, pattern)


def scene(seed: int, drawn: Parameters, view: Window) -> crystal.Scene:
    """Return the crystal of a sample with the defects that a window feels."""
    material = drawn.material
    members = placed_members(seed, drawn, material, view, margin_nm=crystal.DEFECT_REACH_nm)
    return crystal.scene_under(material, members, view)


def placed_members(
    seed: int, drawn: Parameters, material: Material, view: Window, *, margin_nm: float
) -> dict[str, tuple[type[Any], Placed]]:
    """Return the kinds and the placed defects of every member in the tiles within a margin of a window."""
    tiles = structure.tiles(material, view, margin_nm=margin_nm)
    taken = np.zeros((len(material.sites), len(tiles), TILE_CELLS**2), dtype=np.bool_)
    mean_per_density = material.cell_area_nm2 * TILE_CELLS**2
    members = {}
    for name, member in sorted(drawn.defects.items()):
        site = material.site_index(member.site)
        mean = member.density_per_nm2 * mean_per_density
        stream = (seed, drawn.index, f"sample.defects.{name}")
        members[name] = (member.kind, _placed(stream, member, tiles, site=site, mean=mean, taken=taken[site]))
    return members


def _placed(
    stream: tuple[int, int, str], member: DefectDraw, tiles: Ints, *, site: int, mean: float, taken: Bools
) -> Placed:
    """Return one member's defects, on average ``mean`` a tile; their places join ``taken`` (n_tiles, n_places)."""
    keys = value_keys(member.kind)
    cells, uniforms = defects.place(
        taken,
        tiles=tiles,
        mean_per_tile=mean,
        n_values=len(keys),
        uniforms=lambda n_words: streams.tile_uniforms(*stream, tiles, n_words),
    )
    return Placed(cells, site, {key: member.values(key, uniforms[:, i]) for i, key in enumerate(keys)})


def value_keys(kind: type[Any]) -> tuple[str, ...]:
    """Return the keys of a kind that each defect has a value of."""
    return _value_keys(kind)  # type: ignore[arg-type]  # mypy doubts that a class is hashable


@functools.cache
def _value_keys(kind: type[Any]) -> tuple[str, ...]:
    fields = dataclasses.fields(kind)
    return tuple(field.name for field in fields if getattr(field.metadata["legal"], "per_defect", False))


Scene: TypeAlias = crystal.Scene | surface_state.Scene

IMAGES: Mapping[str, Callable[[Plan, Parameters, Path], tuple[Scene, Imaged]]] = {
    parts.CRYSTAL: crystal_image,
    parts.SURFACE_STATE: surface_image,
}
