"""A store as one page: gallery, parameters, classes, defects, spectra, provenance and checks; it needs no network."""

from __future__ import annotations

import importlib.resources
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from . import drawing, gallery, recheck, survey, text
from .drawing import Curve
from .errors import DamagedError, IncompleteError, StoreError
from .physics.arrays import ArraySpec
from .progress import duration
from .recipe import resolved
from .statistics import QUANTITIES
from .store import Store
from .survey import Check

BINS = 24  # of a histogram
LEAST_TILES, MOST_TILES = 4, 6  # pictures of a sample in a line
TIMES = " \u00d7 "
DERIVED = "derived"
DIRECTIONS = {"along": "Along the scan lines", "across": "Across the scan lines"}
STYLES = {"topography": "", "ideal": "second"}
SECTIONS = ("Gallery", "Parameters", "Classes", "Defects", "Spectra", "Arrays", "Checks", "Provenance", "Recipe")


def page(dataset: Store, summary: Mapping[str, Any], level: str) -> str:
    """Return the page of a store from its summary; ``level`` says how its files were verified.

    What cannot be read of a damaged store is said in its place.
    """
    parts = {
        "Gallery": _gallery,
        "Parameters": lambda _: _parameters(summary["parameters"]),
        "Classes": lambda store: _classes(store, summary["parameters"]),
        "Defects": _defects,
        "Spectra": _spectra,
        "Arrays": lambda _: _arrays(summary),
        "Checks": lambda _: _checks(survey.checks(summary, level)),
        "Provenance": lambda _: _provenance(summary),
        "Recipe": _recipe,
    }
    shown = "".join(f'<h2 id="{name.lower()}">{name}</h2>{_readable(parts[name], dataset)}' for name in SECTIONS)
    style = importlib.resources.files("stmfab").joinpath("pages/report.css").read_text("utf-8")
    title = f"{escape(summary['name'])}: an stmfab dataset"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{style}</style></head><body>"
        f"{_head(dataset, summary)}<main>{shown}</main>"
        f"<footer>Written by stmfab {escape(summary['provenance']['versions']['stmfab'])} from {escape(str(dataset))}."
        "</footer></body></html>\n"
    )


def _readable(part: Callable[[Store], str], dataset: Store) -> str:
    try:
        return part(dataset)
    except (DamagedError, IncompleteError, StoreError) as error:
        return f'<p><span class="mark bad">Not shown.</span> {escape(str(error))}</p>'


def _head(dataset: Store, summary: Mapping[str, Any]) -> str:
    whole, faults = summary["complete"], summary["faults"]
    state = "damaged" if faults else "complete" if whole else "incomplete"
    dimensions = summary["dimensions"]
    facts = {
        "samples": f"{summary['samples_made']:,}" + ("" if whole else f" of {summary['samples']:,}"),
        "pixels": TIMES.join(str(dimensions[name]) for name in ("y", "x") if name in dimensions) or "-",
        "on disk": text.size(summary["bytes"]),
        "seed": str(summary["provenance"]["seed"]),
        "drawn parameters": str(sum("distribution" in column for column in summary["parameters"])),
        "made": (summary["provenance"]["finished"] or "-")[:10],
    }
    words = escape(str(dataset.attributes["recipe"].get("description", "")))
    listed = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    links = "".join(f'<a href="#{name.lower()}">{name}</a>' for name in SECTIONS)
    return (
        f'<header><h1>{escape(summary["name"])}</h1><p class="lede">{words}</p><dl class="facts">{listed}</dl>'
        f'<span class="state{"" if state == "complete" else " bad"}">{state}</span></header><nav>{links}</nav>'
    )


def _gallery(dataset: Store) -> str:
    specs, _, rows = survey.cards(dataset)
    shown = "".join(_card(specs, row) for row in rows)
    note = "Heights less their plane; the bar under each runs from black to white over the range beside it."
    return f'<p class="soft">{len(rows)} samples, evenly spaced. {note}</p><div class="gallery">{shown}</div>'


def _card(specs: Sequence[ArraySpec], row: gallery.Row) -> str:
    tiles = "".join(_tile(spec, row, first=place == 0) for place, spec in enumerate(specs))
    words = f"<figcaption>{escape(row.caption)}</figcaption>"
    lines = math.ceil(len(specs) / MOST_TILES)
    columns = max(LEAST_TILES, math.ceil(len(specs) / lines))  # lines as long as one another
    return f'<figure class="sample"><div class="strip" style="--columns:{columns}">{tiles}</div>{words}</figure>'


def _tile(spec: ArraySpec, row: gallery.Row, *, first: bool) -> str:
    picture = gallery.picture(spec, row.images[spec.name])
    name = escape(gallery.cut_name(spec))
    bar, length = "", ""
    if first and row.size_nm > 0:
        nm = gallery.bar_nm(row.size_nm)
        bar, length = f'<i class="bar" style="width:{100 * nm / row.size_nm:.1f}%"></i>', f"{nm:g} nm"
    below = '<div class="pm"></div>' if picture.bar else ""
    words = f'<span class="tick"><b>{length}</b>{escape(picture.words)}</span>'
    image = f'<img alt="{name}" src="{drawing.inline(survey.thinned(picture.rgb))}">'
    return f'<div class="tile"><span title="{name}">{name}</span>{image}{bar}{below}{words}</div>'


def _parameters(columns: Sequence[Mapping[str, Any]]) -> str:
    groups: dict[str, list[str]] = {}
    for column in columns:
        path, _, leaf = column["name"].rpartition(".")
        groups.setdefault(path or DERIVED, []).append(_parameter(leaf, column))
    read = max((column["read"] for column in columns), default=0)
    shown = "".join(
        f'<h3>{escape(path)}</h3><div class="small">{"".join(cells)}</div>' for path, cells in groups.items()
    )
    return f'<p class="soft">Over {read:,} samples: how each was drawn, and the values it has.</p>{shown}'


def _parameter(leaf: str, column: Mapping[str, Any]) -> str:
    unit = "" if column["unit"] in ("", "1") else f" {column['unit']}"
    drawn = escape(text.distribution(column))
    head = f'<figure><b>{escape(leaf)}</b><span title="{drawn}">{drawn}{escape(unit)}</span>'
    if "counts" in column:
        return f"{head}{drawing.shares(column['counts'])}</figure>"
    if "median" not in column:
        return f"{head}<span>no value</span></figure>"
    low, middle, high = (text.number(column[key], 7) for key in ("minimum", "median", "maximum"))
    if low == high:
        return f'{head}<div class="ends"><span>always {low}{escape(unit)}</span></div></figure>'
    bars = drawing.bars(column["histogram"], column["name"])
    ends = f'<div class="ends"><span>{low}</span><span><i>median </i>{middle}</span><span>{high}</span></div>'
    return f"{head}{bars}{ends}</figure>"


def _classes(dataset: Store, columns: Sequence[Mapping[str, Any]]) -> str:
    """Return how often each class is there: pixels of target maps, defects by kind, words of choices."""
    balance = {name: counts for name, counts in survey.defects(dataset).items() if name.startswith("by ")}
    tables = [f"<div><h3>Defects {escape(name)}</h3>{drawing.shares(counts)}</div>" for name, counts in balance.items()]
    marked = survey.foregrounds(dataset)
    if marked:
        rows = "".join(
            f'<tr><th>{escape(name)}</th><td class="share"><i style="width:{share:.2f}%"></i></td>'
            f"<td>{share:.2f} %</td></tr>"
            for name, share in marked.items()
        )
        tables.insert(0, f'<div><h3>Pixels that a target marks</h3><table class="shares">{rows}</table></div>')
    words = [column for column in columns if "counts" in column]
    tables += [f"<div><h3>{escape(c['name'])}</h3>{drawing.shares(c['counts'])}</div>" for c in words]
    return f'<div class="two">{"".join(tables)}</div>' if tables else "<p>No classes: nothing here is coded.</p>"


def _defects(dataset: Store) -> str:
    found = {name: counts for name, counts in survey.defects(dataset).items() if not name.startswith("by ")}
    if not found:
        return "<p>This recipe has no defects.</p>"
    cells = "".join(_counts(name, counts) for name, counts in found.items())
    return f'<div class="two">{cells}</div>'


def _counts(name: str, counts: Mapping[str, int]) -> str:
    """Return the histogram of a number of defects."""
    n, total = sum(counts.values()), sum(int(number) * count for number, count in counts.items())
    words = f"mean {total / n:.3g}, at most {max(counts, key=int)}, none in {counts.get('0', 0)} of {n} samples"
    bars = drawing.bars(list(counts.values()), name)
    ends = f'<div class="ends"><span>0</span><span>{max(counts, key=int)}</span></div>'
    head = f'<figure class="counts"><h3>{escape(name.capitalize())}</h3>'
    return f'{head}{bars}{ends}<span class="soft">{words}</span></figure>'


def _spectra(dataset: Store) -> str:
    found, statistics, n_images = survey.spectra(dataset)
    cells = []
    for direction, words in DIRECTIONS.items():
        curves = [
            Curve(name, STYLES[name], density[1], density[0], density[2])
            for (name, way), density in found.densities.items()
            if way == direction
        ]
        plot = drawing.plot(found.per_nm, curves, x_name="1/nm", y_name="pm² nm")
        cells.append(f"<div><h3>{words}</h3>{plot}{drawing.legend(curves)}</div>")
    rows = "".join(_statistic(name, values) for name, values in statistics.items())
    table = (
        "<table><thead><tr><th></th><th>median</th><th>p10</th><th>p90</th><th>unit</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )
    note = f"Power spectral density of {n_images} levelled images: median, and the band from 10th to 90th percentile."
    return f'<p class="soft">{note}</p><div class="two">{"".join(cells)}</div><div class="scroll spectra">{table}</div>'


def _statistic(name: str, values: Sequence[float]) -> str:
    quantity = QUANTITIES[name]
    cells = "".join(f"<td>{value:.3g}</td>" for value in values)
    unit = "" if quantity.unit == "1" else quantity.unit
    return f'<tr><th title="{escape(quantity.meaning)}">{escape(name)}</th>{cells}<td>{escape(unit)}</td></tr>'


def _arrays(summary: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{escape(a['name'])}</th><td class=words>{escape(a['long_name'])}</td>"
        f"<td class=words>{escape(a['role'])}</td><td>{TIMES.join(map(str, a['shape'][1:])) or '1'}</td>"
        f"<td>{a['dtype']}</td><td>{escape(a['unit'])}</td>"
        + "".join(f"<td>{text.number(a[key], 9)}</td>" for key in ("minimum", "mean", "maximum"))
        + f"<td>{text.size(a['bytes'])}</td></tr>"
        for a in summary["arrays"]
    )
    names = ("", "meaning", "role", "a sample", "type", "unit", "min", "mean", "max", "size")
    head = "".join(f"<th>{name}</th>" for name in names)
    return (
        f'<div class="scroll"><table class="arrays"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _checks(found: Sequence[Check]) -> str:
    rows = "".join(
        f'<tr><td class="mark{"" if check.holds else " bad"}">{"✓" if check.holds else "✗"}</td>'
        f"<th>{escape(check.name)}</th><td class=words>{escape(check.found)}</td></tr>"
        for check in found
    )
    return f"<table>{rows}</table>"


def _provenance(summary: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td class=words>{escape(value)}</td></tr>" for name, value in _facts(summary)
    )
    return f"<table>{rows}</table>"


def _facts(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    facts = summary["provenance"]
    yield "store format", str(facts["format"])
    yield "recipe sha256", facts["recipe_sha256"]
    yield "seed", str(facts["seed"])
    yield "git commit", facts["git_commit"] or "-"
    yield "versions", ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    yield "platform", facts["platform"]
    yield "identity keys", ", ".join(f"{key} ({count} shards)" for key, count in facts["identities"].items()) or "-"
    yield "hosts", ", ".join(f"{host} ({count} shards)" for host, count in facts["hosts"].items()) or "-"
    yield "created", facts["created"]
    yield "last shard", facts["finished"] or "-"
    if facts["grown_from"]:
        yield "grown from", f"{', then '.join(map(str, facts['grown_from']))} samples"
    yield "work", f"{duration(facts['seconds'])} of one worker"


def _recipe(dataset: Store) -> str:
    words = escape(resolved(recheck.stored_plan(dataset)))
    again = f"stmfab inspect {dataset} --recipe"
    whole = f"<details><summary>Show the whole recipe</summary><pre>{words}</pre></details>"
    return f"<p class=soft>As text: <code>{escape(again)}</code></p>{whole}"
