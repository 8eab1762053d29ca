"""One panel an effect of the microscope, on the same sample: ``python -m tests.plates plates.png``."""

import sys

import matplotlib as mpl

mpl.use("agg")
import numpy as np
from matplotlib import pyplot

from stmfab import recipe, sample

STILL = [
    "samples=1",
    "scan.size_nm=4",
    "scan.pixels=128",
    "scan.rotation_deg=20",
    "scan.fast_axis=x",
    "scan.fast_direction=1",
    "scan.slow_direction=1",
    "tip.apex=w001",
    "tip.tilt_x_deg=0",
    "tip.tilt_y_deg=0",
    "junction.bias_V=0.4",
    "junction.polarity=-1",
    "junction.kappa_per_nm=10",
    "junction.height_nm=0.4",
    "instrument=null",
]
LOOP = "instrument.feedback={update: continuous, crossover_Hz: %g, preamplifier_Hz: 3000}"
FAST = LOOP % 300
PLATES = {
    "perfect": [],
    "loop of 300 Hz": [FAST],
    "slow loop, 15 Hz": [LOOP % 15],
    "ringing loop": ["instrument.feedback={update: continuous, crossover_Hz: 60, preamplifier_Hz: 15}"],
    "linear amplifier, 15 Hz": [
        "instrument.feedback={update: continuous, crossover_Hz: 15, preamplifier_Hz: 3000, amplifier: linear}"
    ],
    "z resonance": [FAST, "instrument.z_resonance={frequency_Hz: 1000, Q: 3.1}"],
    "slew limit": [FAST.replace("}", ", slew_nm_per_s: 0.4}")],
    "z hysteresis, 15 %": [
        FAST,
        "instrument.z_piezo={kind: loop, opening_percent: 15, stroke_nm: 0.05}",
    ],
    "lateral hysteresis": ["instrument.lateral_hysteresis={kind: loop, opening_percent: 15, stroke_nm: 4}"],
    "creep": ["instrument.creep={kind: log, x_move_nm: 60, y_move_nm: 40, wait_s: 1}"],
    "drift, 4 nm/min": ["instrument.drift={kind: linear, x_nm_per_min: 4, y_nm_per_min: 1}"],
    "random walk": ["instrument.drift={kind: linear, walk_nm_per_sqrt_min: 0.4}"],
    "jitter": ["instrument.jitter={fast_nm: 0.03, slow_nm: 0.01}"],
    "gain and skew": ["instrument.scanner={x_gain_percent: 15, skew_deg: 12}"],
    "bow": ["instrument.scanner={bow_radius_um: 0.05}"],
    "tilt": ["instrument.tilt={x_deg: 1, y_deg: -0.5}"],
    "white noise": [FAST, "instrument.noise.gap={kind: white_height, rms_pm: 3}"],
    "current noise, 5 pA": [
        FAST,
        "junction.height_nm=null",
        "junction.current_nA=0.005",
        "instrument.noise.amplifier={kind: amplifier, extra_fA_per_sqrt_Hz: 5}",
    ],
    "1/f noise": [FAST, "instrument.noise.f={kind: flicker, pm_per_sqrt_Hz: 3, corner_Hz: 200}"],
    "line offsets": [FAST, "instrument.noise.l={kind: line_offset, rms_pm: 4}"],
    "hum": [FAST, "instrument.noise.h={kind: hum, pm: 4, frequency_Hz: 50.5, harmonics: 2}"],
    "vibration": [FAST, "instrument.noise.v={kind: vibration, rms_pm: 4, frequency_Hz: 13, Q: 20}"],
    "telegraph": [FAST, "instrument.noise.t={kind: telegraph, pm: 20, up_per_s: 0.6, down_per_s: 4}"],
    "streaks": [FAST, "instrument.noise.t={kind: telegraph, pm: 40, up_per_s: 1, down_per_s: 100}"],
    "tip jumps": [FAST, "instrument.tip_jumps={per_frame: 6, height_pm: 15, lateral_nm: 0.2}"],
    "double tip": [
        "extra_apexes.second={kind: tungsten, apex: w111, x_nm: 0.9, y_nm: 0.5, shorter_pm: 20}",
    ],
    "blunt tip": ["tip.apex=w111-d1"],
    "blunter tip": ["tip.apex=w001-d3"],
    "spd tungsten": ["tip.model=spd"],
    "Pt/Ir tip, three atoms": ["tip={kind: platinum_iridium, front_atoms: 3, rotation_deg: 20}"],
    "CO tip, half p waves": ["tip={kind: co, p_share: 0.5}"],
    "CO tip, p waves": ["tip={kind: co, p_share: 1}"],
    "another tip": [
        FAST,
        "instrument.tip_jumps={per_frame: 3, height_pm: 5}",
        "later_tips.blunt={apex: w111-d1-2of3, rotation_deg: 40}",
    ],
    "pick-ups": [FAST, "instrument.pick_ups.atom={per_frame: 3, height_pm: 15, dwell_s: 2}"],
    "short pick-ups": [FAST, "instrument.pick_ups.atom={per_frame: 60, height_pm: 25, dwell_s: 0.02}"],
}
N_COLUMNS = 7


def panel(overrides):
    """The forward topography of sample 0, in pm."""
    plan = recipe.load("wse2-defects", overrides=(*STILL, *overrides))
    return 1e3 * sample.simulate(plan, 0, 1)["topography"][0]


def main(path="plates.png"):
    """Draw all plates."""
    n_rows = -(-len(PLATES) // N_COLUMNS)
    figure, axes = pyplot.subplots(n_rows, N_COLUMNS, figsize=(2.2 * N_COLUMNS, 2.5 * n_rows))
    for place in axes.ravel():
        place.set_axis_off()
    for place, (name, overrides) in zip(axes.ravel(), PLATES.items(), strict=False):
        image = panel(overrides)
        low, high = np.percentile(image, (0.5, 99.5))
        place.imshow(image, origin="lower", cmap="afmhot", vmin=low, vmax=high)
        place.set_title(f"{name}\n{high - low:.3g} pm", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=65)


if __name__ == "__main__":
    main(*sys.argv[1:])
