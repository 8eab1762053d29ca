"""Which samples a recipe keeps: those that fulfil every condition of its ``keep``; the others are drawn again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import plan as plans
from .conditions import Condition
from .errors import NotKeptError
from .parameters import Parameters
from .parts import JUNCTIONS, KEEP, numbers
from .plan import DERIVED, INDEX, Columns, Plan
from .streams import Floats, Ints

MAX_DRAWS = 200  # of a sample: where 1 draw in 10 is kept, the odds that not one of these is are 7e-10

NO_DEFECTS = "defect_count"  # 0 in a recipe that has no table of them

Arrays = dict[str, NDArray[Any]]
Numbers = Mapping[str, Floats | float]


def kept(
    plan: Plan, columns: Columns, indices: Sequence[int], make: Callable[[list[Parameters]], list[Arrays]]
) -> list[Arrays]:
    """Return the arrays of some samples, of each the first draws that fulfil every condition; ``columns`` get them.

    What the draws alone decide is not made first.

    Raises
    ------
    NotKeptError
        If no draw of a sample does.
    """
    by_draws, by_making = _conditions(plan)
    made: dict[int, Arrays] = {}
    lacking = np.array(indices, np.int64)
    for attempt in range(MAX_DRAWS):
        if attempt:
            plans.draw_again(plan, columns, lacking, attempt)
        drawn = _drawn(plan, columns, lacking)
        fit = _fulfilled(plan, by_draws, drawn, len(lacking))
        trial = lacking[fit].tolist()
        made |= zip(trial, make([plans.parameters(plan, columns, index) for index in trial]), strict=True)
        fit[fit] = _fulfilled(plan, by_making, _of_all(plan, columns, made, lacking[fit]), len(trial))
        lacking = lacking[~fit]
        if not lacking.size:
            return [made[index] for index in indices]
    index = int(lacking[0])
    why = broken(plan, columns, index, None) or broken(plan, columns, index, made[index])
    raise NotKeptError(f"sample {index} (seed {plan.seed}): none of {MAX_DRAWS} draws is kept; the last: {why}")


def _conditions(plan: Plan) -> tuple[Mapping[str, Condition], Mapping[str, Condition]]:
    """Return the conditions that the draws of a sample decide, and those that only its arrays do."""
    known = {leaf.path for leaf in plan.leaves} | numbers(plan.parts).keys()
    by_draws = {name: condition for name, condition in plan.keep.items() if condition.formula.names <= known}
    return by_draws, {name: condition for name, condition in plan.keep.items() if name not in by_draws}


def _drawn(plan: Plan, columns: Columns, indices: Ints) -> Numbers:
    """Return the constant and the drawn numbers of some samples by name."""
    rows = indices - int(columns[INDEX][0])
    return {**numbers(plan.parts), **{path: column[rows] for path, column in columns.items()}}


def _of_all(plan: Plan, columns: Columns, made: Mapping[int, Mapping[str, NDArray[Any]]], indices: Ints) -> Numbers:
    """Return all numbers of some samples by name, those of their arrays too."""
    names = [name for name, _ in plan.derived] + [spec.name for spec in plan.arrays if not spec.dims]
    found = {name: np.array([made[index][name] for index in indices.tolist()], np.float64) for name in names}
    return {NO_DEFECTS: 0.0, **_drawn(plan, columns, indices), **found}


def _fulfilled(plan: Plan, conditions: Mapping[str, Condition], known: Numbers, n_samples: int) -> NDArray[np.bool_]:
    """Return which samples fulfil some conditions, shape (n_samples,)."""
    fit = np.ones(n_samples, np.bool_)
    for _, condition, found in _found(plan, conditions, known):
        fit &= condition.holds(found)
    return fit


def _found(plan: Plan, conditions: Mapping[str, Condition], known: Numbers) -> Iterator[tuple[str, Condition, Floats]]:
    """Yield where each condition stands, the condition, and its number in some samples.

    A derived number that every junction has its own of makes it one condition for each junction.
    """
    for name, condition in conditions.items():
        each = [derived for derived, _ in DERIVED if derived in condition.formula.names]
        for place in [f"{JUNCTIONS}.{junction}" for junction in plan.junctions if each] or [""]:
            own = {derived: known[f"{place}.{derived}"] for derived in each} if place else {}
            yield f"{KEEP}.{name}" + f" ({place})" * bool(place), condition, condition.formula({**known, **own})


def broken(plan: Plan, columns: Columns, index: int, arrays: Mapping[str, NDArray[Any]] | None) -> str:
    """Return in words which condition a sample does not fulfil, empty where it is kept; None: it was not made."""
    return next((words for words, holds in judged(plan, columns, index, arrays) if not holds), "")


def judged(
    plan: Plan, columns: Columns, index: int, arrays: Mapping[str, NDArray[Any]] | None
) -> Iterator[tuple[str, bool]]:
    """Yield for each condition what a sample has in words, and whether that fulfils it; None: it was not made."""
    conditions, known = _conditions(plan)[0], _drawn(plan, columns, np.array([index]))
    if arrays is not None:
        conditions, known = plan.keep, _of_all(plan, columns, {index: arrays}, np.array([index]))
    for where, condition, found in _found(plan, conditions, known):
        words = f"{where}: {condition.of} is {found.item():.4g}; legal: {condition.legal}"
        yield words, bool(condition.holds(found).all())
