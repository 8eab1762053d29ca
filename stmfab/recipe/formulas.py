"""Rules on what the formulas of a recipe may read, and on the conditions that it keeps samples by."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..distributions import Words
from ..errors import did_you_mean
from ..expressions import ExpressionError
from ..parts import JUNCTIONS, KEEP, Part, keys_of, numbers
from ..physics.keys import KeyRangeError
from ..plan import DERIVED, junction_parts
from .checking import Report

COUNTED = ("defect_count", "pixel_size_nm")  # of every sample, beside the derived numbers


def unreadable(names: frozenset[str], all_parts: list[Part], also: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return why each of some names is no number of this recipe, nor one known ``also``; empty if all are."""
    known = {*numbers(all_parts), *also}
    others = {}
    for part in all_parts:
        for name in keys_of(part.cls):
            path, drawn = part.key_path(name), part.drawn.get(name)
            if drawn is not None and not isinstance(drawn.distribution, Words):
                known.add(path)
            elif path not in known:
                per_defect = name in part.per_defect
                words = drawn is not None or isinstance(part.constants.get(name), str)
                others[path] = "is drawn per defect" if per_defect else "is a word" if words else "is not given"
    return {
        name: f"{name} {others[name]}" if name in others else f"unknown key {name!r}{did_you_mean(name, known)}"
        for name in sorted(names - known)
    }


def check_keep(all_parts: list[Part], report: Report) -> None:
    """Report conditions of ``keep`` that are none, or that read what no sample has."""
    conditions = [part for slot, part in report.parts if slot.path == KEEP]
    if not conditions:
        return
    several = [part.path for part in junction_parts(all_parts) if part.path.startswith(f"{JUNCTIONS}.")]
    derived = {place + name for place in ("", *(f"{path}." for path in several)) for name, _ in DERIVED}
    also = frozenset({*derived, *COUNTED, *(() if several else _counts(report))})
    for part in conditions:
        path = f"{part.path}.of"
        if report.hidden(path):
            continue
        try:
            for name, why in unreadable(part.build({}).formula.names, all_parts, also).items():
                if not report.hidden(name):
                    report.fault_at(path, why)
        except ExpressionError as fault:
            report.fault_at(path, str(fault))
        except KeyRangeError as fault:
            report.fault_at(f"{part.path}.{fault.key_name}", f"found {fault.found}; legal: {fault.legal}")


def _counts(report: Report) -> Iterator[str]:
    """Yield the names of the numbers that targets give of a sample, the rows of a table for one."""
    for part in (part for slot, part in report.parts if slot.path == "targets" and not report.hidden(part.path)):
        name = part.path.partition(".")[2]
        with contextlib.suppress(KeyRangeError):  # another rule reports it
            yield from (spec.name for spec in part.build({}).arrays(name, 2) if not spec.dims)
