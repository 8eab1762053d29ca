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

from . import parts, streams, tables
from .errors import StmfabError
from .parameters import DefectDraw, Parameters
from .physics import (
    crystal,
    defects,
    ledges,
    orbital_image,
    orbital_scene,
    orbital_units,
    placement,
    structure,
    surface_field,
    surface_state,
    tips,
)
from .physics.crystal import Imaged
from .physics.defects import Placed
from .physics.junction import Junction
from .physics.keys import KeyRangeError
from .physics.materials import Material
from .physics.metals import METALS, Metal
from .physics.orbitals import ORBITAL_SURFACES, Buckling, Orbitals, OrbitalSurface
from .physics.path import Path, forward, nominal_raster
from .physics.scatterers import CORRAL_SITE, Corral, corral_cells
from .physics.stages import Stages
from .physics.structure import TILE_CELLS, Window
from .physics.surface_grid import Grid
from .physics.surface_state import SurfaceBand
from .physics.units import Bools, Floats, Ints
from .plan import Plan


def crystal_image(
    recipe: Plan, drawn: Parameters, path: Path, junction: Junction
) -> Stages[tuple[crystal.Scene, Imaged]]:
    """Return a crystal with its defects, and its current field along a path, tip after tip."""
    later = [apex.tip() for _, apex in sorted(drawn.later_tips.items())[: path.n_changes]]
    return crystal.image.stages(
        lambda window: scene(drawn.seed, drawn, window),
        drawn.material,
        _tip(drawn),
        junction,
        lines_nm=[path.lines_nm],
        raster_nm=nominal_raster(drawn.raster),
        window_eV=recipe.window_eV,
        later_tips=later,
        tip_numbers=forward(path.tip_numbers, drawn.raster) if later else crystal.FIRST_TIP,
        keep=tables.kept,
    )


def _tip(drawn: Parameters) -> tips.Tip:
    """Return the tip with all its apexes."""
    return tips.joined([apex.tip() for apex in (drawn.tip, *drawn.extra_apexes.values())])


def surface_image(
    recipe: Plan, drawn: Parameters, as_wide_nm: float, path: Path, junction: Junction
) -> Stages[tuple[surface_state.Scene, surface_field.Surface]]:
    """Return a metal's face with what is on it, and its current field along a path."""
    yield
    metal, band = METALS[drawn.material.name], drawn.sample.get("surface", surface_state.SurfaceBand())
    return surface_field.image(
        lambda grid, margin_nm: surface(drawn.seed, drawn, metal, band, grid, margin_nm=margin_nm),
        metal,
        band,
        _tip(drawn),
        junction,
        lines_nm=[path.lines_nm],
        raster_nm=nominal_raster(drawn.raster),
        rotation_deg=drawn.raster.rotation_deg,
        as_wide_nm=as_wide_nm,
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
        for name, (kind, placed) in _kept(members, drawn).items()
    }
    steps, herringbone = drawn.sample.get("steps"), drawn.sample.get("herringbone")
    flight = None if steps is None else steps.flight(random("sample.steps"))
    pattern = None if herringbone is None else herringbone.pattern(random("sample.herringbone"))
    return surface_state.Scene(metal, band, heard, flight, pattern)


def orbitals_image(
    recipe: Plan,
    drawn: Parameters,
    as_wide_nm: float,
    shapes: orbital_scene.Shapes,
    known: orbital_scene.Scene | None,
    path: Path,
    junction: Junction,
) -> Stages[tuple[orbital_scene.Scene, Imaged]]:
    """Return a surface of local orbitals with what is on it, and its current field along a path.

    Raises
    ------
    StmfabError
        If a defect cannot stand as high, or as low, as the recipe asks.
    """
    yield
    surface = ORBITAL_SURFACES[drawn.material.name]
    try:
        return orbital_image.image(
            lambda view: known or orbitals(drawn.seed, drawn, surface, view, shapes=shapes),
            surface,
            _tip(drawn),
            junction,
            lines_nm=[path.lines_nm],
            raster_nm=nominal_raster(drawn.raster),
            as_wide_nm=as_wide_nm,
        )
    except KeyRangeError as fault:
        raise StmfabError(f"sample {drawn.index} (seed {recipe.seed}): sample.defects: {fault}") from None


def orbitals(
    seed: int, drawn: Parameters, surface: OrbitalSurface, view: Window, *, shapes: orbital_scene.Shapes | None = None
) -> orbital_scene.Scene:
    """Return a surface of local orbitals with the steps and the defects that a window of cells looks at.

    ``shapes`` are those that other windows of the sample have drawn, to be drawn once.
    """
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
        buckled = _buckled(own, noise)
    return orbital_scene.scene(
        surface,
        look,
        flight,
        region,
        members=placed_members(seed, drawn, lattice, view, margin_nm=orbital_units.MARGIN_nm),
        strength=look.disorder_percent / 100 * noise("sample.surface", (look.disorder_length_nm,) * 2),
        buckled=buckled,
        rng_of=lambda name, u, v: random(f"sample.defects.{name}.{u}.{v}"),
        shapes=shapes,
    )


def _buckled(own: Buckling, noise: Callable[[str, tuple[float, float]], Floats]) -> orbital_scene.Buckled:
    """Return the domains of buckled dimers, and those where rows are turned."""
    lengths_nm = {"sample.buckling": own.domain_nm, "sample.buckling.phase": own.phase_nm}
    domains, phase = (noise(name, (own.along_rows * length_nm, length_nm)) for name, length_nm in lengths_nm.items())
    if own.along_rows == 1:
        return orbital_scene.Buckled(own, domains, phase)
    turned = [noise(name, (length_nm, own.along_rows * length_nm)) for name, length_nm in lengths_nm.items()]
    return orbital_scene.Buckled(own, domains, phase, (turned[0], turned[1]))


def correlated_noise(
    seed: int,
    index: int,
    name: str,
    lengths_nm: tuple[float, float],
    *,
    surface: OrbitalSurface,
    region: orbital_units.Box,
) -> Floats:
    """Return noise of variance 1 on the cells of a box, (n_v, n_u), correlated over lengths along x and y; by tiles."""
    margin = math.ceil(orbital_scene.smoothing_margin_nm(max(lengths_nm)) / min(surface.cells_nm))
    first = np.array([region.u0 - margin, region.v0 - margin]) // TILE_CELLS
    last = np.array([region.u0 + region.n_u + margin, region.v0 + region.n_v + margin]) // TILE_CELLS
    n_u, n_v = (last - first + 1).tolist()
    v, u = np.indices((n_v, n_u)).reshape(2, -1)
    words = streams.tile_uniforms(seed, index, name, first + np.stack([u, v], axis=1), TILE_CELLS**2)
    tiled = special.ndtri(words).reshape(n_v, n_u, TILE_CELLS, TILE_CELLS).transpose(0, 2, 1, 3)
    white = tiled.reshape(n_v * TILE_CELLS, n_u * TILE_CELLS)
    column, row = np.array([region.u0, region.v0]) - first * TILE_CELLS
    noise = orbital_scene.smoothed(white, surface.cells_nm, lengths_nm)
    return noise[row : row + region.n_v, column : column + region.n_u]


def scene(seed: int, drawn: Parameters, view: Window) -> crystal.Scene:
    """Return the crystal of a sample with the defects that a window feels."""
    material = drawn.material
    reach_nm = max([crystal.DEFECT_REACH_nm, *(member.reach_nm for member in drawn.defects.values())])
    members = placed_members(seed, drawn, material, view, margin_nm=reach_nm)
    return crystal.scene_under(material, members, view)


def placed_members(
    seed: int, drawn: Parameters, material: Material, view: Window, *, margin_nm: float
) -> dict[str, tuple[type[Any], Placed]]:
    """Return the kinds and the placed defects of every member in the tiles within a margin of a window."""
    reach_nm = sum((least_nm or 0) + 2 * (radius_nm or 0) for least_nm, _, radius_nm in _spreads(drawn))
    tiles = structure.tiles(material, view, margin_nm=margin_nm + reach_nm)
    taken = np.zeros((len(material.sites), len(tiles), TILE_CELLS**2), dtype=np.bool_)
    members = {}
    for name, member in sorted(drawn.defects.items()):
        site = material.site_index(member.site)
        stream = functools.partial(_tile_uniforms, seed, drawn.index, f"sample.defects.{name}", tiles)
        members[name] = (member.kind, _placed(stream, member, tiles, material, site=site, taken=taken[site]))
    return _kept(members, drawn)


def _kept(members: dict[str, tuple[type[Any], Placed]], drawn: Parameters) -> dict[str, tuple[type[Any], Placed]]:
    """Return members without the defect that is left out."""
    if drawn.left_out is None or drawn.left_out[0] not in members:
        return members
    name, *cell = drawn.left_out
    kind, placed = members[name]
    return members | {name: (kind, placed.kept((placed.cells != cell).any(axis=1)))}


def _spreads(drawn: Parameters) -> list[tuple[float | None, float | None, float | None]]:
    return [member.spread for member in drawn.defects.values()]


def _tile_uniforms(seed: int, index: int, path: str, tiles: Ints, what: str, n_words: int) -> Floats:
    """Return numbers of tiles, (n_tiles, n_words), ``what`` for: of a member's own stream, or of another beside it."""
    return streams.tile_uniforms(seed, index, f"{path}{what}", tiles, n_words)


def _placed(
    stream: Callable[[str, int], Floats],
    member: DefectDraw,
    tiles: Ints,
    material: Material,
    *,
    site: int,
    taken: Bools,
) -> Placed:
    """Return one member's defects; their places join ``taken`` (n_tiles, n_places)."""
    keys = value_keys(member.kind)
    least_nm, cluster_n, _ = member.spread
    if cluster_n is not None:
        cells, uniforms = _clustered(stream, member, tiles, material, len(keys), taken=taken)
    else:
        share = member.density_per_nm2 * material.cell_area_nm2
        if least_nm is not None:
            share = placement.candidates_per_cell(material, member.density_per_nm2, least_nm)
        cells, uniforms = defects.place(
            taken,
            tiles=tiles,
            mean_per_tile=share * TILE_CELLS**2,
            n_values=len(keys),
            uniforms=functools.partial(stream, ""),
        )
    values = {key: member.values(key, uniforms[:, i]) for i, key in enumerate(keys)}
    values |= {key: np.full(len(cells), value) for key, value in member.of_all.items()}
    placed = Placed(cells, site, values, member.words)
    if least_nm is None:
        return placed
    order = stream(".order", TILE_CELLS**2)[placement.tile_of(cells, tiles)]
    return placed.kept(placement.apart(material, cells, order, min_distance_nm=least_nm))


def _clustered(
    stream: Callable[[str, int], Floats],
    member: DefectDraw,
    tiles: Ints,
    material: Material,
    n_values: int,
    *,
    taken: Bools,
) -> tuple[Ints, Floats]:
    """Return the cells of a member's clusters that are free, and their numbers; the cells join ``taken``."""
    _, cluster_n, radius_nm = member.spread
    assert cluster_n is not None
    assert radius_nm is not None  # Spread
    cells, uniforms = placement.in_clusters(
        material,
        tiles,
        density_per_nm2=member.density_per_nm2,
        cluster_n=cluster_n,
        radius_nm=radius_nm,
        n_values=n_values,
        parents=functools.partial(stream, ".clusters"),
        members=functools.partial(stream, ""),
    )
    tile, place = placement.tile_of(cells, tiles)
    free = (tile >= 0) & ~taken[tile, place]
    taken[tile[free], place[free]] = True
    return cells[free], uniforms[free]


def value_keys(kind: type[Any]) -> tuple[str, ...]:
    """Return the keys of a kind that each defect has a value of."""
    return _value_keys(kind)  # type: ignore[arg-type]  # mypy doubts that a class is hashable


@functools.cache
def _value_keys(kind: type[Any]) -> tuple[str, ...]:
    fields = dataclasses.fields(kind)
    return tuple(field.name for field in fields if getattr(field.metadata["legal"], "per_defect", False))


Scene: TypeAlias = crystal.Scene | surface_state.Scene | orbital_scene.Scene
View: TypeAlias = Callable[[Path, Junction], Stages[tuple[Scene, Imaged]]]
VIEWS: Mapping[str, Callable[..., View]] = {
    parts.CRYSTAL: lambda recipe, drawn, *_: functools.partial(crystal_image, recipe, drawn),
    parts.SURFACE_STATE: lambda recipe, drawn, wide, *_: functools.partial(surface_image, recipe, drawn, wide),
    parts.ORBITALS: lambda *given: functools.partial(orbitals_image, *given),
}


def view(
    recipe: Plan,
    drawn: Parameters,
    *,
    as_wide_nm: float = 0.0,
    shapes: orbital_scene.Shapes | None = None,
    known: Scene | None = None,
) -> View:
    """Return how a sample is looked at: (path, junction) -> its scene, the same for all, and its current field there.

    That is work in stages, see ``stages.Stages``.

    What is on the sample depends on no junction and no path: these only say how far it must be known. A kind of sample
    that makes its scene before its fields makes it once, here. Nodes of fields are at least as far apart as in frames
    ``as_wide_nm``: for a first look only, never for a dataset. ``shapes`` are those of defects that are known already,
    ``known`` is the scene, if it is: of local orbitals it is one for all junctions of a path.
    """
    return VIEWS[recipe.sample_kind](recipe, drawn, as_wide_nm, {} if shapes is None else shapes, known)
