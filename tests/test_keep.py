"""What a recipe keeps: every sample fulfils it, those that did anyway are untouched, and everybody makes the same."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import stmfab
from stmfab import explore, factory, held, keeping, recipe, report, sample, store, text
from stmfab.errors import NotKeptError, RecipeError
from stmfab.place import Folder
from tests.runs import receipts_in

SAMPLES = 96  # three shards
LEAST_nm = 0.008
OPEN = """\
name: open
samples: 96
seed: 3
scan: {pixels: 64, size_nm: {uniform: [1, 2]}}
sample:
  material: wse2-s
  defects:
    hole: {kind: vacancy, site: Se_top, density_per_nm2: 0.1}
    atom:
      kind: dopant
      site: Se_top
      density_per_nm2: {uniform: [0, 0.1]}
      onsite_eV: {uniform: [0.1, 0.4], per: defect}
tip: {kind: tungsten, apex: {choice: [w111, w001]}}
junction: {bias_V: 0.3, kappa_per_nm: 10, height_nm: {uniform: [0.3, 0.6]}}
instrument:
  feedback: {loop_gain: 0.5}
  noise: {white: {kind: white_log, share: 0.1}}
channels: [topography]
targets: [ideal, defects]
"""
KEEP = f"keep:\n  visible: {{of: ideal_range_nm, above: {LEAST_nm}}}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("keep")
    (made / "open.yaml").write_text(OPEN)
    (made / "kept.yaml").write_text(OPEN + KEEP)
    return made


@pytest.fixture(scope="module")
def free(folder):
    return stmfab.load(str(folder / "open.yaml"))


@pytest.fixture(scope="module")
def kept(folder):
    return stmfab.load(str(folder / "kept.yaml"))


@pytest.fixture(scope="module")
def dataset(folder):
    run(folder, "whole.zarr", "-j", "1")
    return store.open_store(Folder(folder / "whole.zarr"))


@pytest.fixture(scope="module")
def arrays(dataset):
    return {spec.name: store.read(dataset, spec.name, 0, SAMPLES) for spec in dataset.layout.arrays}


def command(folder, place, *options):
    return [sys.executable, "-m", "stmfab.cli", "generate", "kept.yaml", place, *options]


def run(folder, place, *options):
    subprocess.run(command(folder, place, *options), cwd=folder, check=True, capture_output=True)


def shards(place):
    """The bytes of every shard file of a store."""
    return {path.relative_to(place): path.read_bytes() for path in place.glob("*/c/**/*") if path.is_file()}


def column(made, plan, name):
    return made["param"][:, [column.name for column in plan.record_columns].index(name)]


def edited(kept, **overrides):
    return recipe.changed(kept.plan, [f"{path}={value}" for path, value in overrides.items()])


def test_every_sample_fulfils_it_and_says_how_often_it_was_drawn(kept, arrays):
    assert (np.ptp(arrays["ideal"].astype(np.float64), axis=(1, 2)) > LEAST_nm * (1 - 1e-6)).all()  # float32
    assert (column(arrays, kept.plan, "ideal_range_nm") > LEAST_nm).all()
    attempts = column(arrays, kept.plan, "redraws")
    share = (attempts == 0).mean()
    assert 0.3 < share < 0.7  # about half of the draws are kept
    # attempts are independent: their number is geometric, of mean (1 - p) / p, here within five deviations
    assert attempts.mean() == pytest.approx((1 - share) / share, abs=5 * np.sqrt(1 - share) / share / np.sqrt(SAMPLES))


def test_who_fulfils_it_anyway_has_the_bytes_of_the_recipe_without(free, kept, arrays):
    before = free.samples(0, SAMPLES)
    anyway = column(before, free.plan, "ideal_range_nm") > LEAST_nm
    np.testing.assert_array_equal(column(arrays, kept.plan, "redraws") == 0, anyway)
    for name, values in before.items():
        if name != "param":
            assert values[anyway].tobytes() == arrays[name][anyway].tobytes(), name
            assert not np.array_equal(values[~anyway], arrays[name][~anyway]), name
    for drawn in (column.name for column in free.plan.record_columns):
        ours, theirs = column(arrays, kept.plan, drawn), column(before, free.plan, drawn)
        np.testing.assert_array_equal(ours[anyway], theirs[anyway], err_msg=drawn)


def test_a_sample_drawn_again_is_one_of_another_seed(free, kept, arrays):
    # the recipe without the condition, under the seed of the attempt: all streams of the sample are those
    attempts = column(arrays, kept.plan, "redraws")
    for index in np.flatnonzero(attempts)[[0, 7, -1]].tolist():
        seed = sample.streams.seed_again(kept.plan.seed, int(attempts[index]))
        alone = recipe.changed(free.plan, [f"seed={seed}"])
        made = sample.simulate(alone, index, index + 1)
        for name, values in made.items():
            if name != "param":
                assert values[0].tobytes() == arrays[name][index].tobytes(), name


def test_two_parts_at_once_of_two_workers_make_the_same_files(folder, dataset):
    parts = [
        subprocess.Popen(command(folder, "parts.zarr", "-j", "2", "--part", f"{k}/2"), cwd=folder) for k in range(2)
    ]
    assert [part.wait() for part in parts] == [0, 0]
    assert shards(folder / "parts.zarr") == shards(folder / "whole.zarr")


def test_after_a_kill_the_same_files(folder, dataset):
    killed = subprocess.Popen(command(folder, "killed.zarr", "-j", "1"), cwd=folder, start_new_session=True)
    while not receipts_in(folder / "killed.zarr"):
        assert killed.poll() is None
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    run(folder, "killed.zarr", "-j", "1")
    assert shards(folder / "killed.zarr") == shards(folder / "whole.zarr")


def test_alone_in_any_order_and_again_from_the_store(kept, arrays, folder):
    again = np.flatnonzero(column(arrays, kept.plan, "redraws"))
    for index in (95, int(again[3]), 0, int(again[-2])):
        for name, values in kept.sample(index).items():
            assert values.tobytes() == arrays[name][index].tobytes(), name
    inspect = [sys.executable, "-m", "stmfab.cli", "inspect", "whole.zarr"]
    found = subprocess.run([*inspect, "--recheck", "9"], cwd=folder, capture_output=True, text=True)
    assert found.returncode == 0
    assert "made 9 samples again: all equal (9 byte for byte)" in found.stdout


def test_inspect_counts_those_drawn_again(dataset, kept, arrays):
    n_redrawn = int((column(arrays, kept.plan, "redraws") > 0).sum())
    shown = text.overview(report.summary(dataset, None))
    assert re.search(rf"^  redraws +{n_redrawn} redrawn ", shown, re.MULTILINE)


def test_what_is_held_is_what_is_kept(kept, arrays):
    index = int(np.flatnonzero(column(arrays, kept.plan, "redraws"))[0])
    still = held.hold(kept.plan, index)
    same = held.varied(still, {}).arrays()
    for name in ("ideal", "topography", "defects"):
        np.testing.assert_array_equal(same[name].astype(np.float32), arrays[name][index], err_msg=name)
    longer = {"junction.bias_V": 0.31}  # a constant before: the recipe is another, its streams the same
    shown, settled = held.varied(still, longer).arrays(), held.settled(still, longer)
    made = sample.simulate(settled, index, index + 1)
    np.testing.assert_array_equal(shown["topography"].astype(np.float32), made["topography"][0])
    assert settled.keep == kept.plan.keep


def test_a_held_sample_that_would_not_be_kept_says_so(kept, tmp_path):
    still, far = held.hold(kept.plan, 0), {"junction.height_nm": 1.2, "junction.kappa_per_nm": 12.0}
    shown = explore.picture(still, far)
    (line,) = [line for line in shown["kept"] if not line["holds"]]
    assert re.fullmatch(r"keep\.visible: ideal_range_nm is 0\.0\d+; legal: above 0\.008", line["words"])
    with pytest.raises(
        stmfab.errors.StmfabError, match=r"sample 0 as shown is none that the recipe keeps: keep.visible"
    ):
        explore.save(still, far, name="far", folder=tmp_path)


def test_explore_says_what_a_sample_was_kept_for_and_a_saved_recipe_keeps_it(kept, arrays, tmp_path):
    again = np.flatnonzero(column(arrays, kept.plan, "redraws"))
    still = held.hold(kept.plan, int(again[0]))
    shown, own = explore.picture(still, {}), column(arrays, kept.plan, "ideal_range_nm")[again[0]]
    draws = 1 + int(column(arrays, kept.plan, "redraws")[again[0]])
    said = [f"keep.visible: ideal_range_nm is {own:.4g}; legal: above 0.008"]
    said.append(f"keep: draw {draws} of this sample is the first that it keeps")
    assert shown["kept"] == [{"words": words, "holds": True} for words in said]
    changes = {"keep.visible.above": 0.0081, "keep.few": explore.SOME, "keep.few.at_least": 0}
    explore.save(still, changes, name="mine", folder=tmp_path)
    saved = recipe.load(str(tmp_path / "mine.yaml"))
    assert {name: condition.legal.at_least for name, condition in saved.keep.items()} == {"few": 0, "visible": None}
    assert saved.keep["visible"].above == 0.0081


def test_conditions_on_draws_and_on_what_is_counted(kept):
    plan = edited(
        kept,
        **{"keep.visible": "null", "keep.steep.of": '"scan.size_nm * junction.height_nm"', "keep.steep.below": 0.6},
        **{"keep.some": "{of: defect_count, at_least: 1, at_most: 2}", "keep.gap": "{of: '2', at_most: 2}"},
    )
    assert [set(conditions) for conditions in keeping._conditions(plan)] == [{"steep", "gap"}, {"some"}]
    made = sample.simulate(plan, 0, 64)
    assert (column(made, plan, "scan.size_nm") * column(made, plan, "junction.height_nm") < 0.6).all()
    assert set(made["defect_count"]) == {1, 2}
    assert column(made, plan, "redraws").max() > 2


def test_what_each_junction_has_of_its_own_holds_for_each(free):
    names = ("near", "far")
    two = ["junctions={near: {height_nm: 0.4}, far: {height_nm: 0.6}}", "junction.height_nm=null"]
    plan = recipe.changed(free.plan, two)
    before = sample.simulate(plan, 0, 32)
    ranges = {name: column(before, plan, f"junctions.{name}.ideal_range_nm") for name in names}
    low = np.sort(ranges["far"])[16]
    each = recipe.changed(plan, [f"keep.seen={{of: ideal_range_nm, above: {low}}}"])
    one = recipe.changed(plan, [f"keep.seen={{of: junctions.near.ideal_range_nm, above: {low}}}"])
    for chosen, held_to in ((each, names), (one, names[:1])):
        made = sample.simulate(chosen, 0, 32)
        fine = np.all([ranges[name] > low for name in held_to], axis=0)
        np.testing.assert_array_equal(column(made, chosen, "redraws") == 0, fine)
        assert all((column(made, chosen, f"junctions.{name}.ideal_range_nm") > low).all() for name in held_to)


def test_what_no_sample_fulfils_is_refused_before_a_store_is_begun(folder):
    never = subprocess.run(
        command(folder, "never.zarr", "--set", "keep.visible.above=9"), cwd=folder, capture_output=True, text=True
    )
    said = r"sample 0 \(seed 3\): none of 200 draws is kept; the last: keep\.visible: ideal_range_nm is 0\.\d+; "
    assert never.returncode == 2
    assert re.fullmatch(said + r"legal: above 9\n", never.stderr)
    assert not (folder / "never.zarr").exists()


def test_a_sample_that_is_not_kept_leaves_the_others_in_peace(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "MAX_DRAWS", 3)
    with pytest.raises(NotKeptError, match=r"none of 3 draws is kept"):
        kept.samples(0, SAMPLES)
    outcome = factory.generate(kept.plan, Folder(tmp_path / "some.zarr"), jobs=1)
    assert outcome.failures
    assert all("none of 3 draws is kept" in failure.line and not failure.traceback for failure in outcome.failures)


def test_a_recipe_without_conditions_has_no_column_of_them(free):
    assert "redraws" not in {column.name for column in free.plan.record_columns}
    assert not recipe.changed(free.plan, ["keep={}"]).keep


def test_the_store_tells_the_recipe_with_its_conditions(kept, dataset):
    assert dataset.attributes["recipe"]["keep"] == {"visible": {"of": "ideal_range_nm", "above": LEAST_nm}}
    assert recipe.stored(dataset.attributes["recipe"], "x").keep == kept.plan.keep


@pytest.mark.parametrize(
    ("condition", "fault"),
    [
        ("{above: 1}", "3: keep.seen.of: missing; legal: text"),
        ("{of: scan.size_nm}", "14: keep.seen.of: found no bounds; legal: with above, at_least, below, at_most"),
        (
            "{of: ideal_rang_nm, above: 1}",
            "14: keep.seen.of: unknown key 'ideal_rang_nm'; did you mean 'ideal_range_nm'?",
        ),
        ("{of: tip.apex, above: 1}", "14: keep.seen.of: tip.apex is a word"),
        (
            "{of: sample.defects.atom.onsite_eV, above: 1}",
            "14: keep.seen.of: sample.defects.atom.onsite_eV is drawn per defect",
        ),
        ("{of: 2 +, above: 1}", "14: keep.seen.of: '2 +' is not a formula; legal: numbers, + - * / **, "),
        ("{of: 2, above: 1}", "14: keep.seen.of: found 2; legal: text (quote it)"),
        ("{of: height_nm, above: 1, at_most: 1}", "32: keep.seen.above: found 1; legal: less than at_most, 1"),
        (
            "{of: height_nm, above: {uniform: [1, 2]}}",
            "32: keep.seen.above: found a mapping, but it may not be drawn; ",
        ),
        ("{of: height_nm, over: 1}", "25: keep.seen.over: unknown key; did you mean 'above'?"),
        ("height_nm > 1", "9: keep.seen: found the text 'height_nm > 1'; legal: a mapping (what every sample fulfils)"),
    ],
)
def test_a_fault_is_one_line_at_its_place(folder, condition, fault):
    (folder / "faulty.yaml").write_text(f"{OPEN}keep:\n  seen: {condition}\n")
    with pytest.raises(RecipeError) as caught:
        stmfab.load(str(folder / "faulty.yaml"))
    (found,) = caught.value.faults
    assert found.startswith(f"{folder / 'faulty.yaml'}:{OPEN.count(chr(10)) + 2}:{fault}")
