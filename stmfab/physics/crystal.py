"""The sample world of crystals: from a material and its defects to the current field at a setpoint."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from . import (
    adatoms,
    bumps,
    coherent,
    coherent_field,
    conductance,
    current,
    defects,
    greens,
    halos,
    incoherent,
    structure,
    tables,
)
from .bumps import Bumps
from .coherent_scene import Sample
from .conductance import ConductanceField
from .current import Heights
from .defects import CrystalDefect, Placed
from .field import CurrentField, FieldLines, FieldsInTurn
from .green_tables import green_table as green_table
from .green_tables import in_steps as in_steps
from .greens import Perturbation
from .halos import Halos
from .junction import Junction
from .materials import Material
from .stages import Staged, Stages
from .structure import Window
from .switches import Fields
from .tables import Keep
from .tips import Tip
from .units import Bools, Floats, Floats32, Ints

DEFECT_REACH_nm = 2.0  # defects farther than this from the window are left out; test_crystal.py::test_defect_reach
ROOM_nm = 0.05  # the tabulated heights reach this far beyond the ideal image,
HALF_nm = current.BASE_HALF_nm  # and this far around its mean
MAX_TABLES = 6
FIRST_TIP: Ints = np.zeros((), dtype=np.int64)
PIT_LOW_nm, PIT_DEPTH_nm, PIT_GRID = 0.34, 0.065, 12  # a tip this low in a pit this deep needs a finer grid
FEW_DEFECTS, SMALLEST_BLOCK_nm = 30, 1.0  # blocks of the T-matrix: measured, make bench
LARGEST_BLOCK_nm, LARGEST_REACH = 12.0, 96  # beyond this reach, in cells, a Green table serves block by block


@dataclass(frozen=True)
class Scene:
    """A crystal with defects: everything about the sample that does not depend on the tip.

    ``members`` maps the recipe's names to kinds and placed defects; the charges of ``halos`` may lie farther away.
    """

    material: Material
    members: Mapping[str, tuple[type[CrystalDefect], Placed]]
    halos: Halos = halos.NONE
    bumps: Bumps = bumps.NONE

    @functools.cached_property
    def change(self) -> Perturbation:
        """The change of the Hamiltonian by all defects."""
        changes = [kind.perturbation(self.material, placed) for kind, placed in self.members.values()]
        return defects.combined(changes, n_orbitals=self.material.n_orbitals)

    @property
    def sample(self) -> Sample:
        """What a coherent current knows of it."""
        return Sample(self.material, self.change, self.halos)

    @functools.cached_property
    def places_nm(self) -> Floats:
        """Positions of the defects, member after member, shape (n, 3)."""
        rows = [kind.places_nm(self.material, placed) for kind, placed in self.members.values()]
        return np.concatenate([np.zeros((0, 3)), *rows])


@dataclass(frozen=True)
class Imaged:
    """A scene's current field at its setpoint, and the ideal constant-current topography, (n_rows, n_cols), in nm.

    ``field`` is that of the first tip, ``fields`` those of all the tips that it becomes: the same where it never does.
    """

    field: CurrentField
    fields: Fields
    log_setpoint: float
    ideal_nm: Floats

    @functools.cached_property
    def height_nm(self) -> float:
        """Median height of the ideal image."""
        return structure.median(self.ideal_nm.ravel())

    @functools.cached_property
    def range_nm(self) -> float:
        """Peak-to-peak of the ideal image."""
        return float(np.ptp(self.ideal_nm))


@dataclass(frozen=True)
class Crystal(Imaged):
    """A crystal's field and ideal image; ``conductance`` gives the field of dI/dV in nA/V of the first tip."""

    conductance: Callable[[float], ConductanceField]
    scene: Scene
    tip: Tip
    junction: Junction


Lines = Sequence[tuple[Floats, Floats]]


@Staged
def image(
    scene_of: Callable[[Window], Scene],
    material: Material,
    tip: Tip,
    junction: Junction,
    *,
    lines_nm: Lines,
    raster_nm: tuple[Floats, Floats],
    window_eV: tuple[float, float] = (0.0, 0.0),
    later_tips: Sequence[Tip] = (),
    tip_numbers: Ints = FIRST_TIP,
    keep: Keep = tables.made_anew,
) -> Stages[tuple[Scene, Imaged]]:
    """Return a scene and its field along lines, tabulated around the heights of its ideal image.

    Parameters
    ----------
    scene_of : callable
        The scene under a window: defects as far as they are felt there.
    lines_nm : sequence of (x, y)
        Where the tip goes, straight lines in the sample frame, arrays (n_lines, n_points).
    raster_nm : (x, y)
        The nominal raster, arrays (n_rows, n_cols): the setpoint and the ideal image belong to it.
    window_eV : (float, float)
        Least and largest energy of the whole dataset's windows, so that one table of Green functions serves it.
    later_tips : sequence of Tip
        What the tip becomes at its changes, one after the other; the setpoint belongs to the first tip.
    tip_numbers : int array of shape (n_rows, n_cols), optional
        How often the tip has changed at each pixel: the ideal image is that of the pixel's tip.
    keep : Keep, optional
        Who keeps tables that take seconds to make.

    Raises
    ------
    ArithmeticError
        If the heights do not settle in a table: the setpoint is out of reach.
    """
    expected_nm = junction.expected_height_nm()
    low_nm, high_nm, grid = expected_nm - HALF_nm, expected_nm + HALF_nm, _least_grid([tip, *later_tips], junction)
    for _ in range(MAX_TABLES):
        table = current.heights(low_nm, high_nm, least_grid=grid)
        setting = material, junction, table, [*lines_nm, raster_nm]
        scene, field = yield from _tabulated.stages(scene_of, tip, *setting, window_eV=window_eV, keep=keep)
        over_raster = field.over(*raster_nm)
        yield
        log_setpoint = _log_setpoint(over_raster, junction)
        ideal_nm, fields = over_raster.heights(log_setpoint), None
        if later_tips:
            fields = _in_turn(scene, field, later_tips, *setting, window_eV=window_eV, keep=keep)
            ideal_nm = fields.during(tip_numbers).heights(*raster_nm, log_setpoint)
        least, most, mean = float(ideal_nm.min()), float(ideal_nm.max()), float(ideal_nm.mean())
        if least < PIT_LOW_nm and mean - least > PIT_DEPTH_nm and grid < PIT_GRID:
            grid = PIT_GRID
            continue
        if low_nm <= least - ROOM_nm and most + ROOM_nm <= high_nm:
            known = functools.partial(_conductance, scene, tip, *setting, window_eV=window_eV, keep=keep)
            return scene, Crystal(field, fields or field, log_setpoint, ideal_nm, known, scene, tip, junction)
        low_nm = min(mean - HALF_nm, least - 2 * ROOM_nm)
        high_nm = max(mean + HALF_nm, most + 2 * ROOM_nm)
    raise ArithmeticError(f"the ideal image ({least:.3g} to {most:.3g} nm) does not settle in a table of heights")


def _log_setpoint(over_raster: FieldLines, junction: Junction) -> float:
    """Return ln(I_set / nA): the setpoint current, or the median of ln|I| over the raster at the setpoint height."""
    if junction.current_nA is not None:
        return math.log(junction.current_nA)
    assert junction.height_nm is not None  # exactly_one
    return structure.median(over_raster.log_current(junction.height_nm).ravel())


@Staged
def _tabulated(
    scene_of: Callable[[Window], Scene],
    tip: Tip,
    material: Material,
    junction: Junction,
    table: Heights,
    lines_nm: Lines,
    *,
    window_eV: tuple[float, float],
    keep: Keep,
) -> Stages[tuple[Scene, CurrentField]]:
    """Return the scene under some lines and its field on a table of heights."""
    view, under = _views(material, tip, table, lines_nm)
    yield
    scene = scene_of(under)
    energies = _energies(junction, material.broadening_eV, window_eV, scene.halos)
    if junction.current == "coherent":
        field = coherent_field.of_current(scene.sample, tip, junction, table, view=view, energies=energies, keep=keep)
        return scene, bumps.raised(field, scene.bumps, table)
    yield
    through = incoherent.way(material, tip, junction, table, view=view, halo=scene.halos)
    yield
    found = yield from _in_cells.stages(scene, through, tip, table, view, under, energies, exact=False, keep=keep)
    polarity = 1 if junction.sample_bias_V > 0 else -1
    field = current.field_of_cells(found, table, material=material, view=view, polarity=polarity)
    return scene, bumps.raised(field, scene.bumps, table)


def _views(material: Material, tip: Tip, table: Heights, lines_nm: Lines) -> tuple[Window, Window]:
    """Return the cells under some lines, and those under all apexes of a tip on them."""
    view = structure.window(material, lines_nm, n_grid=table.n_grid)
    if len(tip.apexes_nm) == 1:
        return view, view
    return view, structure.window(material, _shifted(lines_nm, tip), n_grid=table.n_grid)


@Staged
def _in_cells(
    scene: Scene,
    through: incoherent.Way,
    tip: Tip,
    table: Heights,
    view: Window,
    under: Window,
    energies: tuple[int, int],
    *,
    exact: bool,
    keep: Keep,
) -> Stages[Floats32]:
    """Return what goes a way from the scene to the tip in the cells of a window, (n_cells, n_heights * n_grid**2)."""
    material, change = scene.material, scene.change
    orbitals = current.site_orbitals(material, through.sites)
    if len(change.added_eV):
        orbitals = np.concatenate([orbitals, adatoms.orbitals(material, change)])
    changed = greens.changed_orbitals(change)
    blocks = _blocks(material, under, orbitals, changed)
    reach = _reach(through.whole, orbitals, changed, blocks)
    green = green_table(material, *energies, reach, exact=exact, keep=keep)
    yield
    local = greens.local_green(green.at(through.energies_eV), change, orbitals, blocks=blocks)
    yield
    return incoherent.current_in_cells(
        through, local, orbitals, tip, table, change=change, halo=scene.halos, material=material, view=view
    )


def _conductance(
    scene: Scene,
    tip: Tip,
    material: Material,
    junction: Junction,
    table: Heights,
    lines_nm: Lines,
    bias_V: float,
    *,
    window_eV: tuple[float, float],
    keep: Keep,
) -> ConductanceField:
    """Return the field of dI/dV in nA/V at a bias, over a scene that is known."""
    view, under = _views(material, tip, table, lines_nm)
    if junction.current == "coherent":
        energies = _energies(junction, material.broadening_eV, window_eV, scene.halos)
        found = coherent_field.conductance_in_cells(
            scene.sample, tip, junction, bias_V, table, view=view, energies=energies, keep=keep
        )
    else:
        through = incoherent.way(material, tip, junction, table, view=view, halo=scene.halos, at_V=bias_V)
        sigma_eV, at_eV = material.broadening_eV, bias_V + (junction.fermi_eV or 0.0)
        low_eV, high_eV = at_eV - through.levels_eV[-1], at_eV - through.levels_eV[0]
        energies = math.floor(low_eV / sigma_eV), math.ceil(high_eV / sigma_eV)
        found = _in_cells(scene, through, tip, table, view, under, energies, exact=True, keep=keep)
    return conductance.of_cells(found, table, material=material, view=view, raised=scene.bumps)


def _energies(junction: Junction, broadening_eV: float, window_eV: tuple[float, float], halo: Halos) -> tuple[int, int]:
    """Return the least and largest energy of the dataset's windows and of this junction's, in broadenings."""
    (low_eV, high_eV), (least_eV, most_eV) = junction.window_eV, window_eV
    levels_eV = halo.levels_eV(broadening_eV)
    low_eV, high_eV = low_eV - levels_eV[-1], high_eV - levels_eV[0]
    return math.floor(min(low_eV, least_eV) / broadening_eV), math.ceil(max(high_eV, most_eV) / broadening_eV)


def _in_turn(
    scene: Scene,
    first: CurrentField,
    later_tips: Sequence[Tip],
    material: Material,
    junction: Junction,
    table: Heights,
    lines_nm: Lines,
    *,
    window_eV: tuple[float, float],
    keep: Keep,
) -> FieldsInTurn:
    """Return the fields of a tip and of those that it becomes, over the same scene."""
    setting = material, junction, table, lines_nm
    later = [_tabulated(lambda _: scene, tip, *setting, window_eV=window_eV, keep=keep)[1] for tip in later_tips]
    return FieldsInTurn((first, *later))


def _least_grid(tip_parts: Sequence[Tip], junction: Junction) -> int:
    """Return the grid nodes a cell that some tips need: more for p waves, which see ridges and pits."""
    if any(tip.p_shares is not None for tip in tip_parts):
        return PIT_GRID
    return coherent.GRID if junction.current == "coherent" else current.BASE_GRID


def _shifted(lines_nm: Lines, tip: Tip) -> Lines:
    """Return the lines of every apex of a tip."""
    return [(x + right, y + up) for x, y in lines_nm for right, up in tip.apexes_nm]


def _blocks(material: Material, view: Window, orbitals: Ints, changed: Ints) -> tuple[Ints, Bools]:
    """Return the block of each orbital (u, v, orbital), and which changed orbitals each block feels.

    A block of the window feels the defects within ``DEFECT_REACH_nm`` of it: with many defects the cost grows with the
    area, not with its cube.
    """
    cells_nm, places_nm, changed_nm = (
        cells[:, :2] @ material.lattice_nm for cells in (view.indices, orbitals, changed)
    )
    return structure.blocks(
        cells_nm,
        places_nm,
        changed_nm,
        reach_nm=DEFECT_REACH_nm,
        few=FEW_DEFECTS,
        smallest_nm=SMALLEST_BLOCK_nm,
        largest_nm=LARGEST_BLOCK_nm,
    )


def _reach(whole: Window, orbitals: Ints, changed: Ints, blocks: tuple[Ints, Bools]) -> int:
    """Return the cells a Green table must reach from any changed orbital to any other, or to any of ``orbitals``.

    Where that is far, only from the changes that a block feels to one another and to its own orbitals.
    """
    needed = structure.span(whole, changed)
    if needed > LARGEST_REACH:
        block, felt = blocks
        needed = structure.widest_block(block, orbitals, felt, changed)
    return in_steps(needed)


def scene_under(material: Material, members: Mapping[str, tuple[type[CrystalDefect], Placed]], view: Window) -> Scene:
    """Return the scene of the placed defects that a window feels."""
    placed = [own for _, own in members.values()]
    counts = [len(own.cells) for own in placed]
    cells = np.concatenate([np.zeros((0, 2), dtype=np.int64), *(own.cells for own in placed)])
    reach_nm = np.repeat([_felt_nm(own) for own in placed], counts)
    near = structure.near_window(material, cells @ material.lattice_nm, view, distance_nm=reach_nm)
    felt = {
        name: (kind, own.kept(near[end - count : end]))
        for (name, (kind, own)), count, end in zip(members.items(), counts, itertools.accumulate(counts), strict=True)
    }
    found = halos.of_members(material, members.values()), bumps.of_members(material, felt.values())
    return Scene(material, felt, *found)


def _felt_nm(placed: Placed) -> float:
    """Return how far away defects of a member are felt: farther where they are bumps."""
    widths_nm = placed.values.get("fwhm_nm")
    return DEFECT_REACH_nm if widths_nm is None else max(DEFECT_REACH_nm, bumps.WIDTHS * widths_nm.max(initial=0.0))
