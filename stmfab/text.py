"""The summary of a store as text: 80 columns, no colour, readable in a log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .progress import duration
from .statistics import QUANTITIES

WIDTH = 80
BLOCKS = "▁▂▃▄▅▆▇█"
SHORT = {
    "float32": "f4",
    "float64": "f8",
    "int8": "i1",
    "int16": "i2",
    "int32": "i4",
    "int64": "i8",
    "uint8": "u1",
    "bool": "b1",
}
LEAF, SPREAD, NUMBER = 20, 21, 8  # widths of a parameter's name, its distribution, its numbers
SHOWN_FAULTS = 20
SHOWN_FAILURES = 5
SHOWN_RANGES = 8
DIFFERENCES = {
    "Recipe": "recipe",
    "Made by": "maker",
    "Identity keys of the shards in both": "identities",
    "Size": "cut",
    "Arrays": "arrays",
    "Shards only here": "only_here",
    "Shards only there": "only_there",
    "Shards whose files differ, by array": "shards",
    "Failed here": "failed_here",
    "Failed there": "failed_there",
    "Receipts that cannot be read": "unreadable",
}
NEWLINE = "\n"


def overview(found: Mapping[str, Any]) -> str:
    """Return the text that ``stmfab inspect STORE`` prints."""
    sections = [
        _identity(found),
        _dimensions(found),
        _arrays(found),
        _parameters(found),
        _provenance(found),
        _next(found),
    ]
    return "\n\n".join("\n".join(lines) for lines in map(list, sections) if lines)


def _identity(found: Mapping[str, Any]) -> Iterator[str]:
    state = "complete" if found["complete"] else f"INCOMPLETE, {found['samples_made']} made"
    yield f"{found['store']}: {found['name']}: {state}; {found['samples']} samples, {size(found['bytes'])}"
    if not found["complete"]:
        yield f"  {found['shards'] - found['shards_made']} of {found['shards']} shards are missing"
    for failure in found["failed"][:SHOWN_FAILURES]:
        yield "  " + cut(f"FAILED: shard {failure['shard']}: {failure['line'].partition(NEWLINE)[0]}", WIDTH - 2)
    if len(found["failed"]) > SHOWN_FAILURES:
        yield f"  ... and {len(found['failed']) - SHOWN_FAILURES} more failed shards"
    yield from (f"  DAMAGED: {fault}" for fault in found["faults"][:SHOWN_FAULTS])
    if len(found["faults"]) > SHOWN_FAULTS:
        yield f"  ... and {len(found['faults']) - SHOWN_FAULTS} more faults"
    if len(found["provenance"]["identities"]) > 1:
        yield "  MIXED: shards of machines whose last bits differ (1e-5); see Provenance"
    if len(found["provenance"]["stmfab_versions"]) > 1:
        yield f"  MIXED: shards by stmfab {cut(_tally(found['provenance']['stmfab_versions']), WIDTH - 26)}"


def _dimensions(found: Mapping[str, Any]) -> Iterator[str]:
    yield "Dimensions"
    yield "  " + ", ".join(f"{name} {length}" for name, length in found["dimensions"].items())


def _arrays(found: Mapping[str, Any]) -> Iterator[str]:
    yield "Arrays"
    names = max([len(array["name"]) for array in found["arrays"]] + [4])
    dims = {array["name"]: ",".join(array["dims"][1:]) or "-" for array in found["arrays"]}
    wide = max(len(text) for text in dims.values())
    yield f"  {'':{names}} {'per sample':{wide}} {'':2} {'unit':4} {'min':>8} {'mean':>8} {'max':>8} {'size':>8}"
    for array in found["arrays"]:
        numbers = " ".join(f"{number(array[key], 8):>8}" for key in ("minimum", "mean", "maximum"))
        kind = SHORT.get(array["dtype"], array["dtype"])
        yield (
            f"  {array['name']:{names}} {dims[array['name']]:{wide}} {kind:2} {array['unit']:4} "
            f"{numbers} {size(array['bytes']):>8}"
        )


def _parameters(found: Mapping[str, Any]) -> Iterator[str]:
    if not found["parameters"]:
        return
    read = max(column["read"] for column in found["parameters"])
    yield f"Parameters, over {read} samples"
    yield f"  {'':{LEAF}} {'':{SPREAD}} {'min':>{NUMBER}} {'median':>{NUMBER}} {'max':>{NUMBER}}"
    group = None
    for column in found["parameters"]:
        path, _, leaf = column["name"].rpartition(".")
        if path != group:
            yield f" {path or 'derived'}"
        group = path
        yield f"  {cut(leaf, LEAF):{LEAF}} {cut(distribution(column), SPREAD):{SPREAD}} {_spread(column)}".rstrip()


def _spread(column: Mapping[str, Any]) -> str:
    if "counts" in column:
        return cut(", ".join(f"{word} {count}" for word, count in column["counts"].items()), WIDTH - LEAF - SPREAD - 5)
    if "median" not in column:
        return ""
    numbers = (f"{number(column[key], NUMBER):>{NUMBER}}" for key in ("minimum", "median", "maximum"))
    return f"{' '.join(numbers)} {histogram(column['histogram'])}"


def histogram(counts: Iterable[int]) -> str:
    """Return counts as a row of little bars.

    >>> histogram([0, 1, 7, 14])
    ' ▁▄█'
    """
    bars = list(counts)
    most = max(bars)
    return "".join(" " if not bar else BLOCKS[max(0, -(-bar * len(BLOCKS) // most) - 1)] for bar in bars)


def distribution(column: Mapping[str, Any]) -> str:
    """Return a distribution in a few words.

    >>> distribution({"distribution": {"uniform": [0.1, 0.25]}}), distribution({})
    ('uniform 0.1 to 0.25', 'computed')
    """
    form: dict[str, Any] = column.get("distribution") or {}
    if "redrawn" in column:
        return f"{column['redrawn']} redrawn"
    if not form:
        return "computed"
    kind, ends = next(iter(form.items()))
    if kind == "expr":
        return f"= {ends}"
    if kind == "choice":
        return "choice of " + ", ".join(str(end) if not isinstance(end, dict) else "..." for end in ends)
    if kind == "normal":
        return f"normal {ends[0]:g} +- {ends[1]:g}"
    return f"{kind} " + (" to ".join(f"{end:g}" for end in ends) if isinstance(ends, list) else f"{ends:g}")


def _provenance(found: Mapping[str, Any]) -> Iterator[str]:
    facts = found["provenance"]
    versions = facts["versions"]
    commit = f" at commit {facts['git_commit'][:10]}" if facts["git_commit"] else ""
    yield "Provenance"
    yield f"  recipe    sha256 {facts['recipe_sha256'][:16]}, seed {facts['seed']}, store format {facts['format']}"
    yield f"  software  stmfab {versions['stmfab']}{commit}{'+changes' if '+' in (facts['git_commit'] or '') else ''}"
    yield "            " + ", ".join(
        f"{name} {versions[name]}" for name in ("python", "numpy", "scipy", "numba", "zarr")
    )
    yield f"  machine   {cut(facts['platform'], WIDTH - 12)}"
    yield f"  identity  {_tally(facts['identities'])}"
    yield f"  hosts     {_tally(facts['hosts'])}"
    if facts["grown_from"]:
        yield f"  grown     from {cut(', then '.join(map(str, facts['grown_from'])), WIDTH - 25)} samples"
    yield f"  created   {facts['created']}, last shard {facts['finished'] or '-'}"
    if facts["seconds"]:
        rate = found["samples_made"] / facts["seconds"]
        yield f"  work      {duration(facts['seconds'])} of one worker, {rate:.1f} samples/s each"


def _tally(counts: Mapping[str, int]) -> str:
    shown = [f"{name} ({count} shards)" for name, count in list(counts.items())[:3]]
    return cut(", ".join(shown) + (", ..." if len(counts) > len(shown) else ""), WIDTH - 12)


def _next(found: Mapping[str, Any]) -> Iterator[str]:
    place = found["store"]
    yield "Next"
    if not found["complete"]:
        yield "  the same `stmfab generate` command again makes what is missing"
    yield f"  stmfab inspect {place} --verify full"
    yield f"  stmfab inspect {place} --recheck"
    yield f"  stmfab inspect {place} --gallery sheet.png"
    yield f"  stmfab inspect {place} --html report.html"
    yield f"  stmfab inspect {place} --sample 0"
    yield f"  python -c \"import stmfab; print(stmfab.open('{place}'))\""


def sample(found: Mapping[str, Any]) -> str:
    """Return the text that ``stmfab inspect STORE --sample I`` prints."""
    sections = [values(found), _images(found), _defects(found)]
    return "\n\n".join("\n".join(lines) for lines in map(list, sections) if lines)


def values(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sample's parameters, a line each."""
    yield f"{found['store']}: sample {found['sample']} (seed {found['seed']})"
    wide = max((len(value["name"]) for value in found["parameters"]), default=0)
    for value in found["parameters"]:
        shown = value["value"] if isinstance(value["value"], str) else f"{value['value']:.6g}"
        yield f"  {value['name']:{wide}}  {shown} {_unit(value['unit'])}".rstrip()


def _images(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"Images{'':18} {'min':>10} {'mean':>10} {'max':>10}"
    for image in found["images"]:
        numbers = " ".join(f"{number(image[key], 10):>10}" for key in ("minimum", "mean", "maximum"))
        yield f"  {cut(image['name'], 22):22} {numbers} {_unit(image['unit'])}".rstrip()


def _defects(found: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        {key: cell if isinstance(cell, str) else number(cell, 9) for key, cell in row.items()}
        for row in found["defects"]
    ]
    yield f"Defects: {len(rows)}"
    if not rows:
        return
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]}
    if sum(1 + wide for wide in widths.values()) >= WIDTH:
        widths.pop("layer", None)  # the site's name says it
    for keys in _side_by_side(widths):
        yield ""
        for row in [{key: key for key in keys}, *rows]:
            yield "  " + " ".join(f"{row[key]:>{widths[key]}}" for key in keys)


def _side_by_side(widths: Mapping[str, int]) -> list[list[str]]:
    """Return the columns of a table, as many at once as lines of ``WIDTH`` characters hold."""
    groups: list[list[str]] = [[]]
    for key, wide in widths.items():
        if groups[-1] and 1 + sum(1 + widths[own] for own in groups[-1]) + 1 + wide > WIDTH:
            groups.append([])
        groups[-1].append(key)
    return groups


def _unit(unit: str) -> str:
    return "" if unit == "1" else unit


def difference(found: Mapping[str, Any]) -> str:
    """Return the text that ``stmfab inspect STORE --diff OTHER`` prints."""
    if not found["differs"]:
        return f"{found['store']} and {found['other']}: nothing differs"
    lines = [f"{found['store']} (here) and {found['other']} (there) differ"]
    for title, key in DIFFERENCES.items():
        if found[key]:
            lines += ["", title, *(f"  {line}" for line in _some(found[key]))]
    return "\n".join(lines)


def _some(found: Any) -> Iterator[str]:
    """Yield a difference's lines, but not so many that they bury the others."""
    if isinstance(found, dict):
        lines = [f"{array}: {ranges(shards)}" for array, shards in found.items()]
    elif isinstance(found[0], int):
        lines = [ranges(found)]
    else:
        lines = [line if isinstance(line, str) else f"shard {line['shard']}: {line['line']}" for line in found]
    yield from (cut(line, 2 * WIDTH) for line in lines[:SHOWN_FAULTS])
    if len(lines) > SHOWN_FAULTS:
        yield f"... and {len(lines) - SHOWN_FAULTS} more"


def ranges(numbers: Iterable[int]) -> str:
    """Return the numbers of some shards, sorted, in few words.

    >>> ranges([0, 1, 2, 5, 7, 8])
    '6 shards: 0-2, 5, 7-8'
    """
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    words = ["-".join(map(str, ends)) for ends in found]
    count = sum(ends[-1] - ends[0] + 1 for ends in found)
    return f"{counted(count, 'shard')}: {', '.join(words[:SHOWN_RANGES])}{', ...' if len(words) > SHOWN_RANGES else ''}"


def counted(number: int, thing: str) -> str:
    """Return a number of things.

    >>> counted(1, "sample"), counted(0, "sample")
    ('1 sample', '0 samples')
    """
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def recheck(found: Mapping[str, Any]) -> str:
    """Return the text that ``stmfab inspect STORE --recheck N`` prints."""
    lines = [difference["line"] for difference in found["differences"]]
    wrong = len({difference["sample"] for difference in found["differences"]})
    n_bytes, n_within = len(found["by_bytes"]), len(found["within"])
    rules = [f"{n_bytes} byte for byte"] if n_bytes else []
    rules += [f"{n_within}, made under another identity key, to 1e-5 relative"] if n_within else []
    verdict = f"{wrong} DIFFER" if wrong else "all equal"
    lines.append(
        f"{found['store']}: made {counted(n_bytes + n_within, 'sample')} again: {verdict} ({'; '.join(rules)})"
    )
    return "\n".join([*lines, *([f"the same choice again: {found['again']}"] if found["again"] else [])])


def statistics(found: Mapping[str, Any]) -> str:
    """Return the statistics of a store's images as a table: median, 10th and 90th percentile."""
    lines = [f"{found['store']}: {counted(found['images'], 'image')}", ""]
    lines += [f"  {'':14}{'median':>9}{'p10':>9}{'p90':>9}"]
    for name, values in found["quantities"].items():
        quantity = QUANTITIES[name]
        cells = "".join(f"{value:9.3g}" for value in values)
        unit = "" if quantity.unit == "1" else quantity.unit
        lines.append(f"  {name:14}{cells}  {unit:4}{quantity.meaning}".rstrip())
    return "\n".join(lines)


def cut(text: str, width: int) -> str:
    """Return a text that fits: its end gives way to an ellipsis."""
    return text if len(text) <= width else text[: width - 3] + "..."


def number(value: float | None, width: int) -> str:
    """Return a number of at most ``width`` characters.

    >>> [number(v, 8) for v in (None, 0.0, 12, 0.123456, -1234567.8, 1.5e-9)]
    ['-', '0', '12', '0.1235', '-1.2e+06', '1.5e-09']
    """
    if value is None or value != value:
        return "-"
    digits = (f"{value:.{precision}g}" for precision in (4, 3, 2, 1))
    return next((text for text in digits if len(text) <= width), "#" * width)


def size(count: float) -> str:
    """Return a number of bytes as a person says it.

    >>> [size(n) for n in (0, 999, 21_300_000, 1.5e12)]
    ['0 B', '999 B', '21.3 MB', '1.5 TB']
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
