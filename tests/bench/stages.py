"""Samples a second of one core, end to end and stage by stage: ``python tests/bench/stages.py [RECIPE]``.

One worker makes the first shard of the dataset as the recipe describes it, store included.

Run it on an idle machine. A stage's time is what its functions take less what the stages inside them take; the least
of several rounds is printed, and as a share of the whole.
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

ROUNDS = 5
STAGES = {
    "draw": [(plan, "draw"), (plan, "parameters"), (plan, "record")],
    "structure": [(scenes, "scene")],
    "T-matrix": [(greens, "local_green")],
    "field": [(crystal, "image"), (current, "current_field")],
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

        wrapper.plain = function
        return wrapper


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


def main() -> None:
    """Print the table, and the same as JSON on the last line."""
    name = sys.argv[1] if len(sys.argv) > 1 else "wse2-defects"
    measure(name, 32)
    rounds = [measure(name) for _ in range(ROUNDS)]
    samples = rounds[0][0]
    seconds = sorted(s for _, s, _ in rounds)
    stages = {stage: min(by[stage] for _, _, by in rounds) for stage in STAGES}
    print(f"{name}: a shard of {samples} samples, one worker, store included, {ROUNDS} rounds")
    print(f"samples/s: best {samples / seconds[0]:.0f}, median {samples / seconds[ROUNDS // 2]:.0f}")
    for stage, spent in (stages | {"rest": seconds[0] - sum(stages.values())}).items():
        print(f"  {stage:10} {1e3 * spent / samples:7.2f} ms  {spent / seconds[0]:6.1%}")
    figures = {"recipe": name, "samples": samples, "seconds": seconds, "stages": stages}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
