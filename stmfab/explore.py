"""What the page of ``stmfab explore`` asks for: the form of a recipe, one sample under the hand, a recipe to keep."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import gallery, glances, held, parts, ranges, recipe, statistics, text
from .errors import StmfabError
from .glances import Memory
from .held import Held, Varied
from .layout import apart
from .parts import JUNCTION, JUNCTIONS, KEEP, KIND, Part, Slot, keys_of
from .physics import piezo
from .physics.arrays import ArraySpec
from .physics.keys import KeyRangeError
from .physics.piezo import LinearPiezo
from .physics.targets import CHANNELS
from .place import disk_errors
from .plan import Plan
from .ranges import Place, Span
from .recipe.values import expected
from .sample import ViewOf

ABSENT, PRESENT = "none", "present"  # in a menu of kinds: the part is left out; the only kind, which has no name
MOST_TRIES = 5  # keys added to a fresh part until it is legal
LAG_POINTS = 65
SOME = '{"of": "defect_count", "at_least": 1}'  # as a new condition begins; a new junction as what all share

Answer = dict[str, Any]
GROUP: Answer = {"meaning": "", "kind": "", "kinds": {}, "keys": [], "adds": {}, "choices": {}, "removable": False}
Changes = Mapping[str, Any]


def form(still: Held, changes: Changes) -> Answer:
    """Return what the page shows of a recipe: its groups of keys with meanings, units, ranges and values.

    Parts with names of the user's choice can be added (``adds``) and taken away (``removable``).
    """
    plan = held.varied(still, changes).plan
    shown = {part.path: part for _, part in parts.parts(plan.tree)}
    groups = [_material(plan), _channels(plan)]
    for slot in parts.slots(plan.sample_kind):
        if slot.path == JUNCTION and plan.junctions:
            continue
        if slot.named:
            groups.append(_adding(plan, slot))
        paths = [path for path in shown if path == slot.path or (slot.named and path.startswith(f"{slot.path}."))]
        for path in paths or ([] if slot.named else [slot.path]):
            groups.append(_group(plan, path, slot, shown.get(path)))
    return {"name": plan.name, "seed": plan.seed, "description": plan.tree.get("description", ""), "groups": groups}


def _material(plan: Plan) -> Answer:
    """Return the group of the only key that stands at no place of parts."""
    key = {"path": "sample.material", "name": "material", "meaning": "the crystal", "value": plan.material}
    names = list(parts.MATERIALS[plan.sample_kind])
    words = {"words": names, "legal": f"one of {', '.join(names)}", "unit": "", "drawn": ""}
    return GROUP | {"path": "sample", "meaning": "the crystal", "keys": [key | words]}


def _channels(plan: Plan) -> Answer:
    """Return the group of the recorded images: each is recorded or not."""
    choices = {name: name in plan.channels for name in CHANNELS}
    return GROUP | {"path": "channels", "meaning": "what is recorded", "choices": choices}


def _adding(plan: Plan, slot: Slot) -> Answer:
    """Return the group in which a part with a name of the user's choice is added to a place."""
    material = parts.material_of(plan.tree)
    offered = [kind for kind, cls in slot.kinds.items() if not hasattr(cls, "sites") or cls.sites(material)]
    begins = {JUNCTIONS: "{}", KEEP: SOME}.get(slot.path)
    adds = {kind or PRESENT: begins or _fresh(plan, slot, kind) for kind in offered}
    return GROUP | {"path": slot.path, "meaning": slot.meaning, "adds": adds}


def _group(plan: Plan, path: str, slot: Slot, part: Part | None) -> Answer:
    keys = (
        [_key(plan, Place(part.key_path(name), part, name)) for name in keys_of(part.cls)] if part is not None else []
    )
    kinds: dict[str, str | None] = {}
    if not slot.named:
        kinds |= {kind or PRESENT: _fresh(plan, slot, kind) for kind in slot.kinds}
    if kinds and not slot.required:
        kinds[ABSENT] = None
    return GROUP | {
        "path": path,
        "meaning": slot.meaning if not slot.named else (part.kind if part else ""),
        "kind": ABSENT if part is None else part.kind or PRESENT,
        "kinds": kinds if len(kinds) > 1 else {},
        "keys": keys,
        "removable": slot.named,
    }


def _key(plan: Plan, at: Place) -> Answer:
    distribution, legal = ranges.distribution_of(at), ranges.options(plan, at)
    drawn = text.distribution({"distribution": distribution.form()}) if distribution is not None else ""
    any_text = at.key.type is str and not legal and distribution is None
    span = Span(0, 0, "") if any_text else ranges.span(plan, at)
    words = legal or (span.words if distribution is not None and at.key.type is str else ())
    pairs = [set(names) for names in getattr(at.part.cls, "either", ()) if at.name in names]
    (instead,) = pairs[0] - {at.name} if pairs else ("",)
    return {
        "path": at.path,
        "name": at.name,
        "instead": at.part.key_path(instead) if instead else "",
        "unit": "" if at.key.unit == "1" or at.key.type is str else at.key.unit,
        "meaning": at.key.meaning,
        "legal": expected(at.key),
        "drawn": drawn + (" for every defect" if at.name in at.part.per_defect else ""),
        "value": at.part.constants.get(at.name),
        "optional": not at.key.required and at.key.default is None,
        "words": list(words),
        "low": span.low if not words and not any_text else None,
        "high": span.high if not words and not any_text else None,
        "log": span.log,
        "whole": span.whole,
    }


def _fresh(plan: Plan, slot: Slot, kind: str) -> str:
    """Return a part of a kind as a recipe would write it: its required keys in the middle of what is usual."""
    cls = slot.kinds[kind]
    values = {name: _middle(plan, cls, name) for name, key in keys_of(cls).items() if key.required}
    for _ in range(MOST_TRIES):
        try:
            cls(**values)
            break
        except KeyRangeError as fault:  # a rule over several keys names the one that is wanted
            values[fault.key_name] = _middle(plan, cls, fault.key_name)
    return json.dumps(({KIND: kind} if kind else {}) | values)


def _middle(plan: Plan, cls: type[Any], name: str) -> Any:
    bare = Part("", "", cls, {}, {}, {})
    span = ranges.span(plan, Place(name, bare, name))
    return span.values(3)[0 if span.words else 1]


def picture(still: Held, changes: Changes) -> Answer:
    """Return one sample as the page draws it: images less their plane, spectra, a hysteresis loop, values."""
    varied = held.varied(still, changes)
    return _drawn(still, varied, varied.arrays())


def looked(
    still: Held, changes: Changes, memory: Memory, *, glance: str | None, left: Callable[[], bool]
) -> Answer | None:
    """Return ``picture``, by what is remembered of the last look; None where whoever asked has left meanwhile.

    ``glance`` names the image that is looked at while the hand moves: then only what is made first.
    """
    varied = held.varied(still, changes)
    if glance is not None:
        first, view_of = glances.glance(varied, glance), functools.partial(memory.view, as_wide_nm=math.inf)
        with contextlib.suppress(ArithmeticError):  # of nodes so far apart; the page gets all of the sample instead
            return _looked(still, first, view_of, left, whole=False)
    return _looked(still, varied, memory.view, left, whole=True)


def _looked(still: Held, varied: Varied, view_of: ViewOf, left: Callable[[], bool], *, whole: bool) -> Answer | None:
    arrays = glances.arrays(varied, view_of, left)
    return None if arrays is None else _drawn(still, varied, arrays, whole=whole) | {"glance": not whole}


def _drawn(still: Held, varied: Varied, arrays: Mapping[str, NDArray[Any]], *, whole: bool = True) -> Answer:
    raster, specs = varied.parameters.raster, glances.specs(varied)
    every = apart(specs, {name: array[None] for name, array in arrays.items()})
    derived = [(name, unit) for name, unit in varied.plan.derived if name in arrays]
    ranges_nm = [float(arrays[name]) for name, _ in derived if name.endswith("ideal_range_nm")]
    row = gallery.row({}, f"#{still.index}", varied.plan.tree, varied.values(arrays))
    return {
        "sample": still.index,
        "caption": row.caption,
        "kept": _kept(still, varied, arrays) if whole else None,
        "size_nm": raster.size_nm,
        "bar_nm": gallery.bar_nm(raster.size_nm),
        "fast_axis": raster.fast_axis,
        "images": [_image(spec, every[spec.name][0]) for spec in gallery.shown(specs)],
        "spectra": _spectra(
            {name: array[0] for name, array in every.items()}, raster.fast_axis, raster.size_nm / raster.pixels
        ),
        "loop": _loop(varied, ranges_nm[0]),
        "values": {leaf.path: leaf.value(varied.columns[leaf.path][0]) for leaf in varied.plan.leaves},
        "derived": [_derived(name, unit, float(arrays[name])) for name, unit in derived],
    }


def _kept(still: Held, varied: Varied, arrays: Mapping[str, NDArray[Any]]) -> list[Answer]:
    """Return the lines of what the recipe keeps: each condition with what the sample has, and its draws."""
    lines = [{"words": words, "holds": holds} for words, holds in varied.judged(arrays)]
    if still.attempt:
        lines.append(
            {"words": f"keep: draw {1 + still.attempt} of this sample is the first that it keeps", "holds": True}
        )
    return lines


def _derived(name: str, unit: str, value: float) -> Answer:
    return {"name": name, "unit": "" if unit == "1" else unit, "value": text.number(value, 9)}


def _image(spec: ArraySpec, image: NDArray[Any]) -> Answer:
    """Return an array as the page draws it: float32 in pm or its own unit, row 0 at the bottom."""
    height = spec.unit == "nm"
    values = 1e3 * gallery.levelled(image) if height else np.asarray(image, np.float64)
    low, high = gallery.limits(spec, values)
    flat = gallery.is_map(spec)
    data = np.ascontiguousarray(values, "<f4").tobytes()
    return {
        "name": spec.name,
        "meaning": spec.long_name,
        "unit": "pm" if height else "" if spec.unit == "1" else spec.unit,
        "rows": image.shape[0],
        "cols": image.shape[1],
        "low": low,
        "high": high,
        "colours": gallery.GREY if flat else gallery.HOT,
        "palette": gallery.NUMBERED.tolist() if gallery.is_numbered(spec) else [],
        "data": base64.b64encode(data).decode(),
    }


def _spectra(arrays: Mapping[str, NDArray[Any]], fast_axis: str, pixel_nm: float) -> list[Answer]:
    """Return the spectral densities of the recorded and the ideal image, in pm^2 nm over 1/nm."""
    found = []
    for name in (name for name in arrays if name.partition(".")[0] in ("topography", "ideal")):
        lines, _ = statistics.levelled(statistics.lines_of(arrays[name], fast_axis))
        for direction, turned in (("along", lines), ("across", lines.T)):
            power = 1e6 * 2 * pixel_nm * statistics.spectrum(turned)
            per_nm = statistics.frequencies(power) / pixel_nm
            found.append({"name": f"{name}, {direction}", "x": _listed(per_nm[1:]), "y": _listed(power[1:])})
    return found


def _loop(varied: Varied, ideal_range_nm: float) -> Answer:
    """Return the loop of the z piezo, or what the fast axis lags behind where z has none."""
    instrument, raster = varied.parameters.instrument, varied.parameters.raster
    if instrument.z_piezo is None and instrument.lateral_hysteresis is not None:
        share = np.linspace(0, 1, LAG_POINTS)
        lag_pm = 1e3 * instrument.lateral_hysteresis.lag_nm(share, length_nm=raster.size_nm)
        names = {"title": "Lag of the fast axis", "x_name": "along the line, nm", "y_name": "lag, pm"}
        return {**names, "x": _listed(share * raster.size_nm), "y": _listed(lag_pm)}
    bouc_wen = (instrument.z_piezo or LinearPiezo()).bouc_wen()
    stroke_nm = bouc_wen.stroke_nm or ideal_range_nm
    command_nm, tip_nm = piezo.cycle(bouc_wen, stroke_nm=stroke_nm)
    unit, scale = ("nm", 1.0) if stroke_nm >= 1 else ("pm", 1e3)
    names = {"title": "Hysteresis of the z piezo", "x_name": f"command, {unit}", "y_name": f"tip, {unit}"}
    return {**names, "x": _listed(scale * command_nm), "y": _listed(scale * tip_nm)}


def _listed(values: NDArray[Any]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def save(still: Held, changes: Changes, *, name: str, folder: Path) -> Answer:
    """Write the recipe that says the changes to a new file of a folder; its sample of this index is what is shown.

    Raises
    ------
    StmfabError
        If a value or the name is not legal, or such a file is there.
    DiskError
        If the disk refuses.
    """
    settled = held.settled(still, changes)
    named = recipe.changed(settled, [held.setting("name", json.dumps(name))])
    path = folder / f"{named.name}.yaml"
    head = f"# From {still.plan.name}, sample {still.index} (seed {named.seed}), by stmfab explore.\n"
    told = "".join(f"#   {line}\n" for line in _told(changes))
    with disk_errors(path, "write"):
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(head + told + "\n" + recipe.resolved(named))
        except FileExistsError:
            raise StmfabError(f"{path.name}: is there already; give another name") from None
    return {"file": path.name, "next": [f"stmfab check {path.name}", f"stmfab preview {path.name}"]}


def _told(changes: Changes) -> Iterator[str]:
    """Yield what was changed, a line each, in characters of one line."""
    yield from (" ".join(held.setting(path, value).split()) for path, value in sorted(changes.items()))


def changes_of(asked: Any) -> dict[str, Any]:
    """Return the changes in a request of the page.

    Raises
    ------
    StmfabError
        If they are none.
    """
    plain = (str, int, float, type(None))
    if not isinstance(asked, dict) or not all(isinstance(value, plain) for value in asked.values()):
        raise StmfabError("values: legal: keys by their dotted path, each a number, a text or null")
    return asked


def index_of(asked: Any) -> int:
    """Return the index of a sample in a request of the page.

    Raises
    ------
    StmfabError
        If it is none.
    """
    if isinstance(asked, bool) or not isinstance(asked, int) or not 0 <= asked < 2**53:
        raise StmfabError(f"sample: found {asked!r}; legal: a whole number from 0")
    return asked
