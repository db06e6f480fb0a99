"""Writes docs/performance.md, all that was measured on one page: `python -m benchmarks.page`.

The text is in performance.md.j2, the figures are those of benchmarks/results.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2

from benchmarks.committed import benchmark, benchmarks, devices, load
from benchmarks.figures import figure, grouped, per_second, percent
from benchmarks.slug import slug
from benchmarks.tables import NOT_MEASURED, OPERATOR_HEADINGS, TABLES, Row, markdown, operator_cells, pipeline_of

HERE = Path(__file__).resolve().parent
IMAGES = HERE.parent / "docs" / "images"
PAGE = HERE.parent / "docs" / "performance.md"

LARGE = {"case": "relu3_1, 512 px"}, {"case": "relu3_1, 2048 px"}
OPERATORS: dict[str, tuple[str, tuple[dict[str, str], ...]]] = {
    "match": ("match_patches", LARGE),
    "refine": ("refine_matches", LARGE),
    "vote": ("vote_patches", tuple(case | {"matches": kind} for case in LARGE for kind in ("in blocks", "random"))),
    "texture": ("texture_loss", ({"case": "264 px"},)),
    "variation": ("total_variation", ({"case": "512 px"}, {"case": "2048 px"})),
    "extract": ("extract_patches", tuple({"case": "68 px", "direction": way} for way in ("forward", "backward"))),
}
"""By benchmark: the operator, and the cases that are shown; the others are folded away."""
IN_PLACE = "vote", "texture"
"""Benchmarks of operators that are given the memory for their results when they are used."""
HEADINGS = "function", "size", "precision", *OPERATOR_HEADINGS


def size(record: dict[str, Any]) -> str:
    """The group without precision and device."""
    return grouped(record["group"].rsplit(", ", 2)[0])


def size_of_case(name: str, case: dict[str, str]) -> str:
    """In the words of the first device that has it."""
    found = (record for device in devices() for record in benchmarks(device, name, **case))
    record = next(found, None)
    return size(record) if record else ", ".join(case.values())


def function(name: str, variant: str) -> str:
    return f"`{OPERATORS[name][0]}`" + variant.removeprefix("op")


def headlines(device: str, name: str) -> Iterator[Row]:
    yield HEADINGS
    variant = "op, in place" if name in IN_PLACE else "op"
    for case in OPERATORS[name][1]:
        for precision in ("fp32", "bf16"):
            found = benchmark(device, name, **case, precision=precision, name=variant)
            yield function(name, variant), size_of_case(name, case), precision, *operator_cells(found)


def every_size(device: str, name: str) -> Iterator[Row]:
    yield HEADINGS
    for record in benchmarks(device, name):
        variant, precision = record["extra_info"]["function"], record["extra_info"]["precision"]
        if variant.startswith("op"):
            yield function(name, variant), size(record), precision, *operator_cells(record)


def reports(device: str) -> list[dict[str, Any]]:
    return [report for name in (*OPERATORS, "inpaint") if (report := load(f"{device}/{name}"))]


def machine(device: str) -> Iterator[Row]:
    """What the results say of the machine and the software; several where they differ."""
    rows: dict[str, list[str]] = {}
    for report in reports(device):
        info = report["machine_info"]
        row = {"processor": f"{info['cpu']}, {info['cores']} cores, {info['threads']} threads"}
        if "capability" in info:
            gpu = f"{info['multiprocessors']} multiprocessors, {info['memory_bytes'] / 1e9:.0f} GB"
            row["GPU"] = f"{info['device']}, {gpu}, compute capability {info['capability']}"
        row["software"] = f"PyTorch {info['torch']}, Python {info['python_version']}, {info['system']}"
        build = info["build"]
        row["extension"] = f"compiler {build['compiler']}, the processor's kernels for {build['cpu_isa']}"
        row["measured"] = f"{report['datetime'][:10]}, commit {report['commit_info']['id'][:7]}"
        for name, text in row.items():
            rows.setdefault(name, []).append(text)
    yield "", ""
    for name, texts in rows.items():
        yield name, "; ".join(dict.fromkeys(texts))
    yield from limits(device)


def limits(device: str) -> Iterator[Row]:
    """The ceilings of all runs on a device."""
    found: dict[str, list[float]] = {}
    for name in OPERATORS:
        for record in benchmarks(device, name):
            info = record["extra_info"]
            kind = f"product, {info['precision']}" if "flop_per_s" in info else "copy"
            found.setdefault(kind, []).append(info["ceiling"])
    for kind, values in sorted(found.items()):
        least, most = (per_second(value, "B/s" if kind == "copy" else "FLOP/s") for value in (min(values), max(values)))
        yield f"limit: {kind}", least if least == most else f"{least} to {most}"


SETTINGS = {
    "precision": "{}",
    "search": "search {}",
    "memory_budget": "budget of {}",
    "process_limit_gb": "limited to {} GB",
    "fine_side": "fine side {}",
}
"""Of fills, in words."""


def fills(device: str) -> Iterator[Row]:
    yield "photograph", "hole", "settings", "first, s", "following, s", "peak MiB"
    for fill in load(f"{device}/fills")["fills"]:
        width, height = fill["photograph"]
        hole = f"{fill['hole_px']:,} px" if "hole_px" in fill else "the example's"
        settings = ", ".join(text.format(fill[name] or "none") for name, text in SETTINGS.items() if name in fill)
        first = figure(fill["first_s"]) if "first_s" in fill else ""
        following = ", ".join(figure(seconds) for seconds in fill["seconds"])
        yield f"{width:,} x {height:,}", hole, settings, first, following, f"{fill['peak_mib']:,}"


def plot(device: str, name: str) -> str:
    """The picture's path from the page; nothing where there is none."""
    path = IMAGES / f"{name}-{device}.png"
    return f"images/{path.name}" if path.exists() else ""


def measured_on(device: str, name: str) -> bool:
    """Whether a report that lies outside of the devices' folders is of this one."""
    report = load(name)
    return report is not None and slug(report["machine"]["device"]) == device


def describe(device: str) -> dict[str, Any]:
    """What the template needs to know of a device."""
    filled = load(f"{device}/fills")
    operators = [
        {
            "name": operator,
            "measured": bool(benchmarks(device, name)),
            "headlines": markdown(headlines(device, name)),
            "every_size": markdown(every_size(device, name)),
            "plot": plot(device, name),
        }
        for name, (operator, _) in OPERATORS.items()
    ]
    return {
        "title": reports(device)[0]["machine_info"]["device"],
        "machine": markdown(machine(device)),
        "operators": operators,
        "pipeline": markdown(pipeline_of(device)) if benchmarks(device, "inpaint") else None,
        "fills": {"rows": markdown(fills(device)), "note": filled["note"]} if filled else None,
        "batch": measured_on(device, "batch"),
        "high_resolution": measured_on(device, "high-resolution"),
    }


def page() -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"load": load, "figure": figure, "grouped": grouped, "percent": percent}
    text = environment.get_template("performance.md.j2").render(
        devices=[describe(device) for device in devices()],
        table=lambda name: markdown(TABLES[name]()),
        not_measured=f"{NOT_MEASURED.capitalize()}.\n",
    )
    return text.rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
