"""The words behind numbers: what a reader of a store needs to understand coded labels and the columns of ``param``."""

from __future__ import annotations

from typing import Any

from . import plan as plans
from .parts import CRYSTAL, defect_kinds, lattice_of
from .physics.defect_targets import STEP_EDGE, Classes
from .physics.instances import APPEARANCES
from .physics.table_targets import AtomTable, Table
from .physics.targets import LAYERS
from .plan import Plan


def categories(plan: Plan) -> dict[str, list[str]]:
    """Return the words that the integers of coded labels stand for, by their position."""
    names = [name for place in ("defects", "corrals") for name in sorted(plan.tree["sample"].get(place, {}))]
    kinds, edges = list(defect_kinds(plan.sample_kind)), [] if plan.sample_kind == CRYSTAL else [STEP_EDGE]
    classes = {name: target for name, target in plan.targets.items() if isinstance(target, Classes)}
    columns = {
        f"{name}_{column}": list(words)
        for name, target in plan.targets.items()
        if isinstance(target, Table)
        for column, words in target.words.items()
    }
    species = sorted(set(plan.species.values()))
    sites = [site.name for site in lattice_of(plan.tree).sites]
    columns |= {f"{name}_site": sites for name, target in plan.targets.items() if isinstance(target, AtomTable)}
    return (
        {
            name: target.words({"kind": kinds, "name": names, "species": species}, edges)
            for name, target in classes.items()
        }
        | columns
        | {
            "defect_kind": kinds,
            "defect_name": names,
            "defect_species": species,
            "defect_site": sites,
            "defect_layer": list(LAYERS),
            "defect_appearance": list(APPEARANCES),
        }
    )


def sources(plan: Plan) -> list[str]:
    """Return where the numbers of each name of defects come from, as the recipe says; empty where it does not."""
    placed: dict[str, dict[str, Any]] = plan.tree["sample"].get("defects", {})
    return [str(placed.get(name, {}).get("source", "")) for name in categories(plan)["defect_name"]]


def columns(plan: Plan) -> list[dict[str, Any]]:
    """Return what a reader needs to understand each column of ``param``; words are coded by their position."""
    return [_column(column) for column in plan.record_columns]


def _column(column: plans.Column) -> dict[str, Any]:
    words: dict[str, Any] = {"name": column.name, "unit": column.unit}
    if column.categories is not None:
        words["categories"] = list(column.categories)
    if column.distribution is not None:
        words["distribution"] = column.distribution.form()
    return words
