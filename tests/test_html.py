"""The page about a store: one file that needs nothing else, with the numbers and pixels of the store."""

import base64
import contextlib
import html.parser
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stmfab import cli, drawing, factory, recipe, statistics, store, survey
from stmfab.errors import IncompleteError
from stmfab.place import Folder
from tests import stub
from tests.test_explore import BROWSERS

ROOT = Path(__file__).parent.parent
SAMPLES = 40
SECTIONS = ["Gallery", "Parameters", "Classes", "Defects", "Spectra", "Arrays", "Checks", "Provenance", "Recipe"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store of real samples, small ones, with a name that a careless page would break on."""
    folder = tmp_path_factory.mktemp("html")
    settings = ["scan.pixels=16", "description=<b>a & b</b>"]
    plan = recipe.load("wse2-demo", settings, samples=SAMPLES)
    factory.generate(plan, Folder(folder / "small.zarr"), jobs=1)
    return folder / "small.zarr"


@pytest.fixture(scope="module")
def page(made):
    path = made.parent / "report.html"
    assert cli.run(["inspect", str(made), "--html", str(path)]) == 0
    return path


class Reader(html.parser.HTMLParser):
    """The tags, addresses and words of a page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.addresses, self.words, self.unclosed = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "action", "data")]
        if tag not in ("meta", "img", "link", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_is_one_well_formed_file_that_loads_nothing(page):
    text = page.read_text()
    read = Reader(text)
    assert read.open == []
    assert "script" not in read.tags
    assert "link" not in read.tags
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in read.addresses)
    assert not re.search(r"url\(|@import|https?://", text)
    assert "<b>a & b</b>" in "".join(read.words)  # shown as text, not obeyed


def test_the_page_has_every_section_and_the_numbers_of_the_store(page, made):
    text = page.read_text()
    assert re.findall(r"<h2 [^>]*>(\w+)</h2>", text) == SECTIONS
    words = " ".join("".join(Reader(text).words).split())
    dataset = store.open_store(Folder(made))
    attributes = dataset.attributes
    for fact in (attributes["recipe_sha256"], attributes["identity"]["key"], attributes["platform"]):
        assert fact in words
    counts = store.read(dataset, "defect_count", 0, SAMPLES)
    assert f"mean {counts.mean():.3g}, at most {counts.max()}" in words
    kinds = store.read(dataset, "defect_kind", 0, SAMPLES)
    assert f"vacancy{(kinds == 0).sum():,}" in words.replace(" ", "")
    marked = (store.read(dataset, "lattice", 0, SAMPLES) > 0.5).mean(axis=(1, 2)).mean()
    assert f"lattice {100 * marked:.2f} %" in words or f"lattice{100 * marked:.2f} %" in words
    assert "Not shown" not in words
    assert "✗" not in words


def test_the_pictures_are_the_pixels_of_the_store(page, made):
    from matplotlib import image

    alt = re.findall(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]*)"', page.read_text())
    assert [name for name, _ in alt[:6]] == [
        "topography",
        "topography_backward",
        "ideal",
        "lattice",
        "defects",
        "events",
    ]
    lattice = image.imread(io.BytesIO(base64.b64decode(alt[3][1])))[..., 0]
    first = store.read(store.open_store(Folder(made)), "lattice", 0, 1)[0]
    np.testing.assert_allclose(lattice, first[::-1], atol=1.5 / 255)  # row 0 at the bottom; 8 bits


def test_png_is_read_back_by_another_library():
    from matplotlib import image

    rgb = np.random.default_rng(1).integers(0, 256, (7, 11, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.round(255 * image.imread(io.BytesIO(drawing.png(rgb)))), rgb)


def test_spectral_density_of_a_wave_is_half_its_amplitude_squared():
    # A cos(2 pi f x) has the variance A^2 / 2, all of it at f: the integral of the density over 1/nm
    n, pixel_nm, waves, amplitude_nm = 128, 0.05, 16, 0.01
    x = np.arange(n) * pixel_nm
    image_nm = np.tile(amplitude_nm * np.cos(2 * np.pi * waves / (n * pixel_nm) * x), (n, 1))
    per_nm = np.linspace(1 / (n * pixel_nm), 1 / (2 * pixel_nm), 4001)
    along, across = survey.densities_of(image_nm, "x", pixel_nm, per_nm)
    assert np.trapezoid(along, per_nm) == pytest.approx((1e3 * amplitude_nm) ** 2 / 2, rel=0.02)
    assert per_nm[along.argmax()] == pytest.approx(waves / (n * pixel_nm), rel=0.01)
    assert np.nanmax(across) < 1e-3 * np.nanmax(along)
    turned = survey.densities_of(image_nm.T, "y", pixel_nm, per_nm)
    np.testing.assert_allclose(turned[0], along)


def test_axis_ticks_are_round_and_inside():
    axis = drawing.Axis(0.3, 9.0, 0, 100)
    assert axis.ticks() == [0.5, 1.0, 2.0, 5.0]
    assert float(axis.at(axis.low)) == 0
    assert float(axis.at(axis.high)) == pytest.approx(100)
    assert drawing.Axis(0.9e-6, 1.1e3, 0, 1).ticks() == [10.0**k for k in range(-6, 4)]


@pytest.fixture
def stubbed(tmp_path, monkeypatch):
    plan = recipe.load("wse2-demo", samples=70)
    factory.generate(plan, Folder(tmp_path / "out.zarr"), jobs=1, prepare=stub.prepare, simulate=stub.simulate)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "out.zarr"


def test_a_damaged_store_gets_its_page_and_exit_code_4(stubbed, capsys):
    path = stubbed / "topography" / "c" / "0" / "0" / "0"
    path.write_bytes(path.read_bytes()[:-100])
    assert cli.run(["inspect", "out.zarr", "--html", "r.html"]) == 4
    words = " ".join(Reader(Path("r.html").read_text()).words)
    assert "damaged" in words
    assert "shard 0: topography" in words
    assert "Not shown." in words
    assert "fault" in capsys.readouterr().err


def test_full_verification_reaches_the_page(stubbed):
    path = stubbed / "ideal" / "c" / "1" / "0" / "0"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert cli.run(["inspect", "out.zarr", "--verify", "full", "--html", "r.html"]) == 4
    assert "every byte" in Path("r.html").read_text()


def test_an_incomplete_store_says_so_and_an_empty_one_has_nothing_to_show(stubbed):
    (stubbed / "receipts" / "00000002.json").unlink()
    assert cli.run(["inspect", "out.zarr", "--html", "r.html"]) == 0
    words = " ".join(Reader(Path("r.html").read_text()).words)
    assert "incomplete" in words
    assert "2 of 3 shards are made" in words
    for receipt in (stubbed / "receipts").glob("0000*.json"):
        receipt.unlink()
    assert cli.run(["inspect", "out.zarr", "--html", "none.html"]) == 0
    assert cli.run(["inspect", "out.zarr", "--html", "nowhere/none.html"]) == 5
    assert str(IncompleteError(f"{Path('out.zarr')}: no sample has been made yet")) in Path("none.html").read_text()


def test_html_is_a_question_of_its_own(stubbed, capsys):
    for other in (["--stats"], ["--sample", "1"], ["--gallery", "a.png"], ["--recipe"]):
        assert cli.run(["inspect", "out.zarr", "--html", "r.html", *other]) == 2
        assert "questions of their own" in capsys.readouterr().err
    assert not Path("r.html").exists()


def test_text_of_inspect_is_80_columns_wide(made, capsys):
    for options in ([], ["--stats", "8"], ["--verify"]):
        capsys.readouterr()
        assert cli.run(["inspect", str(made), *options]) == 0
        lines = capsys.readouterr().out.replace(str(made), made.name).splitlines()
        assert max(map(len, lines)) <= 80


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
def test_text_of_inspect_has_no_colour_on_a_terminal_either(made):
    reader, terminal = os.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "stmfab.cli", "inspect", made.name]
    run = subprocess.Popen(command, cwd=made.parent, env=environment, stdout=terminal, stderr=terminal)
    os.close(terminal)
    told = b""
    with contextlib.suppress(OSError):  # Linux ends a terminal with an error
        while block := os.read(reader, 65536):
            told += block
    os.close(reader)
    assert run.wait() == 0
    assert b"complete" in told
    assert b"\x1b" not in told


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    with playwright.sync_playwright() as browsers:
        if program is None and not Path(browsers.chromium.executable_path).exists():
            pytest.skip("no Chromium is installed")
        launched = browsers.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.mark.parametrize("width", [1280, 400])
def test_in_a_browser_the_page_fits_and_asks_for_nothing(page, browser, width):
    tab = browser.new_page(viewport={"width": width, "height": 900})
    asked, said = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.goto(page.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    images = "[...document.querySelectorAll('img')]"
    hidden = f"{images}.filter(image => !image.complete || image.naturalWidth === 0 || image.width < 40).length"
    assert tab.evaluate(hidden) == 0
    smallest = "Math.min(...[...document.querySelectorAll('svg.plot')].map(s => s.getBoundingClientRect().width))"
    assert tab.evaluate(smallest) >= 300
    tab.close()
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    assert said == []


def test_statistics_share_their_frequencies_with_the_spectra():
    power = statistics.spectrum(np.random.default_rng(2).normal(size=(4, 32)))
    assert statistics.frequencies(power)[[0, -1]].tolist() == [0.0, 0.5]
