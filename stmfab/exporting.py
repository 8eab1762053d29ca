"""The command ``export``: a store in the formats of other programs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from . import _threads  # noqa: F401  before anything imports numpy
from ._signals import interruptible
from .errors import DamagedError

SHOWN_FAULTS = 10
TO = ["webdataset", "hdf5", "parquet", "png", "coco", "gsf", "ome-zarr", "episodes"]
SPLIT = ["train", "val", "test"]
CLASS_BY = ["kind", "name", "species"]
EXAMPLES = """
\b
Examples:
  stmfab export demo.zarr demo-hdf5 --to hdf5
  stmfab export demo.zarr png --to png --split test --arrays topography
  stmfab export demo.zarr demo-hdf5 --to hdf5 --verify
  stmfab export demo.zarr crops --to episodes --crop-nm 1.5 --class-by name
"""


def _options_of_episodes(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of ``--to episodes``, which are the fields of ``export.episodes.Episodes``."""
    length, count = click.FloatRange(min=0, min_open=True), click.IntRange(min=1)
    options = [
        click.option("--crop-nm", type=length, help="Width of a crop  [default: 2.15]."),
        click.option("--pixels", type=count, help="Of a crop  [default: 40]."),
        click.option("--isolation-nm", type=length, help="No other defect is so near  [default: 1.0]."),
        click.option("--class-by", type=click.Choice(CLASS_BY), help="What a class is  [default: kind]."),
        click.option("--split-by", type=click.Choice(["scene", "class"]), help="What is apart  [default: scene]."),
        click.option("--inverted", is_flag=True, help="Add every class again, upside down, as CLASS-inv."),
        click.option("--single-junction", metavar="NAME", help="Of several junctions, this one only."),
        click.option("--folders", is_flag=True, help="Add a folder a class: .npy, .png, EasySet's JSON."),
        click.option("--n-way", type=click.IntRange(min=2), help="Classes of an episode  [default: 4]."),
        click.option("--k-shot", type=count, help="Crops shown of each class  [default: 1]."),
        click.option("--n-query", type=count, help="Crops asked of each class  [default: 5]."),
        click.option("--n-episodes", type=count, help="Of each split  [default: 200]."),
        click.option("--seed", type=click.IntRange(min=0), help="Of the episodes  [default: 0]."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command(epilog=EXAMPLES)
@click.argument("store")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--to", type=click.Choice(TO), required=True, help="The format.")
@click.option("--split", type=click.Choice(SPLIT), help="One split only  [default: all three, apart].")
@click.option("--arrays", metavar="A,B,...", help="Images to export  [default: all images and targets].")
@click.option("--verify", is_flag=True, help="Write nothing; hold a finished export against the store.")
@_options_of_episodes
def export(store: str, out: Path, to: str, split: str | None, arrays: str | None, verify: bool, **options: Any) -> int:
    """Write a store in another format to the folder OUT; run again, it goes on where it was.

    The options from --crop-nm on are of --to episodes: crops around isolated defects, and few-shot episodes of them.
    """
    given = {name: value for name, value in options.items() if value not in (None, False)}
    if given and to != "episodes":
        raise click.UsageError(f"--{next(iter(given)).replace('_', '-')} is for --to episodes")
    if split and given.get("split_by") == "class":
        raise click.UsageError("--split-by class: every class has one split; leave out --split")
    from . import export as exports
    from . import progress
    from .bucket import at
    from .store import open_store

    with interruptible():
        dataset = open_store(at(store))
        images = arrays.split(",") if arrays else None
        asked = exports.export_of(dataset, to, out, images=images, split=split, options=given)
        shown = progress.on_terminal(sys.stderr)
        if not verify:
            exports.run(asked, shown)
            for line in asked.writer.told(lambda name: asked.out.read(name) or b""):
                click.echo(line)
            click.echo(f"{out}: {dataset.layout.samples} samples as {to}; hold it against the store with: --verify")
            return 0
        found = exports.faults(asked, shown)
    for line in found[:SHOWN_FAULTS]:
        click.echo(f"DAMAGED: {line}", err=True)
    click.echo(f"{out}: {len(found)} files differ from the store" if found else f"{out}: every byte is the store's")
    return DamagedError.exit_code if found else 0
