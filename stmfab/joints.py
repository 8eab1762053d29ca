"""Rules over several keys of one part: draws that break one are drawn again until they obey it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import streams
from .errors import StmfabError
from .parts import Leaf, Part
from .streams import Floats, Ints

MAX_ATTEMPTS = 10_000  # a recipe is refused when fewer than 1 in 100 draws hold: this many failures have odds e^-100


@dataclass(frozen=True)
class Joint:
    """A rule over several keys of one part: rows of draws that break it are drawn again."""

    path: str
    cls: type[Any]
    constants: Mapping[str, float]
    drawn: Mapping[str, Leaf]

    def holds(self, columns: Mapping[str, Floats], n_rows: int) -> Any:
        """Return which rows obey the rule, shape (n_rows,)."""
        constants = {name: np.full(n_rows, value) for name, value in self.constants.items()}
        return self.cls.joint_holds(**constants, **{name: columns[leaf.path] for name, leaf in self.drawn.items()})


def joint(part: Part) -> Joint:
    """Return the joint rule of a part whose kind has one."""
    names = part.cls.joint
    constants = {name: part.constants[name] for name in names if name in part.constants}
    return Joint(part.path, part.cls, constants, {name: part.drawn[name] for name in names if name in part.drawn})


def redraw(seed: int, joint: Joint, columns: Mapping[str, Floats], indices: Ints) -> Floats:
    """Draw the rows that break a joint rule again until they obey it; return how often, shape (n_samples,)."""
    redraws = np.zeros(len(indices))
    broken = np.flatnonzero(~joint.holds(columns, len(indices)))
    for attempt in range(1, MAX_ATTEMPTS):
        if not broken.size:
            return redraws
        redraws[broken] = attempt
        again = {}
        for leaf in joint.drawn.values():
            uniforms = streams.column_at(seed, leaf.path, indices[broken], attempt=attempt)
            again[leaf.path] = columns[leaf.path][broken] = leaf.distribution.ppf(uniforms)
        broken = broken[~joint.holds(again, len(broken))]
    raise StmfabError(f"{joint.path}: no draw in {MAX_ATTEMPTS} has {joint.cls.joint_words}")
