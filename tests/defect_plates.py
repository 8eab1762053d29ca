"""Every defect of every crystal, filled and empty states: ``python -m tests.defect_plates defects.png [name ...]``."""

import sys
from concurrent.futures import ProcessPoolExecutor

import matplotlib as mpl

mpl.use("agg")
import numpy as np
from matplotlib import pyplot

from stmfab.physics import crystal, halos, tips
from stmfab.physics.defects import Divacancy, Dopant, Placed, Substitution, Vacancy
from stmfab.physics.greens import band_edges
from stmfab.physics.guests import Adatom, Antisite, Blob
from stmfab.physics.junction import Junction
from stmfab.physics.materials import MATERIALS

OXYGEN = {"onsite_eV": -3.0, "bond_ratio": 1.2, "neighbour_eV": 0.0}  # the values of the recipes
CHROMIUM = {"onsite_eV": -0.6, "bond_ratio": 0.8, "neighbour_eV": 0.0}
MOLYBDENUM = {"onsite_eV": -0.1, "bond_ratio": 0.97, "neighbour_eV": 0.0}
NITROGEN = {"onsite_eV": -5.0, "bond_ratio": 1.0, "neighbour_eV": -1.0}
METAL_ON_CHALCOGEN = {"onsite_eV": 0.0, "bond_ratio": 1.0, "rise_nm": 0.0}
CHALCOGEN_ON_METAL = {"onsite_eV": -0.5, "bond_ratio": 0.8, "rise_nm": 0.2}
MOVED = {"neighbour_eV": -3.0}
CHARGED = halos.of_charge({"charge": -1.0})
METAL = {"height_nm": 0.12, "onsite_eV": 0.0, "hopping_eV": 0.8}
HYDROGEN = {"height_nm": 0.11, "onsite_eV": -0.16, "hopping_eV": 5.2}  # T. O. Wehling et al., PRL 105, 056802 (2010)
METAL_IN_HOLLOW = {"height_nm": 0.17, "onsite_eV": 0.3, "hopping_eV": 0.5}
WORDS = {"position": "top", "orbital": "s"}
GUESTS = {
    "metal on chalcogen": (Antisite, 0, METAL_ON_CHALCOGEN),
    "chalcogen on metal": (Antisite, 2, CHALCOGEN_ON_METAL),
    "charge -1": (Dopant, 1, {"onsite_eV": 0.0} | CHARGED),
    "metal vacancy, -1": (Vacancy, 2, MOVED | CHARGED),
    "metal adatom": (Adatom, 2, METAL),
    "blob": (Blob, 2, {"height_pm": 150.0, "fwhm_nm": 1.2}),
}
LAYERED = {
    "vacancy, top": (Vacancy, 0, {}),
    "vacancy, bottom": (Vacancy, 1, {}),
    "divacancy": (Divacancy, 0, {}),
    "metal vacancy": (Vacancy, 2, MOVED),
    "metal vacancy, bare": (Vacancy, 2, {}),
    "oxygen, top": (Substitution, 0, OXYGEN),
    "oxygen, bottom": (Substitution, 1, OXYGEN),
    "chromium": (Substitution, 2, CHROMIUM),
}
ALSO = {"ws2": {"molybdenum": (Substitution, 2, MOLYBDENUM)}, "wse2": {"molybdenum": (Substitution, 2, MOLYBDENUM)}}
GRAPHENE = {
    "vacancy": (Vacancy, 0, {}),
    "nitrogen": (Substitution, 0, NITROGEN),
    "hydrogen": (Adatom, 0, HYDROGEN),
    "metal in a hollow": (Adatom, 0, METAL_IN_HOLLOW, WORDS | {"position": "hollow"}),
    "blob": (Blob, 0, {"height_pm": 150.0, "fwhm_nm": 1.0}),
}
DOPANT = (Dopant, 0, {"onsite_eV": 0.3})
CASES = {name: LAYERED | ALSO.get(name, {}) | GUESTS for name in ("mos2", "mose2", "ws2", "wse2")}
CASES |= {"graphene": GRAPHENE, "graphene-3n": GRAPHENE}
CASES |= {"wse2-s": {"vacancy, top": (Vacancy, 0, {}), "vacancy, bottom": (Vacancy, 1, {}), "dopant": DOPANT}}
WIDE_nm, WIDE = 3.0, ("charge -1", "metal vacancy, -1")  # a halo's frame is this wide to either side
BEYOND_V, GAPLESS_V = 0.4, 0.4
HALF_nm, PIXELS, PM_PER_NM = 1.3, 56, 1e3


def image(material, member, bias_V, half_nm=HALF_nm):
    """The ideal topography over one defect in the middle, pm."""
    x, y = np.meshgrid(*2 * [np.linspace(-half_nm, half_nm, PIXELS)])
    current = "incoherent" if material.n_filled is None or half_nm > HALF_nm else "coherent"
    junction = Junction(bias_V=bias_V, work_function_eV=4.5, current_nA=0.1, current=current)
    _, imaged = crystal.image(
        lambda view: crystal.scene_under(material, {"one": member}, view),
        material,
        tips.Tungsten(apex="w111").tip(),
        junction,
        lines_nm=[(x, y)],
        raster_nm=(x, y),
    )
    return PM_PER_NM * imaged.ideal_nm


def images(name):
    """The biases and the images of every defect of a crystal at each, filled states first."""
    material, edges = MATERIALS[name], band_edges(MATERIALS[name])
    biases = (-GAPLESS_V, GAPLESS_V) if edges is None else (edges[0] - BEYOND_V, edges[1] + BEYOND_V)
    shown = []
    for bias_V in biases:
        for kind, (cls, site, values, *words) in CASES[name].items():
            columns = {key: np.array([v]) for key, v in values.items()}
            placed = Placed(np.zeros((1, 2), np.int64), site, columns, *(words or [WORDS]))
            shown.append(image(material, (cls, placed), bias_V, WIDE_nm if kind in WIDE else HALF_nm))
    return biases, shown


def main(path="defects.png", *names):
    """Draw all plates: a column a defect, filled above empty states; a process a core."""
    chosen = {name: CASES[name] for name in names or CASES}
    n_columns = max(len(cases) for cases in chosen.values())
    figure, axes = pyplot.subplots(
        2 * len(chosen), n_columns, figsize=(1.9 * n_columns, 4.3 * len(chosen)), squeeze=False
    )
    for place in axes.ravel():
        place.set_axis_off()
    with ProcessPoolExecutor() as pool:
        made = list(pool.map(images, chosen))
    for row, ((name, cases), (biases, every)) in enumerate(zip(chosen.items(), made, strict=True)):
        for number, shown in enumerate(every):
            line, column = divmod(number, len(cases))
            extreme = shown[np.unravel_index(np.abs(shown - np.median(shown)).argmax(), shown.shape)]
            place = axes[2 * row + line, column]
            place.imshow(shown, origin="lower", cmap="afmhot")
            title = f"{name}: {list(cases)[column]}\n{biases[line]:.2f} V, {extreme - np.median(shown):+.0f} pm"
            place.set_title(title, fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=65)


if __name__ == "__main__":
    main(*sys.argv[1:])
