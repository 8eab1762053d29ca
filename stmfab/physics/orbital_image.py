"""The image of a surface of local orbitals: its field along a path, and what comes and goes on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from . import structure
from .crystal import Imaged
from .field import CurrentField
from .junction import Junction
from .orbital_field import N_HEIGHTS, Grid, Maker
from .orbital_scene import Scene
from .orbital_units import Sited
from .orbitals import OrbitalSurface
from .structure import Window
from .surface_field import Lines
from .switches import Fields, Switch, SwitchingField
from .tips import Tip
from .units import Bools, Floats

GRIDS = ((25.0, 0.065), (60.0, 0.1), (math.inf, 0.13))  # widths of frames up to, and the distance of nodes
STENCIL_CELLS = 6  # nodes a cell by which the cells along a path are found


def with_switches(maker: Maker, field: CurrentField) -> Fields:
    """Return the field of a scene with the adsorbates that come and go; the field itself where there are none."""
    found = [_switch(maker, each) for each in maker.scene.sited if each.rates_per_s is not None]
    here = [switch for switch in found if switch is not None]
    return SwitchingField(field, here) if here else field


def _switch(maker: Maker, each: Sited) -> Switch | None:
    """Return an adsorbate as the scan takes it, ln(1 + its current / the rest); None where it is off the grid."""
    groups = list(maker.added_groups(maker.seen.rows([each], maker.height_nm)))
    nodes = maker.nodes_of(groups)
    rest = maker.summed[nodes]
    if not rest.size:
        return None
    known: Bools = np.asarray((rest > 0).all(axis=2))
    share = np.divide(maker.current_of(groups, nodes), rest, out=np.zeros_like(rest), where=known[..., None])
    change = maker.tabulated(1 + share, np.zeros(N_HEIGHTS), known, nodes)
    assert each.rates_per_s is not None
    up_per_s, down_per_s = each.rates_per_s
    return Switch(change, up_per_s, down_per_s)


@dataclass(frozen=True)
class OrbitalImage(Imaged):
    """A surface's field and ideal image, and what targets are drawn from beside them."""

    maker: Maker

    @property
    def scene(self) -> Scene:
        """What is on the sample."""
        return self.maker.scene


def _widened(view: Window) -> Window:
    """Return a window with the cells around each of its own: nodes are as far apart as a third of a cell."""
    return Window(view.u0 - 1, view.v0 - 1, ndimage.maximum_filter(np.pad(view.cells, 1), 3))


def per_cell(cells_nm: tuple[float, float], raster_nm: tuple[Floats, Floats]) -> tuple[int, int]:
    """Return the nodes a cell along x and along y for a frame: fewer in wide frames."""
    width_nm = max(
        math.hypot(*(v[0, -1] - v[0, 0] for v in raster_nm)), math.hypot(*(v[-1, 0] - v[0, 0] for v in raster_nm))
    )
    step_nm = next(step_nm for widest_nm, step_nm in GRIDS if width_nm <= widest_nm)
    along, up = (round(cell_nm / step_nm) for cell_nm in cells_nm)
    return along, up


def image(
    scene_of: Callable[[Window], Scene],
    surface: OrbitalSurface,
    tip: Tip,
    junction: Junction,
    *,
    lines_nm: Lines,
    raster_nm: tuple[Floats, Floats],
) -> tuple[Scene, OrbitalImage]:
    """Return a scene and its field along lines at one junction.

    Parameters
    ----------
    scene_of : callable
        The scene that a window of cells looks at; it knows no junction.
    lines_nm : sequence of (x, y)
        Where the tip goes, straight lines in the sample frame, arrays (n_lines, n_points).
    raster_nm : (x, y)
        The nominal raster, arrays (n_rows, n_cols): the setpoint and the ideal image belong to it.

    Raises
    ------
    ArithmeticError
        If a defect's height, or the setpoint, is out of reach.
    """
    nodes = per_cell(surface.cells_nm, raster_nm)
    view = _widened(structure.window(surface.lattice, [*lines_nm, raster_nm], n_grid=STENCIL_CELLS))
    scene = scene_of(view)
    maker = Maker(scene, tip, junction, Grid(view, nodes, surface.cells_nm))
    field = maker.current()
    over_raster = field.over(*raster_nm)
    if junction.current_nA is not None:
        log_setpoint = math.log(junction.current_nA)
    else:
        assert junction.height_nm is not None  # exactly_one
        floor_nm = maker.over_reference(*raster_nm)
        log_setpoint = float(np.median(over_raster.log_current(floor_nm + junction.height_nm)))
    fields, ideal_nm = with_switches(maker, field), over_raster.heights(log_setpoint)
    return scene, OrbitalImage(field, fields, log_setpoint, ideal_nm, maker)
