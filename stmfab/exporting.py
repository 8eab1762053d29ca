"""The command ``export``: a store in the formats of other programs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from . import _threads  # noqa: F401  before anything imports numpy
from ._signals import sigterm_raises
from .errors import DamagedError

SHOWN_FAULTS = 10
TO = ["webdataset", "hdf5", "parquet", "png", "coco", "gsf", "ome-zarr"]
SPLIT = ["train", "val", "test"]


@click.command()
@click.argument("store")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--to", type=click.Choice(TO), required=True, help="The format.")
@click.option("--split", type=click.Choice(SPLIT), help="One split only  [default: all three, apart].")
@click.option("--arrays", metavar="A,B,...", help="Images to export  [default: all images and targets].")
@click.option("--verify", is_flag=True, help="Write nothing; hold a finished export against the store.")
def export(store: str, out: Path, to: str, split: str | None, arrays: str | None, verify: bool) -> int:
    r"""Write a store in another format to the folder OUT; run again, it goes on where it was.

    \b
    stmfab export demo.zarr demo-hdf5 --to hdf5
    stmfab export demo.zarr demo-png --to png --split test --arrays topography,defects
    stmfab export demo.zarr demo-hdf5 --to hdf5 --verify
    """
    from . import export as exports
    from . import progress
    from .bucket import at
    from .store import open_store

    with sigterm_raises():
        dataset = open_store(at(store))
        asked = exports.export_of(dataset, to, out, images=arrays.split(",") if arrays else None, split=split)
        shown = progress.on_terminal(sys.stderr)
        if not verify:
            exports.run(asked, shown)
            click.echo(f"{out}: {dataset.layout.samples} samples as {to}; hold it against the store with: --verify")
            return 0
        found = exports.faults(asked, shown)
    for line in found[:SHOWN_FAULTS]:
        click.echo(f"DAMAGED: {line}", err=True)
    click.echo(f"{out}: {len(found)} files differ from the store" if found else f"{out}: every byte is the store's")
    return DamagedError.exit_code if found else 0
