"""What is under the tip: a kind of sample is one way from drawn parameters to current fields and labels.

Defects are drawn tile by tile, so that a longer path or another member never moves one.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np

from . import parts, streams
from .physics import crystal, defects, structure, tips
from .physics.crystal import Imaged, Scene
from .physics.defects import Defect, Placed
from .physics.materials import MATERIALS
from .physics.path import Path, nominal_raster
from .physics.structure import TILE_CELLS, Window
from .physics.units import Bools, Ints
from .plan import DefectDraw, Parameters, Plan


def crystal_image(recipe: Plan, drawn: Parameters, path: Path) -> tuple[Scene, Imaged]:
    """Return a crystal with its defects, and its current field along a path."""
    return crystal.image(
        lambda window: scene(recipe.seed, drawn, window),
        MATERIALS[drawn.material],
        tips.joined([apex.tip() for apex in (drawn.tip, *drawn.extra_apexes.values())]),
        drawn.junction,
        lines_nm=[path.lines_nm],
        raster_nm=nominal_raster(drawn.raster),
        largest_bias_V=recipe.largest_bias_V,
    )


def scene(seed: int, drawn: Parameters, view: Window) -> Scene:
    """Return the crystal of a sample with the defects that a window feels."""
    material = MATERIALS[drawn.material]
    tiles = structure.tiles(material, view, margin_nm=crystal.DEFECT_REACH_nm)
    taken = np.zeros((len(material.sites), len(tiles), TILE_CELLS**2), dtype=np.bool_)
    mean_per_density = material.cell_area_nm2 * TILE_CELLS**2
    members = {}
    for name, member in sorted(drawn.defects.items()):
        site = material.site_index(member.site)
        mean = member.density_per_nm2 * mean_per_density
        stream = (seed, drawn.index, f"sample.defects.{name}")
        members[name] = (member.kind, _placed(stream, member, tiles, site=site, mean=mean, taken=taken[site]))
    return crystal.scene_under(material, members, view)


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


def value_keys(kind: type[Defect]) -> tuple[str, ...]:
    """Return the keys of a kind that each defect has a value of."""
    return _value_keys(kind)  # type: ignore[arg-type]  # mypy doubts that a class is hashable


@functools.cache
def _value_keys(kind: type[Defect]) -> tuple[str, ...]:
    fields = dataclasses.fields(kind)
    return tuple(field.name for field in fields if getattr(field.metadata["legal"], "per_defect", False))


IMAGES: Mapping[str, Callable[[Plan, Parameters, Path], tuple[Scene, Imaged]]] = {parts.CRYSTAL: crystal_image}
