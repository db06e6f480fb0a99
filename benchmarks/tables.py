"""The tables that documents take from the committed results.

Each function with `@table` yields the rows of the table of its name (`match_cpu`: "match-cpu"), the headings first.
`benchmarks/documents.py` puts them where a document asks for them; another table takes another function here.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.committed import CPU, GPU, RESULTS, benchmark, benchmarks, load
from benchmarks.figures import duration, figure, megabytes, percent, rate, times

Row = Sequence[str]
Rows = Iterable[Row]

TABLES: dict[str, Callable[[], Rows]] = {}
"""By name."""

NOT_MEASURED = "not measured yet"


def table(function: Callable[[], Rows]) -> Callable[[], Rows]:
    TABLES[function.__name__.replace("_", "-")] = function
    return function


def markdown(rows: Rows) -> str:
    headings, *others = rows
    lines = [headings, ["---"] * len(headings), *others]
    return "".join("|" + "".join(f" {cell} |" if cell else " |" for cell in cells) + "\n" for cells in lines)


# What a benchmark's record says.

OPERATOR_HEADINGS = ("time", "x reference", "x best peer", "achieved", "of the limit", "extra MB")


def operator_cells(found: dict[str, Any] | None) -> list[str]:
    """Beneath OPERATOR_HEADINGS."""
    if found is None:
        return [NOT_MEASURED, *[""] * 5]
    info = found["extra_info"]
    return [
        time(found),
        times(info.get("ratio")),
        best_peer(found),
        rate(info),
        percent(info["share"]),
        megabytes(info["extra_bytes"]),
    ]


def time(found: dict[str, Any] | None) -> str:
    return duration(found["stats"]["median"]) if found else NOT_MEASURED


def best_peer(found: dict[str, Any]) -> str:
    info = found["extra_info"]
    if "best_peer" not in info:
        return ""
    name = info["best_peer"]
    return f"{times(info['over_best_peer'])}, {f'`{name}`' if '_' in name else name}"


def in_short(found: dict[str, Any] | None) -> str:
    """Time (x reference, x best peer)."""
    ratios = [found["extra_info"].get(name) for name in ("ratio", "over_best_peer")] if found else []
    shown = f" ({', '.join(times(ratio) or '-' for ratio in ratios)})" if any(ratios) else ""
    return time(found) + shown


# README.md


@table
def operators() -> Iterator[Row]:
    yield "operator", *OPERATOR_HEADINGS, "H200 (x reference, x best peer)"
    match = {"name": "op", "case": "relu3_1, 512 px"}
    vote = {"name": "op, in place", "case": "relu3_1, 512 px", "matches": "in blocks", "precision": "fp32"}
    texture = {"name": "op, in place", "case": "264 px", "precision": "fp32"}
    variation = {"name": "op", "case": "512 px", "precision": "fp32"}
    extract = {"name": "op", "case": "68 px", "direction": "forward", "precision": "fp32"}
    rows: list[tuple[str, str, dict[str, str]]] = [
        ("`match_patches`, 4,356 x 11,520, fp32", "match", match | {"precision": "fp32"}),
        ("the same, bf16", "match", match | {"precision": "bf16"}),
        ("66,564 x 192,000 (2,048 px), fp32", "match", match | {"case": "relu3_1, 2048 px", "precision": "fp32"}),
        ("`vote_patches`, in place, fp32", "vote", vote),
        ("`texture_loss` and gradient, in place, 264 x 264, fp32", "texture", texture),
        ("`total_variation` and gradient, 512 x 512, fp32", "variation", variation),
        ("`extract_patches`, fp32", "extract", extract),
    ]
    for label, name, params in rows:
        yield label, *operator_cells(benchmark(CPU, name, **params)), in_short(benchmark(GPU, name, **params))


# docs/kernels.md


@table
def match_cpu() -> Iterator[Row]:
    yield "queries x keys, C", "precision", "time", "x reference", "x best peer", "of the product ceiling", "extra MB"
    cases = {
        "relu3_1, 128 px": "324 x 720, 256",
        "relu3_1, 512 px": "4,356 x 11,520, 256",
        "relu4_1, 512 px": "1,024 x 2,880, 512 (relu4_1)",
        "relu3_1, 1024 px": "16,900 x 46,080, 256",
        "relu3_1, 2048 px": "66,564 x 192,000, 256 (2,048 px)",
    }
    for case, label in cases.items():
        for precision in ("fp32", "bf16"):
            cells = operator_cells(benchmark(CPU, "match", case=case, precision=precision, name="op"))
            yield label if precision == "fp32" else "", precision, *cells[:3], *cells[4:]


@table
def match_gpu() -> Iterator[Row]:
    yield "problem, C = 256", "float32", "x best peer", "bf16", "x best peer", "extra MB"
    cases = {
        "relu3_1, 512 px": "4,356 x 11,520",
        "relu3_1, 1024 px": "16,900 x 46,080",
        "relu3_1, 2048 px": "66,564 x 192,000",
    }
    for case, label in cases.items():
        fp32, bf16 = (
            operator_cells(benchmark(GPU, "match", case=case, precision=precision, name="op"))
            for precision in ("fp32", "bf16")
        )
        yield label, fp32[0], fp32[2], bf16[0], bf16[2], f"{fp32[-1]}, {bf16[-1]}"


@table
def vote_cpu() -> Iterator[Row]:
    yield "target, C = 256", "matches", "fp32", "x best peer", "bf16", "x best peer"
    cases = {
        "relu3_1, 512 px": "68 x 68 (512 px)",
        "relu3_1, 1024 px": "132 x 132 (1,024 px)",
        "relu3_1, 2048 px": "260 x 260 (2,048 px)",
    }
    for case, label in cases.items():
        for matches in ("in blocks", "random"):
            row = [label if matches == "in blocks" else "", matches]
            for precision in ("fp32", "bf16"):
                params = {"case": case, "matches": matches, "precision": precision, "name": "op, in place"}
                cells = operator_cells(benchmark(CPU, "vote", **params))
                row += [f"{cells[0]}, {cells[4]}", cells[2]]
            yield row


@table
def texture_cpu() -> Iterator[Row]:
    yield "features, C = 256", "", "fp32", "bf16"
    for side in (84, 264, 528):
        for name, label in (("op, in place", "in place"), ("op", "autograd")):
            row = [f"{side} x {side}" if name == "op, in place" else "", label]
            for precision in ("fp32", "bf16"):
                params = {"case": f"{side} px", "precision": precision, "name": name}
                cells = operator_cells(benchmark(CPU, "texture", **params))
                row.append(f"{cells[0]}, {cells[4]}, {cells[1]} x reference")
            yield row


@table
def variation_and_extract_cpu() -> Iterator[Row]:
    yield "operator", "size", "precision", "time", "x reference", "x best peer", "of a copy"
    rows: list[tuple[str, str, str, dict[str, str]]] = [
        ("`total_variation`, with its gradient", "3 x 512 x 512", "variation", {"case": "512 px"}),
        ("", "3 x 2048 x 2048", "variation", {"case": "2048 px"}),
        ("", "", "variation", {"case": "2048 px", "precision": "bf16"}),
    ]
    for direction in ("forward", "backward"):
        rows += [
            (f"`extract_patches` {direction}", "256 x 68 x 68", "extract", {"direction": direction, "case": "68 px"}),
            ("", "256 x 260 x 260", "extract", {"direction": direction, "case": "260 px"}),
        ]
    for label, size, name, params in rows:
        params = {"precision": "fp32", "name": "op"} | params
        cells = operator_cells(benchmark(CPU, name, **params))
        yield label, size, params["precision"], *cells[:3], cells[4]


PIPELINE = {
    "released 2017": "the release's algorithm",
    "released, best case": "the same, correlating once a scale only",
    "matched once": "this library, matched once a scale, as the release",
    "matched every 10": "matched every 10 iterations (default)",
    "matched once fp32": "matched once a scale",
    "reference operators": "default, reference operators instead of the kernels",
}


def pipeline_of(device: str) -> Iterator[Row]:
    yield "", "precision", "time", "rounds", "release / this", "extra MB"
    rows = benchmarks(device, "inpaint")
    if not rows:
        yield NOT_MEASURED, *[""] * 5
    for found in rows:
        info, stats = found["extra_info"], found["stats"]
        label = PIPELINE.get(info["function"], info["function"])
        spread = f" ({figure(stats['min'])} to {figure(stats['max'])})" if stats["rounds"] > 1 else ""
        ratio = "1" if info["function"] == "released 2017" else times(info.get("ratio"))
        cells = label, info["precision"], time(found) + spread, str(stats["rounds"])
        yield *cells, ratio, megabytes(info["extra_bytes"])


@table
def pipeline_cpu() -> Iterator[Row]:
    return pipeline_of(CPU)


# docs/batch.md and docs/cluster.md


def middle_and_range(values: Sequence[float]) -> list[str]:
    """The median, and from the least to the greatest."""
    return [figure(median(values)), f"{figure(min(values))} to {figure(max(values))}"]


@table
def batch() -> Iterator[Row]:
    report = load("batch")
    labels = {
        "loop": f"`neuralpatch inpaint` {report['items']} times",
        "batch": "`neuralpatch batch`",
        "jobs 1": "the same with `--jobs 1`",
        "devices": "the same with `--devices cpu,cpu`",
        "solve": "the solutions alone, one by one, everything read before and nothing written",
    }
    yield "", "seconds", "min to max"
    for name, label in labels.items():
        yield label, *middle_and_range(report["seconds"][name])


@table
def ray() -> Iterator[Row]:
    labels = {
        "ray 1": "`--engine ray --workers 1`, a core",
        "ray 2": "`--engine ray --workers 2`, a core each",
        "devices": "`--devices cpu,cpu`, a core each, without Ray",
    }
    yield "", "seconds a photograph", "min to max"
    for name, label in labels.items():
        yield label, *middle_and_range(load("batch")["seconds_per_item_without_start"][name])


@table
def million() -> Iterator[Row]:
    """How long a million photographs take on so many devices, from what one was measured to take."""
    measured = {
        "hole of 48 px, two cores": median(load("batch")["seconds_per_item_without_start"]["batch"]),
        "hole of 256 px in 512 x 512, an H200": fill_seconds([512, 512], 256),
        "hole of 1,024 px in 8 megapixels, an H200": fill_seconds([3264, 2448], 1024),
        "hole of 1,024 px in 16 megapixels, two cores": whole_fill(1024, "none")["seconds"],
    }
    yield "", "t", "n = 1", "16", "256"
    for label, seconds in measured.items():
        yield label, f"{figure(seconds)} s", *(long_time(seconds * 1e6 / devices) for devices in (1, 16, 256))


def fill_seconds(photograph: list[int], hole: int) -> float:
    """On the GPU, with default settings."""
    wanted = {"photograph": photograph, "hole_px": hole}
    settings = [f for f in load(f"{GPU}/fills")["fills"] if f.keys() <= {*wanted, "first_s", "seconds", "peak_mib"}]
    (fill,) = (f for f in settings if wanted.items() <= f.items())
    return float(median(fill["seconds"]))


def whole_fill(hole: int, budget: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = load("high-resolution")["rows"]
    (found,) = (row for row in rows if row["hole"] == hole and row["budget"] == budget)
    return found


def long_time(seconds: float) -> str:
    units = {"years": 365 * 86400, "days": 86400, "hours": 3600, "minutes": 60}
    name, length = next((item for item in units.items() if seconds >= item[1]), ("minutes", 60))
    value = seconds / length
    return f"{value:.{1 if value < 10 else 0}f} {name}"


# docs/high-resolution.md


@table
def budgets() -> Iterator[Row]:
    yield "hole of 1,024 px in 4,096 x 4,096", "time", "memory added"
    for budget, label in (("1GB", "`memory_budget=1GB`"), ("none", "by default")):
        row = whole_fill(1024, budget)
        yield label, duration(row["seconds"]), f"{figure(row['added_mb'] / 1000)} GB"


@table
def holes() -> Iterator[Row]:
    yield "hole", "window", "time", "memory added", "time with `memory_budget=1GB`", "memory added"
    for hole in sorted({row["hole"] for row in load("high-resolution")["rows"]}):
        cells = []
        for budget in ("none", "1GB"):
            row = whole_fill(hole, budget)
            cells += [duration(row["seconds"]), f"{figure(row['added_mb'] / 1000)} GB"]
        yield f"{hole:,} px", f"{row['scales'][-1]['window'][0]:,} px", *cells


@table
def fine_scales() -> Iterator[Row]:
    """The default lies between the last two rows."""
    yield "last scale", "PSNR dB", "sharpness", "seconds"
    stop = "all scales until the loss falls by less than 2 % in ten iterations (`tolerance`)"
    for layers, rows in load("fine-scales")["summary"].items():
        for name, row in rows.items():
            if name.startswith("content network"):
                continue
            label = f"{layers}, 60 iterations" if name == "60" else stop if name == "tolerance" else name
            bold = layers == "relu3_1" and name != "60"
            cells = f"{row['psnr_db']:.2f}", f"{row['sharpness']:.2f}", figure(row["seconds"])
            yield f"**{label}**" if bold else label, *cells


@table
def thin_holes() -> Iterator[Row]:
    yield "hole", "photograph", "share of its pixels", "time", "min to max", "memory added", "PSNR"
    report = load("high-resolution-thin")
    for found in report["fills"].values() if report else []:
        width, height = found["photograph"]
        least, most = (figure(seconds) for seconds in found["min_to_max"])
        yield (
            found["text"],
            f"{width:,} x {height:,} px",
            percent(found["share_of_pixels"], 2),
            duration(found["seconds"]),
            f"{least} to {most}",
            f"{found['extra_bytes'] / 1e9:.2f} GB",
            f"{found['psnr_db']:.1f} dB",
        )


@table
def search() -> Iterator[Row]:
    found = "score", "at first", "at last", "exact", "PatchMatch", "times faster"
    yield "window", "layer", "patches", "known", *found
    for row in load("high-resolution-search")["rows"]:
        place = [f"{row['window'][0]:,} px", row["layer"], f"{row['queries']:,}", f"{row['keys']:,}"]
        ratios = [percent(row[name], 1) for name in ("score_ratio", "first_ratio", "last_ratio")]
        patchmatch = f"{duration(row['first_seconds'])}, {duration(row['seconds'])}"
        yield *place, *ratios, duration(row["exact_seconds"]), patchmatch, times(row["times_faster"])


def quality(row: dict[str, float]) -> list[str]:
    """PSNR, L1 and sharpness, of a summary from before `neuralpatch evaluate`."""
    return [f"{row[measure]:.2f}" for measure in ("psnr_db", "l1_percent", "sharpness")]


@table
def search_on_pairs() -> Iterator[Row]:
    yield "search", "PSNR dB", "L1 %", "sharpness", "seconds"
    for name, row in load("high-resolution-pairs")["summary"].items():
        if not name.startswith("content network"):
            yield name, *quality(row), figure(row["seconds"])


# docs/content-network.md


def validation(measure: str, heading: str, decimals: int) -> Iterator[Row]:
    results = load("content-validation")["results"]
    kinds = list(next(iter(results.values())))
    yield heading, *kinds
    for name in ("content-l2", "content-adv", "OpenCV Telea, radius 5", "mean of the known pixels"):
        label = f"**{name}**" if name.startswith("content-") else name
        yield label, *(f"{results[name][kind][measure]:.{decimals}f}" for kind in kinds)


@table
def validation_psnr() -> Iterator[Row]:
    return validation("psnr_db", "PSNR, dB", 2)


@table
def validation_l1() -> Iterator[Row]:
    return validation("l1_percent", "L1, %", 2)


@table
def validation_ssim() -> Iterator[Row]:
    return validation("ssim", "SSIM", 3)


@table
def validation_sharpness() -> Iterator[Row]:
    return validation("sharpness", "sharpness", 2)


@table
def content_pipeline() -> Iterator[Row]:
    yield "content", "PSNR dB", "L1 %", "sharpness"
    for name, row in load("content-pipeline")["summary"].items():
        label = name.removeprefix("content network ").replace("default", "content-l2").replace("first-", "first ")
        label = f"**{label}**" if label in ("content-l2", "content-adv") else label
        yield label, *quality(row)


# README.md, docs/evaluation.md: what `neuralpatch evaluate` and `ablate` found

COMPARED = {
    "neuralpatch": "**neuralpatch_cuda, default settings**",
    "content": "its content network alone",
    "texture": "its texture term alone, without a content network",
    "patchmatch": "PyPatchMatch 2.2, patch 5",
    "patchmatch-cython": "patchmatch-cython 0.2.1, patch 5",
    "telea": "OpenCV Telea, radius 5",
    "navier-stokes": "OpenCV Navier-Stokes, radius 5",
    "inpaint": "inpaint 0.1.7, Telea, radius 5",
    "biharmonic": "scikit-image, biharmonic",
    "released": "the authors' release of 2017, ported, with this library's networks (*)",
}
"""By method; the slowest last, since benchmarks/evidence.py goes by this order."""


QUALITY = {
    "psnr_db": "PSNR dB",
    "l1_percent": "L1 %",
    "ssim": "SSIM",
    "layout_db": "layout dB",
    "sharpness": "sharpness",
    "seam": "seam",
    "stray_mean": "stray",
    "stray_p95": "stray p95",
    "efficientnet": "EffNet",
}
"""Headings of the measures."""


def compared(report: str) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Each of `COMPARED` with its standing in a summary.json of `neuralpatch evaluate`; None if it is not in it.

    The port of the release, which takes hours, is of an earlier run.
    """
    standings = {standing["method"]: standing for standing in load(report)["standings"]}
    standings.setdefault("released", load("released-2017")[report]["standing"])
    for method, label in COMPARED.items():
        yield label, standings.get(method)


def mean_cell(standing: dict[str, Any], measure: str) -> str:
    """Empty where it was not measured."""
    found = standing["measures"].get(measure)
    return f"{found['mean']:.2f}" if found else ""


def interval_cell(standing: dict[str, Any], measure: str) -> str:
    found = standing["measures"].get(measure)
    return f"{found['mean']:.2f} ({found['low']:.2f} to {found['high']:.2f})" if found else ""


def comparison_of(report: str, measures: Sequence[str]) -> Iterator[Row]:
    yield "fill", *(QUALITY[measure] for measure in measures), "seconds", "MB"
    for label, standing in compared(report):
        if standing is None:
            yield label, NOT_MEASURED, *[""] * (len(measures) + 1)
        else:
            cost = figure(standing["median_seconds"]), f"{standing['most_extra_mb']:,.0f}"
            yield label, *(mean_cell(standing, measure) for measure in measures), *cost


@table
def comparison() -> Iterator[Row]:
    return comparison_of("comparison", list(QUALITY))


@table
def pairs() -> Iterator[Row]:
    return comparison_of("pairs", list(QUALITY))


@table
def pairs_intervals() -> Iterator[Row]:
    """95 %, by the bootstrap over photographs."""
    measures = "psnr_db", "sharpness", "stray_mean", "efficientnet"
    yield "fill", *(QUALITY[measure] for measure in measures)
    for label, standing in compared("pairs"):
        cells = [interval_cell(standing, name) for name in measures] if standing else [NOT_MEASURED, "", "", ""]
        yield label, *cells


@table
def pairs_in_short() -> Iterator[Row]:
    return comparison_of("pairs", ["psnr_db", "l1_percent", "sharpness", "stray_mean", "efficientnet"])


@table
def removal() -> Iterator[Row]:
    yield "removed", "photograph", "hole", "seconds"
    for row in load("removal")["rows"]:
        sizes = (" x ".join(f"{side:,}" for side in row[name]) + " px" for name in ("photograph", "hole"))
        yield row["removed"], *sizes, figure(row["seconds"])


def ablation(path: Path) -> Iterator[Row]:
    measures = {"psnr_db": "PSNR dB", "layout_db": "layout dB", "sharpness": "sharpness", "seam": "seam"}
    yield "variant", *measures.values()
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            yield row["variant"], *(f"{float(row[name]):.2f}" for name in measures)


for each in sorted((RESULTS / "ablations").glob("*.csv")):
    TABLES[f"ablation-{each.stem}"] = functools.partial(ablation, each)
