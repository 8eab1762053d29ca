"""Two commits, or two settings of a recipe, by turns: ``python -m tests.bench.pair A B [RECIPE]``.

A and B are commits of this repository (a dot: the files as they lie here), each with settings of its own behind commas:
``.,scan.pixels=64 .,scan.pixels=128``. Each side has a process that makes the same few samples over and over, A B B A,
so that what else the machine does meets both; printed is the median ratio of neighbours, in processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLES, ROUNDS = 32, 30
SIDE = """
import json, sys, time
from stmfab import recipe, sample
name, settings = json.loads(sys.argv[1])
made = recipe.load(name, settings)
sample.simulate(made, 0, {samples})
print(flush=True)
for line in sys.stdin:
    begun = time.process_time()
    sample.simulate(made, int(line), int(line) + {samples})
    print(time.process_time() - begun, flush=True)
"""


def side(commit: str, folder: Path) -> Path:
    """Return a folder with the program as it was at a commit."""
    if commit == ".":
        return ROOT
    there = folder / commit.replace("/", "_")
    if not there.exists():
        there.mkdir()
        archive = subprocess.run(["git", "-C", ROOT, "archive", commit], check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", there], input=archive, check=True)
    return there


def begun(root: Path, name: str, settings: list[str]) -> subprocess.Popen[str]:
    """Start one side, compiled and warm."""
    process = subprocess.Popen(
        [sys.executable, "-c", SIDE.format(samples=SAMPLES), json.dumps([name, settings])],
        env={**os.environ, "PYTHONPATH": str(root)},
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if not process.stdout.readline():
        raise SystemExit(f"{root}: the program did not start")
    return process


def seconds(process: subprocess.Popen[str], first: int) -> float:
    """Return what some samples take a side."""
    print(first, file=process.stdin, flush=True)
    return float(process.stdout.readline())


def main() -> None:
    """Print samples a second of both sides and the ratio, and the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sides", nargs=2)
    parser.add_argument("recipe", nargs="?", default="wse2-defects")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pair = []
        for words in chosen.sides:
            commit, *settings = words.split(",")
            pair.append(begun(side(commit, Path(folder)), chosen.recipe, settings))
        times: list[list[float]] = [[], []]
        for round_ in range(chosen.rounds):
            for which in (0, 1) if round_ % 2 else (1, 0):
                times[which].append(seconds(pair[which], SAMPLES * (1 + round_ % 8)))
        for process in pair:
            process.communicate()
    ratios = sorted(b / a for a, b in zip(*times, strict=True))
    for words, spent in zip(chosen.sides, times, strict=True):
        middle, best = SAMPLES / statistics.median(spent), SAMPLES / min(spent)
        print(f"{words}: {middle:.1f} samples/s of processor time (best {best:.1f})")
    low, middle, high = (ratios[round(share * (len(ratios) - 1))] for share in (0.25, 0.5, 0.75))
    print(f"B takes {middle:.3f} of the time of A (half of the rounds {low:.3f} to {high:.3f})")
    print(json.dumps({"sides": chosen.sides, "recipe": chosen.recipe, "seconds": times, "ratio": middle}))


if __name__ == "__main__":
    main()
