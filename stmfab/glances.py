"""A sample under the hand: a glance shows the first of it, and what a move does not touch is kept from the last one."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _threads, sample, scenes
from .held import Varied
from .parameters import Parameters
from .parts import CRYSTAL
from .physics.arrays import ArraySpec
from .physics.crystal import Imaged
from .physics.instrument import Instrument
from .physics.junction import Junction
from .physics.orbital_scene import Shapes
from .physics.path import Path
from .physics.stages import Stages
from .physics.targets import Ideal
from .plan import Plan
from .scenes import Scene, View

Arrays = dict[str, NDArray[Any]]
Facts = tuple[Any, ...]
Slot = tuple[str, bool, float]  # a junction's name, whether the sample has its defects, as wide as its field is coarse
ANY_DWELL_s = 1.0  # of a key: what is under a path does not ask how fast the tip goes along it


class Memory:
    """What was under the tip when a sample was looked at last: its scenes and current fields.

    A field is made again when anything it depends on has changed: all but the instrument, of which the path counts.
    """

    def __init__(self) -> None:
        self._known: dict[Slot, tuple[Facts, Path, tuple[Scene, Imaged]]] = {}
        self._shapes: tuple[Facts, Shapes] = (), {}

    def view(self, recipe: Plan, drawn: Parameters, *, as_wide_nm: float = 0.0) -> View:
        """Return how a sample is looked at, as ``scenes.view``: what is known already is not made again."""
        shaped = drawn.seed, drawn.index, drawn.material, drawn.defects
        if shaped != self._shapes[0]:
            self._shapes = shaped, {}
        view = functools.partial(scenes.view, recipe, drawn, as_wide_nm=as_wide_nm, shapes=self._shapes[1])
        raster = dataclasses.replace(drawn.raster, dwell_s=ANY_DWELL_s)
        rest = dataclasses.replace(drawn, raster=raster, junctions={}, instrument=Instrument())
        window_eV = recipe.window_eV if recipe.sample_kind == CRYSTAL else None

        def look(path: Path, junction: Junction) -> Stages[tuple[Scene, Imaged]]:
            facts = recipe.sample_kind, window_eV, rest, junction
            slot, scene = (_name_of(junction, drawn), bool(rest.defects), as_wide_nm), None
            known = self._known.pop(slot, None)  # not two of them at once
            if known is not None and known[0][:-1] == facts[:-1] and _alike(known[1], path):
                if known[0] == facts:
                    self._known[slot] = known
                    return known[2]
                scene = known[2][0]
            found = yield from view(known=scene)(path, junction)
            self._known[slot] = facts, path, found
            return found

        return look


def _name_of(junction: Junction, drawn: Parameters) -> str:
    """Return the name of a junction, or of the one that a sample without its defects is held against."""
    return next(name for name, own in drawn.junctions.items() if own.sample_bias_V == junction.sample_bias_V)


def _alike(path: Path, other: Path) -> bool:
    """Return whether two paths take the same tips to the same places."""
    tips = path.n_changes == other.n_changes and np.array_equal(path.tip_numbers, other.tip_numbers)
    return tips and np.array_equal(path.x_nm, other.x_nm) and np.array_equal(path.y_nm, other.y_nm)


def glance(varied: Varied, shown: str) -> Varied:
    """Return what is made first of a sample: one junction, and beside the channels the ideal image and what is shown.

    ``shown`` is the name of an image, as ``ArraySpec.apart`` gives them: its junction is the one.
    """
    plan, junctions = varied.plan, varied.parameters.junctions
    array, _, name = shown.partition(".")
    targets = {
        own: target
        for own, target in plan.targets.items()
        if isinstance(target, Ideal) or array in {spec.name for spec in target.arrays(own, plan.raster.pixels)}
    }
    chosen = name if name in junctions else next(iter(junctions))
    parameters = dataclasses.replace(varied.parameters, junctions={chosen: junctions[chosen]})
    return Varied(dataclasses.replace(plan, targets=targets), varied.columns, parameters)


def specs(varied: Varied) -> list[ArraySpec]:
    """Return the arrays of a sample, of those junctions only that it is looked at."""
    names = tuple(varied.parameters.junctions)
    return [dataclasses.replace(spec, junctions=names if spec.junctions else ()) for spec in varied.plan.arrays]


@_threads.one_thread()
def arrays(varied: Varied, view_of: sample.ViewOf, left: Callable[[], bool]) -> Arrays | None:
    """Return the arrays of a sample, and its derived numbers, by name; None where whoever asked has left meanwhile."""
    making = sample.one(varied.plan, varied.parameters, view_of)
    while True:
        try:
            next(making)
        except StopIteration as end:
            made: Arrays = end.value
            return made
        if left():
            return None
