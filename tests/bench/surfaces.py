"""What frames of surfaces cost, beside what was asked of them: ``python -m tests.bench.surfaces``.

Fully scanned, every junction, in processor time: of each sample the least of some rounds; printed are the mean over the
samples and the largest. Frames of 20 nm are made without the second render of ``instances``.
"""

from __future__ import annotations

import time

import stmfab  # noqa: F401  (pins every thread pool before numpy is imported)

from stmfab import recipe, sample  # isort: skip

FRAME = ["scan.size_nm=20", "scan.pixels=256", "targets.instances=null"]
WIDE = ["scan.size_nm=100", "scan.pixels=512"]
CORRAL = [
    "sample.corrals.ring.n_atoms=15",
    *(f"sample.{key}=null" for key in ("corrals.line", "corrals.strewn", "defects.stray", "defects.co")),
]
ROWS = {  # what it is: the seconds asked for, and recipes with their settings
    "20 nm, 256 x 256, two junctions": (
        0.35,
        dict.fromkeys(("h-si-100-atoms", "si001-h-ash3-fewshot", "ge001-ash3-fewshot", "tio2-110-fewshot"), FRAME),
    ),
    "100 nm, 512 x 512, two junctions": (1.5, {"h-si-100-survey": WIDE}),
    "a corral of 15 adatoms, 256 x 256, with its dI/dV map": (0.1, {"ag111-corrals": CORRAL}),
}
SAMPLES, ROUNDS = 6, 3


def seconds(name: str, settings: list[str]) -> list[float]:
    """Return the processor time of some samples, the least of some rounds of each."""
    made = recipe.load(name, settings, samples=SAMPLES)
    sample.simulate(made, 0, 1)
    out = []
    for index in range(SAMPLES):
        times = []
        for _ in range(ROUNDS):
            begun = time.process_time()
            sample.simulate(made, index, index + 1)
            times.append(time.process_time() - begun)
        out.append(min(times))
    return out


def main() -> None:
    """Print the rows."""
    for words, (asked, recipes) in ROWS.items():
        print(f"{words}: asked for at most {asked:g} s")
        for name, settings in recipes.items():
            times = seconds(name, settings)
            print(f"  {name:22} mean {sum(times) / len(times):.3f} s, largest {max(times):.3f} s")


if __name__ == "__main__":
    main()
