"""A material that a recipe brings along: written in it, or in a YAML file of its own, with or without a ``_hr.dat``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..physics.materials import wannier, written
from .reading import Node, Place, ReadingError, read
from .sources import MAX_BYTES, SUFFIXES

HR, HR_TEXT, HR_MAX_BYTES = "wannier90_hr", "wannier90_text", 64 * MAX_BYTES
Fault = tuple[Place, str]


def is_own(node: Node) -> bool:
    """Return whether a node is a material itself, or the name of a file that holds one."""
    return isinstance(node.value, dict) or (isinstance(node.value, str) and node.value.endswith(SUFFIXES))


def resolved(node: Node) -> tuple[dict[str, Any] | None, list[Fault]]:
    """Return the material as plain values, all that its files hold in them, and its faults; None with any."""
    try:
        root, faults = _root(node)
        values = root.plain()
        if isinstance(hr := root.members.get(HR, root).value, str):
            named = root.members[HR]
            del values[HR]
            values[HR_TEXT] = _hops(_text(named, hr, HR_MAX_BYTES), _beside(named.place, hr))
        written.from_mapping(values)
    except _UnreadableError as fault:
        return None, [(fault.place, fault.text)]
    except written.WrittenError as error:
        return None, [(root.at(*where).place, _told(where, text)) for where, text in error.faults]
    return (None if faults else values), faults


class _UnreadableError(Exception):
    """A file that cannot be read: where it is named or where it goes wrong, and why."""

    def __init__(self, place: Place, text: str) -> None:
        super().__init__(text)
        self.place = place
        self.text = text


def _told(where: written.Where, text: str) -> str:
    path = ".".join(str(step) for step in where)
    return f"{path}: {text}" if path else text


def _root(node: Node) -> tuple[Node, list[Fault]]:
    """Return the mapping of a material, read from its file if it has one."""
    if isinstance(node.value, dict):
        return node, []
    name = str(node.value)
    source = str(_beside(node.place, name))
    try:
        root, repeated = read(_text(node, name, MAX_BYTES), source)
    except ReadingError as fault:
        raise _UnreadableError(fault.place, fault.text) from None
    if not isinstance(root.value, dict):
        raise _UnreadableError(root.place, f"legal: a mapping with {', '.join(written.NEEDED)}")
    return root, [(fault.place, fault.text) for fault in repeated]


def _beside(place: Place, name: str) -> Path:
    """Return the path of a file named in another one, or in the command line."""
    return Path(place.source).parent / name if place.line else Path(name)


def _text(node: Node, name: str, most_bytes: int) -> str:
    """Return the text of a file that a node names."""
    path = _beside(node.place, name)
    try:
        if path.stat().st_size > most_bytes:
            raise _UnreadableError(node.place, f"{path}: larger than {most_bytes} bytes")
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise _UnreadableError(node.place, f"{path}: not text (UTF-8)") from None
    except (OSError, ValueError) as fault:
        raise _UnreadableError(node.place, f"{path}: {getattr(fault, 'strerror', None) or fault}") from None


def _hops(text: str, path: Path) -> str:
    try:
        return wannier.hops_text(text)
    except wannier.HrError as fault:
        raise _UnreadableError(Place(str(path), fault.line, 1), str(fault)) from None
