"""The command ``inspect``: everything that is asked of a store which is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import _threads  # noqa: F401  before anything imports numpy
from .errors import DamagedError, IncompleteError

if TYPE_CHECKING:
    from .store import Store
    from .verify import Fault

GALLERY_SAMPLES = 48
STATISTICS_OF = 256  # images
RECHECKED = 8  # samples, where no number is given
DIFFERS = 1  # exit code of --diff, as of diff
EXAMPLES = """
\b
Examples:
  stmfab inspect demo.zarr
  stmfab inspect demo.zarr --sample 3
  stmfab inspect demo.zarr --html report.html
  stmfab inspect demo.zarr --verify full
  stmfab inspect demo.zarr --recheck 20
  stmfab inspect demo.zarr --recipe > again.yaml
  stmfab inspect demo.zarr --diff other.zarr
"""


@click.command(epilog=EXAMPLES)
@click.argument("store")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--verify",
    type=click.Choice(["quick", "full"]),
    is_flag=False,
    flag_value="quick",
    help="Hold files against receipts: their sizes (quick) or every byte (full).",
)
@click.option(
    "--recheck",
    type=click.IntRange(min=1),
    is_flag=False,
    flag_value=RECHECKED,
    metavar="[N]",
    help=f"Make N samples ({RECHECKED}) again from the stored recipe and hold them against the store.",
)
@click.option("--seed", type=click.IntRange(min=0), help="With --recheck: the choice of an earlier one.")
@click.option("--recipe", is_flag=True, help="Print the recipe, a file for `stmfab generate`.")
@click.option(
    "--diff",
    metavar="OTHER",
    help=f"What differs from another store, by the receipts; exit code 0: nothing, {DIFFERS}: something.",
)
@click.option(
    "--stats",
    type=click.IntRange(min=1),
    is_flag=False,
    flag_value=STATISTICS_OF,
    metavar="[N]",
    help=f"What N images ({STATISTICS_OF}) look like in numbers: noise, spectra, forward against backward.",
)
@click.option("--sample", type=click.IntRange(min=0), help="Print (or recheck, or draw) one sample.")
@click.option("--gallery", type=click.Path(path_type=Path), help="Write a contact sheet (PNG).")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page about the dataset, one file for a browser.")
def inspect(
    store: str,
    as_json: bool,
    verify: str | None,
    recheck: int | None,
    seed: int | None,
    recipe: bool,
    diff: str | None,
    stats: int | None,
    sample: int | None,
    gallery: Path | None,
    html: Path | None,
) -> int:
    """Show what is in a dataset and whether it is whole, or answer one question about it."""
    from .bucket import at
    from .store import open_store

    asked = {"verify": verify, "recheck": recheck, "recipe": recipe, "diff": diff, "stats": stats}
    _one_question(asked, seed=seed, sample=sample, gallery=gallery, html=html)
    dataset = open_store(at(store))
    if recipe:
        return _recipe(dataset, as_json)
    if diff is not None:
        return _diff(dataset, open_store(at(diff)), as_json)
    if stats is not None:
        return _stats(dataset, stats, as_json)
    if recheck is not None:
        return _recheck(dataset, recheck, seed, sample, as_json)
    if html is not None:
        return _html(dataset, verify or "quick", html)
    return _show(dataset, verify, sample, gallery, as_json)


def _one_question(
    asked: dict[str, Any], *, seed: int | None, sample: int | None, gallery: Path | None, html: Path | None
) -> None:
    """Refuse options of which one would be left without an answer.

    Raises
    ------
    click.UsageError
        If there are such.
    """
    names = [f"--{name}" for name, value in asked.items() if value]
    if sample is not None and not asked["recheck"]:
        names.append("--sample")
    if gallery is not None and names not in (["--verify"], ["--sample"]):
        names.append("--gallery")
    if html is not None and names != ["--verify"]:
        names.append("--html")
    if len(names) > 1:
        raise click.UsageError(f"{' and '.join(names)} are questions of their own; ask one at a time")
    if seed is not None and (not asked["recheck"] or sample is not None):
        raise click.UsageError("--seed is the choice of samples of --recheck")


def _show(dataset: Store, verify: str | None, sample: int | None, gallery: Path | None, as_json: bool) -> int:
    from . import report, text

    if gallery is not None:
        _gallery(dataset, gallery, sample)
    if sample is not None:
        _print(report.one_sample(dataset, sample), text.sample, as_json)
        return 0
    faults = _faults(dataset, verify)
    summary = report.summary(dataset, faults)
    if gallery is None or as_json or verify:
        _print(summary, text.overview, as_json)
    if summary["faults"]:
        return DamagedError.exit_code
    return IncompleteError.exit_code if verify and not summary["complete"] else 0


def _print(found: dict[str, Any], as_text: Callable[[dict[str, Any]], str], as_json: bool) -> None:
    click.echo(json.dumps(found, indent=1) if as_json else as_text(found))


def _faults(dataset: Store, level: str | None) -> list[Fault] | None:
    from . import verify

    checks = {"quick": verify.quick_faults, "full": verify.full_faults}
    return checks[level](dataset) if level else None


def _recipe(dataset: Store, as_json: bool) -> int:
    """Print the recipe of a store as a file that makes it again."""
    from . import recheck
    from .recipe import resolved

    plan = recheck.stored_plan(dataset)
    click.echo(json.dumps(plan.tree, indent=1) if as_json else resolved(plan), nl=as_json)
    return 0


def _diff(here: Store, there: Store, as_json: bool) -> int:
    from . import compare, text

    found = compare.stores(here, there)
    _print(found, text.difference, as_json)
    return DIFFERS if found["differs"] else 0


def _recheck(dataset: Store, n_samples: int, seed: int | None, sample: int | None, as_json: bool) -> int:
    """Make samples again, one or some at random; say how to repeat it."""
    import secrets

    from . import recheck, report, text

    if sample is not None:
        report.hold_made(dataset, sample)
        chosen, again = [sample], None
    else:
        seed = secrets.randbits(32) if seed is None else seed
        chosen = recheck.chosen(dataset, n_samples, seed)
        again = f"stmfab inspect {dataset} --recheck {n_samples} --seed {seed}"
    found = recheck.recheck(dataset, chosen)
    differences = [
        {"sample": one.sample, "array": one.array, "largest": one.largest, "line": str(one)}
        for one in found.differences
    ]
    result = {
        "store": str(dataset),
        "by_bytes": found.by_bytes,
        "within": found.within,
        "seed": seed,
        "again": again,
        "differences": differences,
    }
    _print(result, text.recheck, as_json)
    return DamagedError.exit_code if differences else 0


def _stats(dataset: Store, n_samples: int, as_json: bool) -> int:
    """Print the statistics of samples spread over a store."""
    from . import gallery, report, statistics, text

    indices = gallery.spread_out(report.Made(dataset), n_samples)
    rows = [statistics.of_image(**images) for images in report.scans(dataset, indices)]
    found = {"store": str(dataset), "images": len(rows), "quantities": statistics.summary(rows)}
    _print(found, text.statistics, as_json)
    return 0


def _html(dataset: Store, level: str, path: Path) -> int:
    """Write the page of a store; print where it is."""
    from . import gallery, report, report_html, text

    summary = report.summary(dataset, _faults(dataset, level), report_html.BINS)
    page = report_html.page(dataset, summary, level).encode()
    gallery.save(page, path)
    click.echo(f"{path}: {text.size(len(page))}, one file; open it in a browser")
    if summary["faults"]:
        click.echo(f"{dataset}: {text.counted(len(summary['faults']), 'fault')}; see its Checks", err=True)
        return DamagedError.exit_code
    return 0


def _gallery(dataset: Store, path: Path, sample: int | None) -> None:
    """Write the contact sheet of samples spread over a store, or of one."""
    import numpy as np

    from . import gallery, report, store
    from .layout import apart

    if sample is not None:
        report.hold_made(dataset, sample)
    indices = gallery.spread_out(report.Made(dataset), GALLERY_SAMPLES) if sample is None else [sample]
    pictures = gallery.shown(dataset.layout.arrays)
    names = [spec.name for spec in pictures]
    wanted = [spec for spec in dataset.layout.arrays if spec.is_image or spec.name in gallery.TOLD]
    read = {spec.name: np.concatenate([store.read(dataset, spec.name, i, i + 1) for i in indices]) for spec in wanted}
    arrays = apart(wanted, read)
    recipe = dataset.attributes["recipe"]
    rows = gallery.rows(arrays, indices=indices, names=names, constants=recipe, columns=report.columns(dataset))
    name = f"{dataset.attributes['name']} (seed {dataset.attributes['seed']})"
    title = f"{name}: heights less their plane; pm from black to white"
    gallery.save(gallery.sheet(title, pictures, rows), path)
    click.echo(f"{path}: {len(indices)} samples", err=True)
