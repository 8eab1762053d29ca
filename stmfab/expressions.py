"""Formulas of a recipe: ``0.1 * tip.radius_nm + max(scan.size_nm, 2)``; a grammar of its own, nothing is executed.

Numbers, ``+ - * / **``, parentheses, ``min max sqrt exp log abs``, and keys by their dotted path.
"""

from __future__ import annotations

import ast
import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .streams import Floats

LARGEST_NUMBER = float(np.finfo(np.float64).max)
MAX_LENGTH = 500  # characters
MAX_DEPTH = 100  # far below the depth of Python's own recursion


class ExpressionError(ValueError):
    """A formula outside the grammar."""


@dataclass(frozen=True)
class Expression:
    """A parsed formula: its text, its tree, and the paths of the keys it reads."""

    text: str
    tree: ast.expr
    names: frozenset[str]

    def __call__(self, values: Mapping[str, Floats | float]) -> Floats:
        """Return the formula's value for arrays of the keys it reads; not finite where it has none."""
        with np.errstate(all="ignore"):
            return np.asarray(_value(self.tree, values), np.float64)


@functools.lru_cache(maxsize=256)
def parse(text: str) -> Expression:
    """Return the parsed formula.

    Raises
    ------
    ExpressionError
        If the text is outside the grammar, with what is and what is legal.

    Examples
    --------
    >>> float(parse("2 * sqrt(scan.size_nm) - 1")({"scan.size_nm": 4.0}))
    3.0
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"longer than {MAX_LENGTH} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # python warns of "1or 2"
            tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError, Warning):
        raise ExpressionError(f"{text!r} is not a formula; {GRAMMAR}") from None
    if _depth(tree) > MAX_DEPTH:
        raise ExpressionError(f"nested deeper than {MAX_DEPTH} operations")
    return Expression(text, tree, frozenset(_names(tree)))


def _depth(tree: ast.AST) -> int:
    """Return how deep a tree is nested, without recursion."""
    depth, level = 0, [tree]
    while level:
        depth, level = depth + 1, [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def _names(node: ast.expr) -> set[str]:
    """Return the paths a formula reads, checking every node against the grammar."""
    path = _path(node)
    if path is not None:
        return {path}
    parts = _parts(node)
    if parts is None:
        raise ExpressionError(f"{ast.unparse(node)!r} is not allowed; {GRAMMAR}")
    return set().union(*(_names(part) for part in parts)) if parts else set()


def _parts(node: ast.expr) -> list[ast.expr] | None:
    """Return the operands of a node of the grammar (none of a number); None for a node outside it."""
    if isinstance(node, ast.Constant):
        return [] if type(node.value) in (int, float) and node.value <= LARGEST_NUMBER else None  # type: ignore[operator]
    if isinstance(node, ast.UnaryOp) and type(node.op) in UNARY:
        return [node.operand]
    if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
        return [node.left, node.right]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        n_min, n_max, _ = FUNCTIONS.get(node.func.id, (1, 0, None))
        return node.args if n_min <= len(node.args) <= n_max else None
    return None


def _path(node: ast.expr) -> str | None:
    """Return the dotted path a name or an attribute chain spells; None for another node."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = _path(node.value)
        return None if head is None else f"{head}.{node.attr}"
    return None


def _value(node: ast.expr, values: Mapping[str, Floats | float]) -> Any:
    """Return the value of a checked node; every number is a float64, so that no power can grow without bound."""
    path = _path(node)
    if path is not None:
        return np.asarray(values[path], np.float64)
    if isinstance(node, ast.Constant):
        return np.float64(node.value)  # type: ignore[arg-type]
    operands = [_value(part, values) for part in _parts(node) or []]
    if isinstance(node, ast.UnaryOp):
        return UNARY[type(node.op)](*operands)
    if isinstance(node, ast.BinOp):
        return BINARY[type(node.op)](*operands)
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    return (
        functools.reduce(FUNCTIONS[node.func.id][2], operands)
        if len(operands) > 1
        else FUNCTIONS[node.func.id][2](*operands)
    )


UNARY: Mapping[type[ast.unaryop], Callable[..., Any]] = {ast.USub: np.negative, ast.UAdd: np.positive}
BINARY: Mapping[type[ast.operator], Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
}
FUNCTIONS: Mapping[str, tuple[int, int, Callable[..., Any]]] = {  # fewest and most arguments
    "min": (2, 20, np.minimum),
    "max": (2, 20, np.maximum),
    "sqrt": (1, 1, np.sqrt),
    "exp": (1, 1, np.exp),
    "log": (1, 1, np.log),
    "abs": (1, 1, np.abs),
}
GRAMMAR = "legal: numbers, + - * / **, parentheses, " + " ".join(FUNCTIONS) + " and keys by their dotted path"
