"""The command line: parses, calls, prints.

PyTorch and all that needs it are imported by the commands, not here, so that `--help` answers at once.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer
from pydantic import BaseModel, ByteSize
from pydantic.fields import FieldInfo
from typer.exceptions import TyperException
from typing_extensions import Self

from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import ConfigError, NeuralPatchError, OutputError
from neuralpatch_cuda.training.config import TrainConfig

if TYPE_CHECKING:
    from neuralpatch_cuda.inpainter import Progress, ScaleInfo
    from neuralpatch_cuda.profiling import Times

FunctionT = TypeVar("FunctionT", bound=Callable[..., None])

app = typer.Typer(
    help="Fill holes in photographs by multi-scale neural patch synthesis.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def options_of(model: type[BaseModel], panel: str) -> Callable[[FunctionT], FunctionT]:
    """Give a command, in place of its `**options`, one command line option per field of a model.

    Their values arrive as the strings that were typed; the model checks them, so that a bad value is reported
    in the same words as from Python.
    """

    def decorate(function: FunctionT) -> FunctionT:
        signature = inspect.signature(function, eval_str=True)
        named = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        fields = [_option(name, field, panel) for name, field in model.model_fields.items()]
        combined = signature.replace(parameters=[*named, *fields])
        function.__signature__ = combined  # type: ignore[attr-defined]
        function.__annotations__ = {p.name: p.annotation for p in combined.parameters.values()}
        return function

    return decorate


def _option(name: str, field: FieldInfo, panel: str) -> inspect.Parameter:
    option = typer.Option("--" + name.replace("_", "-"), help=field.description, rich_help_panel=panel)
    default, annotation = field.default, Annotated[bool, option]
    if not isinstance(default, bool):
        option.metavar = _metavar(field)
        default = ",".join(default) if isinstance(default, tuple) else default and str(default)
        annotation = Annotated[str | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _metavar(field: FieldInfo) -> str:
    """What an option's value looks like: NUMBER, lbfgs|adam, ..."""
    members = get_args(field.annotation)
    if get_origin(field.annotation) is Literal:
        return "|".join(members)
    if ByteSize in members:
        return "BYTES"
    word = {int: "INTEGER", float: "NUMBER", str: "NAME", tuple: "NAME"}.get(type(field.default), "INTEGER")
    several = isinstance(field.default, tuple) or any(get_origin(member) is Annotated for member in members)
    return f"{word}[,{word}...]" if several else word


ImageArgument = Annotated[Path, typer.Argument(metavar="IMAGE", help="The photograph.", show_default=False)]
MaskArgument = Annotated[
    Path, typer.Argument(metavar="MASK", help="The mask, of the photograph's size; white = fill.", show_default=False)
]
DeviceOption = Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu, cuda or cuda:N.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


@app.command()
@options_of(InpaintConfig, panel="Method")
def inpaint(
    image: ImageArgument,
    mask: MaskArgument,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Where to write: .png, .jpg, .webp, .tif or .bmp.", show_default=False),
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
    quiet: QuietOption = False,
    **options: Any,
) -> None:
    """Fill the white parts of MASK in IMAGE.

    Outside the mask the output has the photograph's very pixels (JPEG files aside, which are lossy), and it
    keeps its size, transparency, ICC profile and EXIF data.
    """
    config = InpaintConfig(**options)
    from neuralpatch_cuda.imaging.files import check_writable, read_image, write_image

    picture, hole = read_image(image), read_image(mask)
    source = source_mask and read_image(source_mask)
    exemplars = [read_image(path) for path in exemplar or ()]
    check_writable(output, picture)
    if save_scales is not None:
        _make_folder(save_scales)

    from neuralpatch_cuda.inpainter import Inpainter

    started = time.perf_counter()
    painter = Inpainter(config, device=device)
    with ProgressBars(quiet) as bars:
        result = painter(picture, hole, source_mask=source, exemplars=exemplars, return_info=True, callback=bars.update)
    write_image(result.image, output)
    if save_scales is not None:
        for scale in result.info.scales:
            write_image(scale.image, save_scales / _scale_name(scale))
    if not quiet:
        print(f"{output} ({picture.width} x {picture.height} px, {time.perf_counter() - started:.1f} s)")


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot make the folder {path}: {error.strerror}.") from error


def _scale_name(info: ScaleInfo) -> str:
    height, width = info.size
    return f"window{info.window + 1:02d}_scale{info.scale + 1}_{width}x{height}.png"


class ProgressBars:
    """One bar on stderr per window and scale; where stderr is not a terminal, a line for each at the end."""

    def __init__(self, quiet: bool, activity: str = "") -> None:
        """`activity` is named before each bar."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=quiet,
        )
        self._activity = activity
        self._tasks: dict[tuple[int, int], Any] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()

    def update(self, event: Progress) -> None:
        """Callback of `Inpainter`."""
        key = event.window, event.scale
        if key not in self._tasks:
            text = f"scale {event.scale + 1}/{event.scales}"
            if event.windows > 1:
                text = f"window {event.window + 1}/{event.windows}, {text}"
            if self._activity:
                text = f"{self._activity}, {text}"
            self._tasks[key] = self._bars.add_task(text, total=event.iterations, loss=event.loss)
        self._bars.update(self._tasks[key], completed=event.iteration + 1, loss=event.loss)


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
    quiet: QuietOption = False,
    **options: Any,
) -> None:
    """Show where the time goes when the white parts of MASK are filled in IMAGE.

    It is filled three times: with one iteration a scale, to warm up; with 20,
    for the operators and the trace; and in full, for the stages. A stage's time
    is its own, without the stages inside it. On a GPU, times are the GPU's.
    """
    config = InpaintConfig(**options)
    from neuralpatch_cuda.imaging.files import check_place, check_writable, read_image, write_image

    picture = read_image(image)
    if output is not None:
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
            picture, hole = read_image(image), read_image(mask)
        painter = Inpainter(config, device=device)
        with ProgressBars(quiet, activity) as bars:
            result = painter(picture, hole, callback=bars.update)
        if output is not None and activity == profiling.TIMING:
            with stage("files"):
                write_image(result, output)

    course = profiling.profile(run, config, choose_device(device))
    if trace is not None:
        profiling.write_trace(course.trace, trace)
    _print_times("Stages", course.stages)
    recorded = f"Operators, of the first {profiling.RECORDED} iterations of each scale"
    _print_times(recorded, course.operators)


def _print_times(title: str, times: Sequence[Times]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column(title.split(",")[0].rstrip("s"))
    for column in ("calls", "seconds", "share"):
        table.add_column(column, justify="right")
    total = sum(row.seconds for row in times)
    for row in times:
        share = row.seconds / total if total else 0.0
        table.add_row(row.name, f"{row.calls:,}" if row.calls else "", f"{row.seconds:.3f}", f"{share:.1%}")
    table.add_section()
    table.add_row("total", "", f"{total:.3f}", "100.0%")
    Console().print(table)


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
    _make_folder(out)
    import logging

    from rich.console import Console
    from rich.logging import RichHandler

    from neuralpatch_cuda.networks.weights import load_content_network

    try:
        from neuralpatch_cuda.training import train as training
    except ModuleNotFoundError as error:
        if error.name not in ("accelerate", "tensorboard", "torchmetrics", "pytorch_optimizer"):
            raise
        raise NeuralPatchError(
            f"Training needs the package {error.name}; install it with: pip install neuralpatch_cuda[train]"
        ) from None
    console = Console(stderr=True)
    logging.basicConfig(format="%(message)s", handlers=[RichHandler(console=console, show_path=False)])
    logging.getLogger("neuralpatch_cuda").setLevel("INFO")
    generator = None if initial_weights is None else load_content_network(initial_weights)
    if validation is None:
        assert overfit is not None
        print(training.overfit(data, overfit, out, config, generator))
    else:
        print(training.train(data, validation, out, config, generator))


@app.command()
def info() -> None:
    """Show versions, the build, devices, and the weights with their licences."""
    import torch

    from neuralpatch_cuda import ops
    from neuralpatch_cuda.networks.weights import EMBEDDED, cache_folder

    try:
        rows = [("neuralpatch_cuda", version("neuralpatch_cuda"))]
    except PackageNotFoundError:
        rows = [("neuralpatch_cuda", "not installed, run from a checkout")]
    rows += ops.build_info().items()
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
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:{width}}  {value}" for name, value in rows))
    print("\n" + (EMBEDDED / "NOTICE").read_text(), end="")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows the program's name; by default those of the process.

    Returns:
        The exit code: 0 when all is done; 2 for bad input, with one sentence on stderr; 130 after Ctrl-C.
    """
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"Warning: {message}", file=sys.stderr)
        try:
            code = app(None if arguments is None else list(arguments), "neuralpatch", standalone_mode=False)
            return code or 0
        except TyperException as error:
            message, code = error.format_message().rstrip(".") + "; see neuralpatch --help.", error.exit_code
        except (NeuralPatchError, FileNotFoundError, ValueError, ImportError) as error:
            message, code = str(error), 2
        except KeyboardInterrupt:
            return 130
    print(f"Error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
