"""Frames of every recipe of a surface: ``python -m tests.surface_plates [FOLDER [name ...]]`` writes NAME.png each.

A row a sample, from the first: what each junction records, a plane taken off (of all terraces alike), the white set by
the highest but one in a hundred pixels; then the classes, or the map of dI/dV. In few colours, so that files are small.
"""

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
import numpy as np
from matplotlib import pyplot
from PIL import Image

from stmfab import gallery, plan, recipe, sample

RECIPES = Path(__file__).parent.parent / "recipes"
METALS = ("ag111-corrals", "au111-herringbone", "cu111-co", "metal-steps")
OTHERS = ("ge001-ash3-fewshot", "h-si-100-atoms", "h-si-100-survey", "si001-h-ash3-fewshot", "tio2-110-fewshot")
SAMPLES, INCHES, DPI, COLOURS, PM_PER_NM = 3, 2.9, 80, 112, 1e3
SHOWN = (0.5, 99.5)  # percent of the pixels between black and white
TERRACES = ["targets.terraces={kind: terraces}", "targets.instances=null"]


def levelled(z_nm, terraces):
    """Heights in pm less the plane that fits all terraces best, each at its own level."""
    v, u = np.indices(z_nm.shape) / len(z_nm)
    levels = [(terraces == number).astype(float) for number in np.unique(terraces)]
    columns = np.stack([image.ravel() for image in (v, u, *levels)], axis=1)
    slopes = np.linalg.lstsq(columns, z_nm.ravel().astype(float), rcond=None)[0][:2]
    return PM_PER_NM * (z_nm - slopes[0] * v - slopes[1] * u)


def panels(chosen, index):
    """What a row shows: titles and images, heights in pm, dI/dV, classes as colours."""
    drawn = plan.parameters(chosen, plan.draw(chosen, index, index + 1), index)
    made = {name: array[0] for name, array in sample.simulate(chosen, index, index + 1).items()}
    every = made["topography"].reshape(-1, *made["topography"].shape[-2:])
    terraces, classes = (np.broadcast_to(made[name], every.shape) for name in ("terraces", "classes"))
    for (name, junction), z_nm, at in zip(drawn.junctions.items(), every, terraces, strict=True):
        yield f"{name} {junction.sample_bias_V:+.2g} V, {drawn.raster.size_nm:.0f} nm", levelled(z_nm, at), "heights"
    if "conductance" in made:
        yield "dI/dV", made["conductance"], "map"
    others = len(gallery.NUMBERED) - 1
    yield "classes", gallery.NUMBERED[np.where(classes[0] > 0, 1 + (classes[0] - 1) % others, 0)], "classes"


def draw(name, path):
    """Write the picture of a recipe."""
    chosen = recipe.load(str(RECIPES / f"{name}.yaml"), TERRACES, samples=SAMPLES)
    rows = [list(panels(chosen, index)) for index in range(SAMPLES)]
    figure, axes = pyplot.subplots(SAMPLES, len(rows[0]), figsize=(INCHES * len(rows[0]), (INCHES + 0.2) * SAMPLES))
    for places, row in zip(axes, rows, strict=True):
        for place, (title, image, kind) in zip(places, row, strict=True):
            place.set_axis_off()
            if kind == "classes":
                place.imshow(image, origin="lower", interpolation="nearest")
            else:
                low, high = np.percentile(image, SHOWN)
                place.imshow(image, origin="lower", cmap="afmhot" if kind == "heights" else "gray", vmin=low, vmax=high)
                title += f", {high - low:.0f} pm" if kind == "heights" else ""
            place.set_title(title, fontsize=8)
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=DPI)
    pyplot.close(figure)
    Image.open(path).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def main(folder=".", *names):
    """Draw the chosen recipes, or all."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in names or METALS + OTHERS:
        draw(name, Path(folder) / f"{name}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
