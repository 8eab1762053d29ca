"""How a recipe writes a distribution: a mapping with one form key, ``{normal: [4.5, 0.3], min: 3}``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from . import expressions
from .distributions import (
    Choice,
    Constant,
    Distribution,
    Expr,
    Integer,
    LogUniform,
    Normal,
    Poisson,
    Uniform,
    Words,
)
from .errors import did_you_mean


class FormError(ValueError):
    """A distribution that cannot be read: where in its mapping, and what is wrong."""

    def __init__(self, where: tuple[str | int, ...], text: str) -> None:
        super().__init__(text)
        self.where = where


def parse(mapping: Mapping[str, Any]) -> Distribution:
    """Return the distribution that a mapping like ``{"uniform": [1, 4]}`` names.

    Raises
    ------
    FormError
        If the mapping is none, with the place inside it.

    Examples
    --------
    >>> parse({"normal": [0, 1], "min": 0})
    Normal(mean=0.0, deviation=1.0, minimum=0.0, maximum=inf)
    """
    forms = [name for name in mapping if name in READERS]
    if len(forms) != 1:
        hint = (
            did_you_mean(next(iter(mapping)), READERS) if len(mapping) == 1 else f"; legal: one of {_listed(READERS)}"
        )
        raise FormError((), f"found a mapping of {_listed(mapping)}, which is no distribution{hint}")
    for name in mapping:
        if name not in (forms[0], *EXTRAS.get(forms[0], ())):
            legal = _listed(EXTRAS[forms[0]]) if forms[0] in EXTRAS else "nothing"
            raise FormError((name,), f"{name!r} does not go with {forms[0]}; legal beside it: {legal}")
    return READERS[forms[0]](mapping)


def is_distribution(value: Any) -> bool:
    """Return whether a plain value is meant as a distribution: a mapping with a form key."""
    return isinstance(value, Mapping) and any(k in READERS and not isinstance(v, Mapping) for k, v in value.items())


def number(value: Any, where: tuple[str | int, ...]) -> float:
    """Return a finite number read from a plain value.

    Raises
    ------
    FormError
        If it is text, a truth value, a list or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FormError(where, f"{described(value)} is not a number")
    try:
        as_float = float(value)
    except OverflowError:
        as_float = math.inf
    if not math.isfinite(as_float):
        raise FormError(where, f"{described(value)} is not a finite number")
    return as_float


def described(value: Any) -> str:
    """Return a short naming of a plain value for a message: ``the text 'abc'``, ``a list``, ``3``."""
    if isinstance(value, str):
        return f"the text {value if len(value) <= 40 else value[:37] + '...'!r}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "nothing"}[value]
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, (list, tuple)) else f"{value:.12g}"


def _listed(names: Any) -> str:
    return ", ".join(str(name) for name in names) or "an empty mapping"


def _pair(mapping: Mapping[str, Any], name: str, meaning: str) -> tuple[float, float]:
    """Return the two numbers of a form that takes a list of two."""
    value = mapping[name]
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        found = f"{len(value)} values" if isinstance(value, (list, tuple)) else described(value)
        raise FormError((name,), f"{name}: found {found}; legal: a list of two numbers [{meaning}]")
    return number(value[0], (name, 0)), number(value[1], (name, 1))


def _ordered(mapping: Mapping[str, Any], name: str) -> tuple[float, float]:
    """Return the two ends of an interval."""
    low, high = _pair(mapping, name, "low, high")
    if low > high:
        raise FormError((name,), f"low {low:g} is above high {high:g}")
    if not math.isfinite(high - low):
        raise FormError((name,), "the interval is too wide for a floating-point number")
    return low, high


def _uniform(mapping: Mapping[str, Any]) -> Uniform:
    return Uniform(*_ordered(mapping, "uniform"))


def _loguniform(mapping: Mapping[str, Any]) -> LogUniform:
    low, high = _ordered(mapping, "loguniform")
    if low <= 0:
        raise FormError(("loguniform", 0), f"loguniform: low {low:g} has no logarithm; legal: above 0")
    if not math.isfinite(high / low):
        raise FormError(("loguniform",), "the interval is too wide for a floating-point number")
    return LogUniform(low, high)


def _normal(mapping: Mapping[str, Any]) -> Normal:
    mean, deviation = _pair(mapping, "normal", "mean, standard deviation")
    if deviation <= 0:
        raise FormError(("normal", 1), f"normal: standard deviation {deviation:g}; legal: above 0")
    low, high = number(mapping.get("min", -1.0), ("min",)), number(mapping.get("max", 1.0), ("max",))
    low, high = (low if "min" in mapping else -math.inf), (high if "max" in mapping else math.inf)
    if low >= high:
        raise FormError(("min",), f"min {low:g} is not below max {high:g}")
    return Normal(mean, deviation, low, high)


def _integer(mapping: Mapping[str, Any]) -> Integer:
    low, high = _ordered(mapping, "integer")
    for i, value in enumerate((low, high)):
        if not value.is_integer() or abs(value) > 2**52:
            raise FormError(("integer", i), f"{value:g} is not a whole number (of at most 52 bits)")
    return Integer(int(low), int(high))


def _poisson(mapping: Mapping[str, Any]) -> Poisson:
    mean = number(mapping["poisson"], ("poisson",))
    if not 0 <= mean <= MAX_POISSON_MEAN:
        raise FormError(("poisson",), f"poisson: mean {mean:g}; legal: from 0 to {MAX_POISSON_MEAN:g}")
    return Poisson(mean)


def _choice(mapping: Mapping[str, Any]) -> Choice | Words:
    values = mapping["choice"]
    if not isinstance(values, (list, tuple)) or not values:
        raise FormError(("choice",), f"choice: found {described(values)}; legal: a list of at least one value")
    words = tuple(value for value in values if isinstance(value, str))
    if len(words) == len(values):
        return Words(words, _weights(mapping, len(values)))
    if words:
        where = [isinstance(value, str) for value in values].index(not isinstance(values[0], str))
        raise FormError(("choice", where), "choice: words and numbers are mixed; legal: all of one kind")
    return Choice(tuple(_option(value, i) for i, value in enumerate(values)), _weights(mapping, len(values)))


def _option(value: Any, i: int) -> Distribution:
    """Return one option of a choice among numbers."""
    if not isinstance(value, Mapping):
        as_float = number(value, ("choice", i))
        return Constant(value if isinstance(value, int) else as_float)
    try:
        inner = parse(value)
    except FormError as fault:
        raise FormError(("choice", i, *fault.where), str(fault)) from None
    if isinstance(inner, (Expr, Words)):
        raise FormError(("choice", i), "choice: legal: words, or numbers and distributions of numbers")
    return inner


def _weights(mapping: Mapping[str, Any], n_values: int) -> tuple[float, ...]:
    """Return the weights of a choice; empty: all the same."""
    if "weights" not in mapping:
        return ()
    given = mapping["weights"]
    if not isinstance(given, (list, tuple)) or len(given) != n_values:
        raise FormError(("weights",), f"weights: legal: a list of {n_values} numbers, one for each choice")
    weights = tuple(number(w, ("weights", i)) for i, w in enumerate(given))
    for i, weight in enumerate(weights):
        if not 0 < weight <= MAX_WEIGHT:
            raise FormError(("weights", i), f"weights: found {weight:g}; legal: above 0 and at most {MAX_WEIGHT:g}")
    return weights


def _expr(mapping: Mapping[str, Any]) -> Expr:
    text = mapping["expr"]
    if not isinstance(text, str):
        raise FormError(("expr",), f"expr: {described(text)} is not text; quote the formula")
    try:
        expressions.parse(text)
    except expressions.ExpressionError as fault:
        raise FormError(("expr",), f"expr: {fault}") from None
    return Expr(text)


MAX_POISSON_MEAN = 1e9  # scipy's pdtrik keeps whole-number precision to here
MAX_WEIGHT = 1e9  # more would leave a choice fewer than 20 of its 52 random bits
EXTRAS: Mapping[str, tuple[str, ...]] = {"normal": ("min", "max"), "choice": ("weights",)}
READERS: Mapping[str, Callable[[Mapping[str, Any]], Distribution]] = {
    "uniform": _uniform,
    "loguniform": _loguniform,
    "normal": _normal,
    "choice": _choice,
    "integer": _integer,
    "poisson": _poisson,
    "expr": _expr,
}
