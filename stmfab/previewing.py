"""The command ``preview``: what a recipe makes, as pictures in seconds; no store is written."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import _threads  # noqa: F401  before anything imports numpy
from .errors import StmfabError
from .options import plan_or_stored, recipe_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .gallery import Row
    from .held import Held
    from .physics.arrays import ArraySpec
    from .plan import Plan
    from .ranges import Span

SAMPLES = 12
SCANNED = 1 << 17  # where -n is not given: pixels scanned for a sheet, all frames and renders of a sample; about 1 s
SMALLEST = 1 << 13  # a smaller frame takes as long as one of so many pixels
CHARGED, SPECTRA = 2, 2  # a frame of bent bands takes as long as so many others, and one with spectra over points
RENDERS = {None: 1, "all": 2, "each": 12}  # of a sample: it is scanned again without its defects, or without each
STEPS = 9  # values of a sweep
TILES = ((1, 256), (6, 160))  # pixels of a picture on a sheet of at most so many samples
SMALL_TILE = 128
WIDEST = 1800  # pixels of a sheet, about
EXAMPLES = """
\b
Examples:
  stmfab preview wse2-demo
  stmfab preview my.yaml --set scan.size_nm=8 -n 4 -o wide.png
  stmfab preview wse2-demo --sample 7
  stmfab preview wse2-demo --sample 7 --sweep junction.bias_V
  stmfab preview wse2-demo --sweep instrument.feedback.loop_gain=0.1:2
"""


@click.command(epilog=EXAMPLES)
@recipe_options
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Picture to write  [default: ./<name>.png].")
@click.option("--sample", type=click.IntRange(min=0), help="One sample only, by its index.")
@click.option(
    "--sweep",
    metavar="KEY[=LOW:HIGH]",
    help="One sample as one key runs over its range, all else held; -n says in how many steps.",
)
def preview(
    recipe: str,
    samples: int | None,
    seed: int | None,
    overrides: tuple[str, ...],
    output: Path | None,
    sample: int | None,
    sweep: str | None,
) -> int:
    """Draw a contact sheet of a few samples of a recipe; no store is made.

    Each sample shows what is recorded, its ideal and the targets. RECIPE may also be a store: what its recipe makes.
    Without -n it is up to 12 samples: fewer of large frames, so that it takes a few seconds.
    """
    began = time.perf_counter()
    if samples is not None and sample is not None and sweep is None:
        raise click.UsageError("-n and --sample are two ways to say which samples; give one")
    plan = plan_or_stored(recipe, seed, overrides)
    from . import gallery

    path = output or Path(f"{plan.name}{'-' + _key(sweep).rpartition('.')[2] if sweep else ''}.png")
    pictures = gallery.shown(plan.arrays)
    alone = sample is not None or samples == 1
    first, stop = (0, samples or few(plan)) if sample is None else (sample, sample + 1)
    if sweep is not None:
        title, rows = _swept(plan, sample or 0, sweep, samples or STEPS, pictures)
    else:
        title, rows = f"{plan.name} (seed {plan.seed})", _samples(plan, first, stop, pictures, told=alone)
    across = gallery.pictures_across(len(rows), len(pictures))
    tile = min(next((tile for most, tile in TILES if len(rows) <= most), SMALL_TILE), WIDEST // across)
    fewer = sample is None and sweep is None and stop < (samples or SAMPLES)
    words = f"{title}{_fewer(plan, stop) if fewer else ''}: heights less their plane; pm from black to white"
    gallery.save(gallery.sheet(words, pictures, rows, tile=tile), path)
    click.echo(f"{path}: {title}, {_counted(rows, sweep)}, {time.perf_counter() - began:.1f} s")
    if fewer:
        click.echo(f"note: {SAMPLES} samples take longer; all of them: -n {SAMPLES}")
    _next(recipe, plan, seed, overrides, sample, sweep)
    return 0


def few(plan: Plan) -> int:
    """Return how many samples a sheet shows where nobody says, by what each takes: never by the clock."""
    from .physics.point_targets import Spectra
    from .shifts import is_charged

    renders = RENDERS[plan.instances.renders if plan.instances else None]
    frames = max(1, len(plan.junctions)) * renders * (CHARGED if any(map(is_charged, plan.parts)) else 1)
    frames *= SPECTRA if any(isinstance(target, Spectra) for target in plan.targets.values()) else 1
    return min(SAMPLES, max(1, SCANNED // (max(SMALLEST, plan.raster.pixels**2) * frames)))


def _fewer(plan: Plan, shown: int) -> str:
    from .text import counted

    frames = max(1, len(plan.junctions))
    size = f"{plan.raster.pixels} x {plan.raster.pixels} pixels"
    return f", {counted(shown, 'sample')} only of {counted(frames, 'frame')} of {size}"


def _key(sweep: str) -> str:
    return sweep.partition("=")[0].strip()


def _counted(rows: list[Row], sweep: str | None) -> str:
    from .text import counted

    legal = sum(not row.trouble for row in rows)
    return f"{counted(legal, 'value' if sweep else 'sample')}" + (f" of {len(rows)}" if legal < len(rows) else "")


def _made(plan: Plan, first: int, stop: int) -> dict[str, NDArray[Any]]:
    """Return samples first..stop-1."""
    import numpy as np

    from . import compiling, progress
    from .sample import simulate

    made: list[dict[str, NDArray[Any]]] = []
    shown = progress.on_terminal(sys.stderr)
    shown.start(0, stop - first)
    try:
        with compiling.helped(plan.sample_kind):
            for index in range(first, stop):
                made.append(simulate(plan, index, index + 1))
                shown.show(len(made))
    finally:
        shown.close()
    return {name: np.concatenate([arrays[name] for arrays in made]) for name in made[0]}


def _samples(plan: Plan, first: int, stop: int, pictures: list[ArraySpec], *, told: bool) -> list[Row]:
    """Return the rows of some samples; print the values of the first if they are to be ``told``."""
    from . import coded, gallery, text
    from .layout import apart

    arrays, columns = _made(plan, first, stop), coded.columns(plan)
    if told:
        found = gallery.recorded(arrays["param"][0], columns)
        units = {column["name"]: column["unit"] for column in columns}
        values = [{"name": name, "value": value, "unit": units[name]} for name, value in found.items()]
        known = {"store": plan.name, "sample": first, "seed": plan.seed, "parameters": values}
        click.echo("\n".join(text.values(known)))
    names, arrays = [spec.name for spec in pictures], apart(plan.arrays, arrays)
    return gallery.rows(arrays, indices=range(first, stop), names=names, constants=plan.tree, columns=columns)


def _swept(plan: Plan, index: int, sweep: str, steps: int, pictures: list[ArraySpec]) -> tuple[str, list[Row]]:
    """Return the title and the rows of one sample as a key takes its values."""
    from . import held, ranges

    at = ranges.place(plan, _key(sweep))
    span, still = _asked(sweep, ranges.span(plan, at)), held.hold(plan, index)
    unit = "" if at.key.unit == "1" or at.key.type is str else f" {at.key.unit}"
    rows = list(_steps(still, at.path, unit, span.values(steps), pictures))
    if all(row.trouble for row in rows):
        raise StmfabError(f"{at.path}: no value of {span.why} is legal here: {rows[0].trouble}")
    over = f"{len(span.words)} choices" if span.words else f"{span.low:.4g} to {span.high:.4g}{unit}"
    own = at.part.constants.get(at.name) if at.name not in at.part.drawn else still.value(at.path)
    here = "" if own is None else f"; here {own:.4g}{unit}" if isinstance(own, float) else f"; here {own}{unit}"
    return f"{plan.name} (seed {plan.seed}), sample {index}: {at.path}, {over} ({span.why}{here})", rows


def _asked(sweep: str, span: Span) -> Span:
    """Return the span of KEY=LOW:HIGH; that of the key where none is asked."""
    import dataclasses

    ends = sweep.partition("=")[2]
    if not ends:
        return span
    try:
        low, high = (float(end) for end in ends.split(":"))
    except ValueError:
        raise click.UsageError(f"--sweep {sweep}: legal: KEY, or KEY=LOW:HIGH with two numbers") from None
    if not low < high < float("inf") or low == float("-inf"):
        raise click.UsageError(f"--sweep {sweep}: the low end is not below the high end")
    return dataclasses.replace(span, low=low, high=high, why="as asked", words=(), log=span.log and low > 0)


def _steps(still: Held, path: str, unit: str, values: list[Any], pictures: list[ArraySpec]) -> Iterator[Row]:
    """Yield a row for every value of a key; of one that is not legal, why."""
    from . import gallery, held
    from .layout import apart

    for value in values:
        shown = f"{value:.4g}" if isinstance(value, float) else f"{value}"
        name = f"{path.rpartition('.')[2]} = {shown}{unit}"
        try:
            varied = held.varied(still, {path: value})
        except StmfabError as error:
            yield gallery.Row({}, 0.0, name, trouble=str(error).splitlines()[0])
            continue
        arrays = varied.arrays()
        name += ", not kept" if varied.broken(arrays) else ""
        every = apart(varied.plan.arrays, {name: array[None] for name, array in arrays.items()})
        images = {spec.name: every[spec.name][0] for spec in pictures}
        yield gallery.row(images, name, varied.plan.tree, varied.values(arrays))


def _next(
    recipe: str, plan: Plan, seed: int | None, overrides: tuple[str, ...], sample: int | None, sweep: str | None
) -> None:
    """Say what to type next."""
    import shlex

    words = [recipe, *(["--seed", str(seed)] if seed is not None else [])]
    words += [word for text in overrides for word in ("--set", text)]
    same = shlex.join(words)
    drawn = next((leaf.path for leaf in plan.leaves if leaf.path.endswith(".bias_V")), None)
    key = drawn or next((leaf.path for leaf in plan.leaves), "scan.size_nm")
    if sample is None and sweep is None:
        click.echo(f"next: stmfab preview {same} --sample 0")
    if sweep is None:
        click.echo(f"next: stmfab preview {same} --sample {sample or 0} --sweep {key}")
    else:
        click.echo(f"next: stmfab explore {same} --sample {sample or 0}")
    if not Path(recipe, "zarr.json").is_file():
        click.echo(f"next: stmfab generate {same}")
