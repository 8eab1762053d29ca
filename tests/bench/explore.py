"""From slider to picture on the page of ``stmfab explore``: ``python -m tests.bench.explore [RECIPE]``.

A headless Chromium (playwright) moves sliders of a sample of 64 x 64 pixels. The time runs from the slider's event to
the frame in which the picture, the plots and the numbers are painted, of a sample that takes long: those of a glance;
the server's share is what it says itself. Run it on an idle machine.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent.parent
MOVES = 40
KEYS = (
    "junction.bias_V",
    "junctions.empty.bias_V",
    "scan.size_nm",
    "scan.rotation_deg",
    "instrument.feedback.loop_gain",
    "instrument.feedback.crossover_Hz",
    "scan.dwell_s",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LIMIT_ms = 150
TIMED = """async ([path, place]) => {
    const slider = document.querySelector(`[aria-label='${path} slider']`), before = stmfab.count;
    slider.value = place;
    const began = performance.now();
    slider.dispatchEvent(new Event('input', {bubbles: true}));
    while (stmfab.count === before) await new Promise((done) => setTimeout(done, 0));
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
    const legal = document.getElementById('error').hidden;
    return legal ? [performance.now() - began, stmfab.server_ms, stmfab.drawing_ms] : [];
}"""


def measured(page, key: str) -> np.ndarray:
    """Return the times of the legal moves of one slider, (n_moves, 3), ms: whole, server, drawing."""
    places = np.random.default_rng(0).permutation(np.linspace(50, 950, MOVES))
    found = [page.evaluate(TIMED, [key, float(place)]) for place in places]
    return np.array([times for times in found if times])


def moved(address: str, recipe: str) -> list[np.ndarray]:
    """Print and return the times of the moves of every slider of a page."""
    with sync_playwright() as browsers:
        program = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = browsers.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        page.wait_for_selector("#time:not(:empty)")
        print(f"{recipe}, {MOVES} moves a slider, ms         median   p90   server  drawing")
        every = []
        for key in KEYS:
            if not page.query_selector(f"[aria-label='{key} slider']"):
                continue
            found = measured(page, key)
            if not len(found):
                continue
            every.append(found)
            whole, its, drawing = np.median(found, axis=0)
            print(f"{key:40} {whole:8.0f} {np.quantile(found[:, 0], 0.9):6.0f} {its:8.0f} {drawing:8.0f}")
        browser.close()
    return every


def main() -> int:
    recipe = sys.argv[1] if len(sys.argv) > 1 else "wse2-demo"
    command = [sys.executable, "-u", "-m", "stmfab.cli", "explore", recipe, "--set", "scan.pixels=64"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            every = moved(server.stdout.readline().split(": open ")[1].strip(), recipe)
        finally:
            server.terminate()
    median = np.median(np.concatenate(every)[:, 0])
    print(f"all: median {median:.0f} ms, p90 {np.quantile(np.concatenate(every)[:, 0], 0.9):.0f} ms")
    return int(median > LIMIT_ms)


if __name__ == "__main__":
    sys.exit(main())
