"""Recipes: YAML text in, a checked plan out; every fault at once, with its place, what was found, and what is legal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from .. import plan as plans
from ..errors import RecipeError
from ..plan import Plan
from . import sources
from .checking import check
from .reading import Node, read
from .rules import check_rules
from .sources import assemble, builtin_texts

__all__ = ["builtin_recipes", "changed", "load", "resolved", "schema", "stored"]


def load(
    name_or_path: str, overrides: Iterable[str] = (), *, seed: int | None = None, samples: int | None = None
) -> Plan:
    """Return the plan of a built-in recipe or of a recipe file.

    Parameters
    ----------
    name_or_path : str
        A built-in's name, as ``builtin_recipes`` lists them, or a file.
    overrides : iterable of str
        Values that replace the recipe's, each ``key.path=value`` in YAML.
    seed, samples : int, optional
        In place of the recipe's.

    Raises
    ------
    RecipeError
        With every fault found, each one line.
    """
    options = [("--set", text) for text in overrides]
    options += [("--seed", f"seed={seed}")] if seed is not None else []
    options += [("-n", f"samples={samples}")] if samples is not None else []
    return _checked(*assemble(str(name_or_path), options))


def stored(tree: Mapping[str, Any], source: str) -> Plan:
    """Return the plan of a resolved recipe, as a store keeps it, held against every rule as if it came from a file.

    Raises
    ------
    RecipeError
        With every fault found; ``source`` says where the recipe is from.
    """
    root, _ = read("".join(_lines(tree, "")), source)
    return _checked(root, [])


def changed(plan: Plan, overrides: Iterable[str]) -> Plan:
    """Return a plan with keys set as by ``--set``, each ``key.path=value`` in YAML.

    Raises
    ------
    RecipeError
        With every fault found.
    """
    return _checked(sources.changed(plan.tree, plan.name, [("--set", text) for text in overrides]), [])


def _checked(root: Node, text_faults: list[str]) -> Plan:
    tree, report = check(root)
    check_rules(report, tree)
    faults = [*text_faults, *report.lines()]
    if faults:
        raise RecipeError(faults)
    return plans.from_tree(tree)


def builtin_recipes() -> dict[str, str]:
    """Return the one-line description of every built-in recipe by name."""
    return {name: _description(text) for name, text in builtin_texts().items()}


def _description(text: str) -> str:
    node, _ = read(text, "")
    found = node.members.get("description")
    return " ".join(str(found.plain()).split()) if found is not None else ""


def resolved(plan: Plan) -> str:
    """Return a recipe as YAML text, defaults filled in and nothing inherited; loading it gives the same plan."""
    return "".join(_lines(plan.tree, ""))


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a recipe, for editors."""
    from . import editor  # pydantic is slow to import, and nothing else needs it

    return editor.schema()


def _lines(tree: Mapping[str, Any], indent: str) -> Iterable[str]:
    """Yield a mapping as YAML lines: places block by block, values and distributions in one line."""
    for key, value in tree.items():
        nested = isinstance(value, Mapping) and any(isinstance(v, (Mapping, str)) for v in value.values())
        if nested and "expr" not in value and "per" not in value:
            yield f"{indent}{key}:\n"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent}{key}: {_in_yaml(value)}\n"


def _in_yaml(value: Any) -> str:
    """Return a value in one line that is JSON, but that a character beyond 16 bits is written as YAML does."""
    return re.sub(r"\\ud[89ab]..\\ud[c-f]..", _eight_digits, json.dumps(value))


def _eight_digits(pair: re.Match[str]) -> str:
    return "\\U" + format(ord(json.loads(f'"{pair[0]}"')), "08x")
