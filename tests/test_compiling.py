"""Kernels compiled beside the first sample: the list is true, and helpers leave nothing behind."""

import gc
import os
import subprocess
import sys
from importlib import import_module

import joblib
import numba
import pytest
from numba.core import event

from stmfab import compiling

from . import kernels


@pytest.mark.parametrize("kind", kernels.RECIPES)
def test_the_list_names_just_what_first_samples_call(kind):
    """Else: python -m tests.kernels > stmfab/kernels.txt."""
    listed = [" ".join(words) for words in compiling.kernels(kind)]
    called = {line for recipe in kernels.RECIPES[kind] for line in kernels.called(recipe)}
    assert sorted(listed) == sorted(called)


def test_a_helper_compiles_as_a_call_does(tmp_path):
    """numba's cache goes by the types, by how they were given, and by the function: what a helper leaves is found."""
    module, name = "stmfab.physics._structure_kernels", "marked_part"
    every = compiling.kernels("tight-binding")
    place = str([kernel[:2] for kernel in every[::-1]].index((module, name)))
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "stmfab.compiling", "tight-binding", place, str(len(every)), str(os.getpid())]
    subprocess.run(command, check=True, env=os.environ | cache)
    assert [file.name.partition("-")[0] for file in tmp_path.rglob("*.nbi")] == [f"_structure_kernels.{name}"]
    code = f"import numpy; from {module} import {name}; {name}(numpy.ones((2, 3), bool)); print({name}.stats)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | cache)
    assert "): 1}), cache_misses=Counter())" in found.stdout


def test_helpers_begin_with_the_first_compilation_and_end_with_the_context():
    helpers = compiling._Helpers("tight-binding")
    with event.install_listener("numba:compile", helpers):
        assert not helpers.processes
        assert numba.njit(lambda x: x + 1)(1) == 2
        assert len(helpers.processes) == min(compiling.MOST, joblib.cpu_count() - 1)
        assert not gc.isenabled()
        assert numba.njit(lambda x: x + 2)(1) == 3
        assert len(helpers.processes) == min(compiling.MOST, joblib.cpu_count() - 1)
    helpers.end()
    assert gc.isenabled()
    assert all(process.returncode is not None for process in helpers.processes)


def test_a_failure_beside_helpers_ends_them_too(monkeypatch):
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: started.append(Helper()) or started[-1])
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    divide = numba.njit(lambda x: 1 // x)
    with pytest.raises(ZeroDivisionError), compiling.helped("tight-binding"):
        divide(0)
    assert len(started) == compiling.MOST
    assert [helper.said for helper in started] == [["kill", "wait"]] * compiling.MOST
    assert gc.isenabled()


class Helper:
    """A process that notes what it is told."""

    def __init__(self):
        self.said = []

    def kill(self):
        self.said.append("kill")

    def wait(self):
        self.said.append("wait")


def test_a_helper_stops_when_its_parent_is_gone(monkeypatch):
    """Or it would go on for as long as all kernels take."""
    asked = []
    monkeypatch.setattr(compiling, "import_module", lambda name: asked.append(name) or import_module(name))
    monkeypatch.setattr(gc, "disable", lambda: None)
    compiling.main("tight-binding", "0", "1", "1" if os.getppid() != 1 else "2")
    assert asked == []
