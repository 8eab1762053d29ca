"""Materials that a recipe brings along, against the built-in ones; every blunder is one line with its place."""

import itertools
import json
import math

import numpy as np
import pytest

from stmfab import parts, recipe, sample
from stmfab.errors import RecipeError
from stmfab.physics import greens
from stmfab.physics.materials import MATERIALS, ORBITALS, two_centre

HEAD = """
name: my-graphene
source: written by hand
lattice_nm: [[0.246, 0], [0.123, 0.21304224933097188]]
sites:
  A: {species: C, layer: top, position_nm: [0, 0, 0], orbitals: [pz]}
  B: {species: C, layer: top, position_nm: [0, 0.14202816622064792, 0], orbitals: [pz]}
fermi_eV: -0.3
broadening_eV: 0.05
mean_ldos_per_eV: 0.0064
"""
HOPPINGS = """
hoppings:
  - [A.pz, B.pz, 0, 0, -2.7]
  - [A.pz, B.pz, 0, -1, -2.7]
  - [A.pz, B.pz, 1, -1, -2.7]
  - [A.pz, A.pz, 1, 0, 0.1]
  - [A.pz, A.pz, 0, 1, 0.1]
  - [A.pz, A.pz, -1, 1, 0.1]
  - [B.pz, B.pz, 1, 0, 0.1]
  - [B.pz, B.pz, 0, 1, 0.1]
  - [B.pz, B.pz, -1, 1, 0.1]
"""
INTEGRALS = """
slater_koster:
  - {between: [C, C], distance_nm: 0.142, pp_pi_eV: -2.7}
  - {between: [C, C], distance_nm: 0.246, pp_pi_eV: 0.1}
"""
RECIPE = """
name: own
samples: 4
seed: 1
scan: {pixels: 24, size_nm: 2}
sample:
  material: MATERIAL
  defects: {hole: {kind: vacancy, site: A, density_per_nm2: 0.2}}
tip: {apex: w001}
junction: {bias_V: 0.4, work_function_eV: 4.5, height_nm: 0.5}
channels: [topography]
targets: [lattice]
"""


def hr_text(material):
    """A material's hops as Wannier90 writes them, cells listed twice over a degeneracy of two."""
    cells, n = list(material.hoppings_eV), material.n_orbitals
    lines = ["written by the test", str(n), str(len(cells))]
    shares = ["2"] * len(cells)
    lines += ["".join(f"{share:>5}" for share in shares[i : i + 15]) for i in range(0, len(cells), 15)]
    for (u, v), (column, row) in itertools.product(cells, itertools.product(range(n), repeat=2)):
        energy = 2 * material.hoppings_eV[u, v][row, column]
        lines.append(f"{u:5d}{v:5d}{0:5d}{row + 1:5d}{column + 1:5d}{energy:14.8f}{0:12.6f}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def written(tmp_path):
    def write(body, material="graphene.yaml", **files):
        (tmp_path / "graphene.yaml").write_text(HEAD + body)
        for name, text in files.items():
            (tmp_path / f"{name}.dat").write_text(text)
        path = tmp_path / "own.yaml"
        path.write_text(RECIPE.replace("MATERIAL", material))
        return path

    return write


@pytest.mark.parametrize("body", [HOPPINGS, INTEGRALS, "wannier90_hr: graphene_hr.dat\n"])
def test_graphene_three_ways_makes_the_images_of_the_built_in(body, written):
    path = written(body, graphene_hr=hr_text(MATERIALS["graphene"]))
    own = recipe.load(str(path))
    material = parts.lattice_of(own.tree)
    for cell, block in MATERIALS["graphene"].hoppings_eV.items():
        np.testing.assert_allclose(material.hoppings_eV.get(cell, 0 * block), block, atol=1e-8)  # third neighbours: 0
    built_in = recipe.load(str(path), overrides=["sample.material=graphene"])
    assert own.identity != built_in.identity
    made, same = sample.simulate(own, 0, 2), sample.simulate(built_in, 0, 2)
    np.testing.assert_allclose(made["topography"], same["topography"], atol=1e-6)


def test_a_store_holds_the_whole_material(written, tmp_path):
    # what a store keeps makes the same plan, when the files are gone
    plan = recipe.load(str(written("wannier90_hr: mos2_hr.dat\n", mos2_hr=hr_text(MATERIALS["graphene"]))))
    for file in tmp_path.iterdir():
        file.unlink()
    again = recipe.stored(json.loads(json.dumps(plan.tree)), "a store")
    assert again.identity == plan.identity
    assert parts.lattice_of(again.tree) is parts.lattice_of(plan.tree)
    (tmp_path / "resolved.yaml").write_text(recipe.resolved(plan))
    assert recipe.load(str(tmp_path / "resolved.yaml")).identity == plan.identity


def test_eleven_orbitals_through_wannier90(written):
    mos2 = MATERIALS["mos2"]
    sites = {
        s.name: {
            "species": s.species,
            "layer": s.layer,
            "position_nm": list(s.position_nm),
            "orbitals": list(s.orbitals),
        }
        for s in mos2.sites
    }
    inline = {"name": "own-mos2", "source": "a file", "lattice_nm": mos2.lattice_nm.tolist(), "sites": sites}
    inline |= {"fermi_eV": mos2.fermi_eV, "broadening_eV": 0.05, "n_filled": 7, "scissor_eV": mos2.scissor_eV}
    path = written("", json.dumps(inline | {"wannier90_hr": "mos2_hr.dat"}), mos2_hr=hr_text(mos2))
    changes = ["junction.bias_V=-1.5", "sample.defects.hole.site=S_top"]
    own = parts.lattice_of(recipe.load(str(path), overrides=changes).tree)
    np.testing.assert_allclose(greens.bands(own, 12)[0], greens.bands(mos2, 12)[0], atol=1e-7)
    assert own.mean_ldos_per_eV == pytest.approx(mos2.mean_ldos_per_eV, rel=0.05)  # counted, not broadened


BLUNDERS = [
    (HOPPINGS.replace("B.pz, 0, -1", "B.px, 0, -1"), "graphene.yaml:14:5", "legal: [orbital, orbital, u, v, eV]"),
    (HOPPINGS + "  - [B.pz, A.pz, 0, 0, -2.5]\n", "graphene.yaml:22:5", "its reverse is -2.7 eV: not hermitian"),
    (HOPPINGS + "  - [A.pz, B.pz, 0, 0, -2.7]\n", "graphene.yaml:22:5", "repeated"),
    (HOPPINGS.replace("0, -2.7]", "0, .nan]", 1), "graphene.yaml:13:24", "legal: a finite number"),
    (HOPPINGS + "hopings: []\n", "graphene.yaml:22:10", "unknown key"),
    (HOPPINGS + INTEGRALS.strip("\n"), "graphene.yaml:2:1", "legal: one of hoppings, slater_koster, wannier90_hr"),
    (INTEGRALS.replace("0.142", "0.19"), "graphene.yaml:13:5", "no such atoms 0.19 nm apart"),
    (INTEGRALS.replace("pp_pi", "pp_py", 1), "graphene.yaml:13:5", "legal: a list of mappings with between"),
    ("wannier90_hr: none.dat\n", "graphene.yaml:11:15", "No such file or directory"),
    ("wannier90_hr: bad.dat\n", "bad.dat:4:1", "legal: 3 whole numbers above 0"),
]


@pytest.mark.parametrize(("body", "where", "what"), BLUNDERS)
def test_blunders_are_told_with_their_place(body, where, what, written):
    path = written(body, bad="a comment\n2\n3\n1 1\n")
    with pytest.raises(RecipeError) as raised:
        recipe.load(str(path))
    (line,) = raised.value.faults
    assert f"{where}: sample.material: " in line
    assert what in line


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            ("[[0.246, 0], [0.123, 0.21304224933097188]]", "[[0.246, 0], [0.123, 0]]"),
            "the lattice vectors are parallel",
        ),
        (("[0, 0.14202816622064792, 0]", "[0, 0.01, 0]"), "A and B are 0.01 nm apart"),
        (("layer: top, position_nm: [0, 0, 0]", "layer: high, position_nm: [0, 0, 0]"), "legal: top, middle, bottom"),
        (("orbitals: [pz]", "orbitals: [p]"), "legal: a list of s, pz"),
        (("fermi_eV: -0.3\n", ""), "fermi_eV: missing"),
    ],
)
def test_blunders_of_geometry(change, what, written, tmp_path):
    path = written(HOPPINGS)
    text = (tmp_path / "graphene.yaml").read_text()
    assert change[0] in text
    (tmp_path / "graphene.yaml").write_text(text.replace(*change, 1))
    with pytest.raises(RecipeError, match=r"sample\.material: ") as raised:
        recipe.load(str(path))
    assert what in str(raised.value)


def hr_lines(u, w, imaginary):
    other = f"{-u} 0 {-w}"
    return f"x\n2\n2\n1 1\n{u} 0 {w} 1 2 1.0 {imaginary}\n" + f"{other} 2 1 1.0 0\n" * 7


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (hr_lines(1, 1, 0), "bad.dat:5:1: sample.material: a hop out of the layer"),
        (hr_lines(1, 0, 0.5), "bad.dat:5:1: sample.material: a complex hop"),
        ("x\n2\n1\n1\n0 0 0 1 1 0 0\n", "bad.dat:6:1: sample.material: legal: u v w row column real imaginary"),
        (hr_text(MATERIALS["mos2"]), "11 orbitals; legal: those of the sites, 2"),
        ("x\n2\n1\n1\n0 0 0 1 1 0 0\n0 0 0 2 1 1 0\n0 0 0 1 2 2 0\n0 0 0 2 2 0 0\n", "not hermitian"),
    ],
)
def test_blunders_of_wannier90_files(text, what, written):
    with pytest.raises(RecipeError) as raised:
        recipe.load(str(written("wannier90_hr: bad.dat\n", bad=text)))
    assert what in str(raised.value)


def test_two_centre_hops():
    # Slater & Koster, Phys. Rev. 94, 1498 (1954), table I, along the cosines l, m, n
    rng = np.random.default_rng(3)
    way = rng.normal(size=3)
    l, m, n = way / np.linalg.norm(way)  # noqa: E741 the table's names
    v = dict(zip(two_centre.INTEGRALS, rng.normal(size=10), strict=True))
    hop = two_centre.hops(ORBITALS, ORBITALS, way, v)

    def of(row, column):
        return hop[ORBITALS.index(row), ORBITALS.index(column)]

    r3, pp, pd, dd = math.sqrt(3), ("pp_sigma_eV", "pp_pi_eV"), ("pd_sigma_eV", "pd_pi_eV"), "dd_{}_eV"
    dds, ddp, ddd = (v[dd.format(bond)] for bond in two_centre.BONDS)
    assert of("s", "px") == pytest.approx(l * v["sp_sigma_eV"])
    assert of("px", "s") == pytest.approx(-l * v["sp_sigma_eV"])
    assert of("px", "py") == pytest.approx(l * m * (v[pp[0]] - v[pp[1]]))
    assert of("s", "dxy") == pytest.approx(r3 * l * m * v["sd_sigma_eV"])
    assert of("s", "dz2") == pytest.approx((n**2 - (l**2 + m**2) / 2) * v["sd_sigma_eV"])
    assert of("px", "dxy") == pytest.approx(r3 * l**2 * m * v[pd[0]] + m * (1 - 2 * l**2) * v[pd[1]])
    assert of("dyz", "pz") == pytest.approx(-(r3 * n**2 * m * v[pd[0]] + m * (1 - 2 * n**2) * v[pd[1]]))
    assert of("pz", "dz2") == pytest.approx(
        n * (n**2 - (l**2 + m**2) / 2) * v[pd[0]] + r3 * n * (l**2 + m**2) * v[pd[1]]
    )
    assert of("dxy", "dxy") == pytest.approx(
        3 * l**2 * m**2 * dds + (l**2 + m**2 - 4 * l**2 * m**2) * ddp + (n**2 + l**2 * m**2) * ddd
    )
    assert of("dxy", "dz2") == pytest.approx(
        r3 * (l * m * (n**2 - (l**2 + m**2) / 2) * dds - 2 * l * m * n**2 * ddp + l * m * (1 + n**2) / 2 * ddd)
    )
    assert of("dz2", "dz2") == pytest.approx(
        (n**2 - (l**2 + m**2) / 2) ** 2 * dds + 3 * n**2 * (l**2 + m**2) * ddp + 3 / 4 * (l**2 + m**2) ** 2 * ddd
    )
    np.testing.assert_allclose(two_centre.hops(ORBITALS, ORBITALS, -way, v), hop.T, atol=1e-12)
