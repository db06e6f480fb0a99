"""The command line: parses, calls, prints.

PyTorch and all that needs it are imported by the commands, not here, so that `--help` answers at once.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.exceptions import TyperException

from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import ConfigError, NeuralPatchError, OutputError
from neuralpatch_cuda.imaging.whole import check_apart, make_folder
from neuralpatch_cuda.options import options_of
from neuralpatch_cuda.terminal import (
    BatchBar,
    EvaluationBar,
    ProgressBars,
    any_terminal,
    print_differences,
    print_standings,
    print_summary,
    print_times,
    printable,
    show_log,
)
from neuralpatch_cuda.training.config import TrainConfig

if TYPE_CHECKING:
    from neuralpatch_cuda.inpainter import ScaleInfo

app = typer.Typer(
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


ImageArgument = Annotated[Path, typer.Argument(metavar="IMAGE", help="The photograph.", show_default=False)]
MaskArgument = Annotated[
    Path,
    typer.Argument(
        metavar="MASK",
        help="The mask, of the photograph's size: what is white, or painted in another colour on black or on nothing, "
        "is filled.",
        show_default=False,
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu, cuda or cuda:N.")]
QualityOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=100,
        metavar="1..100",
        help="Of JPEG, WebP and AVIF; by default that of the photograph if it is a JPEG, too, else high.",
        show_default=False,
    ),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Let the output replace the photograph, or another file that is read.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts, and no progress.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


def _version() -> str:
    try:
        return version("neuralpatch_cuda")
    except PackageNotFoundError:
        return "not installed, run from a checkout"


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"neuralpatch_cuda {_version()}")
        raise typer.Exit


@app.callback()
def common(
    log: Annotated[
        Literal["debug", "info", "warning", "error"] | None,
        typer.Option(help="Show what is logged, from this level on.", envvar="NEURALPATCH_LOG", show_default=False),
    ] = None,
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Fill holes in photographs by multi-scale neural patch synthesis."""
    if log is not None:
        show_log(log)


@app.command()
@options_of(InpaintConfig, panel="Method")
def inpaint(
    image: ImageArgument,
    mask: MaskArgument,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Where to write: .png, .jpg, .webp, .avif, .tif or .bmp.", show_default=False
        ),
    ],
    source_mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A mask of the photograph's size: copy from its white parts alone, however far from the hole.",
            show_default=False,
        ),
    ] = None,
    exemplar: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Another photograph to copy from as well, at the same scale; may be repeated.",
            show_default=False,
        ),
    ] = None,
    device: DeviceOption = "auto",
    save_scales: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also write what each scale made of each window, as PNG files in this folder.",
            show_default=False,
        ),
    ] = None,
    quality: QualityOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    **options: Any,
) -> None:
    """Fill the white parts of MASK in IMAGE.

    Outside the mask the output has the photograph's very pixels (JPEG and AVIF files aside, which are lossy),
    and it keeps its size, depth, transparency, ICC profile, EXIF and XMP data.
    """
    config = InpaintConfig(**options)
    from neuralpatch_cuda.imaging.files import Photograph, check_writable, read_image, read_mask, write_image

    picture, hole = read_image(image), read_mask(mask)
    source = source_mask and read_mask(source_mask)
    exemplars = [read_image(path).image for path in exemplar or ()]
    read = {"photograph": image, "mask": mask} | ({"source mask": source_mask} if source_mask else {})
    read |= {f"exemplar {number}": path for number, path in enumerate(exemplar or (), 1)}
    if not overwrite:
        check_apart(output, read)
    check_writable(output, picture)
    if save_scales is not None:
        make_folder(save_scales)

    from neuralpatch_cuda.inpainter import Inpainter

    started = time.perf_counter()
    painter = Inpainter(config, device=device)
    with ProgressBars(quiet or as_json) as bars:
        result = painter(
            picture.image, hole, source_mask=source, exemplars=exemplars, return_info=True, callback=bars.update
        )
    write_image(picture.with_image(result.image), output, quality)
    if save_scales is not None:
        for scale in result.info.scales:
            path = save_scales / _scale_name(scale)
            if not overwrite:
                check_apart(path, read)
            write_image(Photograph(scale.image), path)
    width, height = picture.size
    seconds = time.perf_counter() - started
    if as_json:
        scales = [
            {"window": s.window, "scale": s.scale, "size": s.size, "seconds": s.seconds, "loss": s.losses[-1:]}
            for s in result.info.scales
        ]
        print(json.dumps({"output": str(output), "size": (height, width), "seconds": seconds, "scales": scales}))
    elif not quiet:
        print(printable(f"{output} ({width} x {height} px, {seconds:.1f} s)"))


def _scale_name(info: ScaleInfo) -> str:
    height, width = info.size
    return f"window{info.window + 1:02d}_scale{info.scale + 1}_{width}x{height}.png"


PLACES = "Files"
MACHINES = "Machines"


@app.command()
@options_of(InpaintConfig, panel="Method")
def batch(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="For results and journal.", show_default=False),
    ],
    image: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|FILE|GLOB",
            help="The photographs.",
            show_default=False,
            rich_help_panel=PLACES,
        ),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|FILE",
            help="The masks: a folder, in which they have the photographs' names, or one file for all; by default "
            "NAME_mask.png and NAME_mask001.png, ... beside NAME.jpg.",
            show_default=False,
            rich_help_panel=PLACES,
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Instead: a CSV or JSONL table with the columns image, mask, output, quality, and options as below.",
            show_default=False,
            rich_help_panel=PLACES,
        ),
    ] = None,
    image_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="png|jpg|...",
            help="Format of the results; by default each photograph's own.",
            show_default=False,
            rich_help_panel=PLACES,
        ),
    ] = None,
    quality: QualityOption = None,
    skip_unmatched: Annotated[
        bool,
        typer.Option("--skip-unmatched", help="Go on without what does not fit together.", rich_help_panel=PLACES),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace files that this batch has not written, or that were changed since.",
            rich_help_panel=PLACES,
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what there is to do; do nothing.")] = False,
    devices: Annotated[
        str,
        typer.Option(
            metavar="NAME[,NAME...]",
            help="Where to compute, with a process for each: auto, cpu, cuda:0,cuda:1, or all, for every GPU.",
            envvar="NEURALPATCH_DEVICES",
            show_envvar=False,
            rich_help_panel=MACHINES,
        ),
    ] = "auto",
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Photographs that each device fills at once, as small holes leave a part of it idle; by default 2 on "
            "processors and 1 on a GPU.",
            show_default=False,
            rich_help_panel=MACHINES,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Do only the I-th of N equal parts, for schedulers that start N of these commands.",
            show_default=False,
            rich_help_panel=MACHINES,
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="local: on this machine. ray: on a Ray cluster.", rich_help_panel=MACHINES),
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Of the Ray cluster; by default one is started on this machine.",
            show_default=False,
            rich_help_panel=MACHINES,
        ),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="N|MIN-MAX",
            help="Ray actors; by default from one to as many as there is room for.",
            show_default=False,
            rich_help_panel=MACHINES,
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float, typer.Option(min=0.0, help="Share of a GPU that a Ray actor takes.", rich_help_panel=MACHINES)
    ] = 0.0,
    cpus_per_worker: Annotated[
        float, typer.Option(min=0.0, help="Processor cores that a Ray actor takes.", rich_help_panel=MACHINES)
    ] = 1.0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    **options: Any,
) -> None:
    """Fill many photographs.

    A run that was stopped, by whatever, goes on where it was: what is done
    with the same settings is not done again, what failed or changed is.
    Ends with exit code 1 if something failed.
    """
    config = InpaintConfig(**options)
    if (image is None) == (manifest is None) or (mask is not None and manifest is not None):
        raise ConfigError("Give either --image, with or without --mask, or --manifest.")
    from neuralpatch_cuda.batch import run as batches
    from neuralpatch_cuda.batch.manifest import read_manifest
    from neuralpatch_cuda.batch.pairing import Rules, pair_files, suffix_of

    rules = Rules(output, config, image_format and suffix_of(image_format), quality)
    if manifest is not None:
        pairing = read_manifest(manifest, rules)
    else:
        assert image is not None
        pairing = pair_files(image, mask, rules)
    for problem in pairing.problems:
        print(f"Problem: {printable(problem)}", file=sys.stderr)
    if pairing.problems and not (dry_run or (skip_unmatched and pairing.items)):
        raise ConfigError(
            f"{len(pairing.problems)} of the files above do not fit together; mend that, or use --skip-unmatched."
        )
    part = batches.parse_shard(shard) if shard is not None else None
    items = batches.share(pairing.items, part) if part else pairing.items
    plan = batches.make_plan(items, output, overwrite)
    if dry_run:
        for item in plan.todo:
            print(printable(f"{item.image} + {item.mask} -> {item.output}"))
        for record in plan.refused:
            print(f"Problem: {printable(record.error or '')}", file=sys.stderr)
        print(f"{len(plan.todo)} to do, {plan.skipped} done before, {len(plan.refused)} refused", file=sys.stderr)
        raise typer.Exit(2 if pairing.problems or plan.refused else 0)

    from neuralpatch_cuda.batch import engines

    with batches.interruptible() as cancelled:
        if engine == "ray":
            settings = engines.ray_settings(ray_address, workers, gpus_per_worker, cpus_per_worker)
            run_items = engines.on_ray(config, settings)
        else:
            run_items = engines.on_this_machine(config, devices, jobs, cancelled)
        with BatchBar(quiet or as_json, len(plan.todo) + len(plan.refused)) as bar:
            summary = batches.run(plan, output, run_items, part, bar.update)
    if as_json:
        print(json.dumps(asdict(summary) | {"failed": {r.item: r.error for r in summary.failed}}))
    else:
        print_summary(summary)
    raise typer.Exit(1 if summary.failed else 0)


@app.command()
@options_of(InpaintConfig, panel="Method")
def profile(
    image: ImageArgument,
    mask: MaskArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Also write the filled image here.", show_default=False),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="Write a trace here, for Perfetto or chrome://tracing.",
            show_default=False,
        ),
    ] = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    **options: Any,
) -> None:
    """Show where the time goes when the white parts of MASK are filled in IMAGE.

    It is filled three times: with one iteration a scale, to warm up; with 20,
    for the operators and the trace; and in full, for the stages. A stage's time
    is its own, without the stages inside it. On a GPU, times are the GPU's.
    """
    config = InpaintConfig(**options)
    from neuralpatch_cuda.imaging.files import check_writable, read_image, read_mask, write_image
    from neuralpatch_cuda.imaging.whole import check_place

    picture = read_image(image)
    if output is not None:
        if not overwrite:
            check_apart(output, {"photograph": image, "mask": mask})
        check_writable(output, picture)
    if trace is not None:
        if trace.suffix.lower() != ".json":
            raise OutputError(f"Cannot write {trace}: the suffix of a trace must be .json.")
        check_place(trace)

    from neuralpatch_cuda import profiling
    from neuralpatch_cuda.device import choose_device
    from neuralpatch_cuda.inpainter import Inpainter
    from neuralpatch_cuda.stages import stage

    def run(config: InpaintConfig, activity: str) -> None:
        with stage("files"):
            picture, hole = read_image(image), read_mask(mask)
        painter = Inpainter(config, device=device)
        with ProgressBars(quiet, activity) as bars:
            result = painter(picture.image, hole, callback=bars.update)
        if output is not None and activity == profiling.TIMING:
            with stage("files"):
                write_image(picture.with_image(result), output)

    course = profiling.profile(run, config, choose_device(device))
    if trace is not None:
        profiling.write_trace(course.trace, trace)
    print_times("Stages", course.stages)
    recorded = f"Operators, of the first {profiling.RECORDED} iterations of each scale"
    print_times(recorded, course.operators)


@app.command()
@options_of(TrainConfig, panel="Training")
def train(
    data: Annotated[
        list[Path],
        typer.Option(help="Folder or uncompressed tar file of photographs; may be repeated.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of the run: weights, metrics, TensorBoard's logs, and checkpoints, from which it resumes.",
            show_default=False,
        ),
    ],
    validation: Annotated[
        list[Path] | None,
        typer.Option(help="As --data, but held out; needed unless --overfit is given.", show_default=False),
    ] = None,
    initial_weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Start from these weights: a name or a path; by default at random.", show_default=False
        ),
    ] = None,
    overfit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Instead of training: see whether so many photographs can be learnt by heart, in a minute or two.",
            show_default=False,
        ),
    ] = None,
    **options: Any,
) -> None:
    """Train a content network on photographs of your own.

    With `accelerate launch -m neuralpatch_cuda.cli train ...` it runs on several
    GPUs and machines.
    """
    config = TrainConfig(**options)
    for path in (*data, *(validation or ())):
        if not path.exists():
            raise FileNotFoundError(f"There is no file or folder {path}.")
    if (validation is None) == (overfit is None):
        raise ConfigError("Give either --validation, photographs that are held out, or --overfit.")
    make_folder(out)
    from neuralpatch_cuda.networks.weights import load_content_network

    try:
        from neuralpatch_cuda.training import train as training
    except ModuleNotFoundError as error:
        if error.name not in ("accelerate", "tensorboard", "torchmetrics", "pytorch_optimizer"):
            raise
        raise NeuralPatchError(
            f"Training needs the package {error.name}; install it with: pip install neuralpatch_cuda[train]"
        ) from None
    show_log("info")
    generator = None if initial_weights is None else load_content_network(initial_weights)
    if validation is None:
        assert overfit is not None
        print(training.overfit(data, overfit, out, config, generator))
    else:
        print(printable(str(training.train(data, validation, out, config, generator))))


ImagesOption = Annotated[
    str, typer.Option("--image", metavar="DIR|FILE|GLOB", help="The photographs, without holes.", show_default=False)
]
HoleMasksOption = Annotated[
    str | None,
    typer.Option(
        "--mask",
        metavar="DIR|FILE",
        help="The holes, as masks, by the rules of `batch`; by default beside the photographs.",
        show_default=False,
    ),
]
HoleOption = Annotated[
    str | None,
    typer.Option(
        "--hole",
        metavar="centre|boxes|strokes|thin|medium|thick",
        help="Instead of masks, draw holes of this kind: a square of half the side, or at random.",
        show_default=False,
    ),
]
SideOption = Annotated[
    int | None,
    typer.Option(min=64, help="Cut photographs and masks to their centre square, of this side.", show_default=False),
]
EvaluationFolder = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="DIR", help="For fills, figures and the report.", show_default=False),
]


@app.command()
def evaluate(
    image: ImagesOption,
    output: EvaluationFolder,
    mask: HoleMasksOption = None,
    hole: HoleOption = None,
    method: Annotated[
        list[str],
        typer.Option(
            metavar="'[LABEL: ]NAME [OPTION=VALUE ...]'",
            help="What to evaluate; may be repeated. neuralpatch, with options of `inpaint`; content and texture, its "
            "parts alone; telea, navier-stokes, biharmonic, patchmatch, patchmatch-cython, inpaint, lama model=FILE, "
            "released; or module:function.",
        ),
    ] = ["neuralpatch"],  # noqa: B006
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Output of another evaluation of the same photographs and holes: also show how far this one is from "
            "it, method by method of the same label.",
            show_default=False,
        ),
    ] = None,
    side: SideOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure how well photographs are filled, by this and other methods.

    Holes are cut into the photographs of a folder, filled, and compared with
    what was there: results.csv has a row for each fill, summary.json the means
    with their confidence intervals, and report.html shows all of it with
    before/after sliders. What was done before is not done again.
    """
    comparison = _evaluation("comparison")
    methods = [comparison.Method.parse(text) for text in method]
    cases = _evaluation("cases").find_cases(image, mask, hole, side, output)
    with EvaluationBar(quiet or as_json, len(cases) * len(methods)) as bar:
        standings = comparison.compare(cases, methods, output, device, bar.update, against)
    if as_json:
        print((output / comparison.SUMMARY).read_text(encoding="utf-8"))
    else:
        print_standings(standings)
        if against is not None:
            print_differences(standings, against)
        print(printable(str(output / comparison.REPORT)))
    raise typer.Exit(1 if any(standing.failed for standing in standings) else 0)


@app.command()
def ablate(
    image: ImagesOption,
    output: EvaluationFolder,
    mask: HoleMasksOption = None,
    hole: HoleOption = None,
    study: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="One of scales, alpha, content, adversary, layers, patch-size, rematching, iterations, precision, "
            "search, features; may be repeated; all by default.",
            show_default=False,
        ),
    ] = None,
    side: SideOption = None,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Show what each part of the method is good for.

    Every study varies one thing: NAME.png shows what comes of it for the first
    three photographs, NAME.csv has the means over all. What was done before is
    not done again.
    """
    ablations = _evaluation("ablations")
    studies = study or list(ablations.STUDIES)
    methods = ablations.count(studies)
    cases = _evaluation("cases").find_cases(image, mask, hole, side, output)
    with EvaluationBar(quiet, len(cases) * methods) as bar:
        found = ablations.ablate(cases, studies, output, device, bar.update)
    for name, standings in found.items():
        print(printable(f"{output / name}.png: {ablations.STUDIES[name].question}"))
        print_standings([replace(standing, method=label) for label, standing in standings.items()])
    raise typer.Exit(1 if any(s.failed for standings in found.values() for s in standings.values()) else 0)


@app.command()
@options_of(InpaintConfig, panel="Method, as the page begins")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all networks.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="To listen at.")] = 7860,
    login: Annotated[
        str | None,
        typer.Option(
            metavar="NAME:PASSWORD",
            help="Ask for these; better given as a variable, as other users of the machine can see what is typed.",
            envvar="NEURALPATCH_LOGIN",
            show_default=False,
        ),
    ] = None,
    max_upload: Annotated[int, typer.Option(min=1, metavar="MB", help="Of a file, at most.")] = 200,
    max_megapixels: Annotated[float, typer.Option(min=0, help="Of a photograph, at most.")] = 60,
    max_minutes: Annotated[float, typer.Option(min=0, help="That a fill may take.")] = 15,
    max_waiting: Annotated[int, typer.Option(min=1, help="Requests that may wait in line.")] = 40,
    device: DeviceOption = "auto",
    **options: Any,
) -> None:
    """Serve a page to paint holes and see them filled.

    One fill is computed at a time, the others wait in line. Photographs lie in a
    private temporary folder until the page is closed. Ctrl-C ends the server.
    """
    config = InpaintConfig(**options)
    name, colon, password = (login or "").partition(":")
    if login is not None and not (name and colon and password):
        raise ConfigError("--login must be a name and a password, NAME:PASSWORD.")
    try:
        from neuralpatch_cuda.app.serve import LOOPBACK, Limits, serving
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise NeuralPatchError(
            "The page needs the package gradio; install it with: pip install neuralpatch_cuda[app]"
        ) from None
    from neuralpatch_cuda.batch.run import interruptible

    limits = Limits(max_upload, max_megapixels, max_minutes, max_waiting)
    if host not in LOOPBACK:
        who = "who knows the password" if login else "without a login"
        warning = f"everyone who can reach {host} can use this page, {who}; it is not encrypted."
        print(f"Warning: {printable(warning)}", file=sys.stderr)
    credentials = (name, password) if login else None
    with interruptible() as stopped, serving(config, device, host, port, credentials, limits) as url:
        print(f"{url}  (Ctrl-C ends)", flush=True)
        stopped.wait()


def _evaluation(module: str) -> Any:
    """A module of the evaluation, which needs packages that filling does not."""
    for package in ("torchmetrics", "skimage", "jinja2", "matplotlib"):  # some of them are needed only at the end
        if find_spec(package) is None:
            raise NeuralPatchError(
                f"Evaluating needs the package {package}; install it with: pip install neuralpatch_cuda[evaluate]"
            )
    return import_module(f"neuralpatch_cuda.evaluation.{module}")


@app.command()
def info(as_json: JsonOption = False) -> None:
    """Show versions, the build, devices, and the weights with their licences."""
    import torch

    from neuralpatch_cuda import ops
    from neuralpatch_cuda.networks.weights import EMBEDDED, cache_folder

    rows = [("neuralpatch_cuda", _version()), *ops.build_info().items()]
    rows += [("torch", torch.__version__), ("threads", str(torch.get_num_threads()))]
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        memory = gpu.total_memory / 2**30
        rows.append((f"cuda:{index}", f"{gpu.name}, {memory:.0f} GiB, compute capability {gpu.major}.{gpu.minor}"))
    if not torch.cuda.is_available():
        rows.append(("GPU", "none that this PyTorch can use"))
    for path in sorted(EMBEDDED.glob("*.safetensors")):
        content = path.read_bytes()
        rows.append((path.name, f"{len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}"))
    rows.append(("cache", str(cache_folder())))
    if as_json:
        print(json.dumps(dict(rows)))
        return
    width = max(len(name) for name, _ in rows)
    print("\n".join(printable(f"{name:{width}}  {value}") for name, value in rows))
    print("\n" + (EMBEDDED / "NOTICE").read_text(encoding="utf-8"), end="")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows the program's name; by default those of the process.

    Returns:
        The exit code: 0 when all is done; 1 when items of a batch failed; 2 for wrong use or bad input, with one
        sentence on stderr; 130 after Ctrl-C.
    """
    with any_terminal(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # what matters of it is an error, or told by the library
        warnings.showwarning = lambda message, *_: print(f"Warning: {printable(str(message))}", file=sys.stderr)
        try:
            code = app(None if arguments is None else list(arguments), "neuralpatch", standalone_mode=False)
            print(end="", flush=True)
            return code or 0
        except TyperException as error:
            message, code = error.format_message().rstrip(".") + "; see neuralpatch --help.", error.exit_code
        except (NeuralPatchError, FileNotFoundError, ValueError, ImportError) as error:
            message, code = str(error), 2
        except KeyboardInterrupt:
            return 130
        print(f"Error: {printable(message)}", file=sys.stderr)
        return code


if __name__ == "__main__":
    sys.exit(main())
