"""The image of a surface of local orbitals: its field along a path, and what comes and goes on it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from . import structure
from .crystal import Imaged
from .field import CurrentField
from .junction import Junction
from .orbital_field import NM_PER_PM, Grid, Maker
from .orbital_figures import Figures, Group, Rectangle
from .orbital_scene import Scene
from .orbital_units import Sited, units_at
from .orbitals import OrbitalSurface
from .structure import Window
from .surface_grid import Lines, node_distance_nm
from .switches import Fields, Switch, SwitchingField
from .tips import Tip
from .units import Bools, Floats, Floats32

GRIDS = ((25.0, 0.065), (60.0, 0.1), (math.inf, 0.112))  # widths of frames up to, and the distance of nodes
LOOK_nm = 0.19  # and of a first look, where pixels are large: two nodes a cell
HEARD_pm, AROUND = 0.01, 2  # what comes and goes is left out where it changes the height by less; nodes around it
STENCIL_CELLS = 6  # nodes a cell by which the cells along a path are found


def with_switches(maker: Maker, field: CurrentField) -> Fields:
    """Return the field of a scene with the adsorbates that come and go; the field itself where there are none."""
    found = [_switch(maker, field, each) for each in maker.scene.sited if each.rates_per_s is not None]
    here = [switch for switch in found if switch is not None]
    return SwitchingField(field, here) if here else field


def _switch(maker: Maker, field: CurrentField, each: Sited) -> Switch | None:
    """Return what comes and goes as the scan takes it, ln(1 + change / rest of the current); None off the grid."""
    groups, added = _flipped(maker, each), maker.added_groups(maker.seen.rows([each], maker.height_nm))
    before, after = maker.gathered(groups[0]), maker.gathered([*groups[1], *added])
    if not len(after.row):
        return None
    share, nodes = _share(maker, field, before, after)
    if not share.size:
        return None
    known: Bools = np.asarray(~np.isnan(share).any(axis=2))
    field = maker.tabulated(1 + share.reshape(len(share), -1), known, nodes)
    assert each.rates_per_s is not None
    up_per_s, down_per_s = each.rates_per_s
    return Switch(field, up_per_s, down_per_s)


def _share(maker: Maker, field: CurrentField, before: Figures, after: Figures) -> tuple[Floats32, Rectangle]:
    """Return what figures that become others change, over the current that stays, (n_v, n_u, N_HEIGHTS), and its nodes.

    NaN where no current is known; the nodes are those at which the change is heard, and ``AROUND`` more.
    """
    nodes = maker.nodes_of(after)
    rest = maker.current_in(field, nodes)
    change = maker.current_of(after, nodes) - maker.current_of(before, nodes)
    share = change.reshape(rest.shape) / rest
    heard = (np.abs(share) > 2 * maker.kappa_per_nm * HEARD_pm * NM_PER_PM).any(axis=2)
    if not heard.any():
        return share[:0], nodes
    (first, left), (last, right) = np.min(np.nonzero(heard), axis=1), np.max(np.nonzero(heard), axis=1) + 1
    rows, columns = (
        slice(max(0, a - AROUND), b + AROUND) for a, b in ((int(first), int(last)), (int(left), int(right)))
    )
    share = share[rows, columns]
    top, side = nodes[0].start + rows.start, nodes[1].start + columns.start
    return share, (slice(top, top + share.shape[0]), slice(side, side + share.shape[1]))


def _flipped(maker: Maker, each: Sited) -> tuple[list[Group], list[Group]]:
    """Return the lobes of units that flip, as they are and as they become; none where all of them flip always."""
    if not each.edit.flipped:
        return [], []
    scene, offsets = maker.scene, np.array(each.edit.flipped, dtype=np.int64)
    units = units_at(scene.surface, scene.units, scene.region, [each], np.zeros(len(offsets), np.int64), offsets)
    units = units[units >= 0]
    units = units[scene.states[units] > 0]
    kept = maker.seen.strengths / maker.seen.clean[scene.states]
    groups: tuple[list[Group], list[Group]] = ([], [])
    for axis, state in itertools.product((0, 1), (1, 2) if len(units) else ()):
        own = units[(scene.units.axis[units] == axis) & (scene.states[units] == state)]
        for side, becomes in zip(groups, (state, 3 - state), strict=True):
            lobes = maker.figure(axis, becomes)
            made = (maker.group(lobe[None], own, kept[:, number]) for number, lobe in enumerate(lobes))
            side += [group for group in made if len(group.row)]
    return groups


@dataclass(frozen=True)
class OrbitalImage(Imaged):
    """A surface's field and ideal image, and what targets are drawn from beside them."""

    maker: Maker

    @property
    def scene(self) -> Scene:
        """What is on the sample."""
        return self.maker.scene


def _widened(view: Window) -> Window:
    """Return a window with the cells around each of its own: nodes are up to half a cell apart."""
    return Window(view.u0 - 1, view.v0 - 1, ndimage.maximum_filter(np.pad(view.cells, 1), 3))


def per_cell(
    cells_nm: tuple[float, float], raster_nm: tuple[Floats, Floats], as_wide_nm: float = 0.0
) -> tuple[int, int]:
    """Return the nodes a cell along x and along y for a frame: fewer in wide frames."""
    step_nm = node_distance_nm(GRIDS, raster_nm, as_wide_nm, look_nm=LOOK_nm)
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
    as_wide_nm: float = 0.0,
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
    as_wide_nm : float, optional
        Nodes are at least as far apart as in frames of this width, where pixels are large farther, and nothing comes
        and goes: for a first look.

    Raises
    ------
    KeyRangeError
        If a defect's height is out of reach.
    ArithmeticError
        If the setpoint is.
    """
    nodes = per_cell(surface.cells_nm, raster_nm, as_wide_nm)
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
    fields, ideal_nm = field if as_wide_nm else with_switches(maker, field), over_raster.heights(log_setpoint)
    return scene, OrbitalImage(field, fields, log_setpoint, ideal_nm, maker)
