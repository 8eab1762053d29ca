"""Preview: what a recipe makes, as a picture; a sweep holds everything but one key."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from stmfab import cli, gallery, held, labels, lettering, previewing, ranges, recipe, sample
from stmfab.errors import StmfabError
from tests import stub

STILL = "wse2-demo"
INDEX = 3


@pytest.fixture(scope="module")
def plan():
    return recipe.load(STILL, ["scan.pixels=24"])


@pytest.fixture(autouse=True)
def empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def same(held_arrays, stored):
    """Names of the arrays of one sample that are not, byte for byte, those of a batch of one."""
    shared = held_arrays.keys() & stored.keys()
    assert {"topography", "ideal", "lattice", "defect_x_nm"} <= shared
    return [
        name for name in shared if held_arrays[name].astype(stored[name].dtype).tobytes() != stored[name][0].tobytes()
    ]


def test_a_held_sample_with_nothing_changed_is_the_sample(plan):
    still = held.hold(plan, INDEX)
    arrays = held.varied(still, {}).arrays()
    assert same(arrays, sample.simulate(plan, INDEX, INDEX + 1)) == []
    own = {path: still.value(path) for path in ("junction.bias_V", "tip.apex", "scan.fast_axis")}
    assert same(held.varied(still, own).arrays(), sample.simulate(plan, INDEX, INDEX + 1)) == []


def test_a_sweep_of_the_gain_moves_no_defect_and_no_ideal(plan):
    still = held.hold(plan, INDEX)
    low, high = (held.varied(still, {"instrument.feedback.loop_gain": gain}).arrays() for gain in (0.5, 1.5))
    for name in ("ideal", "lattice", "defects", "defect_x_nm", "defect_onsite_eV"):
        np.testing.assert_array_equal(low[name], high[name])
    assert not np.array_equal(low["topography"], high["topography"])


CHANGES = {
    "drawn": {"junction.bias_V": 0.45},
    "drawn, beyond its distribution": {"junction.bias_V": 0.7},
    "constant": {"instrument.feedback.step_limit": 0.2},
    "choice": {"tip.apex": "w001"},
    "per defect": {"sample.defects.top_dopant.onsite_eV": 0.2},
    "joint": {"instrument.z_piezo.A": 0.39},
    "joint, beyond its distribution": {"instrument.z_piezo.A": 0.05},
    "a part and its key": {
        "instrument.z_piezo": "{kind: loop, opening_percent: 5}",
        "instrument.z_piezo.opening_percent": 9,
    },
    "a distribution": {"scan.size_nm": "{uniform: [2, 3]}"},
    "another setpoint": {"junction.height_nm": None, "junction.current_nA": 0.1},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_the_recipe_that_says_the_changes_makes_the_same_sample(plan, changes):
    still = held.hold(plan, INDEX)
    settled = held.settled(still, changes)
    shown = held.varied(still, changes).arrays()
    assert same(shown, sample.simulate(settled, INDEX, INDEX + 1)) == []
    again = recipe.stored(settled.tree, "saved")
    assert again.identity == settled.identity


MISTAKES = {
    "out of range": ({"scan.size_nm": -1}, "scan.size_nm: found -1; legal: a number above 0"),
    "text": ({"scan.size_nm": "wide"}, "found the text 'wide'"),
    "a word": ({"tip.apex": "w002"}, "did you mean 'w001'?"),
    "two setpoints": ({"junction.current_nA": 0.1}, "exactly one of height_nm and current_nA"),
    "joint": (
        {"instrument.z_piezo.A": 0.7, "instrument.z_piezo.B": 1.0, "instrument.z_piezo.C": 0.1},
        "the piezo must",
    ),
    "no such key": ({"scan.sise_nm": 1.0}, "did you mean 'size_nm'?"),
}


@pytest.mark.parametrize(("changes", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_change_that_is_not_legal_is_told_in_a_line(changes, words):
    still = held.hold(recipe.load("wse2-defects"), INDEX)
    with pytest.raises(StmfabError, match=re.escape(words)):
        held.varied(still, changes)


def test_a_formula_follows_what_it_reads():
    plan = recipe.load(STILL, ["instrument.jitter.fast_nm={expr: '0.005 * scan.size_nm'}"])
    varied = held.varied(held.hold(plan, INDEX), {"scan.size_nm": 3.0})
    assert varied.parameters.instrument.jitter.fast_nm == pytest.approx(0.015, rel=1e-12)


@pytest.mark.parametrize("name", sorted(recipe.builtin_recipes()))
def test_every_key_of_every_recipe_has_values_to_be_shown_at(name):
    plan = recipe.load(name)
    for path, at in ranges.places(plan).items():
        if at.name in ("species", "source"):  # any text
            continue
        span = ranges.span(plan, at)
        values = span.values(5)
        assert values
        assert all(at.key.legal.holds(value) for value in values), path
        distribution = ranges.distribution_of(at)
        if distribution is not None and not span.words:
            low, high = distribution.ends()
            rounding = 2e-3 * (high - low)  # of long tails, to three digits
            assert low - rounding <= values[0] < values[-1] <= high + rounding, path


def read(png):
    from matplotlib import image

    return image.imread(png)[..., :3]


def test_preview_draws_a_sheet_and_says_what_is_next(capsys, tmp_path):
    assert cli.run(["preview", STILL, "-n", "3", "--set", "scan.pixels=24"]) == 0
    words = capsys.readouterr().out
    assert words.startswith("wse2-demo.png: wse2-demo (seed 1), 3 samples")
    assert "next: stmfab preview wse2-demo --set scan.pixels=24 --sample 0" in words
    assert [path.name for path in tmp_path.iterdir()] == ["wse2-demo.png"]
    pixels = read("wse2-demo.png")
    orange = np.abs(pixels - np.array([1.0, 0.5, 0.0])).max(axis=-1) < 0.06  # the middle of the colour bar
    assert orange.any(axis=1).sum() > 3 * gallery.BAR
    header = pixels[gallery.MARGIN + gallery.HEADER - 14 : gallery.MARGIN + gallery.HEADER - 2]
    assert (header.max(axis=-1) < 0.5).sum() > 100  # ink: the names of the columns
    captions = pixels[gallery.MARGIN + gallery.HEADER + 160 + 14 :][: gallery.LINE]  # under pictures of 160 pixels
    assert (captions.max(axis=-1) < 0.5).sum() > 100  # ink: the values of the first samples


def test_sweep_names_its_values_and_shows_what_is_not_legal(capsys):
    arguments = ["preview", STILL, "--sample", "3", "--set", "scan.pixels=24", "--sweep"]
    assert cli.run([*arguments, "junction.bias_V", "-n", "3"]) == 0
    words = capsys.readouterr().out
    assert "wse2-demo-bias_V.png" in words
    assert "0.2 to 0.5 V (its distribution; here 0." in words
    assert ", 3 values" in words
    assert cli.run([*arguments, "scan.fast_axis"]) == 0
    assert "2 choices" in capsys.readouterr().out
    assert cli.run([*arguments, "instrument.z_piezo.A=0.1:1", "-n", "4"]) == 0  # A = 1: the piezo does not move
    assert "values of 4" in capsys.readouterr().out


SWEEP_MISTAKES = {
    "no such key": ("junction.bias", "did you mean 'junction.bias_V'?"),
    "the end of a key": ("bias_V", "did you mean 'junction.bias_V'?"),
    "an absent part": ("instrument.z_resonance.Q", "the recipe has no instrument.z_resonance"),
    "no numbers": ("junction.bias_V=low:high", "KEY=LOW:HIGH"),
    "backwards": ("junction.bias_V=0.5:0.1", "not below"),
    "nothing legal": ("scan.size_nm=-5:-2", "no value"),
    "any text": ("sample.defects.top_vacancy.species", "any text: no key that can be varied"),
}


@pytest.mark.parametrize(("sweep", "words"), SWEEP_MISTAKES.values(), ids=SWEEP_MISTAKES)
def test_a_mistaken_sweep_is_told_in_a_line(capsys, tmp_path, sweep, words):
    assert cli.run(["preview", STILL, "--sweep", sweep]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


def test_a_sheet_of_large_frames_has_fewer_samples_and_says_so(monkeypatch, capsys):
    titles = []
    real = gallery.sheet
    monkeypatch.setattr(
        gallery, "sheet", lambda title, *rest, **more: titles.append(title) or real(title, *rest, **more)
    )
    monkeypatch.setattr(previewing, "SMALLEST", 1)
    arguments = ["preview", STILL, "--set", "scan.pixels=24"]
    monkeypatch.setattr(previewing, "SCANNED", 2 * 24**2)
    assert cli.run(arguments) == 0
    words = capsys.readouterr().out
    assert ", 2 samples," in words
    assert "12 samples take longer; all of them: -n 12" in words
    assert "2 samples only of 1 frame of 24 x 24 pixels" in titles[-1]
    assert cli.run([*arguments, "-n", "3"]) == 0  # what is asked for is made
    assert ", 3 samples," in capsys.readouterr().out
    monkeypatch.setattr(previewing, "SCANNED", 12 * 24**2)
    assert cli.run(arguments) == 0
    words = capsys.readouterr().out
    assert ", 12 samples," in words
    assert "note:" not in words
    assert "only" not in titles[-1]


def test_a_sheet_has_as_many_samples_as_their_frames_and_renders_allow():
    counts = {name: previewing.few(recipe.load(name)) for name in recipe.builtin_recipes()}
    assert counts["wse2-defects"] == 12  # of 64 x 64
    assert counts["metal-steps"] == 2  # of 256 x 256
    assert counts["graphene-adatoms"] == 4  # small frames, scanned again without defects, and spectra over points
    assert counts["wse2-native-defects"] == 2  # scanned again too, two frames of 64 x 64, their bands bent by charges
    assert counts["h-si-100-atoms"] == 1  # two frames of 256 x 256, each scanned again without defects
    assert min(counts.values()) == 1


def test_a_sample_alone_on_its_sheet_has_its_pictures_in_lines_that_do_not_overlap():
    for n_pictures in (3, 7, 16):
        grid = gallery.Grid.of(1, n_pictures, 50)
        corners = {grid.corner(0, column) for column in range(n_pictures)}
        assert len(corners) == n_pictures
        assert max(left for left, _ in corners) + 50 < grid.width
        assert max(top for _, top in corners) + 50 + gallery.CAPTION <= grid.height
        rows = sorted({top for _, top in corners})
        assert all(below - above >= 50 + 14 + 12 for above, below in itertools.pairwise(rows))  # a range and a name


def test_words_lie_over_pictures_pixel_on_pixel():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    canvas = lettering.Canvas(picture)
    assert np.array_equal(canvas.pixels(), picture)
    canvas.write((30, 20), "I", points=20, anchor="mm", colour=(255, 0, 0))
    over = canvas.pixels()
    changed = (over != picture).any(axis=-1)
    assert 0 < changed.sum() < 400
    assert (over[changed] == (255, 0, 0)).all(axis=-1).sum() > 20


def ink(words, **how):
    """The rows and columns of the first and last pixel of words on a white canvas: top, bottom, left, right."""
    canvas = lettering.Canvas(np.full((60, 240, 3), 255, np.uint8))
    canvas.write((60, 30), words, points=9, **how)
    rows, columns = np.nonzero((canvas.pixels() < 128).any(axis=-1))
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_words_stand_where_their_anchor_says():
    top, bottom, left, right = ink("HHH")
    assert abs(top - 30) <= 1
    assert abs(left - 60) <= 2
    assert ink("HHH", anchor="rt")[3] == pytest.approx(60, abs=2)
    assert ink("HHH", anchor="ls")[1] == pytest.approx(29, abs=1)
    two = ink("HHH\nHHH")
    assert two == (top, bottom + lettering.LINE, left, right)


def test_words_are_as_long_as_the_sheet_takes_them_to_be():
    words = "#12   -0.31 V   2.54 nm   gap 0.45 nm   w111-d1-1of4   defects 12   gain 0.78"
    _, _, left, right = ink(words[:20])
    guess = gallery.CHARACTER * 9 * lettering.DPI / 72 * 20
    assert 0.7 * guess < right - left < 1.1 * guess


def test_without_the_fonts_of_matplotlib_words_are_still_there(monkeypatch):
    monkeypatch.setattr(lettering.importlib.util, "find_spec", lambda name: None)
    lettering._font.cache_clear()
    try:
        assert ink("HHH")[0] == pytest.approx(30, abs=1)
    finally:
        lettering._font.cache_clear()


def test_the_command_in_the_note_of_a_failed_sample_remakes_it(monkeypatch, capsys):
    plan = recipe.load("wse2-defects", seed=5)

    with monkeypatch.context() as patch:
        patch.setattr(labels, "channel_images", lambda *_: {"topography": np.array([[np.nan]])})
        with pytest.raises(ArithmeticError) as failed:
            sample.simulate(plan, 12, 13)
        (note,) = failed.value.__notes__
        command = note.partition("remake it: stmfab ")[2].split()
        with pytest.raises(ArithmeticError) as again:  # what failed fails again, with its traceback
            cli.run(command)
        assert again.value.__notes__ == [note]
    assert cli.run(command) == 0
    words = capsys.readouterr().out
    assert "wse2-defects: sample 12 (seed 5)" in words
    assert f"{held.hold(plan, 12).value('junction.bias_V'):.6g} V" in words


def test_preview_of_a_store_makes_what_its_recipe_makes(monkeypatch, capsys):
    from stmfab import factory

    plan = recipe.load(STILL, ["scan.pixels=16", "name=mine", "samples=3"], seed=9)
    from stmfab.place import Folder

    factory.generate(plan, Folder(Path("mine.zarr")), jobs=1, prepare=stub.prepare, simulate=stub.simulate)
    assert cli.run(["preview", "mine.zarr", "--sample", "2"]) == 0
    words = capsys.readouterr().out
    assert "mine: sample 2 (seed 9)" in words
    assert f"{held.hold(plan, 2).value('scan.size_nm'):.6g} nm" in words


def test_levelling_is_the_least_squares_plane_without_the_outliers():
    rng = np.random.default_rng(0)
    for shape in ((64, 64), (48, 80), (5, 7)):
        y, x = np.indices(shape)
        slopes = 3.0 + 0.2 * x - 0.1 * y
        for value in (2.0, 0.4567):
            assert np.abs(gallery.levelled(np.full(shape, value))).max() < 1e-12
        assert np.abs(gallery.levelled(slopes)).max() < 1e-12
        image = slopes + rng.normal(size=shape)
        image[0, 0], image[2, 3] = 400.0, np.nan
        design = np.stack([np.ones(x.size), x.ravel(), y.ravel()], axis=1)
        flat, kept = image.ravel(), np.isfinite(image.ravel())
        for _ in range(2):
            plane = np.linalg.lstsq(design[kept], flat[kept], rcond=None)[0]
            left = flat - design @ plane
            kept = np.isfinite(left) & (np.abs(left) <= 2 * np.nanstd(left))
        np.testing.assert_allclose(gallery.levelled(image).ravel(), left, atol=1e-10)
