"""What commands of the command line share: the argument and the options that choose a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from .plan import Plan

ROOT_DOCUMENT = "zarr.json"  # a folder with one is a store

Command = TypeVar("Command", bound=Callable[..., Any])


def recipe_options(command: Command) -> Command:
    """Add the argument and the options that choose a recipe."""
    for option in (
        click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key of the recipe."),
        click.option("--seed", type=int, help="Another seed."),
        click.option("-n", "--samples", type=click.IntRange(min=1), help="Another number of samples."),
        click.argument("recipe"),
    ):
        command = option(command)
    return command


def plan_of(recipe: str, samples: int | None, seed: int | None, overrides: tuple[str, ...]) -> Plan:
    """Return the plan of a recipe with what the options change.

    Raises
    ------
    RecipeError
        With every fault of the recipe.
    """
    from . import recipe as recipes

    return recipes.load(recipe, overrides=overrides, seed=seed, samples=samples)


def plan_or_stored(recipe: str, seed: int | None, overrides: tuple[str, ...]) -> Plan:
    """Return the plan of a recipe, or of the recipe that a store holds.

    Raises
    ------
    StmfabError
        If there is no such recipe, it has faults, or the store cannot be read.
    """
    if "://" not in recipe and not Path(recipe, ROOT_DOCUMENT).is_file():
        return plan_of(recipe, None, seed, overrides)
    from . import recheck
    from . import recipe as recipes
    from .bucket import at
    from .store import open_store

    plan = recheck.stored_plan(open_store(at(recipe)))
    changes = [*overrides, *([f"seed={seed}"] if seed is not None else [])]
    return recipes.changed(plan, changes) if changes else plan
