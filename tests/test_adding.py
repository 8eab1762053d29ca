"""A new material, defect, noise or target is one class and one line in one table: all else follows from it.

What the README promises; the table's line is put in for the time of a test.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from stmfab import explore, held, loaded, metadata, parts, ranges, recipe
from stmfab.physics import defects, guests, materials, noise, targets
from stmfab.physics.arrays import ArraySpec
from stmfab.physics.keys import check_ranges, key
from stmfab.physics.targets import image_spec

SMALL = {"scan.pixels": 24}


@dataclass(frozen=True)
class Slope:
    """Slope of the ideal topography, times a factor."""

    of_path: ClassVar[bool] = False
    factor: float = key("what the slope is multiplied by", default=1.0, above=0, fixed=True)

    def __post_init__(self) -> None:
        check_ranges(self)

    def arrays(self, name: str, pixels: int) -> list[ArraySpec]:
        return [image_spec(name, pixels, "nm", "slope of the ideal topography")]

    def render(self, labels: Any) -> list[np.ndarray]:
        return [self.factor * np.hypot(*np.gradient(labels.ideal_nm))]


@dataclass(frozen=True)
class DoubleDopant(defects.Dopant):
    """An atom of twice the shift that is asked for."""

    @staticmethod
    def perturbation(material, placed):
        twice = {"onsite_eV": 2 * placed.values["onsite_eV"]}
        return defects.Dopant.perturbation(material, dataclasses.replace(placed, values=twice))


@dataclass(frozen=True)
class Loud(noise.WhiteHeightNoise):
    """White noise of the gap, ten times as strong as asked."""

    def log_sigma(self, tone, *, pixel_s):
        return 10 * super().log_sigma(tone, pixel_s=pixel_s)


def known_everywhere(overrides, path, unit):
    """A sample of a recipe with a new kind in it, whose key is in the form of explore."""
    settings = [f"{name}={value}" for name, value in {**SMALL, **overrides}.items()]
    plan = recipe.load("wse2-demo", settings)
    keys = {one["path"]: one for group in explore.form(held.hold(plan, 0), {})["groups"] for one in group["keys"]}
    assert keys[path]["unit"] == unit
    return plan, loaded.Recipe(plan).sample(0)


@pytest.fixture
def schema_made_anew():
    from stmfab.recipe import editor

    editor.model.cache_clear()
    yield
    editor.model.cache_clear()


pytestmark = pytest.mark.usefixtures("schema_made_anew")


def test_a_target(monkeypatch):
    table = next(slot.kinds for slot in parts.slots(parts.CRYSTAL) if slot.path == "targets")
    assert targets.TARGETS.items() <= table.items()  # what is in the file's table is in that of every kind of sample
    monkeypatch.setitem(table, "slope", Slope)
    plan, sample = known_everywhere({"targets.steep": "{kind: slope, factor: 2}"}, "targets.steep.factor", "")
    np.testing.assert_allclose(sample["steep"], 2 * np.hypot(*np.gradient(sample["ideal"])), atol=1e-6)
    assert "Slope of the ideal topography, times a factor." in str(recipe.schema())
    assert "steep/zarr.json" in metadata.documents(plan, metadata.planned(plan))


def test_a_kind_of_defect(monkeypatch):
    monkeypatch.setitem(guests.DEFECTS, "double", DoubleDopant)
    place = "sample.defects.top_dopant"
    plan, sample = known_everywhere(
        {place: "{kind: double, site: Se_top, density_per_nm2: 0.1, onsite_eV: 0.1}"}, f"{place}.onsite_eV", "eV"
    )
    assert ranges.place(plan, f"{place}.onsite_eV").part.cls is DoubleDopant
    twice = {place: "{kind: dopant, site: Se_top, density_per_nm2: 0.1, onsite_eV: 0.2}"}
    plain = loaded.load("wse2-demo", overrides={**SMALL, **twice}).sample(0)
    np.testing.assert_array_equal(sample["ideal"], plain["ideal"])


def test_a_noise(monkeypatch):
    monkeypatch.setitem(noise.NOISES, "loud", Loud)
    _, sample = known_everywhere(
        {"instrument.noise.mine": "{kind: loud, rms_pm: 0.5}"}, "instrument.noise.mine.rms_pm", "pm"
    )
    plain = loaded.load(
        "wse2-demo", overrides={**SMALL, "instrument.noise.mine": "{kind: white_height, rms_pm: 5}"}
    ).sample(0)
    np.testing.assert_allclose(sample["topography"], plain["topography"], atol=1e-6)


def test_a_material(monkeypatch):
    monkeypatch.setitem(materials.MATERIALS, "mine", dataclasses.replace(materials.MATERIALS["wse2-s"], name="mine"))
    plan = recipe.load("wse2-demo", ["sample.material=mine", "scan.pixels=24"])
    sample = loaded.Recipe(plan).sample(0)
    np.testing.assert_array_equal(sample["ideal"], loaded.load("wse2-demo", overrides=SMALL).sample(0)["ideal"])
    assert "'mine'" in str(recipe.schema())
