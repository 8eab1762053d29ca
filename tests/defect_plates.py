"""Every defect of every crystal at filled and empty states: ``python -m tests.defect_plates defects.png [name ...]``.

A semiconductor has a third line: empty states of an n-type layer, from a Fermi level in the gap to just above the gap,
where what a defect has in the gap is most of the current (not of charges, whose bent bands leave nothing else there).
With spin-orbit coupling only the material in which it is strongest is drawn: the others have the same orbitals, sites
and defects.
"""

import sys
from concurrent.futures import ProcessPoolExecutor

import matplotlib as mpl

mpl.use("agg")
import numpy as np
from matplotlib import pyplot

from stmfab.physics import crystal, halos, tips
from stmfab.physics.defects import Divacancy, Dopant, LateralDivacancy, Placed, Substitution, Vacancy
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
    "lateral divacancy": (LateralDivacancy, 0, {"direction_deg": 0.0}),
    "metal vacancy": (Vacancy, 2, MOVED),
    "metal vacancy, bare": (Vacancy, 2, {}),
    "oxygen, top": (Substitution, 0, OXYGEN),
    "oxygen, bottom": (Substitution, 1, OXYGEN),
    "chromium": (Substitution, 2, CHROMIUM),
}
ALSO = {"ws2": {"molybdenum": (Substitution, 2, MOLYBDENUM)}, "wse2": {"molybdenum": (Substitution, 2, MOLYBDENUM)}}
GRAPHENE = {
    "vacancy": (Vacancy, 0, {}),
    "vacancy, its waves": (Vacancy, 0, {}),
    "lateral divacancy": (LateralDivacancy, 0, {"direction_deg": 90.0}),
    "nitrogen": (Substitution, 0, NITROGEN),
    "hydrogen": (Adatom, 0, HYDROGEN),
    "metal in a hollow": (Adatom, 0, METAL_IN_HOLLOW, WORDS | {"position": "hollow"}),
    "blob": (Blob, 0, {"height_pm": 150.0, "fwhm_nm": 1.0}),
}
DOPANT = (Dopant, 0, {"onsite_eV": 0.3})
CASES = {name: LAYERED | ALSO.get(name, {}) | GUESTS for name in ("mos2", "mose2", "ws2", "wse2")}
WITH_SPIN = ("vacancy, top", "divacancy", "metal vacancy", "oxygen, top", "metal on chalcogen", "chalcogen on metal")
CASES |= {"wse2-so": {name: (LAYERED | GUESTS)[name] for name in WITH_SPIN}}
CASES |= {"graphene": GRAPHENE, "graphene-3n": GRAPHENE}
CASES |= {"wse2-s": {"vacancy, top": (Vacancy, 0, {}), "vacancy, bottom": (Vacancy, 1, {}), "dopant": DOPANT}}
HALO_nm, HALOS = 3.0, ("charge -1", "metal vacancy, -1")  # a halo's frame is this wide to either side
WAVES_nm, WAVES, FAINT_pm = 2.2, "vacancy, its waves", 4.0  # the colours end so much above and below the median
BEYOND_V, GAPLESS_V = 0.4, 0.4
DOPED_V, ABOVE_V = 0.85, 0.12  # n-type: so wide is the window, so far above the gap its end
HALF_nm, PIXELS, PM_PER_NM = 1.3, 56, 1e3


def image(material, member, bias_V, *, fermi_eV=0.0, half_nm=HALF_nm, current="coherent"):
    """The ideal topography over one defect in the middle, pm."""
    x, y = np.meshgrid(*2 * [np.linspace(-half_nm, half_nm, PIXELS)])
    junction = Junction(bias_V=bias_V, fermi_eV=fermi_eV, work_function_eV=4.5, current_nA=0.1, current=current)
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
    lines = [(-GAPLESS_V, 0.0), (GAPLESS_V, 0.0)]  # bias and Fermi level
    if edges is not None:
        lines = [(edges[0] - BEYOND_V, 0.0), (edges[1] + BEYOND_V, 0.0), (DOPED_V, edges[1] + ABOVE_V - DOPED_V)]
    return [bias_V for bias_V, _ in lines], [
        None
        if fermi_eV and kind in HALOS
        else image(material, member(kind, *values), bias_V, fermi_eV=fermi_eV, **seen(material, kind))
        for bias_V, fermi_eV in lines
        for kind, values in CASES[name].items()
    ]


def member(kind, cls, site, values, words=WORDS):
    """The kind and the only one of its defects."""
    columns = {key: np.array([value]) for key, value in values.items()}
    return cls, Placed(np.zeros((1, 2), np.int64), site, columns, words)


def seen(material, kind):
    """How a defect is looked at: its frame, and by which formula of the current."""
    if kind in HALOS:
        return {"half_nm": HALO_nm, "current": "incoherent"}
    half_nm = WAVES_nm if kind == WAVES else HALF_nm
    return {"half_nm": half_nm, "current": "incoherent" if material.n_filled is None else "coherent"}


def main(path="defects.png", *names):
    """Draw all plates: a column a defect, a line a bias, filled states first; a process a core."""
    chosen = {name: CASES[name] for name in names or CASES}
    with ProcessPoolExecutor() as pool:
        made = list(pool.map(images, chosen))
    n_lines, n_columns = sum(len(biases) for biases, _ in made), max(len(cases) for cases in chosen.values())
    figure, axes = pyplot.subplots(n_lines, n_columns, figsize=(1.9 * n_columns, 2.15 * n_lines), squeeze=False)
    for place in axes.ravel():
        place.set_axis_off()
    lines = iter(axes)
    for (name, cases), (biases, every) in zip(chosen.items(), made, strict=True):
        for bias_V, row in zip(biases, rows(every, len(cases)), strict=True):
            for kind, shown, place in zip(cases, row, next(lines), strict=False):
                if shown is not None:
                    draw(place, shown, f"{name}: {kind}\n{bias_V:.2f} V", FAINT_pm if kind == WAVES else None)
    figure.tight_layout()
    figure.savefig(path, dpi=65)


def rows(every, length):
    """All images in rows of one length."""
    return [every[first : first + length] for first in range(0, len(every), length)]


def draw(place, shown, title, faint_pm):
    """Draw a panel, titled with its extremes over and under the median; ``faint_pm``: the colours end there."""
    shown = shown - np.median(shown)
    ends = {} if faint_pm is None else {"vmin": -faint_pm, "vmax": faint_pm}
    place.imshow(shown, origin="lower", cmap="afmhot", **ends)
    place.set_title(f"{title}, {shown.min():+.0f} {shown.max():+.0f} pm", fontsize=7)


if __name__ == "__main__":
    main(*sys.argv[1:])
