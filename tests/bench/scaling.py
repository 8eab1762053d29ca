"""How the cost of a sample grows, and what some sizes cost: ``python -m tests.bench.scaling [PICTURE]``.

Processor time of ``wse2-defects`` against the number of pixels and against the area, and of ``wse2-realistic`` against
the sub-steps of its loop, each with the exponent of a fit over its upper half: 1 is linear.
"""

from __future__ import annotations

import json
import sys
import time

import stmfab  # noqa: F401  (pins every thread pool before numpy is imported)

import numpy as np  # isort: skip

from stmfab import recipe, sample, workers  # isort: skip

SERIES = {
    "pixels": ("wse2-defects", ["scan.size_nm=3"], "scan.pixels", [32, 64, 128, 256, 512], lambda n: n**2),
    "area, nm^2": ("wse2-defects", ["scan.pixels=128"], "scan.size_nm", [2, 4, 8, 16, 32], lambda nm: nm**2),
    "sub-steps a pixel": ("wse2-realistic", ["scan.pixels=64"], "scan.sub_steps", [10, 20, 40, 80, 160], lambda n: n),
}
MEMBERS = ("top_vacancy", "bottom_vacancy", "top_dopant", "bottom_dopant")
HALF = [f"sample.defects.{name}.density_per_nm2={{uniform: [0.05, 0.125]}}" for name in MEMBERS]
FRAMES = {  # of wse2-defects
    "64 x 64 at 1 to 4 nm, half of the defects": HALF,
    "128 x 128 at 1 to 4 nm": ["scan.pixels=128"],
    "256 x 256 at 1 to 4 nm": ["scan.pixels=256"],
    "128 x 128 at 10 nm": ["scan.pixels=128", "scan.size_nm=10"],
    "256 x 256 at 30 nm": ["scan.pixels=256", "scan.size_nm=30"],
}
SAMPLES, ROUNDS = 32, 3


def seconds(name: str, settings: list[str]) -> float:
    """Return the processor time of a sample, the least of some rounds over the same few."""
    made = recipe.load(name, settings)
    times = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        sample.simulate(made, 0, SAMPLES)
        times.append(time.process_time() - begun)
    return min(times) / SAMPLES


def main() -> None:
    """Print the series and their exponents, draw them if a picture is asked for, and print the same as JSON."""
    workers.keep_memory()
    found: dict[str, object] = {}
    for words, (name, settings, key, values, amount) in SERIES.items():
        amounts = np.array([amount(value) for value in values], dtype=float)
        times = np.array([seconds(name, [*settings, f"{key}={value}"]) for value in values])
        half = len(values) // 2
        exponent = float(np.polyfit(np.log(amounts[half:]), np.log(times[half:]), 1)[0])
        found[words] = {"amounts": amounts.tolist(), "seconds": times.tolist(), "exponent": exponent}
        row = "  ".join(f"{a:g}: {1e3 * t:.1f}" for a, t in zip(amounts, times, strict=True))
        print(f"{name}, ms by {words}: {row}; exponent {exponent:.2f}")
    for words, settings in FRAMES.items():
        found[words] = seconds("wse2-defects", settings)
        print(f"wse2-defects, {words}: {1e3 * found[words]:.1f} ms")
    if len(sys.argv) > 1:
        drawn({words: found[words] for words in SERIES}, sys.argv[1])
    print(json.dumps(found))


def drawn(found, path: str) -> None:
    """Draw the series, double logarithmic, each with the straight line of its fit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes, (words, of) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        amounts, times = np.array(of["amounts"]), 1e3 * np.array(of["seconds"])
        axes.loglog(amounts, times, "o-", color="#30638e")
        upper = amounts[len(amounts) // 2 :]
        axes.loglog(upper, times[-1] * (upper / upper[-1]) ** of["exponent"], "--", color="0.6", zorder=0)
        axes.set(xlabel=words, title=f"exponent {of['exponent']:.2f}")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("ms a sample")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
