"""Work in stages: between two of them it gives way to the same work on other samples.

The same stage of several samples, one after the other, finds its code and its tables near the processor: a sixth of the
time of all samples (``make bench``).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Generic, ParamSpec, TypeAlias, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")
Stages: TypeAlias = Generator[None, None, Result]


def finished(stages: Stages[Result]) -> Result:
    """Return what work in stages comes to, done without a break."""
    while True:
        try:
            next(stages)
        except StopIteration as end:
            result: Result = end.value
            return result


class Staged(Generic[Given, Result]):
    """A function whose work is done in stages: called, all of it; ``stages`` gives way where the function yields."""

    def __init__(self, stages: Callable[Given, Stages[Result]]) -> None:
        self.stages = stages
        self.__doc__ = stages.__doc__

    def __call__(self, *args: Given.args, **words: Given.kwargs) -> Result:
        """Return the result, without a break."""
        return finished(self.stages(*args, **words))
