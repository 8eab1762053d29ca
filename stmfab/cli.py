"""The command line: parse, call, print. Heavy modules are imported inside the commands, so that help is instant."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from . import _threads  # noqa: F401  before anything imports numpy
from ._signals import Terminated, interruptible
from .errors import DamagedError, DiskError, IncompleteError, StmfabError
from .exploring import explore
from .exporting import export
from .inspecting import inspect
from .options import plan_of, recipe_options
from .previewing import preview

if TYPE_CHECKING:
    from .factory import Outcome
    from .workers import Engine

INTERRUPTED, TERMINATED = 130, 143  # 128 + the number of the signal, as shells count
TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: Slurm's RequeueExit
SHOWN_FAILURES = 10
NO_LIMIT = 10_000  # columns of what is no terminal: a line stays one for other programs
MEASURED_SAMPLES = 32  # simulated for the estimate of `check`
EXAMPLES_OF_GENERATE = """
\b
Examples:
  stmfab generate wse2-demo
  stmfab generate my.yaml out.zarr -n 1000 -j 8 --set scan.pixels=128
  stmfab generate my.yaml out.zarr --part 3/8  (the fourth of eight tasks)
  stmfab generate my.yaml out.zarr --repair
  stmfab generate my.yaml s3://bucket/out
"""
EXAMPLES_OF_CHECK = """
\b
Examples:
  stmfab check my.yaml
  stmfab check wse2-demo > mine.yaml   (with all its keys, to be changed)
  stmfab check wse2-defects -n 1000000 --set scan.pixels=128
"""
EXAMPLES_OF_RECIPES = """
\b
Examples:
  stmfab recipes
"""
EXAMPLES_OF_SCHEMA = """
\b
Examples:
  stmfab schema > stmfab.json
  (first line of a recipe: # yaml-language-server: $schema=stmfab.json)
"""


def _part(context: click.Context, option: click.Parameter, text: str) -> tuple[int, int]:
    """Return (K, N) of K/N with 0 <= K < N: the K-th of N parts of a job."""
    k, slash, n = text.partition("/")
    if not (slash and k.isdecimal() and n.isdecimal() and int(k) < int(n)):
        raise click.BadParameter(f"{text!r} is not K/N with 0 <= K < N, for example 0/4", context, option)
    return int(k), int(n)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="stmfab")
def cli() -> None:
    """Make labelled, synthetic scanning-tunnelling-microscope datasets from recipes.

    RECIPE is the name of a built-in recipe (see: stmfab recipes) or a YAML file.
    """


cli.add_command(inspect)
cli.add_command(export)
cli.add_command(preview)
cli.add_command(explore)


@cli.command(epilog=EXAMPLES_OF_GENERATE)
@recipe_options
@click.argument("store", required=False)
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Worker processes  [default: one a core].")
@click.option(
    "--part", metavar="K/N", default="0/1", callback=_part, help="Make the K-th of N parts only; all may run at once."
)
@click.option(
    "--backend",
    type=click.Choice(["loky", "dask"]),
    default="loky",
    help="Who makes the shards: worker processes of this machine, or a dask cluster  [default: loky].",
)
@click.option("--scheduler", metavar="ADDRESS", help="With --backend dask: of a cluster that is there already.")
@click.option("--extend", is_flag=True, help="Let a store grow to more samples; none that it has is moved.")
@click.option("--repair", is_flag=True, help="Read all that is there, and make damaged shards again.")
@click.option(
    "--strict", is_flag=True, help="Refuse a store begun by a machine whose last bits differ from this one's."
)
@click.option(
    "--requeue-on-term", is_flag=True, help="Exit 75 on SIGTERM: what a scheduler takes as a wish to run again."
)
def generate(
    recipe: str,
    store: str | None,
    samples: int | None,
    seed: int | None,
    overrides: tuple[str, ...],
    jobs: int | None,
    part: tuple[int, int],
    backend: str,
    scheduler: str | None,
    extend: bool,
    repair: bool,
    strict: bool,
    requeue_on_term: bool,
) -> int:
    """Make a dataset; run again, it makes what is still missing.

    STORE is a folder or s3://BUCKET/NAME; it defaults to ./<name of the recipe>.zarr.
    """
    with interruptible(), _interruption_explained(TRY_AGAIN if requeue_on_term else TERMINATED):
        plan = plan_of(recipe, samples, seed, overrides)
        from . import factory, growth, progress
        from .bucket import at

        place = at(store or f"{plan.name}.zarr")
        engine, jobs = _engine(backend, scheduler, jobs)
        if extend:
            growth.extend(place, plan)
        outcome = factory.generate(
            plan,
            place,
            jobs=jobs,
            part=part,
            repair=repair,
            strict=strict,
            progress=progress.on_terminal(sys.stderr),
            engine=engine,
        )
    return _tell(outcome, part)


def _engine(backend: str, scheduler: str | None, jobs: int | None) -> tuple[Engine, int | None]:
    """Return the engine of a backend; and the workers to ask of it, None for one a core."""
    if backend == "dask":
        from . import dask_engine

        found = dask_engine.engine(scheduler)
        return found, jobs if jobs or not scheduler else dask_engine.n_workers(scheduler)
    if scheduler:
        raise click.UsageError("--scheduler is for --backend dask")
    from . import workers

    return workers.loky, jobs  # also for one: what kills it shall not kill the run


@contextmanager
def _interruption_explained(terminated: int) -> Iterator[None]:
    """Say, when a run is interrupted, that nothing is lost; leave with the exit code for SIGINT or SIGTERM."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as error:
        click.echo("interrupted; finished shards are kept, and the same command goes on from there", err=True)
        if isinstance(error, Terminated):
            raise SystemExit(terminated) from None
        raise


def _tell(outcome: Outcome, part: tuple[int, int]) -> int:
    """Print what a run did; return the exit code."""
    for note in outcome.notes:
        click.echo(f"note: {note}", err=True)
    if outcome.made:
        rate = outcome.made / outcome.seconds
        workers = f"{outcome.jobs} worker" + "s" * (outcome.jobs > 1)
        click.echo(f"made {outcome.made} samples in {outcome.seconds:.1f} s: {rate:.1f} samples/s with {workers}")
    for failure in outcome.failures[:SHOWN_FAILURES]:
        click.echo(failure.traceback or f"shard {failure.shard}: {failure.line}", err=True)
    if outcome.damaged:
        return _tell_damage(outcome)
    cut = outcome.store.layout
    if not outcome.missing:
        click.echo(f"{outcome.store}: complete, {cut.samples} samples in {cut.n_shards} shards")
        click.echo(f"next: stmfab inspect {outcome.store}")
        return 0
    done = "" if outcome.failures or part == (0, 1) else f"part {part[0]}/{part[1]} is done; "
    click.echo(f"{outcome.store}: {done}{len(outcome.missing)} of {cut.n_shards} shards are missing", err=not done)
    return 0 if done else IncompleteError.exit_code


def _tell_damage(outcome: Outcome) -> int:
    """Print what a glance at a store found; return the exit code."""
    for fault in outcome.damaged[:SHOWN_FAILURES]:
        click.echo(f"DAMAGED: {fault}", err=True)
    count = len({fault.shard for fault in outcome.damaged})
    click.echo(f"{outcome.store}: {count} shards are damaged; the same command with --repair mends them", err=True)
    return DamagedError.exit_code


@cli.command(epilog=EXAMPLES_OF_CHECK)
@recipe_options
def check(recipe: str, samples: int | None, seed: int | None, overrides: tuple[str, ...]) -> int:
    """Check a recipe; show it with all defaults, and what its dataset will take."""
    plan = plan_of(recipe, samples, seed, overrides)
    from . import factory, metadata
    from . import recipe as recipes
    from .progress import duration
    from .text import size

    cut = metadata.planned(plan)
    click.echo(recipes.resolved(plan).rstrip() + "\n")
    click.echo(f"# {cut.samples} samples in {cut.n_shards} shards of {cut.shard}, {len(cut.arrays)} arrays")
    measured = factory.measure(plan, min(MEASURED_SAMPLES, plan.samples))
    total_s = cut.samples * measured.seconds_per_sample
    rate = f"{1 / measured.seconds_per_sample:.1f} samples/s"
    click.echo(f"# {size(cut.samples * measured.bytes_per_sample)} on disk, {duration(total_s)} on one core ({rate})")
    files, receipt_bytes = cut.n_shards * measured.files_per_shard, cut.n_shards * measured.receipt_bytes
    held = size(cut.shard * cut.sample_bytes)
    click.echo(f"# {files} shard files, {cut.n_shards} receipts ({size(receipt_bytes)}); a worker holds {held}")
    return 0


@cli.command(epilog=EXAMPLES_OF_RECIPES)
def recipes() -> int:
    """List the built-in recipes."""
    from . import recipe

    found = recipe.builtin_recipes()
    wide = 2 + max(map(len, found), default=0)
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else NO_LIMIT
    for name, description in found.items():
        words = textwrap.wrap(description, max(columns - wide, wide))
        click.echo(f"{name:{wide}}" + f"\n{'':{wide}}".join(words))
    return 0


@cli.command(epilog=EXAMPLES_OF_SCHEMA)
def schema() -> int:
    """Print the JSON Schema of recipes, for editors."""
    from . import recipe

    click.echo(json.dumps(recipe.schema(), indent=2))
    return 0


def run(arguments: list[str]) -> int:
    """Run a command line; return its exit code. A mistake of the user is one line on stderr, never a traceback."""
    try:
        return int(cli.main(arguments, prog_name="stmfab", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return StmfabError.exit_code
    except click.Abort:
        return INTERRUPTED
    except StmfabError as error:
        click.echo(str(error), err=True)
        return error.exit_code
    except OSError as error:
        click.echo(f"{error.filename or 'disk'}: {error.strerror or error}", err=True)
        return DiskError.exit_code


def main() -> None:
    """Be the program ``stmfab``."""
    silent = "ignore:resource_tracker:UserWarning"  # killed workers leave semaphores that Python clears, not in silence
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), silent]))
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
