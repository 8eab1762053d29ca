"""YAML 1.2 text as a tree of nodes that know where they were written.

PyYAML's resolver is YAML 1.1 (``1e-3`` is text, ``no`` is false, ``1:30`` is 90) and lets a repeated key win; here only
its parser is used, and the scalars are those of the YAML 1.2 core schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import yaml

MAX_NODES = 20_000  # values after the expansion of aliases: stops alias bombs
MAX_DEPTH = 20
MAX_DIGITS = 400  # longer numbers are no float64, and slow to read

Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, order=True)
class Place:
    """Where something was written: a file's line and column (from 1), or a command-line option (line 0)."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True)
class Node:
    """A value with the place where it was written, and the place of its key."""

    value: Scalar | list[Node] | dict[str, Node]
    place: Place
    key_place: Place

    @property
    def members(self) -> dict[str, Node]:
        """Return the members of a mapping; empty for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    def plain(self) -> Any:
        """Return the value as plain data."""
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def at(self, *where: str | int) -> Node:
        """Return the node at a place inside, or the innermost one on the way that exists."""
        node = self
        for step in where:
            inner = node.value
            if isinstance(inner, dict) and step in inner:
                node = inner[str(step)]
            elif isinstance(inner, list) and isinstance(step, int) and step < len(inner):
                node = inner[step]
            else:
                return node
        return node


def planted(value: Any, place: Place) -> Node:
    """Return the node of plain data; all of it is at one place."""
    if isinstance(value, Mapping):
        return Node({name: planted(inner, place) for name, inner in value.items()}, place, place)
    if isinstance(value, (list, tuple)):
        return Node([planted(inner, place) for inner in value], place, place)
    return Node(value, place, place)


class ReadingError(Exception):
    """Text that cannot be read any further: where, and why."""

    def __init__(self, place: Place, text: str) -> None:
        super().__init__(text)
        self.place = place
        self.text = text


def read(text: str, source: str) -> tuple[Node, list[ReadingError]]:
    """Return the tree of a YAML text and the faults that do not stop the reading, such as repeated keys.

    Raises
    ------
    ReadingError
        If the text is not YAML, or more than one document.
    """
    reader = _Reader(source)
    try:
        node = reader.document(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as fault:
        raise ReadingError(reader.place(fault.problem_mark), _reason(fault)) from None
    except yaml.YAMLError:
        raise ReadingError(Place(source, 1, 1), "not text: it holds control characters; legal: a YAML file") from None
    return node, reader.faults


def scalar(text: str) -> Scalar:
    """Return the value of an unquoted scalar by the YAML 1.2 core schema.

    Examples
    --------
    >>> [scalar(text) for text in ("1e-3", "0o17", "no", "1:30", "~", "True", "012", ".5")]
    [0.001, 15, 'no', '1:30', None, True, 12, 0.5]
    """
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > MAX_DIGITS:
        return text
    if re.fullmatch(r"[-+]?[0-9]+", text):
        return int(text)
    if re.fullmatch(r"0o[0-7]+|0x[0-9a-fA-F]+", text):
        return int(text, 0)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", text):
        return float(text)
    if re.fullmatch(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", text):
        return float(text.replace(".", "", 1))
    return text


_WORDS: Mapping[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def _reason(fault: yaml.MarkedYAMLError) -> str:
    """Return a parser's complaint in one line."""
    problem = " ".join(str(fault.problem or "cannot be read").split())
    if "'\\t'" in problem:
        return "a tab character; legal: spaces"
    context = f" {' '.join(fault.context.split())}" if fault.context else ""
    return f"not YAML: {problem}{context}"


class _Reader:
    """Builds the tree from the parser's events."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.faults: list[ReadingError] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._n_nodes = 0

    def place(self, mark: Any) -> Place:
        return Place(self.source, mark.line + 1, mark.column + 1) if mark else Place(self.source, 1, 1)

    def document(self, events: Iterator[Any]) -> Node:
        """Return the only document's root; of an empty text an empty value."""
        root = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise ReadingError(self.place(event.start_mark), "a second document; legal: one recipe a file")
                root = self._node(next(events), events, depth=0)
        return root or Node(None, Place(self.source, 1, 1), Place(self.source, 1, 1))

    def _node(self, event: Any, events: Iterator[Any], *, depth: int, key_place: Place | None = None) -> Node:
        """Return the node that starts with an event."""
        place = self.place(event.start_mark)
        if depth > MAX_DEPTH:
            raise ReadingError(place, f"nested deeper than {MAX_DEPTH} levels")
        before = self._n_nodes
        self._count(1, place)
        if isinstance(event, yaml.AliasEvent):
            return replace(self._alias(event, place), key_place=key_place or place)
        if event.tag not in (None, "!"):
            self.faults.append(ReadingError(place, f"the tag {event.tag!r}; legal: no tags (quote a text)"))
        node = Node(self._value(event, events, depth), place, key_place or place)
        if event.anchor:
            self._anchors[event.anchor] = (node, self._n_nodes - before)
        return node

    def _value(self, event: Any, events: Iterator[Any], depth: int) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            return event.value if event.style in ("'", '"', "|", ">") else scalar(event.value)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            for item in events:
                if isinstance(item, yaml.SequenceEndEvent):
                    break
                items.append(self._node(item, events, depth=depth + 1))
            return items
        return self._mapping(events, depth)

    def _mapping(self, events: Iterator[Any], depth: int) -> dict[str, Node]:
        members: dict[str, Node] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            place = self.place(event.start_mark)
            if not isinstance(event, yaml.ScalarEvent):
                raise ReadingError(place, "a key that is no word")
            node = self._node(next(events), events, depth=depth + 1, key_place=place)
            if event.value in members:
                first = members[event.value].key_place
                self.faults.append(ReadingError(place, f"{event.value}: repeated key; first in line {first.line}"))
            else:
                members[event.value] = node
        return members

    def _alias(self, event: Any, place: Place) -> Node:
        if event.anchor not in self._anchors:
            raise ReadingError(place, f"*{event.anchor} names no value before it")
        node, size = self._anchors[event.anchor]
        self._count(size, place)
        return node

    def _count(self, n_nodes: int, place: Place) -> None:
        self._n_nodes += n_nodes
        if self._n_nodes > MAX_NODES:
            raise ReadingError(place, f"more than {MAX_NODES} values, aliases expanded")
