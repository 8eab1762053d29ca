"""A recipe's tree against the kinds: every fault at once, one message each, and the parts that the tree describes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .. import forms, parts
from ..errors import did_you_mean, nearest
from ..parts import CRYSTAL, JUNCTION, JUNCTIONS, KIND, MATERIALS, PLAIN, SAMPLE, SLOTS, Key, Part, Slot, keys_of
from ..physics.targets import CHANNELS
from . import own_material
from .reading import Node, Place
from .values import constant, drawn, expected, stand_in

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,49}")
MAX_SAMPLES = 10**12
MAX_SEED = 2**63 - 1
TOP_KEYS = ("name", "description", "extends", "samples", "seed", "channels", "sample")
SAMPLE_KEYS = (KIND, "material")
SLOT_KEYS = [slot.path.split(".")[0] for slot in SLOTS]
TREE_KEYS = tuple(
    dict.fromkeys(
        [
            "name",
            "description",
            "samples",
            "seed",
            *(key for key in SLOT_KEYS if key != "targets"),
            "channels",
            "targets",
        ]
    )
)


@dataclass
class Report:
    """The faults found so far, the place of every path, and the parts that could be read."""

    faults: list[tuple[Place, str]] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)  # of values; of keys for what holds more keys
    faulty: set[str] = field(default_factory=set)
    meant: set[str] = field(default_factory=set)  # legal paths that an unknown key seems to stand for
    parts: list[tuple[Slot, Part]] = field(default_factory=list)

    def fault(self, place: Place, path: str, text: str) -> None:
        """Add a fault of a path."""
        self.faults.append((place, f"{path}: {text}"))
        self.faulty.add(path)

    def missing(self, place: Place, path: str, legal: str) -> None:
        """Add the fault of a missing key, unless a mistyped name or what should hold it was reported already."""
        if path not in self.meant and not self.hidden(path):
            self.fault(place, path, f"missing; legal: {legal}")

    def fault_at(self, path: str, text: str) -> None:
        """Add a fault at the place of a path, or of the nearest thing that holds it."""
        known = path
        while known not in self.places and "." in known:
            known = known.rpartition(".")[0]
        self.fault(self.places.get(known, self.places[""]), path, text)

    def lines(self) -> list[str]:
        """Return the faults as lines, in the order of their places."""
        return [f"{place}: {text}" for place, text in sorted(self.faults, key=lambda fault: fault[0])]

    def hidden(self, path: str) -> bool:
        """Return whether a path, or what holds it, has a fault already."""
        return any(path == bad or path.startswith(bad + ".") for bad in self.faulty)


def check(root: Node) -> tuple[dict[str, Any], Report]:
    """Return the resolved tree of a recipe and the report; with faults in the report the tree is incomplete."""
    report = Report(places={"": root.place})
    groups = {group: _group(root, group, report) for group in (SAMPLE, "instrument")}
    kind = _sample_kind(groups[SAMPLE], report)
    slots = parts.slots(kind)
    _unknown(root, "", [*TOP_KEYS, *(slot.path.split(".")[0] for slot in slots)], report)
    tree: dict[str, Any] = {
        "name": _text(root, "name", NAME, "letters, digits, '-', '_' and '.'", report),
        "samples": _count(root, "samples", 1, MAX_SAMPLES, report),
        "seed": _count(root, "seed", 0, MAX_SEED, report),
    }
    if root.members.get("description") is not None:
        tree["description"] = _text(root, "description", re.compile(r"(?s).{0,2000}"), "text", report)
    for group, node in groups.items():
        inside = [slot.path[len(group) + 1 :] for slot in slots if slot.path.startswith(group + ".")]
        _unknown(node, group, [*inside, *(SAMPLE_KEYS if group == SAMPLE else ())], report)
    tree[SAMPLE] = {} if kind == CRYSTAL else {KIND: kind}
    tree[SAMPLE]["material"] = _material(groups[SAMPLE], MATERIALS[kind], report)
    several = _named(root, JUNCTIONS)
    for slot in slots:
        head, _, tail = slot.path.rpartition(".")
        there = (groups[head] if head else root).members.get(tail)
        if slot.path != JUNCTION or not several:
            _slot(there, slot, tree, report, given_only=slot.path == JUNCTIONS)
    if several:
        _junctions(root.members.get(JUNCTION), several, tree, report)
    tree["channels"] = _channels(root, report)
    return {key: tree[key] for key in TREE_KEYS if key in tree}, report


def _group(root: Node, group: str, report: Report) -> Node:
    """Return the node that holds several places."""
    node = root.members.get(group)
    if node is None or node.value is None:
        return Node({}, root.place, root.key_place)
    report.places[group] = node.key_place
    if not _holds_keys(node):
        report.fault(node.place, group, f"found {_found(node)}; legal: a mapping of keys")
        return Node({}, node.place, node.key_place)
    return node


def _sample_kind(sample: Node, report: Report) -> str:
    """Return the kind of sample; a crystal where none is given, or none that there is."""
    node = sample.members.get(KIND)
    value = CRYSTAL if node is None else node.plain()
    if isinstance(value, str) and value in MATERIALS:
        return value
    assert node is not None
    hint = did_you_mean(value, MATERIALS) if isinstance(value, str) else f"; legal: one of {', '.join(MATERIALS)}"
    report.fault(node.place, f"{SAMPLE}.{KIND}", f"unknown kind: found {forms.described(value)}{hint}")
    return CRYSTAL


def _holds_keys(node: Node) -> bool:
    return isinstance(node.value, dict) and not forms.is_distribution(node.plain())


def _found(node: Node) -> str:
    return "a distribution" if isinstance(node.value, dict) else forms.described(node.plain())


def _unknown(node: Node, path: str, legal: Iterable[str], report: Report) -> None:
    """Report the unknown keys of a mapping."""
    words = list(legal)
    for name, inner in node.members.items():
        if name in words:
            continue
        near = nearest(name, words)
        elsewhere = [slot.path for slot in SLOTS for kind in slot.kinds.values() if name in keys_of(kind)]
        text = f"unknown key{did_you_mean(name, words)}"
        if near is not None:
            report.meant.add(f"{path}.{near}".lstrip("."))
        elif others := [slot.sample for slot in SLOTS if slot.sample and slot.path == f"{path}.{name}".lstrip(".")]:
            text = f"unknown key; it belongs to {SAMPLE}.{KIND} {' or '.join(others)}"
        elif elsewhere:
            text = f"unknown key; it belongs to {' or '.join(dict.fromkeys(elsewhere))}"
        report.fault(inner.key_place, f"{path}.{name}".lstrip("."), text)


def _text(root: Node, key: str, pattern: re.Pattern[str], legal: str, report: Report) -> str:
    """Return a top-level text."""
    node = root.members.get(key)
    if node is None:
        report.missing(root.place, key, legal)
    elif not isinstance(node.value, str):
        hint = " (quote it)" if isinstance(node.value, (int, float)) else ""
        report.fault(node.place, key, f"found {forms.described(node.plain())}; legal: {legal}{hint}")
    elif not pattern.fullmatch(node.value):
        report.fault(node.place, key, f"found {forms.described(node.value)}; legal: {legal}")
    else:
        return node.value
    return ""


def _count(root: Node, key: str, low: int, high: int, report: Report) -> int:
    """Return a top-level whole number."""
    node = root.members.get(key)
    legal = f"a whole number from {low} to {high}"
    if node is None:
        report.missing(root.place, key, legal)
        return low
    value = node.value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        found = f"{value}"[:40] if isinstance(value, int) else forms.described(node.plain())
        report.fault(node.place, key, f"found {found}; legal: {legal}")
        return low
    return value


def _material(sample: Node, known: Mapping[str, Any], report: Report) -> str | dict[str, Any]:
    """Return the name of the material, or all of it if the recipe brings its own."""
    node = sample.members.get("material")
    path = "sample.material"
    if node is None:
        report.missing(sample.key_place, path, f"one of {', '.join(known)}")
    elif known is MATERIALS[CRYSTAL] and own_material.is_own(node):
        own, faults = own_material.resolved(node)
        for place, text in faults:
            report.fault(place, path, text)
        return own or ""
    elif not isinstance(node.value, str):
        report.fault(node.place, path, f"found {forms.described(node.plain())}; legal: one of {', '.join(known)}")
    elif node.value not in known:
        report.fault(node.place, path, f"unknown material {node.value!r}{did_you_mean(node.value, known)}")
    else:
        return node.value
    return ""


def _channels(root: Node, report: Report) -> list[str]:
    """Return the names of the recorded channels."""
    node = root.members.get("channels")
    legal = f"a list of {', '.join(CHANNELS)}"
    if node is None:
        report.missing(root.place, "channels", legal)
        return []
    if not isinstance(node.value, list) or not node.value:
        found = "an empty list" if node.value == [] else forms.described(node.plain())
        report.fault(node.place, "channels", f"found {found}; legal: {legal}")
        return []
    names: list[str] = []
    for item in node.value:
        name = item.plain()
        if not isinstance(name, str) or name not in CHANNELS:
            hint = did_you_mean(name, CHANNELS) if isinstance(name, str) else f"; legal: {legal}"
            report.fault(item.place, "channels", f"found {forms.described(name)}{hint}")
        elif name in names:
            report.fault(item.place, "channels", f"{name!r} is listed twice")
        else:
            names.append(name)
    return names


def _named(root: Node, key: str) -> dict[str, Node]:
    """Return what stands under names of the user's choice."""
    found = root.members.get(key)
    return {name: node for name, node in found.members.items() if _holds_keys(node)} if found is not None else {}


def _junctions(shared: Node | None, several: Mapping[str, Node], tree: dict[str, Any], report: Report) -> None:
    """Check what several junctions share and whether each is whole, and add both to the tree and the parts."""
    slot = next(slot for slot in SLOTS if slot.path == JUNCTION)
    tree[JUNCTION] = {}
    if shared is not None:
        _slot(shared, slot, tree, report, given_only=True)
    own = tree.get(JUNCTIONS, {})
    for name, key in keys_of(slot.kinds[PLAIN]).items():
        replaced = bool(own) and all(name in parts.displaced(values) for values in own.values())
        if replaced:
            tree[JUNCTION].pop(name, None)
        elif name not in tree[JUNCTION] and key.default is not None:
            tree[JUNCTION][name] = key.default
        elif name not in tree[JUNCTION] and key.required:
            for lacking in (junction for junction in own if name not in own[junction]):
                report.missing(several[lacking].key_place, f"{JUNCTIONS}.{lacking}.{name}", expected(key))
                own[lacking][name] = stand_in(key)
    report.parts += parts.junctions(tree)


def _slot(node: Node | None, slot: Slot, tree: dict[str, Any], report: Report, *, given_only: bool = False) -> None:
    """Check what stands at a place, and add its resolved form to the tree; ``given_only``: as far as it is given."""
    if node is None or node.value is None:
        if slot.required:
            report.missing(report.places[""], slot.path, f"a mapping ({slot.meaning})")
        return
    report.places[slot.path] = node.key_place
    if not _holds_keys(node):
        report.fault(node.place, slot.path, f"found {_found(node)}; legal: a mapping ({slot.meaning})")
        return
    read = _own if given_only else _part
    if not slot.named:
        _put(tree, slot.path, read(node, slot.path, slot, report))
        return
    _put(tree, slot.path, {})
    for name, member in node.members.items():
        if member.value is not None:  # a null removes an inherited member
            _member(member, name, slot, tree, report, read)


def _member(
    node: Node,
    name: str,
    slot: Slot,
    tree: dict[str, Any],
    report: Report,
    read: Callable[[Node, str, Slot, Report], dict[str, Any]],
) -> None:
    """Check a part under a name of the user's choice, and add its resolved form to the tree."""
    path = f"{slot.path}.{name}"
    report.places[path] = node.key_place
    if not MEMBER.fullmatch(name):
        report.fault(node.key_place, path, "legal names: a letter or '_', then letters, digits and '_'")
    elif not _holds_keys(node):
        legal = "with kind: ..." if slot.kind_names() else f"({slot.meaning})"
        report.fault(node.place, path, f"found {_found(node)}; legal: a mapping {legal}")
    else:
        _put(tree, path, read(node, path, slot, report))


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path of a tree."""
    *heads, last = path.split(".")
    for head in heads:
        tree = tree.setdefault(head, {})
    tree[last] = value


def _part(node: Node, path: str, slot: Slot, report: Report) -> dict[str, Any]:
    """Check one part; add it to the report's parts and return its resolved form.

    A faulty key is replaced by a legal stand-in, so that the rules over several keys are still checked.
    """
    kind = _kind(node, path, slot, report)
    if kind is None:
        return {}
    keys = keys_of(slot.kinds[kind])
    given = _given(node, path, keys, slot, report)
    values: dict[str, Any] = {KIND: kind} if kind else {}
    for name, key in keys.items():
        if name in given:
            values[name] = given[name]
        elif key.required:
            report.missing(node.key_place, f"{path}.{name}", expected(key))
        if name not in values and (key.required or f"{path}.{name}" in report.meant):
            values[name] = stand_in(key)
        elif name not in values and key.default is not None:
            values[name] = key.default
    report.parts.append((slot, parts.part(path, slot, values)))
    return values


def _own(node: Node, path: str, slot: Slot, report: Report) -> dict[str, Any]:
    """Check what is given of a part without a name, and return it; a null takes a key away, also a required one."""
    there = {name: found for name, found in node.members.items() if found.value is not None}
    return _given(replace(node, value=there), path, keys_of(slot.kinds[PLAIN]), slot, report)


def _given(node: Node, path: str, keys: Mapping[str, Key], slot: Slot, report: Report) -> dict[str, Any]:
    """Check the keys of a part that are given, and return their resolved form."""
    values: dict[str, Any] = {}
    _unknown(node, path, [*keys, *([KIND] if slot.kind_names() else [])], report)
    for name, key in keys.items():
        found = node.members.get(name)
        if found is not None and not (found.value is None and not key.required):
            report.places[f"{path}.{name}"] = found.place
            values[name] = _value(found, f"{path}.{name}", key, slot, report)
    return values


def _kind(node: Node, path: str, slot: Slot, report: Report) -> str | None:
    """Return the kind of a part; None if it cannot be told."""
    names = slot.kind_names()
    given = node.members.get(KIND)
    if given is None or not names:
        if slot.only_kind() is None:
            report.missing(node.key_place, f"{path}.{KIND}", f"one of {', '.join(names)}")
        return slot.only_kind()
    value = given.plain()
    if isinstance(value, str) and value in names:
        return value
    hint = did_you_mean(value, names) if isinstance(value, str) else f"; legal: one of {', '.join(names)}"
    report.fault(given.place, f"{path}.{KIND}", f"unknown kind: found {forms.described(value)}{hint}")
    return None


def _value(node: Node, path: str, key: Key, slot: Slot, report: Report) -> Any:
    """Return the resolved value of a key: a number, a word, or a distribution's form."""
    try:
        if isinstance(node.value, dict):
            return drawn(node.plain(), key, fixed=slot.fixed)
        return constant(node.plain(), key)
    except forms.FormError as fault:
        report.fault(node.at(*fault.where).place, path, str(fault))
        return stand_in(key)
