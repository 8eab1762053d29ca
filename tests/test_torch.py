"""PyTorch sees the samples of a store or a recipe: each once, in the store's units, whoever loads them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stmfab import sample, splits, store
from stmfab.errors import StmfabError
from stmfab.loaded import load
from stmfab.place import Folder
from tests import stub
from tests.runs import run

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'stmfab[torch]'")
from torch.utils.data import DataLoader  # noqa: E402

from stmfab import torch as loaders  # noqa: E402

SAMPLES = 150
TINY = ["scan.pixels=16", "channels=[topography]", "sample.defects=null", "targets={ideal: {kind: ideal}}"]
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # on a machine of few cores
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("torch") / "made.zarr"
    run(path, SAMPLES)
    return path


def read(place, name):
    return store.read(store.open_store(Folder(place)), name, 0, SAMPLES)


def seen(loader):
    """Every input image of a pass, by its first pixel, which no two samples share."""
    return [float(value) for inputs, _ in loader for value in inputs[:, 0, 0, 0]]


def test_splits_are_the_published_splitmix64():
    # Steele, Lea & Flood (2014); the first two words from seed 1234567 are printed in its many reference versions
    states = np.array([1234567, 1234567 + 0x9E3779B97F4A7C15], np.uint64)
    assert splits.splitmix64(states).tolist() == [6457827717110365317, 3203168211198807973]


def test_splits_part_the_samples_and_a_longer_store_moves_none():
    short, long = np.arange(1000), np.arange(5000)
    parts = {name: splits.members(long, name) for name in splits.SPLITS}
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), long)
    for name, found in parts.items():
        np.testing.assert_array_equal(splits.members(short, name), found[found < 1000])
        low, high = splits.SPLITS[name]
        share = (high - low) / splits.REMAINDERS
        assert abs(len(found) / 5000 - share) < 4 * np.sqrt(share * (1 - share) / 5000)  # binomial, 4 sigma


def test_a_store_states_its_splits(place):
    assert store.open_store(Folder(place)).attributes["splits"] == splits.stated()


def test_dataset_gives_what_the_store_holds_in_its_units(place):
    dataset = loaders.Dataset(place, inputs=["topography", "topography_backward"], targets=["defects", "events"])
    inputs, targets = dataset[7]
    assert (inputs.shape, targets.shape, inputs.dtype, targets.dtype) == (
        (2, 64, 64),
        (2, 64, 64),
        torch.float32,
        torch.float32,
    )
    np.testing.assert_array_equal(inputs[1], read(place, "topography_backward")[7])
    np.testing.assert_array_equal(targets[1], read(place, "events")[7].astype(np.float32))
    assert dataset.units == {"topography": "nm", "topography_backward": "nm", "defects": "1", "events": "1"}


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_split_is_its_samples_and_no_other(place, in_memory):
    dataset = loaders.Dataset(place, split="val", targets=["ideal"], in_memory=in_memory)
    np.testing.assert_array_equal(dataset.indices, splits.members(np.arange(SAMPLES), "val"))
    expected = read(place, "topography")[dataset.indices]
    np.testing.assert_array_equal(torch.cat([inputs for inputs, _ in dataset]), expected)


def test_standardised_images_have_mean_zero_and_deviation_one_and_others_their_unit(place):
    dataset = loaders.Dataset(
        place, inputs=["topography", "topography_backward"], targets=["ideal"], standardise=["topography"]
    )
    inputs = torch.stack([inputs for inputs, _ in dataset])
    assert float(inputs[:, 0].mean()) == pytest.approx(0, abs=1e-5)  # float32 sums of 6e5 numbers
    assert float(inputs[:, 0].std(correction=0)) == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(inputs[:, 1], read(place, "topography_backward"))


def test_parameters_may_be_targets(place):
    dataset = loaders.Dataset(place, targets=["junction.bias_V", "ideal_range_nm"])
    columns = [c["name"] for c in store.open_store(Folder(place)).metadata["param"]["attributes"]["columns"]]
    rows = read(place, "param")[:, [columns.index("junction.bias_V"), columns.index("ideal_range_nm")]]
    np.testing.assert_array_equal(torch.stack([targets for _, targets in dataset]), rows.astype(np.float32))
    assert dataset.units["junction.bias_V"] == "V"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"inputs": ["topografy"]}, "'topografy': no such image or parameter; did you mean 'topography'"),
        ({"targets": ["ideal", "junction.bias_V"]}, "do not fit into one tensor"),
        ({"split": "training"}, "split 'training': no such split; did you mean 'train'"),
        ({"standardise": ["param"]}, "'param': no such image to standardise"),
        ({"inputs": []}, "no input or target is named"),
    ],
)
def test_a_mistake_is_one_line(place, options, words):
    with pytest.raises(StmfabError, match=words) as error:
        len(loaders.Dataset(place, **options))
    assert "\n" not in str(error.value)


def test_an_unfinished_store_gives_what_is_made_and_has_no_means(tmp_path):
    run(tmp_path / "part.zarr", SAMPLES, part=(0, 2))
    dataset = loaders.Dataset(tmp_path / "part.zarr", targets=["ideal"])
    assert dataset.indices.tolist() == [*range(32), *range(64, 96), *range(128, 150)]
    with pytest.raises(StmfabError, match="no channel means yet"):
        loaders.Dataset(tmp_path / "part.zarr", standardise=["topography"])


@pytest.mark.parametrize(("context", "n_workers"), [("fork", 3), ("spawn", 2)])  # of five shards, not alike for either
def test_workers_lose_and_repeat_no_sample(place, context, n_workers):
    expected = sorted(read(place, "topography")[:, 0, 0].astype(float))
    dataset = loaders.Dataset(place, targets=["ideal"])
    shards = loaders.Shards(place, targets=["ideal"], seed=3)
    store.read(store.open_store(Folder(place)), "topography", 0, 1)  # so that zarr's threads are there to be forked
    for chosen, shuffle in ((dataset, True), (shards, None)):
        options = {"num_workers": n_workers, "multiprocessing_context": context}
        loader = DataLoader(chosen, batch_size=16, shuffle=shuffle, **options)
        assert sorted(seen(loader)) == expected


def test_order_of_shards_follows_seed_and_epoch_only(place):
    def order(seed, epoch, **options):
        shards = loaders.Shards(place, targets=["ideal"], seed=seed)
        shards.set_epoch(epoch)
        return seen(DataLoader(shards, batch_size=16, **options))

    first = order(0, 0)
    assert order(0, 0) == first
    assert order(0, 0, num_workers=1, multiprocessing_context="fork") == first
    others = [order(0, 1), order(1, 0)]
    assert all(other != first and sorted(other) == sorted(first) for other in others)
    assert order(0, 1) == others[0]


def test_persistent_workers_follow_the_epoch(place):
    shards = loaders.Shards(place, targets=["ideal"])
    loader = DataLoader(shards, num_workers=2, persistent_workers=True, multiprocessing_context="fork")
    passes = []
    for epoch in (0, 1, 0):
        shards.set_epoch(epoch)
        passes.append(seen(loader))
    assert passes[0] == passes[2] != passes[1]


def test_parts_share_the_shards_out(place):
    parts = [seen(DataLoader(loaders.Shards(place, targets=["ideal"], part=(k, 2)))) for k in (0, 1)]
    assert all(parts)
    assert sorted(parts[0] + parts[1]) == sorted(read(place, "topography")[:, 0, 0].astype(float))


def tiny_recipe():
    return load("wse2-demo", overrides=dict(setting.split("=", 1) for setting in TINY), seed=11)


def test_a_stream_is_the_recipe_sample_by_sample_of_the_training_split():
    recipe = tiny_recipe()
    stream = iter(loaders.Stream(recipe, start=100, targets=["ideal"]))
    for index in splits.members(np.arange(100, 200), "train")[:40]:
        inputs, targets = next(stream)
        made = recipe.sample(int(index))
        np.testing.assert_array_equal(inputs[0], made["topography"])
        np.testing.assert_array_equal(targets[0], made["ideal"])


@pytest.mark.parametrize("context", [None, "fork", "spawn"])
def test_a_stream_never_repeats_over_workers_and_passes(monkeypatch, context):
    if context != "spawn":
        monkeypatch.setattr(sample, "simulate", stub.simulate)
        monkeypatch.setattr(sample, "prepare", stub.prepare)
    stream = loaders.Stream(tiny_recipe(), split=None)
    options = {"num_workers": 2, "multiprocessing_context": context} if context else {}
    loader = DataLoader(stream, batch_size=8, **options)
    passes = []
    for _ in range(2):
        torch.manual_seed(5)  # which must not make the second pass the first
        batches = iter(loader)
        passes += [float(value) for _ in range(12) for value in next(batches)[0][:, 0, 0, 0]]
        del batches
    assert len(set(passes)) == len(passes) == 2 * 12 * 8


def test_without_pytorch_one_line_says_what_to_install():
    code = """if True:
        import importlib.abc, sys

        class Absent(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name == "torch":
                    raise ImportError("no torch here")

        sys.meta_path.insert(0, Absent())
        import stmfab.torch"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent.parent, capture_output=True, text=True
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last == "stmfab.errors.StmfabError: stmfab.torch needs PyTorch: pip install 'stmfab[torch]'"


def test_training_keeps_its_threads_though_samples_are_made_with_one():
    code = "import stmfab.torch, torch; print(torch.get_num_threads())"
    environment = {"OMP_NUM_THREADS": "2", "PATH": "", "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2"
