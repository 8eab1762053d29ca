"""What a sample must fulfil to be kept: bounds on a formula of its numbers, drawn and derived."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import expressions
from .expressions import Expression
from .physics.keys import KeyRangeError, Legal, key
from .streams import Floats

BOUNDS = {"above": np.greater, "at_least": np.greater_equal, "below": np.less, "at_most": np.less_equal}


@dataclass(frozen=True)
class Condition:
    """Bounds on a number of every sample; a number that is not finite fulfils none."""

    of: str = key("the number: a drawn or derived one by its name, or a formula of some")
    above: float | None = key("what the number must be above", default=None)
    at_least: float | None = key("the least that the number may be", default=None)
    below: float | None = key("what the number must be below", default=None)
    at_most: float | None = key("the most that the number may be", default=None)

    def __post_init__(self) -> None:
        """Hold the bounds against one another."""
        if not self._bounds:
            raise KeyRangeError("of", "no bounds", f"with {', '.join(BOUNDS)}")
        lows = {name: bound for name, bound in self._bounds.items() if name in ("above", "at_least")}
        highs = {name: bound for name, bound in self._bounds.items() if name not in lows}
        low, high = max(lows.values(), default=-math.inf), min(highs.values(), default=math.inf)
        if low > high or (low == high and not self.legal.holds(low)):
            raise KeyRangeError(next(iter(lows)), f"{low:g}", f"less than {next(iter(highs))}, {high:g}")

    @property
    def _bounds(self) -> dict[str, float]:
        given = {name: getattr(self, name) for name in BOUNDS}
        return {name: bound for name, bound in given.items() if bound is not None}

    @property
    def formula(self) -> Expression:
        """Return the parsed formula.

        Raises
        ------
        ExpressionError
            If it is outside the grammar.
        """
        return expressions.parse(self.of)

    @property
    def legal(self) -> Legal:
        """Return the bounds in the words of a key's legal range."""
        return Legal(above=self.above, at_least=self.at_least, below=self.below, at_most=self.at_most)

    def holds(self, numbers: Floats) -> Any:
        """Return which of some numbers, shape (n_samples,), are within the bounds."""
        return np.isfinite(numbers) & np.all([BOUNDS[name](numbers, bound) for name, bound in self._bounds.items()], 0)
