"""Every defect of every crystal at filled and empty states: ``python -m tests.defect_plates defects.png [name ...]``.

A semiconductor has two more lines. Empty states of an n-type layer, from a Fermi level in the gap to just above it:
what a defect has in the gap is most of the current (not of charges, whose bent bands leave nothing else there). And
dI/dV in the gap, half a volt below the conduction band, at the setpoint of the second line: the states of defects
alone, all on one scale. With spin-orbit coupling only the material in which it is strongest is drawn: the others have
the same orbitals, sites and defects.
"""

import sys
from concurrent.futures import ProcessPoolExecutor

import matplotlib as mpl

mpl.use("agg")
import numpy as np
from matplotlib import pyplot
from scipy import ndimage

from stmfab import tables
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
WAVES, WAVES_nm, WAVES_nA = "vacancy, its waves", 2.2, 5.0  # less the mean over SMOOTH_nm, colours up to FAINT_pm
SMOOTH_nm, FAINT_pm = 0.2, 2.0
BEYOND_V = 0.4  # the gap
LOW_V, GAPLESS_V = (-0.2, 0.2, 0.8), {"wse2-s": (-0.4, 0.4)}  # of crystals without a gap
DOPED_V, ABOVE_V = 0.85, 0.12  # n-type: so wide is the window, so far above the gap its end
STATE_V = 0.5  # below the conduction band: the state of a missing chalcogen
HALF_nm, PIXELS, PM_PER_NM, PA_PER_NA = 1.3, 56, 1e3, 1e3


def image(material, member, bias_V, *, fermi_eV=0.0, state_V=None, half_nm=HALF_nm, current_nA=0.1, current="coherent"):
    """The ideal topography over one defect in the middle, pm from its median; or dI/dV there at a bias, pA/V."""
    x, y = np.meshgrid(*2 * [np.linspace(-half_nm, half_nm, PIXELS)])
    junction = Junction(bias_V=bias_V, fermi_eV=fermi_eV, work_function_eV=4.5, current_nA=current_nA, current=current)
    _, imaged = crystal.image(
        lambda view: crystal.scene_under(material, {"one": member}, view),
        material,
        tips.Tungsten(apex="w111").tip(),
        junction,
        lines_nm=[(x, y)],
        raster_nm=(x, y),
        keep=tables.kept,
    )
    if state_V is not None:
        return PA_PER_NA * imaged.conductance(state_V).current(x, y, imaged.ideal_nm)
    return PM_PER_NM * (imaged.ideal_nm - np.median(imaged.ideal_nm))


def lines(material):
    """The lines of a crystal's plate: what they show, and how each is made."""
    edges = band_edges(material)
    if edges is None:
        return {f"{bias_V} V": {"bias_V": bias_V} for bias_V in GAPLESS_V.get(material.name, LOW_V)}
    filled_V, empty_V, doped_eV = edges[0] - BEYOND_V, edges[1] + BEYOND_V, edges[1] + ABOVE_V - DOPED_V
    state_V = edges[1] - STATE_V
    return {
        f"{filled_V:.2f} V": {"bias_V": filled_V},
        f"{empty_V:.2f} V": {"bias_V": empty_V},
        f"n-type, {DOPED_V} V": {"bias_V": DOPED_V, "fermi_eV": doped_eV},
        f"dI/dV at {state_V:.2f} V": {"bias_V": empty_V, "state_V": state_V},
    }


def images(name):
    """The images of every defect of a crystal, line after line; None where a charge leaves no state at those biases."""
    material, cases = MATERIALS[name], CASES[name]
    return {
        line: {
            kind: None if len(made) > 1 and kind in HALOS else panel(material, kind, member(*case), made)
            for kind, case in cases.items()
        }
        for line, made in lines(material).items()
    }


def panel(material, kind, member, made):
    """What a panel shows."""
    if kind != WAVES:
        return image(material, member, **made, **seen(material, kind))
    values = image(material, member, **made, half_nm=WAVES_nm, current_nA=WAVES_nA, current="incoherent")
    return values - ndimage.gaussian_filter(values, SMOOTH_nm * (PIXELS - 1) / (2 * WAVES_nm))


def member(cls, site, values, words=WORDS):
    """The kind and the only one of its defects."""
    columns = {key: np.array([value]) for key, value in values.items()}
    return cls, Placed(np.zeros((1, 2), np.int64), site, columns, words)


def seen(material, kind):
    """How a defect is looked at: its frame, and by which formula of the current."""
    if kind in HALOS:
        return {"half_nm": HALO_nm, "current": "incoherent"}
    return {"current": "incoherent" if material.n_filled is None else "coherent"}


def main(path="defects.png", *names):
    """Draw all plates: a column a defect, a line a bias, filled states first; a process a core."""
    chosen = list(names or CASES)
    with ProcessPoolExecutor() as pool:
        made = dict(zip(chosen, pool.map(images, chosen), strict=True))
    n_lines, n_columns = sum(map(len, made.values())), max(len(CASES[name]) for name in chosen)
    figure, axes = pyplot.subplots(n_lines, n_columns, figsize=(1.9 * n_columns, 2.15 * n_lines), squeeze=False)
    for place in axes.ravel():
        place.set_axis_off()
    rows = iter(axes)
    for name, shown in made.items():
        for line, every in shown.items():
            most = max(values.max() for values in every.values() if values is not None)
            for (kind, values), place in zip(every.items(), next(rows), strict=False):
                if values is not None:
                    draw(place, values, f"{name}: {kind}\n{line}", of_states=most if "dI/dV" in line else None)
    figure.tight_layout()
    figure.savefig(path, dpi=65)


def draw(place, values, title, *, of_states):
    """Draw a panel, titled with its extremes; ``of_states``: the largest dI/dV of the line, which is white."""
    if of_states is not None:
        ends, unit = {"vmin": 0, "vmax": of_states}, "pA/V"
    else:
        ends, unit = {"vmin": -FAINT_pm, "vmax": FAINT_pm} if WAVES in title else {}, "pm"
    place.imshow(values, origin="lower", cmap="afmhot", **ends)
    place.set_title(f"{title}, {values.min():+.0f} {values.max():+.0f} {unit}", fontsize=7)


if __name__ == "__main__":
    main(*sys.argv[1:])
