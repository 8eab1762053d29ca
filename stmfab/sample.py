"""Samples from end to end, one line a stage: read this first.

A sample is a pure function of (plan, index). The sample world makes a current field and labels; the microscope world
scans the field along the tip's path; targets are drawn from both.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _threads, labels, plan, scenes, streams
from .physics import crystal, scan, tips
from .physics.materials import MATERIALS
from .physics.path import nominal_raster, tip_path
from .plan import Parameters, Plan

Arrays = dict[str, NDArray[Any]]


@_threads.one_thread()
def simulate(recipe: Plan, start: int, stop: int) -> Arrays:
    """Return samples start..stop-1: every array of ``plan.arrays``, each with a leading sample axis."""
    columns, specs = plan.draw(recipe, start, stop), plan.arrays(recipe)
    out: Arrays = {spec.name: np.empty((stop - start, *spec.shape), spec.dtype) for spec in specs}
    derived: Arrays = {name: np.empty(stop - start) for name, _ in plan.DERIVED}
    for row, index in enumerate(range(start, stop)):
        made = remade(recipe, plan.parameters(recipe, columns, index))
        if made.keys() | {"param"} != out.keys() | derived.keys():
            raise KeyError(f"sample {index}: the arrays made are not those of the plan")
        for name, array in made.items():
            (derived if name in derived else out)[name][row] = array
    out["param"][:] = plan.record(recipe, columns, derived)
    return out


def one(recipe: Plan, drawn: Parameters) -> Arrays:
    """Return the arrays of one sample, and its derived numbers, by name.

    Raises
    ------
    ArithmeticError
        If a stage gives something that is not a number; a note names the sample.
    """
    random = functools.partial(streams.stream, recipe.seed, drawn.index)
    path = tip_path(drawn.raster, drawn.instrument, streams=random)
    scene, imaged = crystal.image(
        lambda window: scenes.scene(recipe.seed, drawn, window),
        MATERIALS[drawn.material],
        tips.joined([apex.tip() for apex in (drawn.tip, *drawn.extra_apexes.values())]),
        drawn.junction,
        lines_nm=[path.lines_nm],
        raster_nm=nominal_raster(drawn.raster),
        window_eV=recipe.window_eV,
    )
    recorded = scan.run(
        imaged.field,
        path,
        drawn.instrument,
        log_setpoint=imaged.log_setpoint,
        kappa_per_nm=drawn.junction.decay_per_nm,
        ideal_range_nm=imaged.range_nm,
        log_spread=scan.first_line_spread(imaged.field, drawn.raster, height_nm=imaged.height_nm),
        streams=random,
        channels=recipe.channels,
    )
    known = labels.known(scene, imaged, path, recorded)
    return {
        **labels.channel_images(recipe, recorded),
        **labels.target_images(recipe, known),
        **labels.defect_table(recipe, drawn, scene, known),
        **labels.derived(drawn, imaged, recorded, path),
    }


def remade(recipe: Plan, drawn: Parameters) -> Arrays:
    """Return ``one`` sample; whatever fails, or is not finite, says which sample it was and how to make it again."""
    try:
        made = one(recipe, drawn)
        labels.check_finite(made)
    except Exception as error:
        again = f"stmfab preview {recipe.name} --seed {recipe.seed} --sample {drawn.index}"
        error.add_note(f"sample {drawn.index} (seed {recipe.seed}); remake it: {again}")
        raise
    return made


def prepare(recipe: Plan) -> Arrays:
    """Compile the kernels and build the tables, once, before workers start; return the first sample's arrays."""
    return simulate(recipe, 0, 1)
