"""Over which values a key is shown: what a sweep runs over, and what a slider reaches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import parts
from . import plan as plans
from .distributions import Choice, Constant, Distribution, Expr, Integer, LogUniform, Poisson, Uniform, Words
from .errors import StmfabError, did_you_mean
from .parts import Key, Part, keys_of
from .physics.keys import Legal
from .plan import Plan

NEARLY_ALL = np.linspace(0.001, 0.999, 999)  # of a distribution that has no ends worth showing
FORMULA_SAMPLES = 256  # draws that stand for the range of a formula
REACH = 4.0  # a constant runs from a quarter to four times its value
WIDE = 20.0  # legal ranges wider than this, in units of the value, are not shown whole
LOG_RATIO = 50.0  # ends farther apart than this are stepped through by ratios
CUSTOMARY: Mapping[str, tuple[float, float]] = {  # of keys that may be absent, zero or anything: usual in the field
    "bow_radius_um": (1, 1000),
    "center_x_nm": (-0.5, 0.5),
    "center_y_nm": (-0.5, 0.5),
    "charge": (-2, 2),
    "cluster_n": (1, 10),
    "cluster_radius_nm": (0.5, 3),
    "crossover_Hz": (10, 1000),
    "current_nA": (0.01, 1),
    "depth_nm": (0.3, 3),
    "dwell_s": (1e-4, 1e-2),
    "from_V": (-2, 0),
    "height_nm": (0.3, 0.7),
    "kappa_per_nm": (8, 12),
    "loop_gain": (0.1, 2.5),
    "min_distance_nm": (0.5, 2),
    "permittivity": (1, 20),
    "pixels": (32, 256),
    "preamplifier_Hz": (100, 10_000),
    "proportional": (0, 10),
    "rotation_deg": (0, 360),
    "screening_nm": (1, 10),
    "size_nm": (1, 10),
    "slew_nm_per_s": (0.1, 100),
    "step_limit": (0.05, 1),
    "stroke_nm": (0.05, 100),
    "sub_steps": (1, 40),
    "temperature_K": (0, 300),
    "to_V": (0, 2),
    "work_function_eV": (3, 6),
    "z_max_nm": (0.3, 10),
    "z_min_nm": (0, 0.5),
}
BY_UNIT: Mapping[str, float] = {"nm": 0.5, "pm": 20, "deg": 2, "%": 5, "eV": 0.5, "V": 0.5, "fA/sqrt(Hz)": 10}


@dataclass(frozen=True)
class Span:
    """The values of one key that are shown: from low to high, or some words or numbers; and where they are from."""

    low: float
    high: float
    why: str
    whole: bool = False
    log: bool = False  # evenly spaced are the ratios
    words: tuple[Any, ...] = ()

    def values(self, most: int) -> list[Any]:
        """Return at most so many values, evenly spaced, both ends included.

        >>> Span(1, 3, "").values(5)
        [1.0, 1.5, 2.0, 2.5, 3.0]
        >>> Span(0.01, 1, "", log=True).values(3)
        [0.01, 0.1, 1.0]
        >>> Span(1, 4, "", whole=True).values(9)
        [1, 2, 3, 4]
        """
        if self.words:
            return list(self.words)
        spaced = (np.geomspace if self.log else np.linspace)(self.low, self.high, most)
        rounded = [float(f"{value:.4g}") for value in spaced]
        inside = [min(max(value, self.low), self.high) for value in rounded]
        return list(dict.fromkeys(round(value) for value in inside)) if self.whole else list(dict.fromkeys(inside))


@dataclass(frozen=True)
class Place:
    """A key where it stands in a recipe: its part, and its name there."""

    path: str
    part: Part
    name: str

    @property
    def key(self) -> Key:
        """Return the key as its kind declares it."""
        return keys_of(self.part.cls)[self.name]


def place(plan: Plan, path: str) -> Place:
    """Return a key of a recipe.

    Raises
    ------
    StmfabError
        If the recipe has no such key.
    """
    found = places(plan)
    if path in found:
        return found[path]
    parents = [slot for slot in parts.slots(plan.sample_kind) if path.startswith(f"{slot.path}.")]
    absent = next((slot for slot in parents if parts.get(plan.tree, slot.path) is None), None)
    if absent is not None:
        example = f"--set '{absent.path}={{...}}'"
        raise StmfabError(f"{path}: the recipe has no {absent.path} ({absent.meaning}); add it: {example}")
    same_ending = [known for known in found if known.endswith(f".{path}")]
    hint = f"; did you mean {same_ending[0]!r}?" if same_ending else did_you_mean(path, found)
    raise StmfabError(f"{path}: no key of this recipe that can be varied{hint}")


def places(plan: Plan) -> dict[str, Place]:
    """Return every key of the parts of a recipe by its path, in the order of the recipe."""
    return {
        part.key_path(name): Place(part.key_path(name), part, name) for part in plan.parts for name in keys_of(part.cls)
    }


def span(plan: Plan, at: Place) -> Span:
    """Return the values that a key is shown at: those its distribution draws; of a constant, what is usual.

    Raises
    ------
    StmfabError
        If it is any text.
    """
    distribution = distribution_of(at)
    if isinstance(distribution, Expr):
        column = plans.draw(plan, 0, FORMULA_SAMPLES)[at.path]
        return Span(float(column.min()), float(column.max()), "what its formula gives")
    if distribution is not None:
        return _drawn(distribution, at.key)
    words = options(plan, at)
    if words:
        return Span(0, 0, "its choices", words=words)
    if at.key.type is str:
        raise StmfabError(f"{at.path}: any text: no key that can be varied")
    return _constant(at)


def distribution_of(at: Place) -> Distribution | None:
    """Return what a key is drawn from; None for a constant."""
    if at.name in at.part.drawn:
        return at.part.drawn[at.name].distribution
    return at.part.per_defect.get(at.name)


def options(plan: Plan, at: Place) -> tuple[Any, ...]:
    """Return the legal values of a key that has only some; empty for any other."""
    if at.key.legal.one_of is not None:
        return at.key.legal.one_of
    if at.name == "site":
        material = parts.material_of(plan.tree)
        assert material is not None
        return tuple(at.part.cls.sites(material))
    return ()


def _drawn(distribution: Distribution, key: Key) -> Span:
    if isinstance(distribution, Words):
        return Span(0, 0, "its choices", words=distribution.categories)
    whole = key.type is int
    if isinstance(distribution, Choice) and all(isinstance(option, Constant) for option in distribution.options):
        numbers = sorted({option.ends()[0] for option in distribution.options})
        return Span(numbers[0], numbers[-1], "its choices", words=tuple(int(n) if whole else n for n in numbers))
    low, high = _ends(distribution)
    why = "its distribution"
    return Span(
        low, high, why, whole=whole or isinstance(distribution, Poisson), log=isinstance(distribution, LogUniform)
    )


def _ends(distribution: Distribution) -> tuple[float, float]:
    """Return the ends of a distribution; of one with long tails the ends of nearly all of it."""
    if isinstance(distribution, (Uniform, LogUniform, Integer)):
        low, high = distribution.ends()
        return float(low), float(high)
    values = distribution.ppf(NEARLY_ALL)
    return float(f"{values.min():.3g}"), float(f"{values.max():.3g}")


def _constant(at: Place) -> Span:
    """Return the span of a constant or absent number: its customary range, its legal one, or some times its value."""
    legal, value = at.key.legal, at.part.constants.get(at.name)
    if at.name in CUSTOMARY:
        low, high = CUSTOMARY[at.name]
        why = "what is usual"
    elif legal.at_least is not None and legal.at_most is not None and _modest(legal, value):
        low, high, why = legal.at_least, legal.at_most, "its legal range"
    elif value:
        low, high = sorted((value / REACH, value * REACH))
        why = f"{1 / REACH:g} to {REACH:g} times its value"
    else:
        reach = BY_UNIT.get(at.key.unit, 1.0)
        low, high, why = -reach, reach, "what is usual"
    low, high = (low, high) if value is None else (min(low, value), max(high, value))
    low, high = _legal(low, high, legal)
    return Span(low, high, why, whole=at.key.type is int, log=low > 0 and high / low > LOG_RATIO)


def _modest(legal: Legal, value: float | None) -> bool:
    assert legal.at_most is not None
    return not value or legal.at_most <= WIDE * abs(value)


def _legal(low: float, high: float, legal: Legal) -> tuple[float, float]:
    """Return an interval within the legal range, whose open ends are kept off."""
    step = (high - low) / 1000
    if legal.above is not None and low <= legal.above:
        low = legal.above + step
    if legal.below is not None and high >= legal.below:
        high = legal.below - step
    low = low if legal.at_least is None else max(low, legal.at_least)
    return low, high if legal.at_most is None else min(high, legal.at_most)
