"""What the whole microscope costs over its bare loop: ``python -m tests.bench.microscope [RECIPE]``.

Some samples are scanned with every part of their instrument, and with the feedback loop alone at the same number of
sub-steps, by turns: the path and the scan, in processor time.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time

import stmfab  # noqa: F401  (pins every thread pool before numpy is imported)

import numpy as np  # isort: skip

from stmfab import plan, recipe, scenes, streams  # isort: skip
from stmfab.physics import crystal, scan, tips  # isort: skip
from stmfab.physics.instrument import Instrument  # isort: skip
from stmfab.physics.path import nominal_raster, tip_path  # isort: skip

SAMPLES, ROUNDS = 12, 5


def scanned(made, drawn, machine, raster, imaged):
    """Return the processor seconds of a path and its scan."""
    random = functools.partial(streams.stream, made.seed, drawn.index)
    begun = time.process_time()
    path = tip_path(raster, machine, streams=random)
    scan.run(
        imaged.field,
        path,
        machine,
        log_setpoint=imaged.log_setpoint,
        kappa_per_nm=drawn.junction.decay_per_nm,
        ideal_range_nm=imaged.range_nm,
        log_spread=0.1,
        streams=random,
        channels=made.channels,
    )
    return time.process_time() - begun


def ratio(made, drawn) -> tuple[float, float, int]:
    """Return the seconds of the loaded and of the bare microscope, the least of some rounds, and the sub-steps."""
    random = functools.partial(streams.stream, made.seed, drawn.index)
    path = tip_path(drawn.raster, drawn.instrument, streams=random)
    _, imaged = crystal.image(
        lambda window: scenes.scene(made.seed, drawn, window),
        drawn.material,
        tips.joined([apex.tip() for apex in (drawn.tip, *drawn.extra_apexes.values())]),
        drawn.junction,
        lines_nm=[path.lines_nm, tip_path(drawn.raster, Instrument(), streams=random).lines_nm],
        raster_nm=nominal_raster(drawn.raster),
        window_eV=made.window_eV,
    )
    raster = dataclasses.replace(drawn.raster, sub_steps=path.n_sub)
    machines = drawn.instrument, Instrument(feedback=drawn.instrument.feedback)
    rounds = [[scanned(made, drawn, machine, raster, imaged) for machine in machines] for _ in range(ROUNDS)]
    loaded, bare = np.min(rounds[1:], axis=0)
    return float(loaded), float(bare), path.n_sub


def main() -> None:
    """Print the table."""
    name = sys.argv[1] if len(sys.argv) > 1 else "wse2-realistic"
    made = recipe.load(name)
    columns = plan.draw(made, 0, SAMPLES)
    rows = [ratio(made, plan.parameters(made, columns, index)) for index in range(SAMPLES)]
    loaded, bare, _ = np.sum(rows, axis=0)
    print(f"{name}: {SAMPLES} samples of {made.raster.pixels} x {made.raster.pixels} pixels, path and scan")
    for index, (whole, alone, n_sub) in enumerate(rows):
        print(
            f"  {index:3}  {n_sub:4} sub-steps  {1e3 * whole:7.1f} ms  bare {1e3 * alone:7.1f} ms  {whole / alone:.2f}"
        )
    print(f"  all of the microscope over its bare loop: {loaded / bare:.2f}")


if __name__ == "__main__":
    main()
