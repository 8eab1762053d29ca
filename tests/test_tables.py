"""Tables kept on disk: the same bytes from the cache, from a damaged one, and from none at all."""

import dataclasses
import json
import multiprocessing
import os
import time

import numpy as np
import pytest

import stmfab
from stmfab import tables
from stmfab.physics import crystal
from stmfab.physics.materials import MATERIALS
from stmfab.physics.tables import facts_of

OF = {"material": "none", "reach": 3}
MADE = {
    "energies_eV": np.linspace(0, 1, 7) + 0.1j,
    "g": np.arange(15, dtype=np.float32).reshape(3, 5),
    "waves": (np.arange(12) - 1j).astype(np.complex64).reshape(3, 2, 2),
}


def make():
    return MADE


def never():
    raise AssertionError("it is there")


def assert_same(found):
    assert list(found) == list(MADE)
    for name, array in MADE.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv(tables.PLACE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def files(place):
    return sorted(place.glob(f"*{tables.SUFFIX}"))


def test_a_table_is_made_once(place):
    assert_same(tables.kept("some", OF, make))
    assert_same(tables.kept("some", OF, never))
    assert len(files(place)) == 1


@pytest.mark.parametrize("other", [{"reach": 4}, {"material": "other"}, {"more": 1}])
def test_another_table_has_another_file(place, other):
    tables.kept("some", OF, make)
    tables.kept("some", OF | other, make)
    tables.kept("others", OF, make)
    assert len(files(place)) == 3


def test_a_table_goes_with_the_code_and_the_arithmetic(place, monkeypatch):
    tables.kept("some", OF, make)
    with monkeypatch.context() as other:
        other.setattr(tables, "_code", lambda: "edited")
        tables.kept("some", OF, make)
    with monkeypatch.context() as other:
        other.setattr(tables.provenance, "identity", lambda: {"key": "another processor"})
        tables.kept("some", OF, make)
    assert len(files(place)) == 3
    assert_same(tables.kept("some", OF, never))


def test_what_a_process_writes_into_a_table_is_its_own(place):
    tables.kept("some", OF, make)
    tables.kept("some", OF, never)["g"][:] = 7
    assert_same(tables.kept("some", OF, never))


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flipped(path):
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def retold(path):
    head, _, rest = path.read_bytes().partition(b"\n")
    told = json.loads(head)
    told["arrays"][1]["shape"] = [3, 4]
    path.write_bytes(json.dumps(told).encode().ljust(len(head)) + b"\n" + rest)


def linked(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


DAMAGES = (cut, flipped, retold, linked, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"[]\n"))


@pytest.mark.parametrize("damage", DAMAGES, ids=["cut", "flipped", "retold", "linked", "empty", "not ours"])
def test_a_damaged_file_is_made_again(place, damage):
    tables.kept("some", OF, make)
    damage(files(place)[0])
    with pytest.raises(AssertionError):
        tables.kept("some", OF, never)
    assert_same(tables.kept("some", OF, make))
    assert_same(tables.kept("some", OF, never))


def test_without_a_place_tables_are_made_in_memory(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    (tmp_path / "own").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "own")
    for place in ("", *(str(tmp_path / name) for name in ("file", "file/cache", "shared", "link"))):
        monkeypatch.setenv(tables.PLACE, place)
        assert tables.folder() is None
        assert tables.kept("some", OF, make) is MADE
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "link", "own", "shared"]


def test_a_full_disk_leaves_nothing_behind(place, monkeypatch):
    monkeypatch.setattr(tables, "_padding", lambda array: (_ for _ in ()).throw(OSError(28, "no space left")))
    assert tables.kept("some", OF, make) is MADE
    assert [path.name[:5] for path in place.iterdir()] == ["lock-"]


def test_only_the_user_can_look(place):
    tables.kept("some", OF, make)
    assert place.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o600}


def test_the_usual_place(tmp_path, monkeypatch):
    monkeypatch.delenv(tables.PLACE)
    monkeypatch.setattr(tables.sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    for said, where in (("", ".cache/stmfab"), ("here", ".cache/stmfab"), (f"{tmp_path}/x", "x/stmfab")):
        monkeypatch.setenv("XDG_CACHE_HOME", said)  # a relative one is to be ignored: XDG Base Directory Specification
        assert tables.folder() == tmp_path / where
    monkeypatch.setattr(tables.sys, "platform", "darwin")
    assert tables.folder() == tmp_path / "Library" / "Caches" / "stmfab"


def slow(place, log):
    os.environ[tables.PLACE] = str(place)

    def made():
        with open(log, "a") as file:
            file.write("made\n")
        time.sleep(0.3)
        return MADE

    assert_same(tables.kept("some", OF, made))


def test_two_processes_make_a_table_once(place, tmp_path):
    log, context = tmp_path / "log", multiprocessing.get_context("fork")
    others = [context.Process(target=slow, args=(place, log)) for _ in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert [other.exitcode for other in others] == [0, 0, 0]
    assert log.read_text() == "made\n"


def test_a_maker_that_died_holds_nobody_up(place):
    def killed():
        os.kill(os.getpid(), 9)

    other = multiprocessing.get_context("fork").Process(target=tables.kept, args=("some", OF, killed))
    other.start()
    other.join()
    began = time.monotonic()
    assert_same(tables.kept("some", OF, make))
    assert time.monotonic() - began < 5  # the lock went with it


def test_the_tables_used_longest_ago_make_room(place, monkeypatch):
    big = {"g": np.zeros(10_000)}
    monkeypatch.setattr(tables, "LIMIT_BYTES", 300_000)
    for reach in range(3):
        tables.kept("some", {"reach": reach}, lambda: big)
        os.utime(files(place)[-1])
    old = time.time() - 2 * tables.ABANDONED_s
    for path in files(place):
        os.utime(path, (old, old))
    (place / ".left.part").write_bytes(b"x")
    os.utime(place / ".left.part", (old, old))
    tables.kept("some", {"reach": 0}, never)  # used now
    tables.kept("some", {"reach": 3}, lambda: big)
    assert len(files(place)) == 3
    for reach in (0, 3):
        tables.kept("some", {"reach": reach}, never)
    assert not (place / ".left.part").exists()


def test_a_table_above_the_limit_is_not_kept(place, monkeypatch):
    monkeypatch.setattr(tables, "LIMIT_BYTES", 100)
    assert tables.kept("some", OF, make) is MADE
    assert not files(place)


def test_workers_find_the_tables_of_a_run(monkeypatch):
    for before in ("", None):
        monkeypatch.delenv(tables.PLACE, raising=False)
        monkeypatch.setenv("HOME", "/dev/null")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        if before is not None:
            monkeypatch.setenv(tables.PLACE, before)
        assert tables.folder() is None
        with tables.for_workers():
            own = tables.folder()
            assert own is not None
            tables.kept("some", OF, make)
            assert_same(tables.kept("some", OF, never))
        assert not own.exists()
        assert os.environ.get(tables.PLACE) == before


def test_a_sample_is_the_same_with_and_without_the_cache(place, monkeypatch):
    recipe = stmfab.load("wse2-demo", overrides={"scan.pixels": 16}, samples=1)
    found = []
    for said in ("", str(place), str(place)):
        monkeypatch.setenv(tables.PLACE, said)
        crystal.green_table.cache_clear()
        found.append(recipe.sample(0))
    crystal.green_table.cache_clear()  # before the folder goes
    assert len(files(place)) == 1
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for name, array in other.items():
            np.testing.assert_array_equal(array, found[0][name])


def test_every_number_of_a_material_counts():
    # the last bit of any of them, and nothing else: its name and where its numbers come from do not
    mos2 = MATERIALS["mos2"]
    facts, changed = facts_of(mos2), dict(mos2.hoppings_eV)
    assert facts_of(dataclasses.replace(mos2, name="other", source="other")) == facts
    for cell in ((1, 0), (-1, 0)):
        changed[cell] = np.nextafter(changed[cell], 9)
    others = {"hoppings_eV": changed, "fermi_eV": np.nextafter(mos2.fermi_eV, 9), "n_filled": None}
    others |= {"lattice_nm": np.nextafter(mos2.lattice_nm, 9), "sites": mos2.sites[::-1]}
    others |= {"broadening_eV": np.nextafter(mos2.broadening_eV, 9), "scissor_eV": np.nextafter(mos2.scissor_eV, 9)}
    for name, value in others.items():
        assert facts_of(dataclasses.replace(mos2, **{name: value})) != facts, name
