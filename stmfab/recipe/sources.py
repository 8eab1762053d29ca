"""Where a recipe comes from: a built-in or a file, what it extends, and what the command line sets."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import forms
from ..errors import RecipeError, did_you_mean
from ..parts import KIND
from .reading import Node, Place, ReadingError, planted, read

MAX_BYTES = 1_000_000
OWN_KEYS = ("name", "description", "extends")  # not handed down by `extends`
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Source:
    """The text of a recipe and the folder its own ``extends`` starts from (None: only built-ins)."""

    label: str
    text: str
    folder: Path | None


def builtin_texts() -> dict[str, str]:
    """Return the text of every built-in recipe by name."""
    files = sorted(_builtin_folder().iterdir(), key=lambda file: file.name)
    return {file.name[:-5]: file.read_text("utf-8") for file in files if file.name.endswith(".yaml")}


def _builtin_folder() -> importlib.resources.abc.Traversable:
    try:
        return importlib.resources.files("stmfab.recipes")
    except ModuleNotFoundError:  # a checkout that is not installed
        return Path(__file__).parents[2] / "recipes"


def find(name: str, folder: Path | None, place: Place | None = None) -> Source:
    """Return the recipe with a built-in name or at a path, relative to a folder.

    Raises
    ------
    RecipeError
        If there is none, or it is not a text file.
    """
    builtin = builtin_texts()
    if name in builtin:
        return Source(f"recipes/{name}.yaml", builtin[name], None)
    path = (folder / name) if folder is not None else Path(name)
    prefix = f"{place}: extends: " if place else ""
    text = _text(path, f"{prefix}{name}", builtin)
    return Source(str(path), text, path.parent)


def _text(path: Path, label: str, builtin: Iterable[str]) -> str:
    """Return the text of a recipe file."""
    try:
        if path.is_dir():
            raise RecipeError([f"{label}: a directory; legal: a recipe file or one of {', '.join(builtin)}"])
        if path.exists() and not path.is_file():
            raise RecipeError([f"{label}: not a regular file; legal: a recipe file"])
        data = path.read_bytes() if path.stat().st_size <= MAX_BYTES else None
    except FileNotFoundError:
        raise RecipeError([f"{label}: no such recipe{did_you_mean(path.stem, builtin)}"]) from None
    except (OSError, ValueError) as fault:  # ValueError: a zero byte in the name
        raise RecipeError([f"{label}: cannot be read: {getattr(fault, 'strerror', None) or fault}"]) from None
    if data is None:
        raise RecipeError([f"{label}: larger than {MAX_BYTES} bytes; legal: a recipe file"])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = data[: fault.start].count(b"\n") + 1
        raise RecipeError([f"{label}: not text (UTF-8) in line {line}; legal: a recipe file"]) from None


def assemble(name: str, overrides: Iterable[tuple[str, str]]) -> tuple[Node, list[str]]:
    """Return a recipe's tree, with what it extends and what the command line sets, and the faults of its text.

    ``overrides`` are pairs of an option's name and its ``key.path=value``.

    Raises
    ------
    RecipeError
        If a text cannot be read to its end, or the recipe extends itself.
    """
    faults: list[str] = []
    tree = _with_targets_by_name(_extended(find(name, None), faults, seen=()))
    for option, text in overrides:
        tree = merged(tree, _override(option, text, tree.place))
    return tree, faults


def _extended(source: Source, faults: list[str], *, seen: tuple[str, ...]) -> Node:
    """Return the tree of a source, laid over the tree of what it extends."""
    tree = _tree(source, faults)
    base = tree.members.get("extends")
    if base is None or base.value is None:
        return tree
    if not isinstance(base.value, str):
        raise RecipeError([*faults, f"{base.place}: extends: {forms.described(base.plain())} is no recipe's name"])
    found = find(base.value, source.folder, base.place)
    identity = str(Path(found.label).resolve()) if found.folder is not None else found.label
    seen = seen or (str(Path(source.label).resolve()) if source.folder is not None else source.label,)
    if identity in seen:
        raise RecipeError([*faults, f"{base.place}: extends: {base.value!r} leads back to this recipe"])
    below = _with_targets_by_name(_extended(found, faults, seen=(*seen, identity)))
    inherited = {key: node for key, node in below.members.items() if key not in OWN_KEYS}
    return merged(replace(below, value=inherited), tree)


def _tree(source: Source, faults: list[str]) -> Node:
    """Return the tree of one text; its root is a mapping."""
    try:
        tree, found = read(source.text, source.label)
    except ReadingError as fault:
        raise RecipeError([*faults, f"{fault.place}: {fault.text}"]) from None
    faults += [f"{fault.place}: {fault.text}" for fault in found]
    if tree.value is None:
        raise RecipeError([*faults, f"{tree.place}: empty; legal: a mapping of keys (name:, samples:, seed:, ...)"])
    if not isinstance(tree.value, dict):
        found_words = forms.described(tree.plain())
        raise RecipeError([*faults, f"{tree.place}: found {found_words}; legal: a mapping of keys (name:, seed:, ...)"])
    return tree


def changed(tree: Mapping[str, Any], source: str, overrides: Iterable[tuple[str, str]]) -> Node:
    """Return the node of a resolved recipe with what options set, each as in ``assemble``."""
    place = Place(source)
    node = planted(tree, place)
    for option, text in overrides:
        node = merged(node, _override(option, text, place))
    return node


def _override(option: str, text: str, root: Place) -> Node:
    """Return the tree that a command-line ``key.path=value`` means."""
    place = Place(f"{option} {text}")
    path, equals, value_text = text.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise RecipeError([f"{place}: legal: key.path=value"])
    try:
        value, faults = read(value_text, str(place))
    except ReadingError as fault:
        raise RecipeError([f"{place}: {fault.text}"]) from None
    if faults:
        raise RecipeError([f"{place}: {fault.text}" for fault in faults])
    node = _placed(value, place)
    for name in reversed(names):
        node = Node({name: node}, place, place)
    return replace(node, place=root, key_place=root)


def _placed(node: Node, place: Place) -> Node:
    """Return the node with one place for everything in it."""
    value = node.value
    if isinstance(value, dict):
        value = {name: _placed(inner, place) for name, inner in value.items()}
    elif isinstance(value, list):
        value = [_placed(inner, place) for inner in value]
    return Node(value, place, place)


def merged(below: Node, above: Node) -> Node:
    """Return one tree laid over another: mappings key by key; distributions, lists and other kinds whole."""
    if not _merges(below, above):
        return above
    members = dict(below.members)
    for name, node in above.members.items():
        members[name] = merged(members[name], node) if name in members else node
    return Node(members, above.place, above.key_place)


def _merges(below: Node, above: Node) -> bool:
    if not isinstance(below.value, dict) or not isinstance(above.value, dict):
        return False
    if any(forms.is_distribution(node.plain()) for node in (below, above)):
        return False
    kinds = [node.members[KIND].plain() for node in (below, above) if KIND in node.members]
    return len(kinds) < 2 or kinds[0] == kinds[1]


def _with_targets_by_name(tree: Node) -> Node:
    """Return the tree with a list of targets written as the mapping it stands for."""
    targets = tree.members.get("targets")
    if targets is None or not isinstance(targets.value, list):
        return tree
    members: dict[str, Node] = {}
    for item in targets.value:
        if not isinstance(item.value, str) or item.value in members:
            return tree  # the check reports it
        members[item.value] = Node({KIND: item}, item.place, item.place)
    return replace(tree, value={**tree.members, "targets": replace(targets, value=members)})
