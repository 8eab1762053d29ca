"""Distributions of a recipe's numbers, each drawn from one uniform number through its inverse distribution function.

Each has ``ppf``, its ``ends`` and its ``form``: the mapping, ``{uniform: [1, 4]}``, that ``forms.parse`` reads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy import special

from .streams import LARGEST, SMALLEST, Floats, Ints

Ends: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Uniform:
    """Every value between low and high is as likely."""

    low: float
    high: float

    def ppf(self, u: Floats) -> Floats:
        """Return the values at the cumulative probabilities ``u``."""
        return np.asarray(np.minimum(self.low + (self.high - self.low) * u, self.high))

    def ends(self) -> Ends:
        """Return the smallest and the largest value a draw can give."""
        return self.low, self.high

    def form(self) -> dict[str, Any]:
        """Return the mapping that ``forms.parse`` reads as this distribution."""
        return {"uniform": [self.low, self.high]}


@dataclass(frozen=True)
class LogUniform:
    """Every ratio between low and high is as likely: the logarithm is uniform."""

    low: float
    high: float

    def ppf(self, u: Floats) -> Floats:
        """Return the values at the cumulative probabilities ``u``."""
        return np.asarray(np.clip(self.low * np.exp(math.log(self.high / self.low) * u), self.low, self.high))

    def ends(self) -> Ends:
        """Return the smallest and the largest value a draw can give."""
        return self.low, self.high

    def form(self) -> dict[str, Any]:
        """Return the mapping that ``forms.parse`` reads as this distribution."""
        return {"loguniform": [self.low, self.high]}


@dataclass(frozen=True)
class Normal:
    """A Gaussian, truncated to [minimum, maximum] (not clipped: no value piles up at an end)."""

    mean: float
    deviation: float
    minimum: float = -math.inf
    maximum: float = math.inf

    def ppf(self, u: Floats) -> Floats:
        """Return the values at the cumulative probabilities ``u``.

        p = (1 - u) Phi(a) + u Phi(b), x = mean + deviation Phi^-1(p), in logarithms so that far tails keep their
        digits; an interval above the mean is mirrored.
        """
        a, b = (self.minimum - self.mean) / self.deviation, (self.maximum - self.mean) / self.deviation
        sign = -1.0 if a > 0 else 1.0
        a, b, u = (-b, -a, 1 - u) if a > 0 else (a, b, u)
        log_p = np.logaddexp(special.log_ndtr(a) + np.log1p(-u), special.log_ndtr(b) + np.log(u))
        with np.errstate(over="ignore"):  # an infinite end is refused by the recipe's check
            values = self.mean + sign * self.deviation * special.ndtri_exp(log_p)
        return np.asarray(np.clip(values, self.minimum, self.maximum))

    def ends(self) -> Ends:
        """Return the smallest and the largest value a draw can give: without bounds 8.2 deviations from the mean."""
        low, high = self.ppf(np.array([SMALLEST, LARGEST]))
        return float(low), float(high)

    def form(self) -> dict[str, Any]:
        """Return the mapping that ``forms.parse`` reads as this distribution."""
        bounds = {"min": self.minimum, "max": self.maximum}
        return {"normal": [self.mean, self.deviation]} | {k: v for k, v in bounds.items() if math.isfinite(v)}


@dataclass(frozen=True)
class Integer:
    """Every whole number from low to high, both included, is as likely."""

    low: int
    high: int

    def ppf(self, u: Floats) -> Floats:
        """Return the values at the cumulative probabilities ``u``."""
        return np.asarray(np.minimum(self.low + np.floor((self.high - self.low + 1) * u), self.high))

    def ends(self) -> Ends:
        """Return the smallest and the largest value a draw can give."""
        return self.low, self.high

    def form(self) -> dict[str, Any]:
        """Return the mapping that ``forms.parse`` reads as this distribution."""
        return {"integer": [self.low, self.high]}


@dataclass(frozen=True)
class Poisson:
    """The number of independent events of which ``mean`` are expected."""

    mean: float

    def ppf(self, u: Floats) -> Floats:
        """Return the smallest whole number whose cumulative probability reaches ``u``."""
        if self.mean == 0:
            return np.zeros(np.shape(u))
        guess = np.ceil(special.pdtrik(u, self.mean))
        below = np.maximum(guess - 1, 0)
        return np.asarray(np.where(special.pdtr(below, self.mean) >= u, below, guess))

    def ends(self) -> Ends:
        """Return the smallest and the largest value a draw can give."""
        low, high = self.ppf(np.array([SMALLEST, LARGEST]))
        return float(low), float(high)

    def form(self) -> dict[str, Any]:
        """Return the mapping that ``forms.parse`` reads as this distribution."""
        return {"poisson": self.mean}


@dataclass(frozen=True)
class Constant:
    """A number that is always the same: an option of a mixture."""

    value: float

    def ppf(self, u: Floats) -> Floats:
        """Return the values at the cumulative probabilities ``u``."""
        return np.full(np.shape(u), float(self.value))

    def ends(self) -> Ends:
        """Return the smallest and the largest value a draw can give."""
        return self.value, self.value

    def form(self) -> Any:
        """Return the plain number."""
        return self.value


@dataclass(frozen=True)
class Choice:
    """One of several numbers, or of several distributions of numbers: a mixture. No weights: all as likely."""

    options: tuple[Distribution, ...]
    weights: tuple[float, ...] = ()

    def ppf(self, u: Floats) -> Floats:
        """Return the values of the options that ``u`` picks: its place within the option's share draws inside."""
        picked, rest = _picked(u, len(self.options), self.weights)
        out = np.empty(np.shape(u))
        for i, option in enumerate(self.options):
            out[picked == i] = option.ppf(rest[picked == i])
        return out

    def ends(self) -> Ends:
        """Return the smallest and the largest value a draw can give."""
        ends = [end for option in self.options for end in option.ends()]
        return min(ends), max(ends)

    def form(self) -> dict[str, Any]:
        """Return the mapping that ``forms.parse`` reads as this distribution."""
        return _choice_form([option.form() for option in self.options], self.weights)


@dataclass(frozen=True)
class Words:
    """One of several words, drawn as its position. No weights: all as likely."""

    categories: tuple[str, ...]
    weights: tuple[float, ...] = ()

    def ppf(self, u: Floats) -> Floats:
        """Return the positions of the words that ``u`` picks."""
        return _picked(u, len(self.categories), self.weights)[0].astype(np.float64)

    def ends(self) -> Ends:
        """Return the first and the last position."""
        return 0, len(self.categories) - 1

    def form(self) -> dict[str, Any]:
        """Return the mapping that ``forms.parse`` reads as this distribution."""
        return _choice_form(list(self.categories), self.weights)


def _picked(u: Floats, n_options: int, weights: tuple[float, ...]) -> tuple[Ints, Floats]:
    """Return the option each number in (0, 1) falls in, and its place within that option's share, in (0, 1)."""
    stops = np.cumsum(weights or [1.0] * n_options)
    stops /= stops[-1]
    picked = np.minimum(np.searchsorted(stops, u, side="right"), n_options - 1)
    starts = np.concatenate([[0.0], stops[:-1]])
    rest = (u - starts[picked]) / (stops - starts)[picked]
    return picked, np.clip(rest, SMALLEST, LARGEST)


def _choice_form(values: list[Any], weights: tuple[float, ...]) -> dict[str, Any]:
    return {"choice": values} | ({"weights": list(weights)} if weights else {})


@dataclass(frozen=True)
class Expr:
    """A number computed from other keys of the same sample."""

    text: str

    def ppf(self, u: Floats) -> Floats:
        """Refuse: an expression draws nothing, ``plan.draw`` evaluates it."""
        raise TypeError("an expression is evaluated, not drawn")

    def ends(self) -> Ends:
        """Refuse: the ends depend on other keys."""
        raise TypeError("the ends of an expression depend on other keys")

    def form(self) -> dict[str, Any]:
        """Return the mapping that ``forms.parse`` reads as this distribution."""
        return {"expr": self.text}


Distribution: TypeAlias = Constant | Uniform | LogUniform | Normal | Integer | Poisson | Choice | Words | Expr


def whole(distribution: Distribution) -> bool:
    """Return whether every draw is a whole number."""
    if isinstance(distribution, Choice):
        return all(whole(option) for option in distribution.options)
    if isinstance(distribution, Constant):
        return float(distribution.value).is_integer()
    return isinstance(distribution, (Integer, Poisson))
