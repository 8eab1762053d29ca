"""The random streams: Philox as published, and each number a pure function of its name."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from stmfab import streams


@pytest.mark.parametrize("trial", range(5))
def test_philox_equals_numpy(trial):
    rng = np.random.default_rng(trial)
    key = rng.integers(0, 2**64, 2, dtype=np.uint64)
    counters = rng.integers(0, 2**64, (50, 4), dtype=np.uint64)
    counters[:, 0] = np.maximum(counters[:, 0], 1)
    ours = streams.philox(key, counters)
    for counter, words in zip(counters, ours, strict=True):
        before = counter.copy()
        before[0] -= np.uint64(1)  # numpy steps the counter before it makes a block
        np.testing.assert_array_equal(words, np.random.Philox(key=key, counter=before).random_raw(4))


def test_philox_known_answer():
    # Random123 kat_vectors: philox4x64 10 rounds, counter 0, key 0
    words = streams.philox(np.zeros(2, np.uint64), np.zeros((1, 4), np.uint64))[0]
    expected = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert words.tolist() == expected


def test_any_slice_of_a_column_is_the_same():
    whole = streams.column(7, "scan.size_nm", 0, 1000)
    np.testing.assert_array_equal(streams.column(7, "scan.size_nm", 123, 456), whole[123:456])
    np.testing.assert_array_equal(streams.column_at(7, "scan.size_nm", np.array([999, 3])), whole[[999, 3]])


def test_columns_differ_by_seed_path_word_and_attempt():
    args = [(1, "a", 0, 8), (2, "a", 0, 8), (1, "b", 0, 8), (1, "a", 8, 16)]
    columns = [streams.column(*a) for a in args]
    columns += [streams.column(1, "a", 0, 8, word=w) for w in (1, 3, 4, 5)]
    columns += [streams.column(1, "a", 0, 8, attempt=1)]
    values = np.concatenate(columns)
    assert len(np.unique(values)) == len(values)


def test_uniforms_are_strictly_inside_and_uniform():
    u = streams.column(3, "x", 0, 100_000)
    assert 0 < u.min()
    assert u.max() < 1
    distance = np.abs(np.sort(u) - (np.arange(len(u)) + 0.5) / len(u)).max()
    assert distance < 1.95 / np.sqrt(len(u))  # Kolmogorov-Smirnov: 1.95/sqrt(n) is passed by 99.9 % of true streams


def test_the_extreme_words_stay_inside_the_unit_interval():
    extremes = streams._uniforms(np.array([0, 2**64 - 1], np.uint64))
    assert extremes.tolist() == [streams.SMALLEST, streams.LARGEST]


def test_a_tile_keeps_its_numbers_in_any_window():
    tiles = np.array([[0, 0], [-1, 2], [2, -1], [-5, -7]])
    whole = streams.tile_uniforms(5, 11, "sample.defects.v", tiles, 9)
    assert whole.shape == (4, 9)
    np.testing.assert_array_equal(streams.tile_uniforms(5, 11, "sample.defects.v", tiles[[2, 0]], 3), whole[[2, 0], :3])
    assert len(np.unique(whole)) == whole.size
    assert not np.isin(streams.tile_uniforms(5, 12, "sample.defects.v", tiles, 9), whole).any()


def test_tile_and_column_streams_of_one_path_are_apart():
    tile = streams.tile_uniforms(5, 0, "p", np.zeros((1, 2), np.int64), 1)[0, 0]
    assert tile != streams.column(5, "p", 0, 1)[0]


def test_a_tile_out_of_range_is_refused():
    with pytest.raises(ValueError, match="below"):
        streams.tile_uniforms(5, 0, "p", np.array([[2**31, 0]]), 1)


def test_stage_streams_are_pure_and_apart():
    a = streams.stream(1, 2, "jitter.fast").standard_normal(4)
    np.testing.assert_array_equal(a, streams.stream(1, 2, "jitter.fast").standard_normal(4))
    for other in (
        streams.stream(1, 3, "jitter.fast"),
        streams.stream(1, 2, "jitter.slow"),
        streams.stream(2, 2, "jitter.fast"),
    ):
        assert not np.isin(other.standard_normal(4), a).any()


def test_draws_are_pinned():
    # A change here changes every dataset: say DATA: in the commit and count up layout.FORMAT.
    column = streams.column(20250727, "scan.size_nm", 0, 1000, word=1, attempt=2)
    tiles = streams.tile_uniforms(20250727, 4711, "sample.defects.top", np.array([[3, -4], [-1, 0]]), 6)
    stage = streams.stream(20250727, 4711, "white").integers(0, 2**63, 8)
    digests = [hashlib.sha256(a.tobytes()).hexdigest()[:16] for a in (column, tiles, stage)]
    assert digests == ["fefa6135fbe5cb71", "6b847248c2e68c73", "bdf8ef7b8496c31a"]
