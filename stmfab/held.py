"""One sample as keys of its recipe change, while every other value and every random stream of it is held.

What a change costs is what it changes: a drawn key that stays within its distribution takes another number in the
columns; anything else is set in the recipe, which is checked as from the command line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _threads, keeping, recipe, sample, streams
from . import plan as plans
from .distributions import Expr
from .errors import StmfabError
from .joints import Joint
from .parameters import Parameters
from .parts import Leaf
from .plan import REDRAWS, Columns, Plan


@dataclass(frozen=True)
class Held:
    """A sample of a plan with its draws, as ``plan.draw`` gives them."""

    plan: Plan
    index: int
    columns: Columns

    @property
    def attempt(self) -> int:
        """Return how often the sample was drawn again until the recipe kept it."""
        return int(self.columns[REDRAWS][0]) if self.plan.keep else 0

    def value(self, path: str) -> Any:
        """Return what the sample has of a drawn key: a number or a word."""
        leaf = next(leaf for leaf in self.plan.leaves if leaf.path == path)
        return leaf.value(self.columns[path][0])


@dataclass(frozen=True)
class Varied:
    """A held sample with keys changed: the plan that says so, the columns and the parameters under it."""

    plan: Plan
    columns: Columns
    parameters: Parameters

    @_threads.one_thread()
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the sample, and its derived numbers, by name."""
        return sample.together(self.plan, [self.parameters])[0]

    def broken(self, arrays: Mapping[str, NDArray[Any]]) -> str:
        """Return in words which condition of the recipe's ``keep`` the sample does not fulfil; empty if none."""
        return keeping.broken(self.plan, self.columns, self.parameters.index, arrays)

    def judged(self, arrays: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, bool]]:
        """Yield for each condition of ``keep`` what the sample has in words, and whether that fulfils it."""
        return keeping.judged(self.plan, self.columns, self.parameters.index, arrays)

    def values(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """Return the drawn values of the sample by path, choices in words, and the derived ones from its arrays."""
        drawn = {leaf.path: leaf.value(self.columns[leaf.path][0]) for leaf in self.plan.leaves}
        labels = (*(name for name, _ in self.plan.derived), "defect_count")
        return drawn | {name: float(arrays[name]) for name in labels if name in arrays}


def hold(plan: Plan, index: int) -> Held:
    """Return a sample with its draws: where the recipe says what to keep, those that are kept."""
    columns = plans.draw(plan, index, index + 1)
    if plan.keep:
        with _threads.one_thread():
            sample.kept(plan, columns, range(index, index + 1))
    return Held(plan, index, columns)


def setting(path: str, value: Any) -> str:
    """Return a change as ``--set`` takes it; text is taken as typed.

    >>> setting("scan.size_nm", 2.5), setting("tip.apex", "w111"), setting("junction.current_nA", None)
    ('scan.size_nm=2.5', 'tip.apex=w111', 'junction.current_nA=null')
    """
    return f"{path}={value if isinstance(value, str) else json.dumps(value)}"


def varied(held: Held, changes: Mapping[str, Any]) -> Varied:
    """Return the sample with keys changed, by their paths; None takes an optional key away.

    A whole part may be changed too, by its path: its mapping as text, ``{kind: linear}``, or None.

    Raises
    ------
    StmfabError
        If a value is not legal, or does not go with the others.
    """
    leaves = {leaf.path: leaf for leaf in held.plan.leaves if not _within(leaf.path, changes)}
    drawn = {path: code for path in changes if (code := _code(leaves.get(path), changes[path])) is not None}
    others = {path: changes[path] for path in sorted(changes) if path not in drawn}  # a part before its keys
    plan, columns = held.plan, {**held.columns, **{path: np.array([code]) for path, code in drawn.items()}}
    if others:
        plan = recipe.changed(plan, [setting(path, value) for path, value in others.items()])
        kept = {path: column for path, column in columns.items() if path not in others and not _within(path, others)}
        fresh = plans.draw(plan, held.index, held.index + 1)
        if held.attempt and plan.keep:
            plans.draw_again(plan, fresh, np.array([held.index]), held.attempt)
        columns = {**fresh, **kept}
    columns = plans.computed(plan, columns)
    for joint in plan.joints:
        _hold_joint(joint, columns)
    return Varied(plan, columns, plans.parameters(plan, columns, held.index))


def _within(path: str, changes: Mapping[str, Any]) -> bool:
    """Return whether a key is in a part that is changed as a whole."""
    return any(path.startswith(f"{changed}.") for changed in changes)


def _code(leaf: Leaf | None, value: Any) -> float | None:
    """Return the number by which a key's column says a value; None if the key's distribution never draws it."""
    if leaf is None or isinstance(leaf.distribution, Expr):
        return None
    if leaf.categories is not None:
        return float(leaf.categories.index(value)) if value in leaf.categories else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    low, high = leaf.distribution.ends()
    inside = low <= value <= high and leaf.key.legal.holds(value) and (leaf.key.type is float or value == int(value))
    return float(value) if inside else None


def _hold_joint(joint: Joint, columns: Columns) -> None:
    """Hold a part's joint rule; values that are held are not drawn again.

    Raises
    ------
    StmfabError
        If the values break it.
    """
    if joint.holds(columns, 1)[0]:
        return
    values = {name: columns[leaf.path][0] for name, leaf in joint.drawn.items()} | dict(joint.constants)
    found = ", ".join(f"{name} = {values[name]:.4g}" for name in joint.cls.joint)
    raise StmfabError(f"{joint.path}: found {found}; legal: {joint.cls.joint_words}")


def settled(held: Held, changes: Mapping[str, Any]) -> Plan:
    """Return the recipe that says the changes: its sample of this index is the one that ``varied`` gives.

    The changed keys are constants in it; so are the other keys of a joint rule that a changed key is in, which would
    be drawn again otherwise. The seed of a sample that was drawn again is that of its last draws.

    Raises
    ------
    StmfabError
        As ``varied``; if the recipe does not keep the sample any more.
    """
    shown = varied(held, changes)
    why = shown.broken(shown.arrays()) if shown.plan.keep else ""
    if why:
        raise StmfabError(f"sample {held.index} as shown is none that the recipe keeps: {why}")
    fixed = dict(changes)
    if held.attempt:
        fixed["seed"] = streams.seed_again(held.plan.seed, held.attempt)
    for joint in shown.plan.joints:
        if any(path.startswith(f"{joint.path}.") for path in changes):
            fixed = {leaf.path: leaf.value(shown.columns[leaf.path][0]) for leaf in joint.drawn.values()} | fixed
    return recipe.changed(held.plan, [setting(path, fixed[path]) for path in sorted(fixed)])
