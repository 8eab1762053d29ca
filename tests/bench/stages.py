"""Samples a second of one core, end to end and stage by stage: ``python tests/bench/stages.py [RECIPE] [SAMPLES]``.

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

from stmfab import factory, labels, place, plan, recipe, sample, scenes, store  # isort: skip
from stmfab.physics import crystal, current, scan  # isort: skip

ROUNDS = 5
STAGES = {
    "draw": [(plan, "draw"), (plan, "parameters"), (plan, "record")],
    "structure": [(scenes, "scene")],
    "T-matrix": [(crystal, "_local_green")],
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


def measure(name: str, samples: int) -> tuple[float, dict[str, float]]:
    """Return seconds and seconds by stage of one dataset made by one worker, compiled and warm."""
    made = recipe.load(name, samples=samples)
    clock = Clock()
    for stage, functions in STAGES.items():
        for module, function in functions:
            setattr(module, function, clock.timed(stage, getattr(module, function)))
    with tempfile.TemporaryDirectory() as folder:
        outcome = factory.generate(made, place.Folder(Path(folder) / "bench.zarr"), jobs=1)
    for functions in STAGES.values():
        for module, function in functions:
            setattr(module, function, getattr(module, function).plain)
    return outcome.seconds, dict(clock.seconds)


def main() -> None:
    """Print the table, and the same as JSON on the last line."""
    name = sys.argv[1] if len(sys.argv) > 1 else "wse2-defects"
    samples = int(sys.argv[2]) if len(sys.argv) > 2 else 512
    measure(name, 32)
    rounds = [measure(name, samples) for _ in range(ROUNDS)]
    seconds = sorted(s for s, _ in rounds)
    stages = {stage: min(by[stage] for _, by in rounds) for stage in STAGES}
    print(f"{name}: {samples} samples, one worker, store included, {ROUNDS} rounds")
    print(f"samples/s: best {samples / seconds[0]:.0f}, median {samples / seconds[ROUNDS // 2]:.0f}")
    for stage, spent in (stages | {"rest": seconds[0] - sum(stages.values())}).items():
        print(f"  {stage:10} {1e3 * spent / samples:7.2f} ms  {spent / seconds[0]:6.1%}")
    figures = {"recipe": name, "samples": samples, "seconds": seconds, "stages": stages}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
