"""Explore: a page for this machine only, on which a sample follows the hand; in a real browser where there is one."""

import base64
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

import numpy as np
import pytest

from stmfab import cli, explore, glances, held, parts, ranges, recipe, sample, text
from stmfab.errors import StmfabError
from stmfab.server import TOKEN_HEADER

ROOT = Path(__file__).parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_s = 60.0  # of a machine that does other things too
SAMPLE = 3


@pytest.fixture(scope="module")
def still():
    return held.hold(recipe.load("wse2-demo"), SAMPLE)


def leaves_above(tree, above=""):
    """The paths of all mappings within a recipe."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield above + key
            yield from leaves_above(value, f"{above}{key}.")


@pytest.mark.parametrize("name", sorted(recipe.builtin_recipes()))
def test_the_form_has_every_key_with_unit_range_and_value(name):
    plan = recipe.load(name)
    form = explore.form(held.hold(plan, 0), {})
    shown = {key["path"]: key for group in form["groups"] for key in group["keys"]}
    targets = {f"targets.{name}.{key}" for name, kind in plan.targets.items() for key in parts.keys_of(type(kind))}
    keep = {f"keep.{name}.{key}" for name, kind in plan.keep.items() for key in parts.keys_of(type(kind))}
    assert shown.keys() == ranges.places(plan).keys() | targets | keep | {"sample.material"}
    assert {name for group in form["groups"] for name, on in group["choices"].items() if on} == set(plan.channels)
    places = {slot.path for slot in parts.slots(plan.sample_kind) if slot.named}
    assert {group["path"] for group in form["groups"] if group["adds"]} == places
    named = {path for path in leaves_above(plan.tree) if path.rpartition(".")[0] in places}
    assert {group["path"] for group in form["groups"] if group["removable"]} == named
    for path, key in shown.items():
        assert key["unit"] in ("", parts.unit_of(path)), path
        free = key["legal"] == "text"  # a name of the recipe, or a word of one's own
        assert key["words"] or (free and key["low"] is None) or key["low"] < key["high"], path
        drawn = {leaf.path for leaf in plan.leaves} | {p for p in shown if "for every defect" in shown[p]["drawn"]}
        assert bool(key["drawn"]) == (path in drawn), path
    json.dumps(form, allow_nan=False)


def test_every_kind_that_a_menu_offers_is_a_legal_part(still):
    offered = 0
    for group in explore.form(still, {})["groups"]:
        if group["path"] == "instrument.constant_height":  # in place of feedback, with a channel of the current
            continue
        for kind, value in group["kinds"].items():
            changed = held.varied(still, {group["path"]: value}).plan
            found = parts.get(changed.tree, group["path"])
            assert (found is None) == (kind == explore.ABSENT)
            assert found is None or found.get("kind", explore.PRESENT) == kind
            offered += 1
    assert offered >= 20  # 11 optional places, most of several kinds


def test_every_part_that_can_be_added_is_legal_and_can_be_taken_away_again(still):
    added = 0
    for group in explore.form(still, {})["groups"]:
        if group["path"] in ("later_tips", "junctions"):  # beside tip_jumps; beside a polarity that is not drawn
            continue
        for fresh in group["adds"].values():
            path = f"{group['path']}.mine"
            paths = {one["path"] for one in explore.form(still, {path: fresh})["groups"]}
            assert path in paths, group["path"]
            assert path not in {one["path"] for one in explore.form(still, {path: None})["groups"]}
            added += 1
        if group["removable"]:
            assert group["path"] not in {one["path"] for one in explore.form(still, {group["path"]: None})["groups"]}
    assert added > 25  # kinds of defects, apexes, noise, pick-ups, targets


def test_a_key_of_a_part_just_chosen_can_be_moved(still):
    changes = {"instrument.z_piezo": '{"kind": "loop", "opening_percent": 5}', "instrument.z_piezo.opening_percent": 15}
    varied = held.varied(still, changes)
    assert varied.parameters.instrument.z_piezo.opening_percent == 15
    keys = {key["path"] for group in explore.form(still, changes)["groups"] for key in group["keys"]}
    assert "instrument.z_piezo.stroke_nm" in keys
    assert "instrument.z_piezo.A" not in keys


def test_the_picture_is_the_sample_levelled_in_pm(still):
    answer = explore.picture(still, {})
    stored = sample.simulate(still.plan, SAMPLE, SAMPLE + 1)
    images = {image["name"]: image for image in answer["images"]}
    assert images.keys() == {"topography", "topography_backward", "lattice", "defects", "ideal", "events"}
    raw = np.frombuffer(base64.b64decode(images["topography"]["data"]), "<f4").reshape(64, 64)
    difference = raw - 1e3 * stored["topography"][0]
    y, x = np.indices(difference.shape)
    design = np.stack([np.ones(difference.size), x.ravel(), y.ravel()], axis=1)
    plane = design @ np.linalg.lstsq(design, difference.ravel(), rcond=None)[0]
    np.testing.assert_allclose(difference.ravel(), plane, atol=1e-3)  # pm; float32 of 500 pm
    np.testing.assert_array_equal(
        np.frombuffer(base64.b64decode(images["defects"]["data"]), "<f4"), stored["defects"][0].ravel()
    )
    named = dict(zip((column.name for column in still.plan.record_columns), stored["param"][0], strict=True))
    assert answer["values"]["junction.bias_V"] == named["junction.bias_V"]
    shown = {one["name"]: one["value"] for one in answer["derived"]}
    assert shown["setpoint_nA"] == text.number(named["setpoint_nA"], 9)
    json.dumps(answer, allow_nan=False)


def test_a_spectrum_adds_up_to_the_variance(still):
    # Parseval: the one-sided density, integrated over spatial frequency, is the variance; a Hann window and the missing
    # zero frequency cost some of it
    answer = explore.picture(still, {"instrument": None})
    curve = next(curve for curve in answer["spectra"] if curve["name"] == "ideal, along")
    ideal_pm = 1e3 * held.varied(still, {"instrument": None}).arrays()["ideal"]
    lines = ideal_pm if answer["fast_axis"] == "x" else ideal_pm.T
    variance = ((lines - lines.mean(axis=1, keepdims=True)) ** 2).mean()
    assert sum(curve["y"]) * curve["x"][0] == pytest.approx(variance, rel=0.35)


def test_a_saved_recipe_passes_check_and_makes_the_picture(still, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    changes = {"junction.bias_V": 0.41, "tip.apex": "w001", "instrument.z_piezo.A": 0.2, "instrument.creep": None}
    answer = explore.save(still, changes, name="mine", folder=tmp_path)
    assert answer == {"file": "mine.yaml", "next": ["stmfab check mine.yaml", "stmfab preview mine.yaml"]}
    assert cli.run(["check", "mine.yaml"]) == 0
    assert 'name: "mine"' in capsys.readouterr().out
    saved, shown = recipe.load("mine.yaml"), held.varied(still, changes).arrays()
    again = sample.simulate(saved, SAMPLE, SAMPLE + 1)
    for name in ("topography", "ideal", "defects"):
        assert shown[name].astype(again[name].dtype).tobytes() == again[name][0].tobytes()
    with pytest.raises(StmfabError, match=re.escape("mine.yaml: is there already")):
        explore.save(still, changes, name="mine", folder=tmp_path)
    for bad in ("../mine", "", "a/b", "/tmp/mine", ".hidden"):
        with pytest.raises(StmfabError, match="name"):
            explore.save(still, changes, name=bad, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


@contextlib.contextmanager
def served(folder, *options):
    """Run ``stmfab explore`` as a program; give its process and the address it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "stmfab.cli", "explore", "wse2-demo", "--sample", str(SAMPLE), *options]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline()
        assert ": open http://127.0.0.1:" in line, process.stderr.read()
        yield process, line.split(": open ")[1].strip()
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explored")
    with served(folder) as (_, address):
        yield address, folder


def test_the_server_answers_its_own_page_only(page):
    address, _ = page
    parsed = urllib.parse.urlsplit(address)
    token = urllib.parse.parse_qs(parsed.query)["token"][0]
    good = {"Content-Type": "application/json", TOKEN_HEADER: token}

    def status(method, path, headers=None, body=None):
        connection = http.client.HTTPConnection(parsed.hostname, parsed.port, timeout=PATIENCE_s)
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        response.read()
        assert "Access-Control-Allow-Origin" not in response.headers
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
        connection.close()
        return response.status

    assert status("GET", f"/?token={token}") == 200
    assert status("GET", "/explore.js") == 200
    assert status("GET", "/") == 403
    assert status("GET", "/?token=guess") == 403
    assert status("GET", f"/?token={token}", {"Host": "evil.example:80"}) == 403  # a name rebound to this machine
    assert status("GET", "/../pyproject.toml") == 404
    assert status("POST", "/form", good, "{}") == 200
    assert status("POST", "/form", {**good, TOKEN_HEADER: "guess"}, "{}") == 403
    assert status("POST", "/form", {"Content-Type": "application/json"}, "{}") == 403
    assert status("POST", "/form", {**good, "Origin": "http://evil.example"}, "{}") == 403
    assert status("POST", "/form", {**good, "Origin": "null"}, "{}") == 403
    assert status("POST", "/form", {**good, "Sec-Fetch-Site": "cross-site"}, "{}") == 403
    assert status("POST", "/form", {**good, "Content-Type": "text/plain"}, "{}") == 415
    assert status("POST", "/nothing", good, "{}") == 404
    assert status("POST", "/form", {**good, "Content-Length": "999999999"}) == 413
    for bad in ("", "[]", '{"sample": -1}', '{"sample": true}', '{"values": [1]}', '{"values": {"scan.size_nm": [1]}}'):
        assert status("POST", "/picture", good, bad) == 422


@pytest.mark.skipif(sys.platform != "linux", reason="another loopback address is there on Linux only")
def test_the_server_is_on_the_loopback_address_only(page):
    port = urllib.parse.urlsplit(page[0]).port
    connection = http.client.HTTPConnection("127.0.0.2", port, timeout=5)
    with pytest.raises(ConnectionRefusedError):  # a server on all addresses would take it
        connection.request("GET", "/")


def test_ctrl_c_ends_it(tmp_path):
    with served(tmp_path, "--set", "scan.pixels=16") as (process, _):
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_s)
        assert (process.returncode, out, err) == (0, "stopped\n", "")


def test_a_taken_port_is_a_line(page, capsys):
    port = urllib.parse.urlsplit(page[0]).port
    assert cli.run(["explore", "wse2-demo", "--port", str(port)]) == 5
    assert capsys.readouterr().err.strip() == f"--port {port}: Address already in use"


@pytest.fixture(scope="module")
def tab(page):
    """The page in a headless Chromium, 1280 pixels wide, and what its console said."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    with playwright.sync_playwright() as browsers:
        if program is None and not Path(browsers.chromium.executable_path).exists():
            pytest.skip("no Chromium is installed")
        browser = browsers.chromium.launch(executable_path=program, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        said, asked = [], []
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(page[0])
        until(opened, "Boolean(window.stmfab) && stmfab.count > 0")
        yield opened, said, asked
        browser.close()


def until(tab, question):
    """Wait until the page answers yes (by questions: the page forbids ``eval``)."""
    end = time.monotonic() + PATIENCE_s
    while not tab.evaluate(question):
        assert time.monotonic() < end, question
        time.sleep(0.02)


def after(tab, act):
    """Do something to the page and wait until it has drawn all of the sample."""
    before = tab.evaluate("stmfab.count")
    act()
    until(tab, f"stmfab.count > {before} && stmfab.settled")


def pixels(tab):
    return tab.evaluate("document.getElementById('maincanvas').toDataURL()")


def slide(tab, path, place):
    tab.evaluate(
        "([path, place]) => { const slider = document.querySelector(`[aria-label='${path} slider']`);"
        "slider.value = place; slider.dispatchEvent(new Event('input', {bubbles: true})); }",
        [path, place],
    )


def test_in_a_browser_a_slider_moves_and_the_picture_follows(tab):
    page, said, asked = tab
    first = pixels(page)
    assert page.input_value("[id='k-scan.size_nm']") == "3.086"
    after(page, lambda: slide(page, "scan.size_nm", 1000))
    assert page.input_value("[id='k-scan.size_nm']") == "4"
    assert "4 nm" in page.inner_text("#caption")
    wide = pixels(page)
    assert wide != first
    after(page, lambda: page.click("#reset"))
    until(page, "document.getElementById('changed').textContent === 'Nothing changed'")
    assert pixels(page) == first
    assert all(
        len(page.inner_html(f"#{plot} polyline:first-of-type >> xpath=..")) > 200
        for plot in ("profile", "spectrum", "loop")
    )
    dim = "['pictures', 'plots', 'derived'].map(id => getComputedStyle(document.getElementById(id)).opacity)"
    assert page.evaluate(dim) == ["1", "1", "1"]  # only a picture that an error left behind is dim
    assert said == []
    assert {urllib.parse.urlsplit(url).netloc for url in asked if not url.startswith("data:")} == {
        urllib.parse.urlsplit(page.url).netloc
    }


def test_in_a_browser_a_bad_value_shows_the_programs_line(tab):
    page = tab[0]

    def typed(words):
        page.fill("[id='k-scan.size_nm']", words)
        page.press("[id='k-scan.size_nm']", "Enter")

    after(page, lambda: typed("-3"))
    line = "--set scan.size_nm=-3: scan.size_nm: found -3; legal: a number above 0 and at most 10000"
    assert page.inner_text("#error") == line
    after(page, lambda: typed("wide"))
    assert "found the text 'wide'" in page.inner_text("#error")
    after(page, lambda: typed("3"))
    assert page.is_hidden("#error")
    after(page, lambda: page.click("#reset"))


def test_in_a_browser_one_of_two_keys_takes_the_place_of_the_other(tab):
    page = tab[0]
    after(page, lambda: slide(page, "junction.current_nA", 500))
    assert page.is_hidden("#error")
    assert page.input_value("[id='k-junction.height_nm']") == ""
    after(page, lambda: slide(page, "junction.height_nm", 500))
    assert page.is_hidden("#error")
    assert page.input_value("[id='k-junction.current_nA']") == ""
    after(page, lambda: page.click("#reset"))


def test_in_a_browser_a_hand_that_moves_sees_a_glance_and_one_that_rests_all_of_it(tab):
    page = tab[0]
    before = pixels(page)
    after(page, lambda: slide(page, "junction.bias_V", 700))
    whole = pixels(page)
    after(page, lambda: page.click("#reset"))
    page.evaluate("long = true")  # as after a sample that took long
    count = page.evaluate("stmfab.count")
    slide(page, "junction.bias_V", 700)
    until(page, f"stmfab.count > {count}")
    assert page.evaluate("[stmfab.count, stmfab.settled]") == [count + 1, False]
    assert pixels(page) == whole  # the forward image of a crystal is made first, and as it will be
    assert page.evaluate("document.querySelectorAll('.tile.old').length") == 3  # lattice, defects, events
    until(page, "stmfab.settled")
    assert page.evaluate("stmfab.count") == count + 2
    assert page.evaluate("document.querySelectorAll('.tile.old').length") == 0
    assert pixels(page) == whole
    after(page, lambda: page.click("#reset"))
    assert pixels(page) == before


def test_in_a_browser_a_menu_changes_the_kind_of_a_part(tab):
    page = tab[0]
    page.evaluate("document.querySelector(\"details[data-path='instrument.z_piezo']\").open = true")
    after(page, lambda: page.select_option("[aria-label='kind of instrument.z_piezo']", "loop"))
    until(page, "Boolean(document.getElementById('k-instrument.z_piezo.opening_percent'))")
    before = page.inner_html("#loop")
    after(page, lambda: slide(page, "instrument.z_piezo.opening_percent", 900))
    assert page.inner_html("#loop") != before
    page.fill("#filename", "another-kind")
    page.click("#save")
    until(page, "document.getElementById('saved').textContent.startsWith('Written')")
    after(page, lambda: page.click("#reset"))


def test_in_a_browser_parts_are_added_and_removed_and_channels_switched(tab, page, monkeypatch):
    opened, folder = tab[0], page[1]
    opened.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    after(opened, lambda: opened.check("[aria-label='record current']"))
    until(opened, "Boolean(document.querySelector(\".tile[data-name='current']\"))")
    opened.select_option("[aria-label='kind to add to instrument.noise']", "white_height")
    opened.fill("[aria-label='name to add to instrument.noise']", "mine")
    after(opened, lambda: opened.click("[aria-label='add to instrument.noise']"))
    before = pixels(opened)
    after(opened, lambda: slide(opened, "instrument.noise.mine.rms_pm", 1000))
    assert pixels(opened) != before
    opened.select_option("[aria-label='kind to add to targets']", "clean")
    after(opened, lambda: opened.click("[aria-label='add to targets']"))
    until(opened, "Boolean(document.querySelector(\".tile[data-name='clean']\"))")
    after(opened, lambda: opened.click("[aria-label='remove targets.lattice']"))
    until(opened, "!document.querySelector(\".tile[data-name='lattice']\")")
    after(opened, lambda: opened.click("[aria-label='remove sample.defects.top_dopant']"))
    opened.fill("#filename", "added")
    opened.click("#save")
    until(opened, "document.getElementById('saved').textContent.includes('added')")
    monkeypatch.chdir(folder)
    assert cli.run(["check", "added.yaml"]) == 0
    tree = recipe.load("added.yaml").tree
    assert tree["channels"] == ["topography", "topography_backward", "current"]
    assert tree["instrument"]["noise"]["mine"]["kind"] == "white_height"
    assert ("lattice" in tree["targets"], "clean" in tree["targets"]) == (False, True)
    assert "top_dopant" not in tree["sample"]["defects"]
    after(opened, lambda: opened.click("#reset"))


def test_in_a_browser_a_part_that_is_not_legal_changes_nothing(tab):
    opened = tab[0]
    opened.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    opened.fill("[aria-label='name to add to instrument.noise']", "not a name!")
    opened.click("[aria-label='add to instrument.noise']")
    until(opened, "!document.getElementById('error').hidden")
    assert "not a name!" in opened.inner_text("#error")
    assert opened.inner_text("#changed") == "Nothing changed"
    after(opened, lambda: slide(opened, "scan.size_nm", 10))
    assert opened.is_hidden("#error")
    after(opened, lambda: opened.click("#reset"))


def test_in_a_browser_a_recipe_is_saved_that_passes_check(tab, page, monkeypatch):
    opened, folder = tab[0], page[1]
    after(opened, lambda: slide(opened, "junction.bias_V", 0))
    opened.fill("#filename", "by-hand")
    opened.click("#save")
    until(opened, "document.getElementById('saved').textContent.includes('by-hand')")
    assert "next: stmfab check by-hand.yaml" in opened.inner_text("#saved")
    monkeypatch.chdir(folder)
    assert cli.run(["check", "by-hand.yaml"]) == 0
    assert recipe.load("by-hand.yaml").tree["junction"]["bias_V"] == 0.2
    opened.click("#save")
    until(opened, "document.getElementById('saved').className === 'bad'")
    assert "is there already" in opened.inner_text("#saved")
    after(opened, lambda: opened.click("#reset"))


@pytest.mark.parametrize("width", [1280, 400])
def test_in_a_browser_nothing_is_wider_than_the_window(tab, width):
    page = tab[0]
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("name", ["wse2-demo", "ag111-corrals", "h-si-100-atoms", "tio2-110-fewshot"])
def test_from_slider_to_picture_in_less_than_150_ms_of_work(name):
    # processor time, so that what else runs here does not count; 64 x 64: a key that turns the sample, and one that
    # only the instrument asks about
    looking, memory = held.hold(recipe.load(name, overrides=["scan.pixels=64"]), 0), glances.Memory()
    for key, values in {"scan.rotation_deg": (20, 80, 140, 200), "scan.dwell_s": (4e-4, 5e-4, 6e-4)}.items():
        spent = []
        for value in values:
            began = time.process_time()
            json.dumps(explore.looked(looking, {key: value}, memory, glance="topography", left=lambda: False))
            spent.append(time.process_time() - began)
        assert min(spent) < 0.15, key


SMALL = ["scan.pixels=32", "scan.size_nm=6"]


@pytest.mark.parametrize("name", ["wse2-demo", "cu111-co", "h-si-100-atoms", "ge001-ash3-fewshot"])
def test_what_rests_under_the_hand_is_the_sample_whatever_was_looked_at_before(name):
    looking, memory = held.hold(recipe.load(name, overrides=SMALL), SAMPLE), glances.Memory()
    bias = f"junctions.{looking.plan.junctions[0]}.bias_V" if looking.plan.junctions else "junction.bias_V"
    turned = {"scan.rotation_deg": 33.0}
    moves = [{}, {bias: 0.9}, {bias: 1.2}, turned, {**turned, "scan.dwell_s": 4e-4}, {}]
    for move in moves:
        shown = [explore.looked(looking, move, memory, glance=name, left=lambda: False) for name in ("ideal", None)]
        glance, whole = ({image["name"]: image for image in answer["images"]} for answer in shown)
        assert shown[1] == {**explore.picture(looking, move), "glance": False}
        assert glance.keys() <= whole.keys()
        assert {one.partition(".")[0] for one in glance} == {*looking.plan.channels, "ideal"}
        ideal = next(one for one in glance if one.startswith("ideal"))
        near, exact = (values_of(images[ideal]) for images in (glance, whole))
        assert (near - exact).std() < 0.03 * exact.std()  # nodes farther apart: measured 0.2 to 2 %


@pytest.mark.parametrize("name", ["metal-steps", "h-si-100-survey"])
def test_a_glance_at_a_wide_frame_is_near_to_it(name):
    looking = held.hold(recipe.load(name, overrides=["scan.pixels=32", "scan.size_nm=40"]), SAMPLE)
    shown = [explore.looked(looking, {}, glances.Memory(), glance=one, left=lambda: False) for one in ("ideal", None)]
    first, whole = ({image["name"]: image for image in answer["images"]} for answer in shown)
    ideal = next(one for one in first if one.startswith("ideal"))
    near, exact = values_of(first[ideal]), values_of(whole[ideal])
    assert 0 < (near - exact).std() < 0.06 * exact.std()  # nodes half a pixel apart: measured 1 to 4 %


def test_where_a_glance_does_not_come_out_the_whole_is_shown(monkeypatch):
    looking, view = held.hold(recipe.load("wse2-demo", overrides=["scan.pixels=32"]), SAMPLE), glances.Memory.view

    def fails(self, plan, drawn, *, as_wide_nm=0.0):
        if as_wide_nm:
            raise ArithmeticError("the heights do not settle")
        return view(self, plan, drawn)

    monkeypatch.setattr(glances.Memory, "view", fails)
    shown = explore.looked(looking, {}, glances.Memory(), glance="topography", left=lambda: False)
    assert shown == {**explore.picture(looking, {}), "glance": False}


def values_of(image):
    return np.frombuffer(base64.b64decode(image["data"]), "<f4")


def test_a_glance_has_the_junction_and_the_target_that_is_looked_at():
    looking = held.hold(recipe.load("h-si-100-atoms", overrides=SMALL), SAMPLE)
    seen = explore.looked(looking, {}, glances.Memory(), glance="classes.filled", left=lambda: False)
    names = {image["name"] for image in seen["images"]}
    assert {"topography.filled", "ideal.filled"} < names
    assert {name.partition(".")[0] for name in names} == {*looking.plan.channels, "ideal", "classes"}
    assert not any(name.endswith(".empty") for name in names)


def test_what_nobody_waits_for_is_given_up(still):
    assert explore.looked(still, {}, glances.Memory(), glance=None, left=lambda: True) is None
