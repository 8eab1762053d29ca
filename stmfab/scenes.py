"""What is under the tip: a kind of sample is one way from drawn parameters to current fields and labels.

Defects are drawn tile by tile, so that a longer path or another member never moves one.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from scipy import special

from . import parts, streams
from .physics import (
    crystal,
    defects,
    ledges,
    orbital_field,
    orbital_scene,
    orbital_units,
    structure,
    surface_field,
    surface_state,
    tips,
)
from .physics.crystal import Imaged
from .physics.defects import Placed
from .physics.materials import MATERIALS, Material
from .physics.metals import METALS, Metal
from .physics.orbitals import ORBITAL_SURFACES, Buckling, Orbitals, OrbitalSurface
from .physics.path import Path, forward, nominal_raster
from .physics.scatterers import CORRAL_SITE, Corral, corral_cells
from .physics.structure import TILE_CELLS, Window
from .physics.surface_field import Grid
from .physics.surface_state import SurfaceBand
from .physics.units import Bools, Floats, Ints
from .plan import DefectDraw, Parameters, Plan


def crystal_image(recipe: Plan, drawn: Parameters, path: Path) -> tuple[crystal.Scene, Imaged]:
    """Return a crystal with its defects, and its current field along a path, tip after tip."""
    later = [apex.tip() for _, apex in sorted(drawn.later_tips.items())[: path.n_changes]]
    return crystal.image(
        lambda window: scene(recipe.seed, drawn, window),
        MATERIALS[drawn.material],
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
    metal, band = METALS[drawn.material], drawn.sample.get("surface", surface_state.SurfaceBand())
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


def orbital_image(recipe: Plan, drawn: Parameters, path: Path) -> tuple[orbital_scene.Scene, Imaged]:
    """Return a surface of local orbitals with what is on it, and its current field along a path."""
    surface = ORBITAL_SURFACES[drawn.material]
    return orbital_field.image(
        lambda view: orbitals(recipe.seed, drawn, surface, view),
        surface,
        _tip(drawn),
        drawn.junction,
        lines_nm=[path.lines_nm],
        raster_nm=nominal_raster(drawn.raster),
    )


def orbitals(seed: int, drawn: Parameters, surface: OrbitalSurface, view: Window) -> orbital_scene.Scene:
    """Return a surface of local orbitals with the steps and the defects that a window of cells looks at."""
    random = functools.partial(streams.stream, seed, drawn.index)
    look, steps = drawn.sample.get("surface", Orbitals()), drawn.sample.get("steps")
    region, lattice = orbital_units.box(surface, view), surface.lattice
    flight = ledges.flat()
    if steps is not None:
        flight = steps.flight(surface.cells_nm, turns=surface.turns, rng=random("sample.steps"))
    noise = functools.partial(correlated_noise, seed, drawn.index, surface=surface, region=region)
    buckled = None
    if len(surface.states) > 1:
        own = drawn.sample.get("buckling", Buckling())
        domains, phase = noise("sample.buckling", own.domain_nm), noise("sample.buckling.phase", own.phase_nm)
        buckled = orbital_scene.Buckled(own, domains, phase)
    return orbital_scene.scene(
        surface,
        look,
        flight,
        region,
        members=placed_members(seed, drawn, lattice, view, margin_nm=orbital_units.MARGIN_nm),
        strength=look.disorder_percent / 100 * noise("sample.surface", look.disorder_length_nm),
        buckled=buckled,
        rng_of=lambda name, u, v: random(f"sample.defects.{name}.{u}.{v}"),
    )


def correlated_noise(
    seed: int, index: int, name: str, length_nm: float, *, surface: OrbitalSurface, region: orbital_units.Box
) -> Floats:
    """Return noise of variance 1 on the cells of a box, (n_v, n_u), correlated over a length; tile by tile."""
    margin = math.ceil(orbital_scene.smoothing_margin_nm(length_nm) / min(surface.cells_nm))
    first = np.array([region.u0 - margin, region.v0 - margin]) // TILE_CELLS
    last = np.array([region.u0 + region.n_u + margin, region.v0 + region.n_v + margin]) // TILE_CELLS
    n_u, n_v = (last - first + 1).tolist()
    v, u = np.indices((n_v, n_u)).reshape(2, -1)
    words = streams.tile_uniforms(seed, index, name, first + np.stack([u, v], axis=1), TILE_CELLS**2)
    tiled = special.ndtri(words).reshape(n_v, n_u, TILE_CELLS, TILE_CELLS).transpose(0, 2, 1, 3)
    white = tiled.reshape(n_v * TILE_CELLS, n_u * TILE_CELLS)
    column, row = np.array([region.u0, region.v0]) - first * TILE_CELLS
    noise = orbital_scene.smoothed(white, surface.cells_nm, length_nm)
    return noise[row : row + region.n_v, column : column + region.n_u]


def scene(seed: int, drawn: Parameters, view: Window) -> crystal.Scene:
    """Return the crystal of a sample with the defects that a window feels."""
    material = MATERIALS[drawn.material]
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


Scene: TypeAlias = crystal.Scene | surface_state.Scene | orbital_scene.Scene

IMAGES: Mapping[str, Callable[[Plan, Parameters, Path], tuple[Scene, Imaged]]] = {
    parts.CRYSTAL: crystal_image,
    parts.SURFACE_STATE: surface_image,
    parts.ORBITALS: orbital_image,
}
