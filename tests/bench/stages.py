"""Samples a second of one core, end to end and stage by stage: ``python -m tests.bench.stages [RECIPE]``.

One worker makes the first shard of the dataset as the recipe describes it, store included.

Run it on an idle machine. A stage's time is what its functions take less what the stages inside them take; the least
of several rounds is printed, as a share of the whole, and beside it the operations and the bytes that it takes, the
least time that they need on this core (floors.py), and how many times that it took.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import stmfab  # noqa: F401  (pins every thread pool before numpy is imported)

from stmfab import factory, labels, metadata, place, plan, recipe, sample, scenes, store  # isort: skip
from stmfab.physics import crystal, current, greens, scan  # isort: skip
from stmfab.physics.stages import Staged  # isort: skip
from tests.bench import floors  # isort: skip

ROUNDS, COUNTED = 5, 64
STAGES = {
    "draw": [(plan, "draw"), (plan, "parameters"), (plan, "record")],
    "structure": [(scenes, "scene")],
    "T-matrix": [(greens, "local_green")],
    "field": [(crystal, "image"), (current, "current_in_cells")],
    "path": [(sample, "tip_path")],
    "scan": [(scan, "run"), (scan, "first_line_spread")],
    "targets": [(labels, "known"), (labels, "target_images"), (labels, "defect_table"), (labels, "derived")],
    "store": [(store, "write_shard")],
}


class Clock:
    """Adds up the time of each stage, without that of the stages called from it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.inner = [0.0]

    def timed(self, stage, function):
        """Return a function that is timed as part of a stage."""

        def wrapper(*args, **keywords):
            begun = time.perf_counter()
            self.inner.append(0.0)
            try:
                return function(*args, **keywords)
            finally:
                spent = time.perf_counter() - begun
                self.seconds[stage] += spent - self.inner.pop()
                self.inner[-1] += spent

        def stages(*args, **keywords):
            making = function.stages(*args, **keywords)
            go_on = self.timed(stage, lambda: next(making))
            while True:
                try:
                    go_on()
                except StopIteration as end:
                    return end.value
                yield

        timed = Staged(stages) if isinstance(function, Staged) else wrapper
        timed.plain = function
        return timed


def measure(name: str, samples: int | None = None) -> tuple[int, float, dict[str, float]]:
    """Return samples, seconds and seconds by stage of the first shard, made by one worker, compiled and warm."""
    made = recipe.load(name, samples=samples)
    shards = metadata.planned(made).n_shards
    clock = Clock()
    for stage, functions in STAGES.items():
        for module, function in functions:
            setattr(module, function, clock.timed(stage, getattr(module, function)))
    with tempfile.TemporaryDirectory() as folder:
        outcome = factory.generate(made, place.Folder(Path(folder) / "bench.zarr"), jobs=1, part=(0, shards))
    for functions in STAGES.values():
        for module, function in functions:
            setattr(module, function, getattr(module, function).plain)
    return outcome.made, outcome.seconds, dict(clock.seconds)


def work_of(name: str, samples: int) -> dict[str, floors.Work]:
    """Return the work of each stage over some samples, store included."""
    made = recipe.load(name, samples=samples)
    with tempfile.TemporaryDirectory() as folder, floors.counted() as found:
        factory.generate(made, place.Folder(Path(folder) / "bench.zarr"), jobs=1)
    return found


def main() -> None:
    """Print the table, and the same as JSON on the last line."""
    name = sys.argv[1] if len(sys.argv) > 1 else "wse2-defects"
    measure(name, 32)
    core = floors.core()
    rounds = [measure(name) for _ in range(ROUNDS)]
    samples = rounds[0][0]
    seconds = sorted(s for _, s, _ in rounds)
    stages = {stage: min(by[stage] for _, _, by in rounds) for stage in STAGES}
    work = work_of(name, COUNTED)
    print(f"{name}: a shard of {samples} samples, one worker, store included, {ROUNDS} rounds")
    print(f"samples/s: best {samples / seconds[0]:.0f}, median {samples / seconds[ROUNDS // 2]:.0f}")
    print(f"this core: {core.operations_per_s / 1e9:.0f} G operations/s, {core.bytes_per_s / 1e9:.0f} GB/s")
    print("  stage           ms   share   M ops      MB  floor ms   ratio")
    rows = {}
    for stage, spent in (stages | {"rest": seconds[0] - sum(stages.values())}).items():
        found, took_ms = work.get(stage), 1e3 * spent / samples
        line = f"  {stage:10} {took_ms:7.2f}  {spent / seconds[0]:6.1%}"
        rows[stage] = {"ms": took_ms, "share": spent / seconds[0]}
        if found is not None:
            floor_ms = 1e3 * core.floor_s(found) / COUNTED
            counts = {"operations": found.operations / COUNTED, "bytes": found.bytes / COUNTED, "floor_ms": floor_ms}
            line += f" {counts['operations'] / 1e6:7.2f} {counts['bytes'] / 1e6:7.2f}"
            line += f" {floor_ms:9.3f} {took_ms / floor_ms:7.1f}"
            rows[stage] |= counts
        print(line)
    print(json.dumps({"recipe": name, "samples": samples, "seconds": seconds, "stages": rows}))


if __name__ == "__main__":
    main()
