"""The value of one key: a constant or a distribution, held against the type and the range of its key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .. import forms
from ..distributions import Choice, Constant, Distribution, Expr, Words, whole
from ..errors import MAX_LISTED, did_you_mean
from ..parts import PER, Key

FEW = 3  # words that stand for a list too long to show


def expected(key: Key) -> str:
    """Return in words what a key takes."""
    if key.legal.one_of is not None:
        words = [str(word) for word in key.legal.one_of]
        more = f", ... ({len(words)} in all, see `stmfab schema`)" if len(words) > MAX_LISTED else ""
        return f"one of {', '.join(words[:FEW] if more else words)}{more}"
    noun = {float: "a number", int: "a whole number", str: "text"}[key.type]
    bounds = str(key.legal)
    return noun if bounds == "a number" else f"{noun} {bounds}"


def stand_in(key: Key) -> Any:
    """Return a legal value of a key whose own value has a fault."""
    legal = key.legal
    if legal.one_of is not None:
        return legal.one_of[0]
    if key.type is str:
        return ""
    tries = [legal.at_least, legal.at_most, (legal.above or 0) + 1, (legal.below or 0) - 1, 1]
    tries += [(legal.above + legal.below) / 2] if legal.above is not None and legal.below is not None else []
    return next(key.type(value) for value in tries if value is not None and legal.holds(value))


def constant(value: Any, key: Key, where: tuple[str | int, ...] = ()) -> Any:
    """Return a constant as the type of its key.

    Raises
    ------
    FormError
        If it is of another type, or out of range.
    """
    found, legal = forms.described(value), expected(key)
    if isinstance(value, list) and not key.legal.fixed:
        raise forms.FormError(where, f"found a list; legal: {legal}, or {{choice: [...]}}, {{uniform: [low, high]}}")
    if key.type is str:
        if not isinstance(value, str):
            hint = " (quote it)" if isinstance(value, (int, float)) and key.legal.one_of is None else ""
            raise forms.FormError(where, f"found {found}; legal: {legal}{hint}")
        if not key.legal.holds(value):
            words = did_you_mean(value, key.legal.one_of or ())
            raise forms.FormError(where, f"found {found}{words if 'mean' in words else f'; legal: {legal}'}")
        return value
    try:
        as_float = forms.number(value, where)
    except forms.FormError:
        raise forms.FormError(where, f"found {found}; legal: {legal}") from None
    if (key.type is int and not as_float.is_integer()) or not key.legal.holds(as_float):
        raise forms.FormError(where, f"found {found}; legal: {legal}")
    return key.type(value)


def drawn(given: Mapping[str, Any], key: Key, *, fixed: bool) -> dict[str, Any]:
    """Return the resolved form of a drawn key, its range and its cadence checked; ``fixed``: nothing here may be drawn.

    Raises
    ------
    FormError
        For the first thing that is wrong.
    """
    mapping = dict(given)
    if key.legal.fixed or fixed:
        raise forms.FormError((), f"found a mapping, but it may not be drawn; legal: {expected(key)}")
    per = mapping.pop(PER, "sample")
    if per not in (("sample", "defect") if key.legal.per_defect else ("sample",)):
        legal = "sample or defect" if key.legal.per_defect else "sample (drawn once a sample)"
        raise forms.FormError((PER,), f"per: found {forms.described(per)}; legal: {legal}")
    distribution = forms.parse(mapping)
    form = next(iter(distribution.form()))
    _check_type(distribution, key, form)
    if per == "defect" and isinstance(distribution, Expr):
        raise forms.FormError((), "per: defect does not go with expr; legal: a distribution")
    if not isinstance(distribution, Expr):
        _check_ends(distribution, key, form)
    return distribution.form() | ({PER: per} if per == "defect" else {})


def _check_type(distribution: Distribution, key: Key, form: str) -> None:
    """Raise if a distribution draws another type than the key takes."""
    if (key.type is str) != isinstance(distribution, Words):
        wanted = "a choice among words" if key.type is str else expected(key)
        raise forms.FormError((form,), f"{form}: found {'numbers' if key.type is str else 'words'}; legal: {wanted}")
    if key.type is int and not whole(distribution):
        raise forms.FormError((form,), f"{form}: draws fractions; legal: {expected(key)} (integer, poisson or choice)")


def _check_ends(distribution: Distribution, key: Key, form: str) -> None:
    """Raise if a draw can be out of the key's range."""
    if isinstance(distribution, Words):
        for i, word in enumerate(distribution.categories):
            constant(word, key, ("choice", i))
        return
    if isinstance(distribution, Choice):
        for i, option in enumerate(distribution.options):
            if isinstance(option, Constant):
                constant(option.value, key, ("choice", i))
            else:
                _reaches(option, key, ("choice", i))
        return
    _reaches(distribution, key, (form,))


def _reaches(distribution: Distribution, key: Key, where: tuple[str | int, ...]) -> None:
    """Raise if an end of a distribution is out of the key's range."""
    if key.legal.one_of is not None:
        raise forms.FormError(where, f"{where[-1]}: legal: {expected(key)}, or a choice among them")
    for i, end in enumerate(distribution.ends()):
        if not (math.isfinite(end) and key.legal.holds(end)):
            inside = "min" in distribution.form() or "max" in distribution.form()
            hint = " (min: and max: bound it)" if where[-1] == "normal" and not inside else ""
            raise forms.FormError((*where, i), f"the draws reach {end:g}; legal: {expected(key)}{hint}")
