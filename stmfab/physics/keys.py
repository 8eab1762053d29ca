"""What a kind's field says about itself: its meaning, its legal range, and whether it may be drawn.

A *kind* is a frozen dataclass whose fields are recipe keys. ``key`` declares a field, ``check_ranges`` (called in
``__post_init__``) holds a value against the declaration; the recipe reads the same declaration for its messages and for
the JSON Schema.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any


class KeyRangeError(ValueError):
    """A value outside the legal range of its key."""

    def __init__(self, key_name: str, found: object, legal: str) -> None:
        super().__init__(f"{key_name}: {found!r} is not {legal}")
        self.key_name = key_name
        self.found = found
        self.legal = legal


@dataclasses.dataclass(frozen=True)
class Legal:
    """The legal values of one key: bounds (None: no bound) or an enumeration, and where it may be drawn."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    one_of: tuple[Any, ...] | None = None
    fixed: bool = False
    per_defect: bool = False

    def holds(self, value: Any) -> bool:
        """Return whether ``value`` is legal; None (an absent optional key) always is."""
        if value is None:
            return True
        if self.one_of is not None:
            return value in self.one_of
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    @property
    def bounded(self) -> bool:
        """Return whether any value is illegal."""
        return (self.at_least, self.above, self.at_most, self.below, self.one_of) != (None,) * 5

    def __str__(self) -> str:
        """Return the legal values in words, for a message: ``at least 0 and below 1``."""
        if self.one_of is not None:
            return "one of " + ", ".join(str(v) for v in self.one_of)
        bounds = {
            "at least": self.at_least,
            "above": self.above,
            "at most": self.at_most,
            "below": self.below,
        }
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None) or "a number"


def key(meaning: str, *, default: Any = dataclasses.MISSING, **legal: Any) -> Any:
    """Return a dataclass field for a recipe key: its meaning in words, its default and its ``Legal`` values."""
    metadata = {"meaning": meaning, "legal": Legal(**legal)}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def check_ranges(kind: Any) -> None:
    """Hold every field of a kind against its declaration.

    Raises
    ------
    KeyRangeError
        For the first field whose value is outside its legal range.
    """
    for name, legal in _bounds(type(kind)):  # type: ignore[arg-type]  # mypy doubts that a class is hashable
        value = getattr(kind, name)
        if not legal.holds(value):
            raise KeyRangeError(name, value, str(legal))


@functools.cache  # every sample builds some twenty parts: walking their fields each time took longer than the checks
def _bounds(kind: type[Any]) -> tuple[tuple[str, Legal], ...]:
    """Return the fields of a kind that have a legal range, in the order of its dataclass."""
    legal = {field.name: field.metadata.get("legal", Legal()) for field in dataclasses.fields(kind)}
    return tuple((name, range_) for name, range_ in legal.items() if range_.bounded)


def exactly_one(kind: Any, first: str, second: str) -> None:
    """Check that of two alternative keys exactly one is given.

    Raises
    ------
    KeyRangeError
        If both or neither are given.
    """
    given = [name for name in (first, second) if getattr(kind, name) is not None]
    if len(given) != 1:
        raise KeyRangeError(first, given or "neither", f"exactly one of {first} and {second}")
