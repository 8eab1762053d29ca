"""Materials as a user writes them: lattice, sites, and hops one by one, by Slater-Koster integrals, or from Wannier90.

``from_mapping`` takes plain values as a recipe holds them; ``README.md`` shows one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..units import Floats
from . import two_centre
from .material import LAYERS, ORBITALS, Material, Site

NEEDED = ("name", "source", "lattice_nm", "sites", "fermi_eV", "broadening_eV")
WAYS = ("hoppings", "slater_koster", "wannier90_hr")
HR_TEXT = "wannier90_text"  # what a recipe that was read holds in place of the file: its hops
MAY = ("onsite_eV", "n_filled", "scissor_eV", "mean_ldos_per_eV")
SITE_KEYS = ("species", "layer", "position_nm", "orbitals")
BOND_KEYS = ("between", "distance_nm")
BOND_TOLERANCE = 0.02  # of a distance that Slater-Koster integrals are given for
SAME_eV = 1e-6  # a hop and its reverse, both written, differ by less
LDOS_N_K, NEAR_eV, OUTSIDE_eV = 48, 0.5, 1.0  # where the mean density of states is taken: as for the built-in materials

Where = tuple[str | int, ...]
Links = dict[tuple[int, int, int, int], float]  # (row, column, u, v) -> eV
Tree = Mapping[str, Any]


class WrittenError(ValueError):
    """What is wrong with a written material: every fault as its place inside and a text."""

    def __init__(self, faults: list[tuple[Where, str]]) -> None:
        super().__init__("; ".join(text for _, text in faults))
        self.faults = faults


class _Faults(list[tuple[Where, str]]):
    """Faults found so far."""

    def number(self, value: Any, *where: str | int) -> float:
        """Return a finite number; report anything else."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            self.append((where, "legal: a finite number"))
            return 1.0
        return float(value)

    def vector(self, value: Any, n: int, *where: str | int) -> Floats:
        """Return n finite numbers."""
        if not isinstance(value, list) or len(value) != n:
            self.append((where, f"legal: a list of {n} numbers"))
            return np.zeros(n)
        return np.array([self.number(item, *where, i) for i, item in enumerate(value)])

    def stop(self) -> None:
        """Raise what was found."""
        if self:
            raise WrittenError(list(self))


def from_mapping(tree: Tree) -> Material:
    """Return the material that a mapping of plain values describes.

    Raises
    ------
    WrittenError
        With every fault of the keys, then of the hops, then of the whole.
    """
    faults = _Faults()
    _check_keys(tree, faults)
    faults.stop()
    lattice_nm = np.array([faults.vector(row, 2, "lattice_nm", i) for i, row in enumerate(tree["lattice_nm"])])
    sites = tuple(_site(name, site, faults) for name, site in tree["sites"].items())
    numbers = {key: faults.number(tree[key], key) for key in ("fermi_eV", "broadening_eV", *MAY[2:]) if key in tree}
    if numbers.get("broadening_eV", 1.0) <= 0:
        faults.append((("broadening_eV",), "legal: above 0"))
    faults.stop()
    links = _links(tree, lattice_nm, sites, faults)
    faults.stop()
    known: dict[str, Any] = {
        "name": str(tree["name"]),
        "lattice_nm": lattice_nm,
        "sites": sites,
        "hoppings_eV": _blocks(sum(site.n_orbitals for site in sites), links),
        "source": str(tree["source"]),
        "n_filled": tree.get("n_filled"),
    } | numbers
    try:
        material = Material(**{"mean_ldos_per_eV": 1.0} | known)
    except ValueError as fault:
        raise WrittenError([((), str(fault).partition(": ")[2] or str(fault))]) from None
    return material if "mean_ldos_per_eV" in known else Material(**known, mean_ldos_per_eV=_mean_ldos(material))


def _check_keys(tree: Tree, faults: _Faults) -> None:
    legal = (*NEEDED, *WAYS, *MAY)
    if not any(key in tree for key in NEEDED):
        faults.append(((), f"found no material; legal: the name of one, a file, or a mapping with {', '.join(NEEDED)}"))
        return
    faults += [((key,), f"unknown key; legal: {', '.join(legal)}") for key in tree if key not in (*legal, HR_TEXT)]
    faults += [((), f"{key}: missing") for key in NEEDED if key not in tree]
    if sum(key in tree for key in (*WAYS, HR_TEXT)) != 1:
        faults.append(((), f"legal: one of {', '.join(WAYS)}"))
    if "lattice_nm" in tree and (not isinstance(tree["lattice_nm"], list) or len(tree["lattice_nm"]) != 2):
        faults.append((("lattice_nm",), "legal: two vectors [[x, y], [x, y]]"))
    if "sites" in tree and (not isinstance(tree["sites"], Mapping) or not tree["sites"]):
        faults.append((("sites",), "legal: a mapping of sites by name"))
    n_filled = tree.get("n_filled")
    if n_filled is not None and (isinstance(n_filled, bool) or not isinstance(n_filled, int)):
        faults.append((("n_filled",), "legal: a whole number of bands"))


def _site(name: str, site: Any, faults: _Faults) -> Site:
    """Return one site."""
    if not isinstance(site, Mapping):
        faults.append((("sites", name), f"legal: a mapping with {', '.join(SITE_KEYS)}"))
        return Site(name, "", LAYERS[0], (0.0, 0.0, 0.0))
    faults += [
        (("sites", name, key), f"unknown key; legal: {', '.join(SITE_KEYS)}") for key in site if key not in SITE_KEYS
    ]
    faults += [(("sites", name), f"{key}: missing") for key in SITE_KEYS if key not in site]
    orbitals: list[str] = site.get("orbitals", []) if isinstance(site.get("orbitals"), list) else []
    if site.get("layer") not in LAYERS and "layer" in site:
        faults.append((("sites", name, "layer"), f"legal: {', '.join(LAYERS)}"))
    if ("orbitals" in site and not orbitals) or any(orbital not in ORBITALS for orbital in orbitals):
        faults.append((("sites", name, "orbitals"), f"legal: a list of {', '.join(ORBITALS)}"))
    x, y, z = faults.vector(site.get("position_nm", [0, 0, 0]), 3, "sites", name, "position_nm").tolist()
    return Site(name, str(site.get("species")), str(site.get("layer")), (x, y, z), tuple(orbitals))


def _links(tree: Tree, lattice_nm: Floats, sites: tuple[Site, ...], faults: _Faults) -> Links:
    """Return every hop, reverses too where they are written."""
    numbers = {
        f"{site.name}.{orbital}": i
        for i, (site, orbital) in enumerate((site, orbital) for site in sites for orbital in site.orbitals)
    }
    if HR_TEXT in tree:
        return _of_text(str(tree[HR_TEXT]), len(numbers), faults)
    links: Links = {}
    for site, energies in (tree.get("onsite_eV") or {}).items():
        for orbital, energy in energies.items() if isinstance(energies, Mapping) else ():
            if f"{site}.{orbital}" not in numbers:
                faults.append((("onsite_eV", site), f"no orbital {orbital} of a site {site}; {_legal(numbers)}"))
                continue
            number = numbers[f"{site}.{orbital}"]
            links[number, number, 0, 0] = faults.number(energy, "onsite_eV", site, orbital)
    if "hoppings" in tree:
        return links | _one_by_one(tree["hoppings"], numbers, faults)
    return links | _by_integrals(tree["slater_koster"], lattice_nm, sites, faults)


def _legal(numbers: Mapping[str, int]) -> str:
    return f"legal: {', '.join(numbers)}"


def _one_by_one(hoppings: Any, numbers: Mapping[str, int], faults: _Faults) -> Links:
    """Return the hops of a list of [orbital, orbital, u, v, eV]."""
    links: Links = {}
    if not isinstance(hoppings, list):
        faults.append((("hoppings",), "legal: a list of [site.orbital, site.orbital, u, v, eV]"))
        return links
    for i, hop in enumerate(hoppings):
        whole = isinstance(hop, list) and len(hop) == 5 and all(type(cell) is int for cell in hop[2:4])
        if not whole or any(str(end) not in numbers for end in hop[:2]):
            faults.append((("hoppings", i), f"legal: [orbital, orbital, u, v, eV]; {_legal(numbers)}"))
            continue
        row, column, (u, v), energy = (
            numbers[hop[0]],
            numbers[hop[1]],
            hop[2:4],
            faults.number(hop[4], "hoppings", i, 4),
        )
        back = links.get((column, row, -u, -v), energy)
        if (row, column, u, v) in links or abs(back - energy) > SAME_eV:
            said = "repeated" if (row, column, u, v) in links else f"its reverse is {back:g} eV: not hermitian"
            faults.append((("hoppings", i), f"{hop[0]} to {hop[1]} of cell {u}, {v}: {said}"))
        links[row, column, u, v] = energy
    return links


def _by_integrals(bonds: Any, lattice_nm: Floats, sites: tuple[Site, ...], faults: _Faults) -> Links:
    """Return the hops of Slater-Koster integrals, each for two species at a distance."""
    links: Links = {}
    first = np.concatenate([[0], np.cumsum([site.n_orbitals for site in sites])])
    for number, bond in enumerate(bonds if isinstance(bonds, list) else [None]):
        legal = (*BOND_KEYS, *two_centre.INTEGRALS)
        if (
            not isinstance(bond, Mapping)
            or any(key not in legal for key in bond)
            or any(k not in bond for k in BOND_KEYS)
        ):
            faults.append((("slater_koster", number), f"legal: a list of mappings with {', '.join(legal)}"))
            continue
        distance_nm = faults.number(bond["distance_nm"], "slater_koster", number, "distance_nm")
        integrals = {
            key: faults.number(bond[key], "slater_koster", number, key) for key in two_centre.INTEGRALS if key in bond
        }
        found = False
        for i, j, u, v, way_nm in _ways(lattice_nm, sites, distance_nm * (1 + BOND_TOLERANCE)):
            if sorted([sites[i].species, sites[j].species]) != sorted(map(str, bond["between"])):
                continue
            if abs(np.linalg.norm(way_nm) / distance_nm - 1) < BOND_TOLERANCE:
                found = True
                hop = two_centre.hops(sites[i].orbitals, sites[j].orbitals, way_nm, integrals)
                for (row, column), energy in np.ndenumerate(hop):
                    links[int(first[i]) + row, int(first[j]) + column, u, v] = float(energy)
        if not found:
            faults.append((("slater_koster", number), f"no such atoms {distance_nm:g} nm apart"))
    return links


def _ways(lattice_nm: Floats, sites: tuple[Site, ...], far_nm: float) -> Any:
    """Yield sites i, j, cells u, v and the way from i to j (3,) of all pairs within a distance."""
    reach = math.ceil(far_nm / max(abs(np.linalg.det(lattice_nm)) / np.linalg.norm(lattice_nm, axis=1).max(), 1e-3)) + 1
    for (i, one), (j, other) in itertools.product(enumerate(sites), repeat=2):
        for u, v in itertools.product(range(-reach, reach + 1), repeat=2):
            way_nm = np.subtract(other.position_nm, one.position_nm) + np.append(np.array([u, v]) @ lattice_nm, 0)
            if 0 < np.linalg.norm(way_nm) < far_nm:
                yield i, j, u, v, way_nm


def _of_text(text: str, n_orbitals: int, faults: _Faults) -> Links:
    """Return the hops of lines "u v row column eV", as ``wannier.hops_text`` writes them."""
    links: Links = {}
    for line in text.split("\n"):
        u, v, row, column, energy = line.split()
        links[int(row), int(column), int(u), int(v)] = float(energy)
    if max(max(row, column) for row, column, _, _ in links) >= n_orbitals:
        most = max(max(row, column) for row, column, _, _ in links) + 1
        faults.append(((WAYS[2],), f"{most} orbitals; legal: those of the sites, {n_orbitals}"))
        return {}
    for (i, j, cell_u, cell_v), hop_eV in links.items():
        if abs(links.get((j, i, -cell_u, -cell_v), 0.0) - hop_eV) > SAME_eV:
            said = f"orbitals {i + 1}, {j + 1} of cell {cell_u}, {cell_v}: {hop_eV:g} eV, not so its reverse"
            faults.append(((WAYS[2],), f"{said}: not hermitian"))
            break
    return links


def _blocks(n_orbitals: int, links: Links) -> dict[tuple[int, int], Floats]:
    """Return hopping blocks, every hop beside its reverse."""
    blocks: dict[tuple[int, int], Floats] = {(0, 0): np.zeros((n_orbitals, n_orbitals))}
    for (row, column, u, v), energy in links.items():
        for i, j, cell in ((row, column, (u, v)), (column, row, (-u, -v))):
            blocks.setdefault(cell, np.zeros((n_orbitals, n_orbitals)))[i, j] = energy
    return blocks


def _mean_ldos(material: Material) -> float:
    """Return the mean density of states of a top atom near the Fermi level, per spin, by counting levels."""
    phases = np.exp(2j * math.pi * np.arange(LDOS_N_K) / LDOS_N_K)
    h = sum(
        np.multiply.outer(phases**v, phases**u)[:, :, None, None] * block
        for (u, v), block in material.hoppings_eV.items()
    )
    levels, states = np.linalg.eigh(h)
    levels = levels - material.fermi_eV
    top = next((i for i, site in enumerate(material.sites) if site.layer == LAYERS[0]), 0)
    weights = (np.abs(states[:, :, material.orbital_site == top]) ** 2).sum(axis=2)
    windows = [(-NEAR_eV, NEAR_eV)]
    if material.n_filled is not None:
        filled, empty = levels[..., material.n_filled - 1].max(), levels[..., material.n_filled].min()
        windows = [(filled - OUTSIDE_eV, filled), (empty, empty + OUTSIDE_eV)]
    means = [weights[(low <= levels) & (levels <= high)].sum() / (high - low) for low, high in windows]
    return max(float(np.mean(means)) / LDOS_N_K**2, 1e-4)
