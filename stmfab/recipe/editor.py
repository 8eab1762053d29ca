"""The recipe's JSON Schema, for editors: keys, meanings, ranges and the forms of distributions, from the kinds."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Iterable
from types import GenericAlias
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from ..parts import CRYSTAL, JUNCTION, JUNCTIONS, KIND, MATERIALS, PER, SAMPLE, SLOTS, Key, Slot, keys_of, slots
from ..physics.targets import CHANNELS
from .checking import MAX_SAMPLES, MAX_SEED, MEMBER, NAME
from .values import expected

STRICT = ConfigDict(extra="forbid", strict=True, title="stmfab recipe")
SHARED = "Shared"  # a junction and those beside it give one another what they lack
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a recipe. One that ``extends`` another may leave out required keys."""
    whole, partial = model().model_json_schema(), model("Partial").model_json_schema()
    shared = {"$defs": whole.pop("$defs") | partial.pop("$defs")}
    branches = {"if": {"required": ["extends"]}, "then": partial, "else": whole}
    return {"$schema": DIALECT, "title": "stmfab recipe", "type": "object", **branches, **shared}


@functools.cache
def model(partial: str = "") -> type[BaseModel]:
    """Return the model of a whole recipe, or with a prefix for its parts' names that of one that extends another."""
    groups: dict[str, dict[str, Any]] = {"": _head(partial), "instrument": {}}
    for slot in SLOTS:
        group, _, name = slot.path.rpartition(".")
        if group != SAMPLE:
            slot = dataclasses.replace(slot, kinds=_kinds_at(slot.path))
            lacking = partial or (SHARED if slot.path in (JUNCTION, JUNCTIONS) else "")
            groups[group][name] = _key(_slot(slot, lacking), slot.meaning, required=slot.required and not partial)
    samples = [_sample(kind, partial) for kind in MATERIALS]
    groups[""][SAMPLE] = _key(_either([*samples, *([None] if partial else [])]), "the sample", required=not partial)
    inner = _model(partial + "Instrument", groups["instrument"])
    groups[""]["instrument"] = _key(inner | None, "the instrument", required=False)
    return _model(f"{partial}Recipe", groups[""])


def _kinds_at(path: str) -> dict[str, type[Any]]:
    """Return the kinds that stand at a place with any kind of sample."""
    return {name: cls for slot in SLOTS if slot.path == path for name, cls in slot.kinds.items()}


def _sample(kind: str, partial: str) -> type[BaseModel]:
    """Return the model of one kind of sample."""
    fields = {
        KIND: _key(_words([kind]), "the kind of sample", required=kind != CRYSTAL and not partial),
        "material": _key(_material(kind), "the material, or one of your own: a file, a mapping", required=not partial),
    }
    for slot in slots(kind):
        group, _, name = slot.path.rpartition(".")
        if group == SAMPLE:
            fields[name] = _key(_slot(slot, partial), slot.meaning, required=slot.required and not partial)
    return _model(partial + kind.title().replace("-", "") + "Sample", fields)


def _material(kind: str) -> Any:
    """Return the type of a kind's material: a name, or for crystals a file or a mapping too."""
    names = _words(MATERIALS[kind])
    return names | Annotated[str, Field(pattern=r"\.ya?ml$")] | dict[str, Any] if kind == CRYSTAL else names


def _head(partial: str) -> dict[str, Any]:
    """Return the top-level keys that describe the dataset."""
    required = not partial
    name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
    count = Annotated[int, Field(ge=1, le=MAX_SAMPLES)]
    seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
    return {
        "name": _key(name, "name of the dataset and of its default store", required=True),
        "description": _key(str, "one line for `stmfab recipes`", required=False),
        "extends": _key(str, "a built-in recipe or a file; this recipe is laid over it", required=False),
        "samples": _key(count, "number of samples", required=required),
        "seed": _key(seed, "seed of all draws", required=required),
        "channels": _key(GenericAlias(list, (_words(CHANNELS),)), "recorded images", required=required),
    }


def _slot(slot: Slot, partial: str) -> Any:
    """Return the type of what stands at a place."""
    kinds = [_kind(slot, name, partial) for name in slot.kinds]
    part = _either(kinds if slot.required else [*kinds, None])
    if not slot.named:
        return part
    members = GenericAlias(dict, (Annotated[str, Field(pattern=f"^{MEMBER.pattern}$")], part))
    names = [GenericAlias(list, (_words(slot.kinds),))] if slot.fixed and slot.kind_names() else []
    return _either([members, *names, None])


def _kind(slot: Slot, kind: str, partial: str) -> type[BaseModel]:
    """Return the model of one kind."""
    cls = slot.kinds[kind]
    fields = {name: _key_of(key, slot, partial) for name, key in keys_of(cls).items()}
    if kind:
        only = slot.only_kind() == kind or bool(partial)
        fields[KIND] = _key(_words([kind]), "the kind", required=not only)
    return _model(partial + cls.__name__, fields, doc=cls.__doc__)


def _key_of(key: Key, slot: Slot, partial: str) -> Any:
    """Return the field of one key: its constant, and the distributions it may be drawn from."""
    options: list[Any] = [_constant(key)]
    if not (key.legal.fixed or slot.fixed):
        options += _forms(key)
    if not key.required:
        options.append(None)
    unit = "" if key.unit == "1" or key.type is str else f", {key.unit}"
    meaning = f"{key.meaning} ({expected(key)}{unit})"
    return _key(_either(options), meaning, required=key.required and not partial, default=key.default)


def _constant(key: Key) -> Any:
    legal = key.legal
    if legal.one_of is not None:
        return _words(legal.one_of)
    if key.type is str:
        return str
    bounds = {"ge": legal.at_least, "gt": legal.above, "le": legal.at_most, "lt": legal.below}
    return Annotated[key.type, Field(**{name: bound for name, bound in bounds.items() if bound is not None})]  # type: ignore[call-overload]


def _forms(key: Key) -> list[Any]:
    """Return the models of the distributions that a key may be drawn from."""
    per = ("PerDefect",) if key.legal.per_defect else ()
    if key.type is str or key.legal.one_of is not None:
        return [_choice(_constant(key), key.name)]
    names = ("integer", "poisson", "choice") if key.type is int else tuple(FORMS)
    return [_form(name, *per) for name in names]


def _choice(option: Any, name: str) -> type[BaseModel]:
    return _model(f"ChoiceOf_{name}", {"choice": _key(GenericAlias(list, (option,)), "one of these"), **_WEIGHTS})


@functools.cache
def _form(name: str, prefix: str = "") -> type[BaseModel]:
    """Return the model of one form of distribution."""
    fields = dict(FORMS[name])
    if prefix:
        fields[PER] = _key(Literal["sample", "defect"], "drawn once a sample, or for every defect", required=False)
    return _model(f"{prefix}{name.title()}", fields)


def _model(name: str, fields: dict[str, Any], doc: str | None = None) -> type[BaseModel]:
    model: type[BaseModel] = create_model(name, __config__=STRICT | ConfigDict(title=name), __doc__=doc, **fields)
    return model


def _key(value_type: Any, meaning: str, *, required: bool = True, default: Any = None) -> Any:
    """Return a field of a model: its type, description and default."""
    return (value_type, Field(... if required else default, description=meaning))


def _words(legal: Iterable[Any]) -> Any:
    """Return the type of one of some values."""
    return Literal[tuple(legal)]


def _either(options: Iterable[Any]) -> Any:
    """Return the union of some types."""
    return functools.reduce(operator.or_, options)


_PAIR = tuple[float, float]
_WEIGHTS = {"weights": _key(list[float], "relative weights", required=False)}
_BOUNDS = {name: _key(float, f"truncated at this {name}imum", required=False) for name in ("min", "max")}
FORMS: dict[str, dict[str, Any]] = {
    "uniform": {"uniform": _key(_PAIR, "[low, high]")},
    "loguniform": {"loguniform": _key(_PAIR, "[low, high]: the logarithm is uniform")},
    "normal": {"normal": _key(_PAIR, "[mean, standard deviation]"), **_BOUNDS},
    "integer": {"integer": _key(tuple[int, int], "[low, high], both included")},
    "poisson": {"poisson": _key(float, "mean")},
    "choice": {"choice": _key(list[float | dict[str, Any]], "one of these numbers or distributions"), **_WEIGHTS},
    "expr": {"expr": _key(str, "a formula of other keys by their dotted path")},
}
