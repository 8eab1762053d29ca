"""What a recipe means: a plan draws the parameters of any sample as columns, and reads them back from a record.

A plan is plain, frozen data: it goes to worker processes, and is made again from the tree that a store keeps.
"""

from __future__ import annotations

import functools
import graphlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import expressions, shifts, specs, streams
from .conditions import Condition
from .distributions import Distribution, Expr
from .errors import StmfabError
from .joints import Joint, joint, redraw
from .parameters import DEFECTS, NOISE, PICK_UPS, PLACES, DefectDraw, Parameters, place_of
from .parts import JUNCTION, JUNCTIONS, KEEP, Leaf, Part, Slot, Tree, lattice_of, numbers, parts, sample_kind
from .physics import halos
from .physics.arrays import JUNCTION as JUNCTION_AXIS
from .physics.arrays import ArraySpec
from .physics.defect_targets import Instances, Target
from .physics.instrument import Instrument, Raster
from .physics.keys import KeyRangeError
from .physics.materials import Material
from .streams import Floats, Ints

INDEX = "index"  # the column that says which samples the others hold
REDRAWS = "redraws"
N_FIRST = 1024  # draws that stand for the range of a formula
NO_CONTENT = ("samples", "description")  # top-level keys that change no sample
OFFSETS = ("offset_x_nm", "offset_y_nm")
DERIVED: tuple[tuple[str, str], ...] = (  # numbers a simulation adds to a sample's record: name, unit
    ("setpoint_nA", "nA"),
    ("height_nm", "nm"),
    ("kappa_per_nm", "1/nm"),
    ("ideal_range_nm", "nm"),
    ("sub_steps", "1"),
    ("loop_radius", "1"),
    ("stopped", "1"),
    ("limited", "1"),
    ("outside", "1"),
)

Columns = dict[str, Floats]


@dataclass(frozen=True)
class Column:
    """One column of a sample's record."""

    name: str
    unit: str
    categories: tuple[str, ...] | None = None
    distribution: Distribution | None = None


@dataclass(frozen=True)
class Plan:
    """A checked recipe.

    Attributes
    ----------
    name, samples, seed : str, int, int
        The dataset's name, its number of samples, the seed of all its draws.
    tree : mapping
        The resolved recipe as plain JSON values, defaults filled in; ``from_tree`` makes the plan again.
    sample_kind, material : str
        The kind of sample, and the name of its material.
    parts : tuple of Part
        The kinds of every place but the targets.
    leaves : tuple of Leaf
        The keys drawn per sample, sorted by path.
    channels : tuple of str
        The recorded images.
    targets : mapping of str to Target
        The targets by their names.
    keep : mapping of str to Condition
        What every sample fulfils, by names: one that does not is drawn again as a whole.
    """

    name: str
    samples: int
    seed: int
    tree: Tree
    sample_kind: str
    material: str
    parts: tuple[Part, ...]
    leaves: tuple[Leaf, ...]
    formulas: tuple[Leaf, ...]  # the leaves that are computed, each after those it reads
    numbers: Mapping[str, float]  # constants that formulas may read
    joints: tuple[Joint, ...]
    channels: tuple[str, ...]
    targets: Mapping[str, Target]
    keep: Mapping[str, Condition]

    @property
    def identity(self) -> str:
        """Return the sha256 of everything in the recipe that decides a sample's bytes."""
        content = {key: value for key, value in self.tree.items() if key not in NO_CONTENT}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @functools.cached_property
    def raster(self) -> Raster:
        """Return the raster with every drawn key at the upper end of its range: the largest frame."""
        scan = next(part for part in self.parts if part.path == "scan")
        raster: Raster = scan.build({name: leaf.value(self.largest[leaf.path]) for name, leaf in scan.drawn.items()})
        return raster

    @functools.cached_property
    def largest(self) -> Mapping[str, float]:
        """Return the upper end of every drawn key by path; of a formula the largest of its first draws."""
        ends = {leaf.path: leaf.distribution.ends()[1] for leaf in self.leaves if leaf not in self.formulas}
        first = draw(self, 0, N_FIRST) if self.formulas else {}
        return ends | {leaf.path: float(first[leaf.path].max()) for leaf in self.formulas}

    @functools.cached_property
    def window_eV(self) -> tuple[float, float]:
        """Return the least and the largest energy of any sample's bias window, from the material's Fermi level."""
        energies: list[float] = []
        for junction in junction_parts(self.parts):
            biases, signs, levels = (self.ends(junction, name) for name in ("bias_V", "polarity", "fermi_eV"))
            energies += [level + sign * bias for level in levels for sign in signs for bias in (0.0, *biases)]
        charged = shifts.peaks_eV(self.parts, self.ends)
        shifts_eV = halos.levels_eV(charged, self.lattice.broadening_eV)
        return min(energies) - float(shifts_eV[-1]), max(energies) - float(shifts_eV[0])

    @functools.cached_property
    def lattice(self) -> Material:
        """Return the lattice and the sites of the material."""
        return lattice_of(self.tree)

    @functools.cached_property
    def built(self) -> tuple[tuple[Part, str, str, Any], ...]:
        """Return every part with its place, its name there, and, where none of its keys is drawn, what it builds."""
        return tuple((part, *place_of(part.path), _constant(part)) for part in self.parts)

    @functools.cached_property
    def junctions(self) -> tuple[str, ...]:
        """Return the names of the junctions in their order; empty for one without a name."""
        return tuple(part.path.partition(".")[2] for part in junction_parts(self.parts) if part.path != JUNCTION)

    @property
    def instances(self) -> Instances | None:
        """Return the target that asks what each defect shows of itself; None where none does."""
        return next((target for target in self.targets.values() if isinstance(target, Instances)), None)

    @property
    def has_offsets(self) -> bool:
        """Return whether the scans of several junctions can be off one another: then each has a path of its own."""
        junctions = [part for part in junction_parts(self.parts) if part.path != JUNCTION]
        return any(part.drawn.get(name) or part.constants.get(name) for part in junctions for name in OFFSETS)

    @functools.cached_property
    def derived(self) -> tuple[tuple[str, str], ...]:
        """Return name and unit of the numbers a simulation adds to a sample's record, junction after junction."""
        places = [f"{JUNCTIONS}.{name}." for name in self.junctions] or [""]
        return tuple((place + name, unit) for place in places for name, unit in DERIVED)

    def ends(self, part: Part, name: str) -> tuple[float, ...]:
        """Return the ends of a number's range (of a formula's first draws), or its constant value; 0 for none."""
        if name not in part.drawn:
            return (float(part.constants[name] or 0.0),)
        leaf = part.drawn[name]
        if leaf not in self.formulas:
            return leaf.distribution.ends()
        first = draw(self, 0, N_FIRST)[leaf.path]
        return float(first.min()), float(first.max())

    @functools.cached_property
    def arrays(self) -> tuple[ArraySpec, ...]:
        """Return every array of the dataset, in the order a reader wants: images, targets, labels, parameters."""
        pixels = self.raster.pixels
        images = [specs.channel(name, pixels).of_each(self.junctions) for name in self.channels]
        along_path = self.junctions if self.has_offsets else ()
        room = specs.room(self.parts, self.largest, self.raster.size_nm, self.lattice)
        drawn = [
            spec.of_each(along_path if target.of_path else self.junctions)
            for name, target in self.targets.items()
            for spec in specs.of_target(name, target, pixels, room)
        ]
        members = specs.members(self.parts)
        labels = specs.defect_table(members, self.largest, self.raster.size_nm, along_path)
        if self.instances is not None:
            labels += specs.seen_columns(labels, self.junctions)
        return (*images, *drawn, *labels, *specs.parameters(len(self.record_columns)))

    @functools.cached_property
    def species(self) -> Mapping[str, str]:
        """Return the species of the defects by their names, of corrals with their place before it."""
        return specs.species(self.parts, self.sample_kind, self.lattice)

    @functools.cached_property
    def n_listed(self) -> int | None:
        """Return the rows of the table of defects; None for a recipe without one."""
        return next((spec.shape[-1] for spec in self.arrays if spec.name == "defect_kind"), None)

    @functools.cached_property
    def finite(self) -> tuple[str, ...]:
        """Return the arrays, and numbers that a simulation adds, in which there is no room for NaN: no tables."""
        whole = (spec for spec in self.arrays if spec.is_image or spec.dims in ((), (JUNCTION_AXIS,)))
        names = (spec.name for spec in whole if spec.dtype.startswith("float"))
        return tuple(dict.fromkeys([*names, *(name for name, _ in DERIVED)]))

    @functools.cached_property
    def record_columns(self) -> tuple[Column, ...]:
        """Return the columns of ``param``: the drawn keys by path, the counts of redraws, the derived numbers."""
        drawn = (Column(leaf.path, leaf.unit, leaf.categories, leaf.distribution) for leaf in self.leaves)
        places = [*(f"{joint.path}." for joint in self.joints), *([""] if self.keep else [])]
        redraws = (Column(f"{place}{REDRAWS}", "1") for place in places)
        return (*drawn, *redraws, *(Column(name, unit) for name, unit in self.derived))


def _constant(part: Part) -> Any:
    """Return what a part builds in every sample, None where that differs."""
    return None if part.drawn or place_of(part.path)[0] == DEFECTS else part.build({})


def from_tree(tree: Tree) -> Plan:
    """Return the plan of a resolved recipe tree, as a store keeps it. The tree is taken as checked."""
    placed = list(parts(tree))
    drawn_parts = tuple(part for slot, part in placed if not slot.fixed)
    by_path = {leaf.path: leaf for part in drawn_parts for leaf in part.drawn.values()}
    leaves = [by_path[path] for path in sorted(by_path)]
    return Plan(
        name=tree["name"],
        samples=tree["samples"],
        seed=tree["seed"],
        tree=tree,
        sample_kind=sample_kind(tree),
        material=lattice_of(tree).name,
        parts=drawn_parts,
        leaves=tuple(leaves),
        formulas=_in_order(leaves),
        numbers=numbers(drawn_parts),
        joints=tuple(joint(part) for part in drawn_parts if hasattr(part.cls, "joint") and part.drawn),
        channels=tuple(tree["channels"]),
        targets=_built(placed, "targets"),
        keep=_built(placed, KEEP),
    )


def _built(placed: Iterable[tuple[Slot, Part]], place: str) -> dict[str, Any]:
    """Return the parts of a place where nothing is drawn, by their names."""
    return {part.path.split(".", 1)[1]: part.build({}) for slot, part in placed if slot.path == place}


def _in_order(leaves: list[Leaf]) -> tuple[Leaf, ...]:
    """Return the computed leaves, each after those it reads.

    Raises
    ------
    graphlib.CycleError
        If formulas read each other in a circle.
    """
    formulas = {leaf.path: leaf for leaf in leaves if isinstance(leaf.distribution, Expr)}
    graph = {path: formula(leaf).names for path, leaf in formulas.items()}
    return tuple(formulas[path] for path in graphlib.TopologicalSorter(graph).static_order() if path in formulas)


def formula(leaf: Leaf) -> expressions.Expression:
    """Return the parsed formula of a computed leaf."""
    assert isinstance(leaf.distribution, Expr)
    return expressions.parse(leaf.distribution.text)


def junction_parts(all_parts: Iterable[Part]) -> list[Part]:
    """Return the parts that are junctions: the one, or the several in the order of their names."""
    return [part for part in all_parts if part.path == JUNCTION or part.path.startswith(f"{JUNCTIONS}.")]


def draw(plan: Plan, start: int, stop: int) -> Columns:
    """Return the drawn parameters of samples start..stop-1 as columns by path, each of shape (n_samples,).

    Words are coded by their position among the key's categories. ``index`` holds the sample indices,
    ``<part>.redraws`` how often a part's draw was repeated because it broke the part's joint rule. With ``keep`` these
    are the first draws, whether the samples are kept or not, and ``redraws`` is 0.
    """
    columns = _drawn(plan, plan.seed, np.arange(start, stop, dtype=np.int64))
    return {**columns, REDRAWS: np.zeros(stop - start)} if plan.keep else columns


def draw_again(plan: Plan, columns: Columns, indices: Ints, attempt: int) -> None:
    """Put other draws of some samples, all their streams anew, into the columns: those of an attempt, from 1."""
    rows = indices - int(columns[INDEX][0])
    for path, column in _drawn(plan, streams.seed_again(plan.seed, attempt), indices).items():
        columns[path][rows] = column
    columns[REDRAWS][rows] = attempt


def _drawn(plan: Plan, seed: int, indices: Ints) -> Columns:
    """Return the parameters of some samples as a seed gives them."""
    columns: Columns = {INDEX: indices.astype(np.float64)}
    for leaf in plan.leaves:
        if not isinstance(leaf.distribution, Expr):
            columns[leaf.path] = leaf.distribution.ppf(streams.column_at(seed, leaf.path, indices))
    for rule in plan.joints:
        columns[f"{rule.path}.{REDRAWS}"] = redraw(seed, rule, columns, indices)
    return computed(plan, columns)


def computed(plan: Plan, columns: Columns) -> Columns:
    """Return columns with those of the formulas, computed from the others.

    Raises
    ------
    StmfabError
        If a formula gives a value outside the legal range of its key.
    """
    columns = dict(columns)
    for leaf in plan.formulas:
        columns[leaf.path] = evaluate(leaf, {**plan.numbers, **columns}, len(columns[INDEX]))
        _check_formula(plan, leaf, columns)
    return columns


def evaluate(leaf: Leaf, values: Mapping[str, Floats | float], n_rows: int) -> Floats:
    """Return the column of a computed leaf, shape (n_rows,)."""
    return np.array(np.broadcast_to(formula(leaf)(values), (n_rows,)))


def _check_formula(plan: Plan, leaf: Leaf, columns: Columns) -> None:
    """Hold a computed column against the legal range of its key.

    Raises
    ------
    StmfabError
        For the first value that is not finite or out of range: a recipe is checked at the ends only.
    """
    for index, value in zip(columns[INDEX], columns[leaf.path], strict=True):
        if not (np.isfinite(value) and leaf.key.legal.holds(value)):
            sample = f"sample {index:.0f} (seed {plan.seed})"
            raise StmfabError(f"{sample}: {leaf.path}: the formula gives {value:g}; legal: {leaf.key.legal}")


def parameters(plan: Plan, columns: Columns, index: int) -> Parameters:
    """Return the parameters of the sample with this index, whose row is in the columns.

    Raises
    ------
    StmfabError
        If a formula gave a value outside the legal range of its key.
    """
    row = index - int(columns[INDEX][0])
    if not 0 <= row < len(columns[INDEX]):
        raise IndexError(f"sample {index} is not in these columns")
    built: dict[str, dict[str, Any]] = {place: {} for place in PLACES}
    for part, place, name, made in plan.built:
        if made is None:
            values = {key: leaf.value(columns[leaf.path][row]) for key, leaf in part.drawn.items()}
            if place == DEFECTS:
                made = DefectDraw(part.cls, {**part.constants, **values}, part.per_defect)
            else:
                try:
                    made = part.build(values)
                except KeyRangeError as fault:
                    raise StmfabError(f"sample {index} (seed {plan.seed}): {part.path}.{fault}") from None
        built[place][name] = made
    single, instrument = built[""], built["instrument"]
    return Parameters(
        index=index,
        seed=streams.seed_again(plan.seed, int(columns[REDRAWS][row]) if plan.keep else 0),
        raster=single["scan"],
        material=plan.lattice,
        defects=built[DEFECTS],
        sample=built["sample"],
        tip=single["tip"],
        extra_apexes=built["extra_apexes"],
        later_tips=built["later_tips"],
        junctions=built[JUNCTIONS] or {"": single[JUNCTION]},
        instrument=Instrument(**instrument, noise=built[NOISE], pick_ups=built[PICK_UPS]),
    )


def record(plan: Plan, columns: Columns, derived: Mapping[str, Floats]) -> Floats:
    """Return the records of some samples, shape (n_samples, n_parameters), from draws and derived columns."""
    every = {**columns, **derived}
    return np.stack([every[column.name] for column in plan.record_columns], axis=-1)


def parameters_from_record(plan: Plan, row: Floats, index: int) -> Parameters:
    """Return the parameters of a sample from its row of ``param``, shape (n_parameters,): the same, bit for bit."""
    columns = {column.name: row[i : i + 1] for i, column in enumerate(plan.record_columns)}
    return parameters(plan, {**columns, INDEX: np.array([float(index)])}, index)
