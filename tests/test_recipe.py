"""Recipes: every fault at its place, one message each, and what a sound recipe means."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stmfab import expressions, plan, recipe
from stmfab.errors import RecipeError
from stmfab.recipe.editor import model

SOUND = """\
name: sound
samples: 10
seed: 1
scan: {pixels: 16, size_nm: 2}
sample:
  material: wse2-s
  defects:
    hole: {kind: vacancy, site: Se_top, density_per_nm2: 0.1}
    atom: {kind: dopant, site: Se_top, density_per_nm2: 0.1, onsite_eV: 0.2}
tip: {kind: tungsten}
junction:
  bias_V: 0.3
  kappa_per_nm: 10
  height_nm: 0.5
instrument:
  feedback: {loop_gain: 0.5}
channels: [topography]
targets: [ideal]
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that loads a recipe's text from ./r.yaml."""
    monkeypatch.chdir(tmp_path)

    def load_text(text, *overrides, **more):
        (tmp_path / "r.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return recipe.load("r.yaml", overrides, **more)

    return load_text


def faults(load, text, *overrides):
    with pytest.raises(RecipeError) as caught:
        load(text, *overrides)
    return caught.value.faults


def edited(old, new):
    assert SOUND.count(old) == 1
    return SOUND.replace(old, new)


def test_a_sound_recipe_loads(load):
    made = load(SOUND)
    assert (made.name, made.samples, made.seed, made.channels) == ("sound", 10, 1, ("topography",))
    assert list(made.targets) == ["ideal"]
    assert made.leaves == ()
    assert plan.parameters(made, plan.draw(made, 0, 1), 0).junction.height_nm == 0.5


@pytest.mark.parametrize("name", sorted(recipe.builtin_recipes()))
def test_a_built_in_recipe_loads_and_survives_its_own_text(name, load):
    made = recipe.load(name)
    assert made.name == name
    assert recipe.builtin_recipes()[name]
    again = load(recipe.resolved(made))
    assert again.tree == made.tree
    assert again.identity == made.identity
    columns = plan.draw(made, 0, 16)
    for i in range(16):
        plan.parameters(made, columns, i)


def test_the_control_is_the_twin_of_the_published_set():
    published, control = (plan.draw(recipe.load(name), 0, 20) for name in ("wse2-defects", "wse2-control"))
    assert control.keys() < published.keys()
    for name in control:
        np.testing.assert_array_equal(control[name], published[name])


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("seed: 1\n", "", "r.yaml:1:1: seed: missing; legal: a whole number from 0 to 9223372036854775807"),
        ("seed: 1", "seed: -1", "r.yaml:3:7: seed: found -1; legal: a whole number from 0 to 9223372036854775807"),
        ("seed: 1", "seed: x", "r.yaml:3:7: seed: found the text 'x'; legal: a whole number from 0 to 92233720368547"),
        ("samples: 10", "samples: 0", "r.yaml:2:10: samples: found 0; legal: a whole number from 1 to 1000000000000"),
        ("samples: 10", "samples: 1.5", "r.yaml:2:10: samples: found 1.5; legal: a whole number from 1 to 10000000"),
        (
            "name: sound",
            "name: a/b",
            "r.yaml:1:7: name: found the text 'a/b'; legal: letters, digits, '-', '_' and '.'",
        ),
        ("name: sound", "name: 7", "r.yaml:1:7: name: found 7; legal: letters, digits, '-', '_' and '.' (quote it)"),
        ("samples: 10", "sampels: 10", "r.yaml:2:1: sampels: unknown key; did you mean 'samples'?"),
        ("size_nm: 2", "size_nm: -2", "r.yaml:4:29: scan.size_nm: found -2; legal: a number above 0"),
        ("size_nm: 2", "size_nm: big", "r.yaml:4:29: scan.size_nm: found the text 'big'; legal: a number above 0"),
        ("size_nm: 2", "size_nm: .inf", "r.yaml:4:29: scan.size_nm: found inf; legal: a number above 0"),
        ("size_nm: 2", "size_nm: .nan", "r.yaml:4:29: scan.size_nm: found nan; legal: a number above 0"),
        ("size_nm: 2", "size_nm: yes", "r.yaml:4:29: scan.size_nm: found the text 'yes'; legal: a number above 0"),
        ("size_nm: 2", "size_nm: true", "r.yaml:4:29: scan.size_nm: found true; legal: a number above 0"),
        ("size_nm: 2", "size_nm: null", "r.yaml:4:29: scan.size_nm: found nothing; legal: a number above 0"),
        (
            "size_nm: 2",
            "size_nm: [1, 2]",
            "r.yaml:4:29: scan.size_nm: found a list; legal: a number above 0 and at most 10000",
        ),
        ("size_nm: 2", "size: 2", "r.yaml:4:20: scan.size: unknown key; did you mean 'size_nm'?"),
        ("size_nm: 2", "qq: 2, size_nm: 2", "r.yaml:4:20: scan.qq: unknown key; legal: size_nm, pixels, dwell_s, sub_"),
        ("size_nm: 2", "size_nm: 2, bias_V: 1", "r.yaml:4:32: scan.bias_V: unknown key; it belongs to junction"),
        (", size_nm: 2", "", "r.yaml:4:1: scan.size_nm: missing; legal: a number above 0"),
        ("size_nm: 2", "size_nm: {uniform: [3, 1]}", "r.yaml:4:39: scan.size_nm: low 3 is above high 1"),
        (
            "size_nm: 2",
            "size_nm: {uniform: [0, 1]}",
            "r.yaml:4:40: scan.size_nm: the draws reach 0; legal: a number ab",
        ),
        (
            "size_nm: 2",
            "size_nm: {uniform: 3}",
            "r.yaml:4:39: scan.size_nm: uniform: found 3; legal: a list of two num",
        ),
        (
            "size_nm: 2",
            "size_nm: {uniform: [1]}",
            "r.yaml:4:39: scan.size_nm: uniform: found 1 values; legal: a list o",
        ),
        ("size_nm: 2", "size_nm: {uniform: [1, x]}", "r.yaml:4:43: scan.size_nm: the text 'x' is not a number"),
        (
            "size_nm: 2",
            "size_nm: {unifrom: [1, 2]}",
            "r.yaml:4:29: scan.size_nm: found a mapping of unifrom, which is no",
        ),
        (
            "size_nm: 2",
            "size_nm: {uniform: [1, 2], min: 1}",
            "r.yaml:4:52: scan.size_nm: 'min' does not go with uniform",
        ),
        (
            "size_nm: 2",
            "size_nm: {uniform: [1, 2], per: defect}",
            "r.yaml:4:52: scan.size_nm: per: found the text 'defec",
        ),
        (
            "size_nm: 2",
            "size_nm: {loguniform: [0, 2]}",
            "r.yaml:4:43: scan.size_nm: loguniform: low 0 has no logarithm",
        ),
        ("size_nm: 2", "size_nm: {normal: [2, 0.5]}", "r.yaml:4:39: scan.size_nm: the draws reach -2.1"),
        (
            "size_nm: 2",
            "size_nm: {normal: [2, 0]}",
            "r.yaml:4:42: scan.size_nm: normal: standard deviation 0; legal: ab",
        ),
        ("size_nm: 2", "size_nm: {poisson: -1}", "r.yaml:4:39: scan.size_nm: poisson: mean -1; legal: from 0 to 1e+09"),
        (
            "size_nm: 2",
            "size_nm: {choice: []}",
            "r.yaml:4:38: scan.size_nm: choice: found a list; legal: a list of at l",
        ),
        ("size_nm: 2", "size_nm: {choice: [1, -1]}", "r.yaml:4:42: scan.size_nm: found -1; legal: a number above 0"),
        ("size_nm: 2", "size_nm: {choice: [1, a]}", "r.yaml:4:42: scan.size_nm: choice: words and numbers are mixed"),
        (
            "size_nm: 2",
            "size_nm: {choice: [1, 2], weights: [1]}",
            "r.yaml:4:55: scan.size_nm: weights: legal: a list of 2",
        ),
        (
            "size_nm: 2",
            "size_nm: {expr: 2 *}",
            "r.yaml:4:36: scan.size_nm: expr: '2 *' is not a formula; legal: numbers",
        ),
        (
            "size_nm: 2",
            "size_nm: {expr: scan.pixel}",
            "r.yaml:4:29: scan.size_nm: expr: unknown key 'scan.pixel'; did yo",
        ),
        ("size_nm: 2", "size_nm: {expr: scan.fast_axis}", "r.yaml:4:29: scan.size_nm: expr: scan.fast_axis is a word"),
        (
            "size_nm: 2",
            "size_nm: {expr: scan.size_nm}",
            "r.yaml:4:29: scan.size_nm: expr: a circle: scan.size_nm reads",
        ),
        (
            "size_nm: 2",
            "size_nm: {expr: 1 - 1}",
            "r.yaml:4:29: scan.size_nm: expr: the formula reaches 0; legal: a numb",
        ),
        (
            "size_nm: 2",
            "size_nm: {expr: 1 / 0}",
            "r.yaml:4:29: scan.size_nm: expr: no finite value for some draws; lega",
        ),
        (
            "pixels: 16",
            "pixels: {integer: [8, 9]}",
            "r.yaml:4:16: scan.pixels: found a mapping, but it may not be drawn",
        ),
        ("pixels: 16", "pixels: 16.5", "r.yaml:4:16: scan.pixels: found 16.5; legal: a whole number at least 2"),
        ("pixels: 16", "pixels: 16, pixels: 17", "r.yaml:4:20: pixels: repeated key; first in line 4"),
        (
            "size_nm: 2",
            "size_nm: 2, fast_axis: z",
            "r.yaml:4:43: scan.fast_axis: found the text 'z'; legal: one of x, y",
        ),
        (
            "size_nm: 2",
            "size_nm: 2, fast_axis: {choice: [x, z]}",
            "r.yaml:4:56: scan.fast_axis: found the text 'z'; lega",
        ),
        (
            "size_nm: 2",
            "size_nm: 2, fast_direction: {uniform: [-1, 1]}",
            "r.yaml:4:58: scan.fast_direction: uniform: dr",
        ),
        (
            "size_nm: 2",
            "size_nm: 2, fast_direction: {integer: [-1, 1]}",
            "r.yaml:4:58: scan.fast_direction: integer: le",
        ),
        (
            "kind: tungsten",
            "kind: tungstn",
            "r.yaml:10:13: tip.kind: unknown kind: found the text 'tungstn'; did you me",
        ),
        ("kind: tungsten", "apex: w112", "r.yaml:10:13: tip.apex: found the text 'w112'; did you mean 'w11"),
        ("{kind: tungsten}", "7", "r.yaml:10:6: tip: found 7; legal: a mapping (the tip)"),
        ("tip: {kind: tungsten}\n", "", "r.yaml:1:1: tip: missing; legal: a mapping (the tip)"),
        (
            "kind: vacancy",
            "kind: vacany",
            "r.yaml:8:18: sample.defects.hole.kind: unknown kind: found the text 'vacany'",
        ),
        ("kind: vacancy, ", "", "r.yaml:8:5: sample.defects.hole.kind: missing; legal: one of vacancy, dopant"),
        (
            "hole:",
            "hole-1:",
            "r.yaml:8:5: sample.defects.hole-1: legal names: a letter or '_', then letters, digits and",
        ),
        (
            "Se_top, density_per_nm2: 0.1}",
            "Se_tip, density_per_nm2: 0.1}",
            "r.yaml:8:33: sample.defects.hole.site: unknow",
        ),
        (
            "density_per_nm2: 0.1}",
            "density_nm2: 0.1}",
            "r.yaml:8:41: sample.defects.hole.density_nm2: unknown key; did you",
        ),
        (
            "density_per_nm2: 0.1}",
            "density_per_nm2: 11}",
            "r.yaml:8:58: sample.defects.hole.density_per_nm2: 11 per nm^2",
        ),
        ("wse2-s", "wse3", "r.yaml:6:13: sample.material: unknown material 'wse3'; did you mean 'wse2'?"),
        ("material: wse2-s", "materal: wse2-s", "r.yaml:6:3: sample.materal: unknown key; did you mean 'material'?"),
        (
            "  kappa_per_nm: 10\n",
            "",
            "r.yaml:11:1: junction.kappa_per_nm: found neither; legal: exactly one of kappa_pe",
        ),
        (
            "kappa_per_nm: 10",
            "kappa_per_nm: 10\n  work_function_eV: 4",
            "r.yaml:13:17: junction.kappa_per_nm: found kappa_p",
        ),
        (
            "loop_gain: 0.5",
            "crossover_Hz: 9, loop_gain: 1",
            "r.yaml:16:42: instrument.feedback.loop_gain: found loop_g",
        ),
        (
            "[topography]",
            "[]",
            "r.yaml:17:11: channels: found an empty list; legal: a list of topography, topography_ba",
        ),
        ("[topography]", "[topo]", "r.yaml:17:12: channels: found the text 'topo'"),
        ("[topography]", "[current, current]", "r.yaml:17:21: channels: 'current' is listed twice"),
        (
            "[ideal]",
            "[ideel]",
            "r.yaml:18:11: targets.ideel.kind: unknown kind: found the text 'ideel'; did you mean 'id",
        ),
        ("[ideal]", "[ideal, ideal]", "r.yaml:18:10: targets: found a list; legal: a mapping"),
        (
            "[ideal]",
            "{a: {kind: defects, layer: {choice: [top]}}}",
            "r.yaml:18:37: targets.a.layer: found a mapping, but",
        ),
        ("hole:", "a.b:", "r.yaml:8:5: sample.defects.a.b: legal names: a letter or '_', then letters, digits and '_'"),
        ("hole:", "hole: {uniform: [0, 1]}\n    h:", "r.yaml:8:11: sample.defects.hole: found a distribution; legal"),
        (
            "[ideal]",
            "{param: {kind: ideal}}",
            "r.yaml:18:11: targets.param: the name of another array; legal: a name of",
        ),
        ("[ideal]", "{a: {kind: path}, a_x_nm: {kind: clean}}", "r.yaml:18:28: targets.a_x_nm: the name of another ar"),
        ("[ideal]", "{defect_kind: {kind: ideal}}", "r.yaml:18:11: targets.defect_kind: the name of another array"),
        (
            "instrument:\n",
            "instrument:\n  z_piezo: {kind: bouc_wen, A: 0.9, B: 0.9, C: 0.1}\n",
            "r.yaml:16:3: instrument.z_piezo:",
        ),
        ("seed: 1", "seed: !!int 1", "r.yaml:3:7: the tag 'tag:yaml.org,2002:int'; legal: no tags"),
        ("seed: 1", "seed: *a", "r.yaml:3:7: *a names no value before it"),
        ("seed: 1", "\tseed: 1", "r.yaml:3:1: a tab character; legal: spaces"),
        ("seed: 1", "seed: [1", "r.yaml:4:5: not YAML: expected ',' or ']', but got ':' while parsing a flow sequence"),
        (
            "targets: [ideal]\n",
            "targets: [ideal]\n---\na: 1\n",
            "r.yaml:19:1: a second document; legal: one recipe a file",
        ),
        ("seed: 1", "seed: 1\nextends: nothing", "r.yaml:4:10: extends: nothing: no such recipe"),
        (
            "tip: {kind: tungsten}",
            "tip: {kind: tungsten}\nlater_tips: {blunt: {apex: w111-d3}}",
            "r.yaml:11:14: later_tips.blunt: the tip never changes; legal: later tips beside instrument.tip_jumps",
        ),
        (
            "{kind: tungsten}",
            "{kind: co, p_share: 1.2}",
            "r.yaml:10:26: tip.p_share: found 1.2; legal: a number at least 0 and at most 1",
        ),
        (
            "{kind: tungsten}",
            "{kind: tungsten, model: sp}",
            "r.yaml:10:30: tip.model: found the text 'sp'; did you mean 'spd'?",
        ),
        ("seed: 1", "seed: 1\nextends: r.yaml", "r.yaml:4:10: extends: 'r.yaml' leads back to this recipe"),
    ],
)
def test_one_fault_is_one_line_at_its_place(load, old, new, expected):
    found = faults(load, edited(old, new))
    assert len(found) == 1, found
    assert found[0].startswith(expected), found[0]


def test_many_faults_are_as_many_lines_in_their_order(load):
    text = """\
name: bad name
samples: ten
scan: {pixels: 1, size: 2}
sample:
  material: wse2-s
  defects:
    hole: {kind: vacancy, site: Se_mid, density_per_nm2: 0.1}
    atom: {kind: dopant, site: Se_top, density_per_nm2: {uniform: [0.2, 0.1]}, onsite_eV: {gauss: [0, 1]}}
tip: {apex: 111}
junction: {bias_V: 0.3, kappa_per_nm: 10, height_nm: {expr: "tip.rot"}, work_function_eV: 4}
channels: topography
targets: [ideal]
"""
    found = [line.split(": ")[:2] for line in faults(load, text)]
    assert [f"{place.removeprefix('r.yaml:')} {path}" for place, path in found] == [
        "1:1 seed",
        "1:7 name",
        "2:10 samples",
        "3:16 scan.pixels",
        "3:19 scan.size",
        "7:33 sample.defects.hole.site",
        "8:67 sample.defects.atom.density_per_nm2",
        "8:91 sample.defects.atom.onsite_eV",
        "9:13 tip.apex",
        "10:39 junction.kappa_per_nm",  # and a work function
        "10:54 junction.height_nm",
        "11:11 channels",
    ]


def test_a_density_counts_beside_the_other_defects_of_its_site(load):
    text = edited("density_per_nm2: 0.1}", "density_per_nm2: 10.4}").replace(
        "0.1, onsite", "{uniform: [0, 0.5]}, onsite"
    )
    (line,) = faults(load, text)
    # one site a cell of a = 0.332 nm: 10.476 per nm^2
    assert line.startswith(
        "r.yaml:9:57: sample.defects.atom.density_per_nm2: 0.5 per nm^2 do not fit on Se_top; legal: "
    )
    assert "at most 0.07" in line


def test_all_circles_of_formulas_are_found(load):
    text = edited("size_nm: 2", "size_nm: {expr: scan.dwell_s}, dwell_s: {expr: scan.size_nm}")
    text = text.replace("bias_V: 0.3", "bias_V: {expr: junction.kappa_per_nm}").replace(
        "kappa_per_nm: 10", "kappa_per_nm: {expr: junction.bias_V}"
    )
    found = faults(load, text)
    assert [line.split(": ", 1)[1] for line in found] == [
        "scan.dwell_s: expr: a circle: scan.dwell_s reads scan.size_nm reads scan.dwell_s",
        "junction.bias_V: expr: a circle: junction.bias_V reads junction.kappa_per_nm reads junction.bias_V",
    ]


def test_a_formula_is_tried_at_the_corners_of_what_it_reads(load):
    text = edited("bias_V: 0.3", "bias_V: {uniform: [0.1, 0.5]}").replace("height_nm: 0.5", "height_nm: {expr: H}")
    assert load(text.replace("H", "junction.bias_V - 0.09")).leaves
    (line,) = faults(load, text.replace("H", "junction.bias_V - 0.1"))
    assert line.endswith("expr: the formula reaches 0; legal: a number above 0")


def test_drawn_hysteresis_that_cannot_hold_is_refused(load):
    keys = "A: {uniform: [0.95, 1]}, B: {uniform: [0.9, 1]}, C: {uniform: [0, 0.1]}"
    (line,) = faults(load, edited("instrument:\n", f"instrument:\n  z_piezo: {{kind: bouc_wen, {keys}}}\n"))
    assert line.startswith(
        "r.yaml:16:3: instrument.z_piezo: 0.0% of the draws obey the rule; legal: 1% or more with 1 - A"
    )


def test_yaml_is_read_by_version_1_2(load):
    made = load(edited("size_nm: 2", "size_nm: 2e0, dwell_s: 1e-3").replace("seed: 1", "seed: 0o17"))
    raster = plan.parameters(made, plan.draw(made, 0, 1), 0).raster
    assert (made.seed, raster.dwell_s, raster.size_nm) == (15, 0.001, 2.0)


def test_anchors_are_understood_and_bombs_are_not(load):
    made = load(
        edited("density_per_nm2: 0.1}", "density_per_nm2: &d {uniform: [0, 1]}}").replace("0.1, ons", "*d, ons")
    )
    assert len(made.leaves) == 2
    bomb = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{c}: &{c} [*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p}]\n"
        for p, c in zip("abcdefgh", "bcdefghi", strict=True)
    )
    (line,) = faults(load, bomb)
    assert "more than 20000 values, aliases expanded" in line
    (line,) = faults(load, "a: " + "[" * 50 + "]" * 50)
    assert "nested deeper than 20 levels" in line


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "r.yaml:1:1: empty; legal: a mapping of keys"),
        (b"# only a comment\n", "r.yaml:1:1: empty"),
        (b"just words", "r.yaml:1:1: found the text 'just words'; legal: a mapping of keys"),
        (b"- a\n- b\n", "r.yaml:1:1: found a list; legal: a mapping of keys"),
        (b"a: 1\nb: \xff\xfe\n", "r.yaml: not text (UTF-8) in line 2"),
        (b"a: \x00\n", "r.yaml:1:1: not text: it holds control characters"),
        (b"a: [1, 2\nb: 3", "r.yaml:2:"),
        (b"a: 'open", "r.yaml:1:"),
        (b"? [a]\n: 1", "r.yaml:1:3: a key that is no word"),
        (b"x" * 1_000_001, "r.yaml: larger than 1000000 bytes"),
    ],
)
def test_what_is_no_recipe_is_one_line(load, data, expected):
    (line,) = faults(load, data)
    assert line.startswith(expected)
    assert "\n" not in line


def test_a_missing_file_or_a_directory_is_one_line(tmp_path):
    with pytest.raises(RecipeError, match=r"^wse2-defect: no such recipe; did you mean 'wse2-defects'\?$"):
        recipe.load("wse2-defect")
    with pytest.raises(RecipeError, match="a directory; legal: a recipe file or one of ag111-corrals"):
        recipe.load(str(tmp_path))
    with pytest.raises(RecipeError, match="cannot be read"):
        recipe.load("a\0b")


def test_a_recipe_extends_a_built_in_and_a_file(load, tmp_path):
    (tmp_path / "base.yaml").write_text(SOUND.replace("hole:", "gap:"))
    made = load("extends: base.yaml\nname: above\nscan: {size_nm: {uniform: [1, 2]}}\ntargets: {c: {kind: clean}}\n")
    assert (made.name, made.samples, made.raster.pixels, made.raster.size_nm) == ("above", 10, 16, 2)
    assert list(made.targets) == ["ideal", "c"]
    made = load("extends: wse2-defects\nname: mine\nsample: {defects: {top_dopant: null}}\ninstrument: {creep: null}\n")
    assert "top_dopant" not in made.tree["sample"]["defects"]
    assert "creep" not in made.tree["instrument"]


def test_another_kind_replaces_the_inherited_one(load):
    made = load("extends: wse2-defects\nname: mine\ninstrument: {creep: {kind: log, x_move_nm: 5}}\n")
    assert made.tree["instrument"]["creep"]["percent_per_decade"] == 1.5
    assert "x_ratio" not in made.tree["instrument"]["creep"]


def test_a_fault_below_names_the_file_below(load, tmp_path):
    (tmp_path / "base.yaml").write_text(edited("height_nm: 0.5", "height_nm: -1"))
    (line,) = faults(load, "extends: base.yaml\nname: above\n")
    assert line == "base.yaml:14:14: junction.height_nm: found -1; legal: a number above 0"
    (tmp_path / "base.yaml").write_text("extends: r.yaml\nname: b")
    (line,) = faults(load, "extends: base.yaml\nname: above\n")
    assert line == "base.yaml:1:10: extends: 'r.yaml' leads back to this recipe"


def test_the_command_line_has_the_last_word(load):
    made = load(SOUND, "scan.size_nm={uniform: [1, 3]}", "junction.bias_V=-1e-1", seed=9, samples=3)
    assert (made.seed, made.samples, made.raster.size_nm) == (9, 3, 3)
    assert made.tree["junction"]["bias_V"] == -0.1
    assert "feedback" not in load(SOUND, "instrument.feedback=null").tree.get("instrument", {})
    assert list(load(SOUND, "targets.clean.kind=clean").targets) == ["ideal", "clean"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("scan.size=3", "--set scan.size=3: scan.size: unknown key; did you mean 'size_nm'?"),
        ("scan.size_nm=-3", "--set scan.size_nm=-3: scan.size_nm: found -3; legal: a number above 0"),
        ("scan.size_nm", "--set scan.size_nm: legal: key.path=value"),
        ("=3", "--set =3: legal: key.path=value"),
        ("scan.size_nm=[1", "--set scan.size_nm=[1: not YAML"),
        ("scan=3", "--set scan=3: scan: found 3; legal: a mapping (the commanded frame)"),
        ("tip.apex.x=3", "--set tip.apex.x=3: tip.apex: found a mapping of x, which is no distribution"),
    ],
)
def test_a_fault_of_the_command_line_names_the_option(load, override, expected):
    (line,) = faults(load, SOUND, override)
    assert line.startswith(expected)


def test_a_bad_seed_of_the_command_line_names_the_option(load):
    with pytest.raises(RecipeError, match=r"^--seed seed=-1: seed: found -1; legal: a whole number"):
        load(SOUND, seed=-1)
    with pytest.raises(RecipeError, match=r"^-n samples=0: samples: found 0; legal: a whole number"):
        load(SOUND, samples=0)


@pytest.mark.parametrize(
    "text",
    [
        *("__import__('os')", "a.b()", "x if y else z", "[1]", "'a'", "1j", "True", "lambda: 0", "a[0]", "f(1)"),
        *("min(1)", "sqrt(1, 2)", "min(1, b=2)", "1 < 2", "1 // 2", "a := 1", "1; 2", "1or 2", ""),
        *("9" * 400, "(" * 200, "1e999", "-" * 499 + "1", "1" + "+1" * 300),
    ],
)
def test_a_formula_outside_the_grammar_is_refused(text):
    with pytest.raises(expressions.ExpressionError):
        expressions.parse(text)


def test_formulas_follow_the_rules_of_arithmetic():
    values = {"a.b": np.array([1.0, 4.0]), "c": 3.0}
    cases = {"-a.b**2 + c": -(values["a.b"] ** 2) + 3, "max(a.b, c, 2) / 2": np.array([1.5, 2.0])}
    cases |= {"2**3**2": 512.0, "abs(1 - a.b)": np.array([0.0, 3.0]), "log(exp(c)) * sqrt(4)": 6.0, "1e-3": 0.001}
    for text, truth in cases.items():
        np.testing.assert_allclose(expressions.parse(text)(values), truth, rtol=1e-15)  # rounding
    assert np.isinf(expressions.parse("9**9**9**9")(values))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_damage_to_a_recipe_is_a_traceback(tmp_path_factory, data):
    start = data.draw(st.integers(0, len(SOUND)))
    stop = data.draw(st.integers(start, min(len(SOUND), start + 12)))
    junk = data.draw(st.text("abz_.:-{}[]'\"#&*!|>%@ \n\t0159eE,~uniform", max_size=8))
    path = tmp_path_factory.mktemp("damaged") / "r.yaml"
    path.write_text(SOUND[:start] + junk + SOUND[stop:])
    try:
        made = recipe.load(str(path))
    except RecipeError as fault:
        lines = fault.faults
    else:
        plan.parameters(made, plan.draw(made, 0, 2), 1)
        return
    assert lines
    assert all(line and "\n" not in line for line in lines)


def paths(tree, prefix=""):
    """Yield the dotted path of every key of a tree."""
    for key, value in tree.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from paths(value, f"{prefix}{key}.")


PUBLISHED = recipe.load("wse2-defects")
ODD_VALUES = (
    *(
        "null",
        "true",
        "x",
        "''",
        "-1",
        "0",
        "1e308",
        "1e400",
        ".nan",
        "9" * 50,
        "[]",
        "{}",
        "[1, 2]",
        "{a: 1}",
        "{kind: [a]}",
    ),
    *(
        "{uniform: [0, 1]}",
        "{uniform: {a: 1}}",
        "{uniform: [null, true]}",
        "{uniform: [-1e308, 1e308]}",
        "{per: defect}",
    ),
    *("{loguniform: [1e-300, 1e300]}", "{normal: [0, 1e308]}", "{normal: [1e3, 1], min: 1, max: 2}", "{choice: x}"),
    *("{choice: [{choice: [a]}]}", "{choice: [[1]]}", "{choice: [x, y], weights: [0, 1]}", "{integer: [-1e30, 1e30]}"),
    *("{poisson: 1e300}", "{expr: 3}", "{expr: scan.size_nm}", "{expr: tip.apex}", "{uniform: [1, 2], per: defect}"),
    *("{expr: sample.defects.top_dopant.onsite_eV}", "{expr: '1', per: defect}", "{uniform: [1, 2], normal: [1, 2]}"),
)


@given(st.sampled_from(sorted(paths(PUBLISHED.tree))), st.sampled_from(ODD_VALUES))
@settings(max_examples=150, deadline=None)
def test_no_odd_value_is_a_traceback_or_two_faults(path, value):
    try:
        made = recipe.load("wse2-defects", [f"{path}={value}"])
    except RecipeError as fault:
        lines = fault.faults
    else:
        plan.parameters(made, plan.draw(made, 0, 2), 1)
        assert made.arrays
        return
    two = (path, value) in {("channels", "[1, 2]"), ("keep", "{uniform: {a: 1}}")}  # an unknown key, and one missing
    assert len(lines) == 1 + two


@pytest.mark.parametrize("name", sorted(recipe.builtin_recipes()))
def test_the_schema_agrees_with_the_loader(name):
    tree = recipe.load(name).tree
    model().model_validate_json(json.dumps(tree))
    schema = recipe.schema()
    assert set(tree) <= set(schema["else"]["properties"])
    json.dumps(schema)


def test_the_schema_refuses_what_the_loader_refuses():
    tree = json.loads(json.dumps(recipe.load("wse2-demo").tree))
    tree["scan"]["size"] = 3
    with pytest.raises(ValueError, match=r"scan\.size"):
        model().model_validate_json(json.dumps(tree))
    del tree["scan"]["size"], tree["seed"]
    with pytest.raises(ValueError, match="seed"):
        model().model_validate_json(json.dumps(tree))
    model("Partial").model_validate_json(json.dumps({"name": "x", "extends": "wse2-demo", "scan": {"pixels": 8}}))


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["instrument.feedback={loop_gain: null, crossover_Hz: {uniform: [10, 600]}}"],
            "instrument.feedback.crossover_Hz: reaches 600 with one update in 0.001 s; "
            "legal: at most 500, the updates' Nyquist frequency (or update: continuous)",
        ),
        (
            [
                "instrument.feedback={loop_gain: null, update: continuous, crossover_Hz: 1.0e+6}",
                "scan.dwell_s={uniform: [0.001, 0.1]}",
            ],
            "instrument.feedback.crossover_Hz: reaches 1e+06, which takes 6.28e+06 sub-steps a pixel of 0.1 s; "
            "legal: at most 5000, 796 Hz",
        ),
        (
            ["instrument.z_resonance={frequency_Hz: {uniform: [1000, 3.0e+6]}}"],
            "instrument.z_resonance.frequency_Hz: reaches 3e+06, which takes 1.2e+04 sub-steps a pixel of 0.001 s; "
            "legal: at most 5000, 1.25e+06 Hz",
        ),
        (
            ["scan.size_nm={uniform: [2, 9]}", "extra_apexes.b={x_nm: {uniform: [-2.5, 1]}, y_nm: 2, shorter_pm: 9}"],
            "extra_apexes.b.x_nm: reaches 2.5, outside a frame of 2 nm; legal: at most scan.size_nm",
        ),
        (
            ["scan.size_nm={uniform: [2, 400]}"],
            "scan.size_nm: a frame of 400 nm has 1.7e+06 cells; legal: at most 300000, 169 nm",
        ),
        (
            ["scan.pixels=8192"],
            "scan.pixels: a frame of 8192 pixels with 10 sub-steps each takes 1.3e+09 steps; legal: at most 4e+08",
        ),
        (
            ["instrument.constant_height={}", "channels=[current]"],
            "instrument.constant_height: found beside instrument.feedback; "
            "legal: one of the two (null removes an inherited one)",
        ),
        (
            ["instrument.feedback=null", "instrument.constant_height={}"],
            "instrument.constant_height: found without a channel of the current; "
            "legal: current, current_backward among the channels",
        ),
        (
            ["instrument.z_resonance={frequency_Hz: 1000, Q: -3}"],
            "instrument.z_resonance.Q: found -3; legal: a number at least 0.5",
        ),
    ],
)
def test_parts_that_make_one_another_impossible(load, overrides, line):
    (found,) = faults(load, SOUND, *overrides)
    assert found.endswith(line)
    assert ": " in found.removesuffix(line)  # its place first


def test_parts_that_just_go_together(load):
    load(SOUND, "instrument.feedback={loop_gain: null, crossover_Hz: {uniform: [10, 500]}}")
    load(SOUND, "extra_apexes.b={x_nm: -2, y_nm: 2, shorter_pm: 9}", "scan.size_nm={uniform: [2, 169]}")
    load(SOUND, "instrument.feedback=null", "instrument.constant_height={}", "channels=[topography, current]")


MOS2 = SOUND.replace("wse2-s", "mos2").replace("Se_top", "S_top").replace("bias_V: 0.3", "bias_V: -1.5")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "bias_V: -1.5",
            "bias_V: -1.0",
            "r.yaml:12:11: junction.bias_V: at -1 V the window from -1 to 0 eV lies in the",
        ),
        ("bias_V: -1.5", "bias_V: {uniform: [-2, 2]}", "r.yaml:12:11: junction.bias_V: at 0 V the window from 0 to 0"),
        (
            "bias_V: -1.5",
            "bias_V: 1.5\n  fermi_eV: {uniform: [-0.5, 0.2]}",
            "r.yaml:12:11: junction.bias_V: at 1.5 V the window from -0.5 to 1 eV lies in the gap of mos2",
        ),
        (
            "hole: {kind: vacancy, site: S_top",
            "hole: {kind: divacancy, site: Mo",
            "r.yaml:8:35: sample.defects.hole.site: no divacancy of mos2 on Mo; legal: S_top, S_bottom",
        ),
        (
            "kappa_per_nm: 10",
            "kappa_per_nm: {uniform: [9, 11]}\n  current: coherent",
            "r.yaml:13:17: junction.kappa_per_nm: drawn from a range; legal with current: coherent: a number, a choice",
        ),
        (
            "kappa_per_nm: 10",
            "work_function_eV: 4.5\n  tip_work_function_eV: {uniform: [4, 5]}\n  barrier: trapezoid"
            "\n  current: coherent",
            "r.yaml:14:25: junction.tip_work_function_eV: drawn from a range; legal with current: coherent: a number",
        ),
    ],
)
def test_faults_of_a_material_with_a_gap(load, old, new, expected):
    assert load(MOS2).material == "mos2"
    with pytest.raises(RecipeError) as caught:
        load(MOS2.replace(old, new, 1))
    assert str(caught.value).startswith(expected)


ON_TOP = "site: S_top, density_per_nm2: 0.1}"
GUEST = "kind: adatom, height_nm: 0.2, onsite_eV: 0, hopping_eV: 1, "


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            ON_TOP,
            "site: S_top, density_per_nm2: 0.1, charge: 1}",
            "sample.defects.hole.charge: shifts the levels at it by -0.24 eV: at -1.2 V none carries current; legal:",
        ),
        (
            ON_TOP,
            "site: S_top, density_per_nm2: 0.1, screening_nm: 3}",
            "sample.defects.hole.screening_nm: found one without a charge; legal: given together with charge",
        ),
        (
            "kind: vacancy, " + ON_TOP,
            "kind: antisite, onsite_eV: 0, rise_nm: 0.4, " + ON_TOP,
            "sample.defects.hole.rise_nm: found 0.4; legal: a number at least -0.1 and at most 0.25",
        ),
        ("kind: vacancy, ", GUEST + "position: over, ", "sample.defects.hole.position: found the text 'over'"),
        ("kind: vacancy, ", "kind: blob, height_pm: 100, ", "sample.defects.hole.fwhm_nm: missing; legal: a number at"),
        (
            "kappa_per_nm: 10",
            "work_function_eV: 4.5\n  barrier: trapezoid",
            "junction.barrier: found trapezoid; legal: given together with work_function_eV and tip_work_function_eV",
        ),
        (
            "kappa_per_nm: 10",
            "work_function_eV: {uniform: [1, 4.5]}\n  tip_work_function_eV: 1.5\n  barrier: trapezoid",
            "junction.bias_V: found -1.2; legal: a bias that leaves 0.5 eV of the barrier at both ends",
        ),
    ],
)
def test_faults_of_guests_charges_and_barriers(load, old, new, expected):
    sound = MOS2.replace("bias_V: -1.5", "bias_V: -1.2")
    load(sound)
    with pytest.raises(RecipeError) as caught:
        load(sound.replace(old, new, 1))
    assert str(caught.value).split(": ", 1)[1].startswith(expected)


def test_faults_of_spectra(load):
    asked = "targets.points={kind: spectra, from_V: -2, to_V: 2}"
    load(MOS2, asked)
    load(MOS2, asked, "junction.current=coherent")
    load(MOS2, "targets.map={kind: conductance, bias_V: 0.6}", "junction.current=coherent")  # in the gap
    for target in ("map={kind: conductance, bias_V: 0.6}", "points={kind: spectra, from_V: -2, to_V: 2}"):
        lines = faults(load, MOS2, f"targets.{target}", "later_tips={b: {kind: tungsten}}")
        assert any(
            line.endswith(f"targets.{target.split('=')[0]}: found with later_tips; legal: without") for line in lines
        )
    (line,) = faults(load, MOS2, "targets.points={kind: spectra, from_V: 2, to_V: -2}")
    assert "targets.points.to_V: found -2; legal: above from_V, 2" in line


def test_p_waves_of_amplitudes_need_one_apex(load):
    co, beside = (
        "tip={kind: co, p_share: 0.5}",
        "extra_apexes={b: {kind: platinum_iridium, x_nm: 0.3, y_nm: 0, shorter_pm: 20}}",
    )
    load(MOS2, co, "junction.current=coherent")
    load(MOS2, co, beside)
    (line,) = faults(load, MOS2, co, beside, "junction.current=coherent")
    assert line.endswith("tip: tunnels through p waves; legal with current: coherent: without extra_apexes")


def test_graphene_has_no_coherent_current(load):
    # its states at K vanish over the middle of the hexagon: incoherently they do not
    load(SOUND, "junction.current=coherent", "junction.kappa_per_nm=10")
    graphene = ["sample.material=graphene", "sample.defects.hole.site=A", "sample.defects.atom=null"]
    load(SOUND, *graphene)
    (line,) = faults(load, SOUND, *graphene, "junction.current=coherent")
    assert "junction.current: at 0.3 V the states of graphene leave 0.03 of their current over a point of the" in line
    assert line.endswith("legal: incoherent")
