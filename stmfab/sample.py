"""Samples from end to end, one line a stage: read this first.

A sample is a pure function of (plan, index). The sample world makes a current field and labels; the microscope world
scans the field along the tip's path; targets are drawn from both.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _threads, compiling, keeping, labels, plan, scenes, streams
from .labels import Listed
from .parameters import Parameters
from .parts import JUNCTIONS
from .physics import constant_height, scan, targets
from .physics.noise import Streams
from .physics.path import tip_path
from .physics.stages import Stages, finished
from .plan import Plan
from .scenes import View

ViewOf = Callable[[Plan, Parameters], View]
Arrays = dict[str, NDArray[Any]]
BATCH_PIXELS = 1 << 17  # of the samples made side by side: measured, see physics.stages


@_threads.one_thread()
def simulate(recipe: Plan, start: int, stop: int) -> Arrays:
    """Return samples start..stop-1: every array of ``Plan.arrays``, each with a leading sample axis."""
    columns, specs = plan.draw(recipe, start, stop), recipe.arrays
    out: Arrays = {spec.name: np.empty((stop - start, *spec.shape), spec.dtype) for spec in specs}
    derived: Arrays = {name: np.empty(stop - start) for name, _ in recipe.derived}
    for first in range(start, stop, _batch(recipe)):
        batch = range(first, min(first + _batch(recipe), stop))
        for index, made in zip(batch, kept(recipe, columns, batch), strict=True):
            if made.keys() | {"param"} != out.keys() | derived.keys():
                raise KeyError(f"sample {index}: the arrays made are not those of the plan")
            for name, array in made.items():
                (derived if name in derived else out)[name][index - start] = array
    out["param"][:] = plan.record(recipe, columns, derived)
    return out


def one(recipe: Plan, drawn: Parameters, view_of: ViewOf = scenes.view) -> Stages[Arrays]:
    """Return the arrays of one sample, and its derived numbers, by name; between stages, give way to other samples.

    ``view_of`` says how the sample is looked at: as ``scenes.view``, which whoever looks again may remember.

    Raises
    ------
    ArithmeticError
        If a stage gives something that is not a number; a note names the sample.
    """
    seen: dict[str, Arrays] = {}
    listed, view = None, view_of(recipe, drawn)
    pristine = None if recipe.instances is None else view_of(recipe, drawn.pristine())
    for name in drawn.junctions:
        seen[name], listed = yield from scanned(recipe, drawn, name, view=view, pristine=pristine, listed=listed)
    return labels.joined(recipe, seen)


def scanned(
    recipe: Plan, drawn: Parameters, name: str, *, view: View, pristine: View | None, listed: Listed | None
) -> Stages[tuple[Arrays, Listed]]:
    """Return what one junction makes of a sample, and the defects that it lists: those of the junction before, if any.

    All junctions share the lateral path, but for their offsets; the noise is each one's own. ``view`` is of the sample,
    ``pristine`` of the same without its defects, where someone asks what they change.
    """
    junction = drawn.junctions[name]
    shared = functools.partial(streams.stream, drawn.seed, drawn.index)
    random = _own(shared, name) if name else shared
    path = tip_path(drawn.raster, drawn.instrument, streams=shared, offset_nm=junction.offset_nm)
    yield
    scene, imaged = yield from view(path, junction)
    yield
    held = drawn.instrument.constant_height
    run = scan.run.stages
    if held is not None:
        run = functools.partial(constant_height.run.stages, held=held, height_nm=imaged.height_nm)
    record = functools.partial(
        run,
        imaged.fields,
        path,
        log_setpoint=imaged.log_setpoint,
        kappa_per_nm=junction.decay_per_nm,
        ideal_range_nm=imaged.range_nm,
        log_spread=scan.first_line_spread(imaged.field, drawn.raster, height_nm=imaged.height_nm),
        streams=random,
    )
    recorded = yield from record(drawn.instrument, channels=recipe.channels)
    yield
    raised = functools.partial(targets.tip_raised, path, drawn.instrument, streams=random)
    known = labels.known(recipe, scene, imaged, path, recorded, raised)
    listed = labels.listed(recipe, drawn, scene, known) if listed is None else labels.listed_again(listed, known)
    if recipe.instances is not None and pristine is not None:
        quiet = finished(record(dataclasses.replace(drawn.instrument, noise={})))
        lacking = [pristine]
        if recipe.instances.renders == "each":
            origins = labels.origins(scene, listed, known)
            lacking = [scenes.view(recipe, drawn.without(*origin)) for origin in origins]
        bare = (finished(without(path, junction.at(imaged.log_setpoint)))[1] for without in lacking)
        known = dataclasses.replace(known, seen=labels.seen(recipe.instances, listed, known, bare, quiet))
        listed = labels.with_seen(listed, known)
    known = dataclasses.replace(known, listed_nm=listed.sites_nm, random=shared)
    arrays = {
        **labels.channel_images(recipe, recorded),
        **labels.target_images(recipe, known),
        **labels.defect_table(recipe, listed),
        **labels.derived(junction, imaged, recorded, path),
    }
    labels.check_finite(recipe, arrays)
    return arrays, listed


def _own(streams_of_all: Streams, name: str) -> Streams:
    """Return the streams of one of several junctions."""
    return lambda stage: streams_of_all(f"{JUNCTIONS}.{name}.{stage}")


def together(recipe: Plan, drawn: Sequence[Parameters]) -> list[Arrays]:
    """Return the arrays of some samples, made side by side: a stage's code and tables stay near the processor.

    Whatever fails, or is not finite, says which sample it was and how to make it again.
    """
    made: dict[int, Arrays] = {}
    making = dict(enumerate(one(recipe, each) for each in drawn))
    while making:
        for place, stages in list(making.items()):
            try:
                next(stages)
            except StopIteration as end:
                made[place] = end.value
                del making[place]
            except Exception as error:
                each = drawn[place]
                again = f"stmfab preview {recipe.name} --seed {recipe.seed} --sample {each.index}"
                error.add_note(f"sample {each.index} (seed {recipe.seed}); remake it: {again}")
                raise
    return [made[place] for place in range(len(drawn))]


def kept(recipe: Plan, columns: plan.Columns, indices: range) -> list[Arrays]:
    """Return the arrays of some samples; one that the recipe does not keep is drawn again, in the columns too."""
    make = functools.partial(together, recipe)
    if recipe.keep:
        return keeping.kept(recipe, columns, indices, make)
    return make([plan.parameters(recipe, columns, index) for index in indices])


def _batch(recipe: Plan) -> int:
    """Return how many samples are made side by side."""
    return max(1, BATCH_PIXELS // recipe.raster.pixels**2)


def prepare(recipe: Plan) -> Arrays:
    """Compile the kernels and build the tables, once, before workers start; return the first sample's arrays."""
    with compiling.helped(recipe.sample_kind):
        return simulate(recipe, 0, 1)
