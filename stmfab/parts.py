"""The parts of a recipe: which kinds stand at which place, and one kind with its constants and distributions.

``SLOTS`` is the only list of places. A kind's keys, ranges and meanings come from its own dataclass.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import conditions, forms
from .distributions import Distribution, Words
from .physics import (
    defect_targets,
    guests,
    instrument,
    junction,
    ledges,
    materials,
    metals,
    noise,
    orbitals,
    piezo,
    scatterers,
    site_defects,
    surface_state,
    terraces,
    tips,
)
from .physics.keys import Legal
from .physics.materials import Material, written

Tree = Mapping[str, Any]
PLAIN = ""  # the name of the only kind of a place that takes no ``kind:``
KIND = "kind"
PER = "per"
SAMPLE = "sample"
JUNCTION, JUNCTIONS = "junction", "junctions"
KEEP = "keep"
LEARNT = "what a network learns, by names of your choice"
CRYSTAL, SURFACE_STATE, ORBITALS = "tight-binding", "surface-state", "local-orbitals"
MATERIALS: Mapping[str, Mapping[str, Material]] = {  # by kind of sample; the first is meant where none is given
    CRYSTAL: materials.MATERIALS,
    SURFACE_STATE: {name: metal.lattice for name, metal in metals.METALS.items()},
    ORBITALS: {name: surface.lattice for name, surface in orbitals.ORBITAL_SURFACES.items()},
}


@dataclass(frozen=True)
class Slot:
    """A place of the recipe: one part, or a mapping of parts by names of the user's choice."""

    path: str
    kinds: Mapping[str, type[Any]]
    meaning: str
    required: bool = False
    named: bool = False
    fixed: bool = False  # nothing in it may be drawn
    usual: str | None = None  # the kind that is meant where none is given
    sample: str | None = None  # only for this kind of sample

    def kind_names(self) -> list[str]:
        """Return the legal values of ``kind:``; empty where the place takes none."""
        return [name for name in self.kinds if name != PLAIN]

    def only_kind(self) -> str | None:
        """Return the kind that is meant where ``kind:`` is left out; None where it may not be left out."""
        return next(iter(self.kinds)) if len(self.kinds) == 1 else self.usual


SLOTS: tuple[Slot, ...] = (
    Slot("scan", {PLAIN: instrument.Raster}, "the commanded frame", required=True),
    Slot("sample.defects", guests.DEFECTS, "defects, by names of your choice", named=True, sample=CRYSTAL),
    Slot("sample.surface", {PLAIN: surface_state.SurfaceBand}, "how the surface shows", sample=SURFACE_STATE),
    Slot(
        "sample.defects",
        scatterers.SCATTERERS,
        "scatterers by density, by names of your choice",
        named=True,
        sample=SURFACE_STATE,
    ),
    Slot(
        "sample.corrals",
        scatterers.CORRALS,
        "figures built of adatoms, by names of your choice",
        named=True,
        sample=SURFACE_STATE,
    ),
    Slot("sample.steps", {PLAIN: terraces.Steps}, "a flight of steps", sample=SURFACE_STATE),
    Slot("sample.herringbone", {PLAIN: terraces.Herringbone}, "the reconstruction of Au(111)", sample=SURFACE_STATE),
    Slot("sample.surface", {PLAIN: orbitals.Orbitals}, "how the rows show", sample=ORBITALS),
    Slot(
        "sample.defects",
        site_defects.SITE_DEFECTS,
        "defects by density, by names of your choice",
        named=True,
        sample=ORBITALS,
    ),
    Slot("sample.buckling", {PLAIN: orbitals.Buckling}, "how dimers are buckled", sample=ORBITALS),
    Slot("sample.steps", {PLAIN: ledges.Ledges}, "a flight of steps with kinks", sample=ORBITALS),
    Slot("tip", tips.TIPS, "the tip", required=True, usual="tungsten"),
    Slot(
        "extra_apexes",
        tips.EXTRA_APEXES,
        "further apexes of the tip, by names of your choice",
        named=True,
        usual="tungsten",
    ),
    Slot(
        "later_tips",
        tips.TIPS,
        "what the tip becomes when it changes: one after the other, by names in their order",
        named=True,
        usual="tungsten",
        sample=CRYSTAL,
    ),
    Slot("junction", {PLAIN: junction.Junction}, "bias, barrier and setpoint", required=True),
    Slot(
        "junctions",
        {PLAIN: junction.OwnJunction},
        "several junctions over one sample, by names in their order",
        named=True,
    ),
    Slot("instrument.feedback", {PLAIN: instrument.Feedback}, "the feedback loop; absent: a perfect one"),
    Slot("instrument.constant_height", {PLAIN: instrument.ConstantHeight}, "no loop: z rests, the current is recorded"),
    Slot("instrument.noise", noise.NOISES, "noise sources, by names of your choice", named=True),
    Slot("instrument.creep", instrument.CREEPS, "lateral creep"),
    Slot("instrument.z_creep", {PLAIN: instrument.ZCreep}, "creep of the z piezo"),
    Slot("instrument.drift", instrument.DRIFTS, "lateral drift"),
    Slot("instrument.jitter", {PLAIN: instrument.Jitter}, "lateral jitter of the lines"),
    Slot("instrument.scanner", {PLAIN: instrument.Scanner}, "calibration errors and bow of the lateral scanner"),
    Slot("instrument.lateral_hysteresis", piezo.LATERAL_HYSTERESES, "lag of the fast axis behind its command"),
    Slot("instrument.tip_jumps", {PLAIN: instrument.TipJumps}, "sudden changes of the tip"),
    Slot(
        "instrument.pick_ups",
        {PLAIN: instrument.PickUp},
        "what the tip picks up and drops, by names of your choice",
        named=True,
    ),
    Slot("instrument.tilt", {PLAIN: instrument.Tilt}, "tilt of the sample plane"),
    Slot("instrument.z_piezo", piezo.Z_PIEZOS, "the z piezo"),
    Slot("instrument.z_resonance", {PLAIN: piezo.Resonance}, "resonance of the z piezo"),
    Slot("targets", defect_targets.CRYSTAL_TARGETS, LEARNT, named=True, fixed=True, sample=CRYSTAL),
    Slot("targets", defect_targets.SURFACE_TARGETS, LEARNT, named=True, fixed=True, sample=SURFACE_STATE),
    Slot("targets", defect_targets.ORBITAL_TARGETS, LEARNT, named=True, fixed=True, sample=ORBITALS),
    Slot(KEEP, {PLAIN: conditions.Condition}, "what every sample fulfils", named=True, fixed=True),
)


def slots(sample_kind: str) -> list[Slot]:
    """Return the places of recipes with this kind of sample, in the order of ``SLOTS``."""
    return [slot for slot in SLOTS if slot.sample in (None, sample_kind)]


def sample_kind(tree: Tree) -> str:
    """Return the kind of sample of a checked recipe tree."""
    return str(tree[SAMPLE].get(KIND, CRYSTAL))


@functools.cache
def defect_kinds(sample_kind: str) -> Mapping[str, type[Any]]:
    """Return the kinds of defects of a kind of sample by name; a store codes them by their position."""
    return next(slot.kinds for slot in slots(sample_kind) if slot.path == f"{SAMPLE}.defects")


def material_of(tree: Tree) -> Material | None:
    """Return the lattice and the sites of a recipe tree's material; None where it names none that there is."""
    given = tree[SAMPLE]["material"]
    return _own(json.dumps(given)) if isinstance(given, Mapping) else MATERIALS[sample_kind(tree)].get(given)


def lattice_of(tree: Tree) -> Material:
    """Return the lattice and the sites of a checked recipe tree's material."""
    material = material_of(tree)
    assert material is not None
    return material


@functools.lru_cache(maxsize=16)
def _own(text: str) -> Material:
    """Return the material of a recipe's own, one object a process."""
    return written.from_mapping(json.loads(text))


@dataclass(frozen=True)
class Key:
    """One key of a kind, as its dataclass field declares it."""

    name: str
    type: type[Any]  # float, int or str
    legal: Legal
    meaning: str
    required: bool
    default: Any  # None: absent

    @property
    def unit(self) -> str:
        """Return the unit that the name ends in."""
        return unit_of(self.name)


def keys_of(kind: type[Any]) -> Mapping[str, Key]:
    """Return the keys of a kind by name, in the order of its dataclass."""
    return _keys_of(kind)  # type: ignore[arg-type]  # mypy doubts that a class is hashable


@functools.cache
def _keys_of(kind: type[Any]) -> Mapping[str, Key]:
    hints = typing.get_type_hints(kind)
    return {field.name: _key(field, hints[field.name]) for field in dataclasses.fields(kind)}


def _key(field: dataclasses.Field[Any], hint: Any) -> Key:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    (value_type,) = [option for option in options if option is not types.NoneType]
    required = field.default is dataclasses.MISSING
    legal, meaning = field.metadata.get("legal", Legal()), field.metadata.get("meaning", "")
    return Key(field.name, value_type, legal, meaning, required, None if required else field.default)


_UNIT_WORDS = {"percent": "%", "nm2": "nm^2", "nm3": "nm^3"} | {
    word: word
    for word in (
        "nm",
        "pm",
        "eV",
        "V",
        "um",
        "nA",
        "pA",
        "fA",
        "GOhm",
        "K",
        "s",
        "ms",
        "min",
        "deg",
        "Hz",
        "frame",
        "efold",
        "decade",
    )
}


def unit_of(name: str) -> str:
    """Return the unit a key's name ends in; '1' for a ratio.

    Examples
    --------
    >>> [unit_of(n) for n in ("size_nm", "density_per_nm2", "walk_nm_per_sqrt_min", "loop_gain")]
    ['nm', '1/nm^2', 'nm/sqrt(min)', '1']
    """
    words = name.rsplit(".", 1)[-1].split("_")
    above: list[str] = []
    below: list[str] = []
    while words and (words[-1] in _UNIT_WORDS or words[-1] in ("per", "sqrt")):
        word = words.pop()
        if word == "per":
            below, above = above, []
        elif word == "sqrt" and above:
            above[0] = f"sqrt({above[0]})"
        elif word in _UNIT_WORDS:
            above.insert(0, _UNIT_WORDS[word])
    numerator = " ".join(above) or "1"
    return f"{numerator}/{' '.join(below)}" if below else numerator


@dataclass(frozen=True)
class Leaf:
    """A key that is drawn: its path, its distribution, its unit, and how its column codes the value."""

    path: str
    distribution: Distribution
    unit: str
    categories: tuple[str, ...] | None
    key: Key

    def value(self, number: float) -> float | int | str:
        """Return the value of the key that a number of the column stands for."""
        if self.categories is not None:
            return self.categories[int(number)]
        return int(number) if self.key.type is int else float(number)


@dataclass(frozen=True)
class Part:
    """One kind at one place: the values of its constant keys, the leaves of the drawn ones."""

    path: str
    kind: str
    cls: type[Any]
    constants: Mapping[str, Any]
    drawn: Mapping[str, Leaf]
    per_defect: Mapping[str, Distribution]
    shared: frozenset[str] = frozenset()  # of a junction beside others: the constants that are those of ``junction``

    def key_path(self, name: str) -> str:
        """Return where a key stands in the recipe."""
        if name in self.drawn:
            return self.drawn[name].path
        return f"{JUNCTION if name in self.shared else self.path}.{name}"

    def build(self, drawn_values: Mapping[str, Any]) -> Any:
        """Return the kind's instance with given values of its drawn keys.

        Raises
        ------
        KeyRangeError
            If a value is out of the legal range of its key.
        """
        return self.cls(**self.constants, **drawn_values)

    def corner(self, end: int, keys: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return the values of drawn keys at the lower end (0), or of some keys at an end of their range."""
        chosen = {name: end if name in keys or not keys else 0 for name in self.drawn}
        return {name: leaf.value(leaf.distribution.ends()[chosen[name]]) for name, leaf in self.drawn.items()}


def part(path: str, slot: Slot, mapping: Tree) -> Part:
    """Return the part that a checked mapping of plain values describes."""
    kind = mapping.get(KIND, slot.only_kind())
    cls = slot.kinds[kind]
    constants: dict[str, Any] = {}
    drawn: dict[str, Leaf] = {}
    per_defect: dict[str, Distribution] = {}
    for name, key in keys_of(cls).items():
        value = mapping.get(name)
        if not isinstance(value, Mapping):
            constants[name] = key.default if value is None else value
            continue
        distribution = forms.parse({k: v for k, v in value.items() if k != PER})
        if value.get(PER) == "defect":
            per_defect[name] = distribution
        else:
            drawn[name] = leaf(f"{path}.{name}", key, distribution)
    return Part(path, kind, cls, constants, drawn, per_defect)


def leaf(path: str, key: Key, distribution: Distribution) -> Leaf:
    """Return the leaf of a drawn key."""
    categories = distribution.categories if isinstance(distribution, Words) else None
    return Leaf(path, distribution, "" if categories else key.unit, categories, key)


def get(tree: Tree, path: str) -> Any:
    """Return the value at a dotted path of a tree; None where there is none."""
    value: Any = tree
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def numbers(all_parts: Iterable[Part]) -> dict[str, float]:
    """Return every constant number of some parts by its path."""
    found = ((part.key_path(name), value) for part in all_parts for name, value in part.constants.items())
    return {path: float(value) for path, value in found if isinstance(value, (int, float))}


def junctions(tree: Tree) -> Iterator[tuple[Slot, Part]]:
    """Yield the junctions of a recipe tree: one, or the several with what they share, in the order of their names."""
    one, several = (next(slot for slot in SLOTS if slot.path == path) for path in (JUNCTION, JUNCTIONS))
    shared = tree.get(JUNCTION) or {}
    if not tree.get(JUNCTIONS):
        yield from [(one, part(JUNCTION, one, shared))] if shared else []
        return
    for name, own in sorted(tree[JUNCTIONS].items()):
        rest = {key: value for key, value in shared.items() if key not in displaced(own)}
        common, ours = part(JUNCTION, several, rest), part(f"{JUNCTIONS}.{name}", several, own)
        given = {key: ours.constants[key] for key in own if key in ours.constants}
        drawn = {**common.drawn, **ours.drawn}
        constants = {key: value for key, value in {**common.constants, **given}.items() if key not in drawn}
        yield several, Part(ours.path, ours.kind, ours.cls, constants, drawn, {}, frozenset(rest))


def displaced(own: Iterable[str]) -> set[str]:
    """Return the keys of ``junction`` that give way to a junction's own: the same ones, and what excludes them."""
    given = set(own)
    return given.union(*(names for names in junction.Junction.either if given & set(names)))


def parts(tree: Tree) -> Iterator[tuple[Slot, Part]]:
    """Yield every part of a checked recipe tree with its place, in the order of ``SLOTS``."""
    for slot in slots(sample_kind(tree)):
        found = get(tree, slot.path)
        if slot.path == JUNCTIONS or found is None:
            continue
        if slot.path == JUNCTION:
            yield from junctions(tree)
            continue
        members = found if slot.named else {None: found}
        for name, mapping in members.items():
            yield slot, part(slot.path if name is None else f"{slot.path}.{name}", slot, mapping)
