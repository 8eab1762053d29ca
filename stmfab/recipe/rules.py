"""Rules of a recipe over several keys: formulas, corners of the drawn ranges, joint rules, sites and densities."""

from __future__ import annotations

import graphlib
import itertools
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from .. import specs, streams
from ..distributions import Expr
from ..errors import did_you_mean
from ..joints import Joint, joint
from ..parts import (
    CRYSTAL,
    JUNCTION,
    JUNCTIONS,
    KIND,
    SAMPLE,
    Leaf,
    Part,
    Tree,
    get,
    material_of,
    numbers,
    sample_kind,
)
from ..physics import placement
from ..physics.defect_targets import ALL, Instances, Keypoints
from ..physics.keys import KeyRangeError
from ..physics.materials import Material
from ..physics.point_targets import Spectra
from ..physics.targets import CHANNELS, Conductance
from ..plan import DERIVED, REDRAWS, evaluate, formula, junction_parts
from ..streams import Floats
from .across import check_across
from .checking import Report
from .formulas import check_keep, unreadable
from .values import expected, stand_in
from .windows import check_charges, check_coherent, check_gap, check_holes, ends_of

DIMENSIONS = ("sample", JUNCTION, "y", "x", "defect", "parameter")
GROUPS = ("labels", "receipts")  # of a store, beside its arrays
PLACED = ("sample.defects.", "sample.corrals.")
N_PROBES = 256  # random rows on which formulas are tried, besides the corners
MAX_CORNERS = 8  # drawn keys up to which all corners of their ranges are tried
MIN_JOINT_SHARE = 0.01
OWN_PLACES = (
    ("sample.herringbone", "does not reconstruct", "au-111"),
    ("sample.buckling", "has no dimers that buckle", "ge001"),
)
N_JOINT_PROBES = 4096

CRYSTALS_OWN = ("current", "fermi_eV", "barrier", "tip_work_function_eV")  # keys of a junction

Ends = dict[str, tuple[float, float]]


def check_rules(report: Report, tree: Tree) -> None:
    """Add the faults of the rules over several keys to a report."""
    all_parts = [part for slot, part in report.parts if not slot.fixed]
    ends = _ends(all_parts, report)
    for part in all_parts:
        _check_corners(part, ends, report)
        if hasattr(part.cls, "joint"):
            _check_joint(part, report)
    _check_target_names(report)
    _check_instances(all_parts, report)
    _check_keypoints(all_parts, report)
    _check_later_tips(all_parts, report)
    material = material_of(tree)
    crystal = material if sample_kind(tree) == CRYSTAL else None
    check_across(report, all_parts, ends, material=crystal, channels=tree["channels"])
    if material is not None:
        _check_sites(all_parts, material, ends, report)
        if sample_kind(tree) == CRYSTAL:
            check_gap(all_parts, material, ends, report)
            check_charges(all_parts, material, ends, report)
            _check_spectra(all_parts, report)
        for place, words, legal in OWN_PLACES:
            if get(tree, place) is not None and material.name != legal:
                report.fault_at(place, f"{material.name} {words}; legal: with {legal}")
    check_coherent(all_parts, report)
    if sample_kind(tree) == CRYSTAL and material is not None and material.n_filled is None:
        check_holes(all_parts, material, ends, report)
    _check_polarity(all_parts, report)
    check_keep(all_parts, report)
    _check_meant(tree, report)


def _check_target_names(report: Report) -> None:
    """Report targets whose arrays would take the name of another array."""
    taken = {
        *CHANNELS,
        *DIMENSIONS,
        *GROUPS,
        *(spec.name for spec in specs.parameters(1)),
        *(name for name, _ in DERIVED),
        REDRAWS,
    }
    for slot, part in report.parts:
        if slot.path != "targets" or report.hidden(part.path):
            continue
        try:
            found = part.build({}).arrays(part.path.partition(".")[2], 2)
        except KeyRangeError as fault:
            report.fault_at(part.key_path(fault.key_name), f"found {_words(fault.found)}; legal: {fault.legal}")
            continue
        names = {spec.name for spec in found}.union(*(spec.dims for spec in found if not spec.is_image))
        if names & taken or any(name.startswith("defect_") for name in names):
            report.fault_at(part.path, "the name of another array; legal: a name of its own")
        taken |= names


def _check_instances(all_parts: list[Part], report: Report) -> None:
    """Report instances of nothing, of a topography that there is not, or by two rules at once."""
    found = [part for slot, part in report.parts if slot.path == "targets" and issubclass(part.cls, Instances)]
    paths = [part.path for part in all_parts]
    for number, part in enumerate(found):
        if number:
            report.fault_at(part.path, f"found beside {found[0].path}; legal: one target of this kind")
        elif "instrument.constant_height" in paths:
            report.fault_at(part.path, "found with instrument.constant_height; legal: with a topography")
        elif not any(path.startswith(PLACED) for path in paths):
            report.fault_at(part.path, "the sample has no defects; legal: beside sample.defects")


def _check_keypoints(all_parts: list[Part], report: Report) -> None:
    """Report keypoints of defects that the recipe has not."""
    names = [part.path.split(".", 2)[2] for part in all_parts if part.path.startswith(PLACED)]
    for slot, part in report.parts:
        if slot.path != "targets" or not issubclass(part.cls, Keypoints):
            continue
        of = part.constants["of"]
        if of not in (ALL, *names):
            report.fault_at(f"{part.path}.of", f"unknown defects {of!r}{did_you_mean(str(of), [ALL, *names])}")


def _check_later_tips(all_parts: list[Part], report: Report) -> None:
    """Report later tips that no change of the tip brings."""
    changes = any(part.path == "instrument.tip_jumps" for part in all_parts)
    later = next((part.path for part in all_parts if part.path.startswith("later_tips.")), None)
    if later is not None and not changes and not report.hidden("instrument.tip_jumps"):
        report.fault_at(later, "the tip never changes; legal: later tips beside instrument.tip_jumps")


def _ends(all_parts: list[Part], report: Report) -> Ends:
    """Return the ends of every drawn key; those of formulas by trial. Formulas with a fault have none."""
    leaves = [leaf for part in all_parts for leaf in part.drawn.values()]
    formulas = {leaf.path: leaf for leaf in leaves if isinstance(leaf.distribution, Expr)}
    known = {leaf.path: leaf for leaf in leaves if leaf.path not in formulas}
    ends: Ends = {path: leaf.distribution.ends() for path, leaf in known.items()}
    readable = _readable(all_parts, formulas, report)
    if not readable:
        return ends
    read = {name for leaf in readable for name in formula(leaf).names}
    values: dict[str, Floats | float] = dict(_probes([known[name] for name in sorted(read) if name in known]))
    n_rows = next((len(column) for column in values.values() if isinstance(column, np.ndarray)), 1)
    values |= numbers(all_parts)
    for leaf in readable:
        if not all(name in values for name in formula(leaf).names):
            continue
        values[leaf.path] = column = evaluate(leaf, values, n_rows)
        if _legal_column(leaf, column, report):
            ends[leaf.path] = (float(column.min()), float(column.max()))
    return ends


def _legal_column(leaf: Leaf, column: Floats, report: Report) -> bool:
    """Return whether a formula's values are legal; report the first that is not."""
    if not np.isfinite(column).all():
        report.fault_at(leaf.path, f"expr: no finite value for some draws; legal: {expected(leaf.key)}")
        return False
    for value in (float(column.min()), float(column.max())):
        if not leaf.key.legal.holds(value):
            report.fault_at(leaf.path, f"expr: the formula reaches {value:g}; legal: {expected(leaf.key)}")
            return False
    return True


def _probes(leaves: list[Leaf]) -> dict[str, Floats]:
    """Return columns of trial values: the corners of the leaves' ranges (some, if many), then random draws."""
    if len(leaves) <= MAX_CORNERS:
        corners = np.array(list(itertools.product((0, 1), repeat=len(leaves))), np.int64)
    else:
        bits = [streams.column(0, leaf.path, 0, N_PROBES, word=1) for leaf in leaves]
        corners = np.round(np.stack(bits, axis=-1)).astype(np.int64)
    columns = {}
    for i, leaf in enumerate(leaves):
        inside = leaf.distribution.ppf(streams.column(0, leaf.path, 0, N_PROBES))
        columns[leaf.path] = np.concatenate([np.array(leaf.distribution.ends())[corners[:, i]], inside])
    return columns


def _readable(all_parts: list[Part], formulas: dict[str, Leaf], report: Report) -> list[Leaf]:
    """Return the formulas whose names are all known, each after those it reads; report the others."""
    good = {path: leaf for path, leaf in formulas.items() if _names_known(leaf, all_parts, report)}
    graph = {path: formula(leaf).names & good.keys() for path, leaf in good.items()}
    while True:
        try:
            return [good[path] for path in graphlib.TopologicalSorter(graph).static_order()]
        except graphlib.CycleError as fault:
            circle = list(reversed(fault.args[1]))
            first = min(circle)
            turned = circle[circle.index(first) : -1] + circle[: circle.index(first)] + [first]
            report.fault_at(first, f"expr: a circle: {' reads '.join(turned)}")
            for path in circle[1:]:
                good.pop(path, None)
            graph = {path: names & good.keys() for path, names in graph.items() if path in good}


def _names_known(leaf: Leaf, all_parts: list[Part], report: Report) -> bool:
    """Return whether a formula reads numbers of this recipe only; report each other name."""
    bad = unreadable(formula(leaf).names, all_parts)
    for name, why in bad.items():
        if not report.hidden(name):
            report.fault_at(leaf.path, f"expr: {why}")
    return not bad


def _check_corners(part: Part, ends: Ends, report: Report) -> None:
    """Build a part at the ends of its drawn keys and report what its own rules refuse."""
    names = list(part.drawn)
    if len(names) <= MAX_CORNERS:
        corners = [dict(zip(names, bits, strict=True)) for bits in itertools.product((0, 1), repeat=len(names))]
    else:
        corners = [{name: int(name == high or high == "") for name in names} for high in (*names, "", "none")]
    seen = set()
    for corner in corners:
        values = {name: _end(leaf, ends, corner[name]) for name, leaf in part.drawn.items()}
        values |= {name: distribution.ends()[0] for name, distribution in part.per_defect.items()}
        try:
            part.build(values)
        except KeyRangeError as fault:
            path = part.key_path(fault.key_name)
            if path not in seen and not report.hidden(path):
                report.fault_at(path, f"found {_words(fault.found)}; legal: {fault.legal}")
            seen.add(path)


def _end(leaf: Leaf, ends: Ends, end: int) -> object:
    """Return the value of a drawn key at an end of its range; of a faulty formula any legal value."""
    return leaf.value(ends[leaf.path][end]) if leaf.path in ends else stand_in(leaf.key)


def _words(found: object) -> str:
    """Return what a kind's own rule found, in words."""
    if isinstance(found, (list, tuple)):
        return " and ".join(str(item) for item in found)
    return f"{found:g}" if isinstance(found, float) else str(found)


def _check_joint(part: Part, report: Report) -> None:
    """Report a joint rule that the constants break, or that hardly a draw obeys."""
    rule = joint(part)
    paths = [f"{part.path}.{name}" for name in part.cls.joint]
    if any(report.hidden(path) for path in paths):
        return
    for leaf in rule.drawn.values():
        if isinstance(leaf.distribution, Expr):
            report.fault_at(
                leaf.path, "expr: a key of a joint rule is drawn again where the rule fails; legal: no expr"
            )
            return
    columns = {
        leaf.path: leaf.distribution.ppf(streams.column(0, leaf.path, 0, N_JOINT_PROBES))
        for leaf in rule.drawn.values()
    }
    share = float(np.mean(rule.holds(columns, N_JOINT_PROBES if rule.drawn else 1)))
    if share < MIN_JOINT_SHARE:
        report.fault_at(part.path, _joint_text(rule, share))


def _joint_text(rule: Joint, share: float) -> str:
    if rule.drawn:
        return (
            f"{share:.1%} of the draws obey the rule; legal: {MIN_JOINT_SHARE:.0%} or more with {rule.cls.joint_words}"
        )
    found = ", ".join(f"{name} = {value:g}" for name, value in rule.constants.items())
    return f"found {found}; legal: {rule.cls.joint_words}"


def _check_sites(all_parts: list[Part], material: Material, ends: Ends, report: Report) -> None:
    """Report defects on sites that the material does not have, and densities that cannot fit."""
    names = [site.name for site in material.sites]
    room = 1 / material.cell_area_nm2
    taken: Mapping[str, list[float]] = defaultdict(list)
    for part in (part for part in all_parts if part.path.startswith("sample.defects.")):
        site, path = part.constants.get("site"), f"{part.path}.density_per_nm2"
        if report.hidden(f"{part.path}.site") or report.hidden(path):
            continue
        if site not in names:
            report.fault_at(
                f"{part.path}.site", f"unknown site {site!r} of {material.name}{did_you_mean(str(site), names)}"
            )
            continue
        legal = part.cls.sites(material)
        if site not in legal:
            words = ", ".join(legal) or f"none of {material.name}"
            report.fault_at(f"{part.path}.site", f"no {part.kind} of {material.name} on {site}; legal: {words}")
            continue
        density = ends.get(path, (0.0, float(part.constants.get("density_per_nm2", 0.0))))[1]
        _check_apart(part, material, density, ends, report)
        left = room - sum(taken[site])
        if density > left:
            others = f" beside the {sum(taken[site]):g} of the defects before it" if taken[site] else ""
            report.fault_at(path, f"{density:g} per nm^2 do not fit on {site}; legal: at most {left:.4g}{others}")
        else:
            taken[site].append(density)


def _check_apart(part: Part, material: Material, density: float, ends: Ends, report: Report) -> None:
    """Report defects that keep a distance at a density at which they cannot; those of clusters thin out."""
    least_nm = ends_of(part, "min_distance_nm", ends)[1]
    if not least_nm or "cluster_n" in part.drawn or part.constants["cluster_n"]:
        return
    most = placement.most_per_nm2(material, least_nm)
    if density > most:
        found = f"{density:g} per nm^2 do not fit {least_nm:g} nm apart"
        report.fault_at(f"{part.path}.density_per_nm2", f"{found}; legal: at most {most:.4g}")


def _check_spectra(all_parts: list[Part], report: Report) -> None:
    """Report maps and points of a crystal's dI/dV under a tip that changes."""
    if any(part.path.startswith("later_tips.") for part in all_parts):
        for part in (part for slot, part in report.parts if slot.path == "targets"):
            if issubclass(part.cls, (Conductance, Spectra)):
                report.fault_at(part.path, "found with later_tips; legal: without")


def _check_meant(tree: Tree, report: Report) -> None:
    """Report what another way to the current would pass over: p waves, and a crystal's choices on a metal."""
    metal = sample_kind(tree) != CRYSTAL
    junctions = [JUNCTION, *(f"{JUNCTIONS}.{name}" for name in tree.get(JUNCTIONS, ()))]
    for path in (f"{place}.{name}" for place in junctions for name in CRYSTALS_OWN):
        if metal and get(tree, path) is not None:
            report.fault_at(path, f"belongs to {SAMPLE}.{KIND} {CRYSTAL}; legal: nothing here")
    coherent = any(get(tree, f"{place}.current") == "coherent" for place in junctions)
    beside = [f"extra_apexes.{name}" for name in get(tree, "extra_apexes") or ()]
    for place in ("tip", *beside, *(f"later_tips.{name}" for name in get(tree, "later_tips") or ())):
        if get(tree, f"{place}.p_share") is None:
            continue
        if metal:
            legal = f"need {SAMPLE}.{KIND} {CRYSTAL}; legal: another kind of tip"
            report.fault_at(place, f"tunnels through p waves, which {legal}")
        elif coherent and beside and not place.startswith("later"):
            report.fault_at(place, "tunnels through p waves; legal with current: coherent: without extra_apexes")


def _check_polarity(all_parts: list[Part], report: Report) -> None:
    """Report a drawn polarity that several junctions share: what is filled in one sample would be empty in another."""
    for part in junction_parts(all_parts):
        drawn = part.drawn.get("polarity")
        if drawn is not None and part.path != JUNCTION and drawn.path.startswith(f"{JUNCTION}."):
            report.fault_at(drawn.path, f"drawn beside {JUNCTIONS}; legal: -1 or 1, the sign being that of each bias_V")
            return
