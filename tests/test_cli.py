"""The command line as a user calls it: what it writes, what it says, and how it fails."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import neuralpatch_cuda.training
from neuralpatch_cuda import cli, inpainter
from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.inpainter import InpaintInfo, InpaintResult
from neuralpatch_cuda.networks.content import ContentConfig, ContentNetwork
from neuralpatch_cuda.networks.weights import EMBEDDED_VGG16, save_content_network
from neuralpatch_cuda.training.config import TrainConfig

HOLE = (slice(30, 50), slice(40, 64))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with photo.png, mask.png and the weights of a content network, content.safetensors."""
    random = np.random.default_rng(0)
    tiles = random.integers(0, 256, (10, 12, 3), dtype=np.uint8)
    Image.fromarray(np.kron(tiles, np.ones((8, 8, 1), np.uint8))).save(tmp_path / "photo.png")
    mask = np.zeros((80, 96), np.uint8)
    mask[HOLE] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    torch.manual_seed(0)
    save_content_network(ContentNetwork(ContentConfig(width=16, dilations=(1,))), tmp_path / "content.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


FAST = ["--iterations", "2", "--content-network", "content.safetensors", "--device", "cpu"]


def inpaint(*arguments: str, image: str = "photo.png", mask: str = "mask.png", output: str = "out.png") -> int:
    return cli.main(["inpaint", image, mask, "-o", output, *FAST, *arguments])


class FakePainter:
    """Stands in for `Inpainter` where only the command line is looked at; keeps what the last one was made with."""

    config: InpaintConfig
    device: str

    def __init__(self, config: InpaintConfig, device: str) -> None:
        FakePainter.config, FakePainter.device = config, device

    def __call__(self, image: Image.Image, mask: Image.Image, **options: Any) -> InpaintResult[Image.Image]:
        return InpaintResult(image, InpaintInfo())


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inpainter, "Inpainter", FakePainter)


# What it does


def test_inpaint(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inpaint() == 0
    before, after = np.asarray(Image.open("photo.png")), np.asarray(Image.open("out.png"))
    changed = (before != after).any(-1)
    outside = np.ones_like(changed)
    outside[HOLE] = False
    assert not changed[outside].any()
    assert changed[HOLE].mean() > 0.9
    captured = capsys.readouterr()
    assert re.fullmatch(r"out\.png \(96 x 80 px, \d+\.\d s\)\n", captured.out)
    assert re.search(r"scale 1/1 .* 2/2 loss \d\.\d{4}", captured.err)
    assert sorted(os.listdir()) == ["content.safetensors", "mask.png", "out.png", "photo.png"]


def test_the_module_can_be_run(folder: Path) -> None:
    root = Path(cli.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "neuralpatch_cuda.cli", "inpaint", "photo.png", "mask.png", "-o", "out.png"]
    done = subprocess.run([*command, *FAST, "--quiet"], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert Image.open("out.png").size == (96, 80)
    done = subprocess.run([*command, "--alpha", "-1"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "Error: alpha must be a number of at least 0, not '-1'.\n"


def test_quiet(capsys: pytest.CaptureFixture[str], fake: None) -> None:
    assert inpaint("--quiet") == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_patches_from_elsewhere(fake: None, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def call(self: FakePainter, image: Image.Image, mask: Image.Image, **options: Any) -> InpaintResult[Image.Image]:
        given.update(options)
        return InpaintResult(image, InpaintInfo())

    monkeypatch.setattr(FakePainter, "__call__", call)
    Image.open("photo.png").resize((50, 40)).save("second.png")
    assert inpaint("--source-mask", "mask.png", "--exemplar", "second.png", "--exemplar", "photo.png") == 0
    assert (given["source_mask"] == (np.asarray(Image.open("mask.png")) > 0)).all()
    assert [each.size for each in given["exemplars"]] == [(50, 40), (96, 80)]


def test_save_scales(folder: Path) -> None:
    Image.open("photo.png").resize((240, 200)).save("photo.png")
    Image.open("mask.png").resize((240, 200), Image.Resampling.NEAREST).save("mask.png")
    assert inpaint("--save-scales", "deep/scales", "--iterations", "1", "--context", "2") == 0
    first, second = sorted(Path("deep/scales").iterdir())
    assert re.fullmatch(r"window01_scale1_\d+x128\.png", first.name)
    assert second.name == "window01_scale2_240x200.png"
    assert Image.open(first).height == 128
    assert Image.open(second).size == (240, 200)


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        ([], {}),
        (["--alpha", "2", "--beta=0"], {"alpha": 2, "beta": 0}),
        (["--iterations", "7,5", "--content-weight", "3,1"], {"iterations": (7, 5), "content_weight": (3, 1)}),
        (["--scales", "2", "--seed", "5", "--noise", "0.1"], {"scales": 2, "seed": 5, "noise": 0.1}),
        (["--layers", "relu3_1", "--patch-size", "5"], {"layers": ("relu3_1",), "patch_size": 5}),
        (["--invert-mask", "--mask-dilate", "3"], {"invert_mask": True, "mask_dilate": 3}),
        (["--optimizer", "adam", "--precision", "fp32"], {"optimizer": "adam", "precision": "fp32"}),
    ],
)
def test_options_reach_the_configuration(fake: None, arguments: list[str], changes: dict[str, Any]) -> None:
    assert cli.main(["inpaint", "photo.png", "mask.png", "-o", "out.png", "--device", "cuda:3", *arguments]) == 0
    assert FakePainter.config == InpaintConfig(**changes)
    assert FakePainter.device == "cuda:3"


def test_metadata_and_mode_are_kept(fake: None) -> None:
    image = Image.open("photo.png").convert("RGBA")
    image.putalpha(Image.open("mask.png"))
    image.save("photo.png", icc_profile=b"profile")
    assert inpaint() == 0
    out = Image.open("out.png")
    assert (out.mode, out.info["icc_profile"], out.tobytes()) == ("RGBA", b"profile", image.tobytes())


def test_a_warning_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert inpaint("--invert-mask", "--iterations", "0", "--quiet") == 0
    assert re.fullmatch(r"Warning: The mask covers 94% of the image; .*\n", capsys.readouterr().err)


def test_help_names_every_option(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERMINAL_WIDTH", "300")
    assert cli.main(["inpaint", "--help"]) == 0
    text = capsys.readouterr().out
    for name, field in InpaintConfig.model_fields.items():
        assert f"--{name.replace('_', '-')} " in text
        assert field.description is not None
        assert field.description[:40] in text
    assert "[default: relu3_1,relu4_1]" in text
    assert re.search(r"--content-network +NAME +Content network", text)
    assert re.search(r"--content-side +INTEGER +Short side", text)


def test_help_does_not_load_torch() -> None:
    code = (
        "import sys; from neuralpatch_cuda import cli; cli.main(['inpaint', '--help']); print('torch' in sys.modules)"
    )
    path = [str(Path(cli.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_completion_of_commands_in_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--show-completion", "bash"])
    assert "_NEURALPATCH_COMPLETE=complete_bash" in capsys.readouterr().out


def test_results_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    assert inpaint("--json") == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert (result["output"], result["size"], captured.err) == ("out.png", [80, 96], "")
    assert result["scales"][-1]["size"] == [80, 96] and result["seconds"] > 0
    assert cli.main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["torch"] == torch.__version__


def test_quality(folder: Path) -> None:
    assert inpaint("--quality", "30", output="low.jpg") == inpaint(output="high.jpg") == 0
    assert (folder / "low.jpg").stat().st_size < (folder / "high.jpg").stat().st_size


def _symlink(folder: Path) -> str:
    (folder / "link.png").symlink_to("photo.png")
    return "link.png"


def _hard_link(folder: Path) -> str:
    (folder / "hard.png").hardlink_to(folder / "mask.png")
    return "hard.png"


def _folder_link(folder: Path) -> str:
    (folder / "here").symlink_to(".")
    return "here/second.png"


@pytest.mark.parametrize(
    ("output", "what"),
    [
        ("photo.png", "photograph, photo.png"),
        ("./nowhere/../photo.png", "photograph, photo.png"),
        ("mask.png", "mask, mask.png"),
        ("source.png", "source mask, source.png"),
        ("second.png", "exemplar 2, second.png"),
        (_symlink, "photograph, photo.png"),
        (_hard_link, "mask, mask.png"),
        (_folder_link, "exemplar 2, second.png"),
    ],
)
def test_nothing_that_is_read_is_replaced_unasked(
    folder: Path, output: str | Callable[[Path], str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "nowhere").mkdir()
    Image.open("photo.png").save("second.png")
    Image.open("mask.png").transpose(Image.Transpose.FLIP_TOP_BOTTOM).save("source.png")
    name = output if isinstance(output, str) else output(folder)
    before = {path: path.read_bytes() for path in folder.glob("*.png")}
    sources = ["--source-mask", "source.png", "--exemplar", "photo.png", "--exemplar", "second.png"]
    if what.startswith("photograph"):
        sources = []
    assert inpaint(*sources, output=name) == 2
    assert capsys.readouterr().err == f"Error: {Path(name)} is the {what}; name another file, or use --overwrite.\n"
    assert {path: path.read_bytes() for path in folder.glob("*.png")} == before
    assert inpaint(*sources, "--overwrite", output=name) == 0


def test_fill_a_photograph_in_its_place(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inpaint(output="out.png") == 0
    wanted = (folder / "out.png").read_bytes()
    assert inpaint(output="out.png") == 0  # another file may be replaced, as ever
    (folder / "link.png").symlink_to("photo.png")
    assert inpaint("--overwrite", image="link.png", output="photo.png") == 0
    assert (folder / "photo.png").read_bytes() == wanted
    assert (folder / "link.png").is_symlink()


def test_profile_replaces_nothing_that_is_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("photo.png", "mask.png"):
        before = (folder / name).read_bytes()
        assert cli.main(["profile", "photo.png", "mask.png", "-o", name, *FAST]) == 2
        assert f"Error: {name} is the " in capsys.readouterr().err
        assert (folder / name).read_bytes() == before


def test_a_scale_replaces_nothing_that_is_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "window01_scale1_96x80.png"
    (folder / "photo.png").rename(name)
    before = (folder / name).read_bytes()
    assert inpaint("--save-scales", ".", image=name) == 2
    assert f"{name} is the photograph" in capsys.readouterr().err
    assert (folder / name).read_bytes() == before


def test_names_of_another_unicode_form_are_told_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there, typed = (unicodedata.normalize(form, "Größe.png") for form in ("NFD", "NFC"))
    (folder / "mask.png").rename(there)
    assert inpaint(mask=typed) == 2
    said = f"Error: There is no file {typed}; the name of {there} differs from it in its Unicode form alone.\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("name", ["Größe", "Ångström", "가"])
def test_folders_and_tables_of_another_unicode_form_are_told_of(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, typed = (unicodedata.normalize(form, name) for form in ("NFD", "NFC"))
    (folder / there).mkdir()
    (folder / f"{there}.csv").write_text("image,mask\nphoto.png,mask.png\n")
    for arguments in (
        ["inpaint", "photo.png", "mask.png", "-o", f"{typed}/out.png"],
        ["batch", "--image", typed, "--mask", "mask.png", "-o", "out"],
        ["batch", "--image", "photo.png", "--mask", typed, "-o", "out"],
        ["batch", "--manifest", f"{typed}.csv", "-o", "out"],
    ):
        assert cli.main(arguments) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert re.search(f"; the name of .*{there}(\\.csv)? differs from it in its Unicode form alone\\.$", said)


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    for row in (
        r"neuralpatch_cuda ",
        r"cuda +(yes|no)",
        r"cpu_isa +\w+",
        rf"torch +{re.escape(torch.__version__)}",
        "cache +/",
    ):
        assert re.search(f"^{row}", text, re.MULTILINE), row
    assert re.search(r"^vgg16_relu4_1\.safetensors +[\d,]+ bytes, sha256 [0-9a-f]{64}$", text, re.MULTILINE)
    assert "CC BY 4.0" in text


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"neuralpatch_cuda {neuralpatch_cuda.__version__}\n"

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(cli, "version", missing)
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == "neuralpatch_cuda not installed, run from a checkout\n"


# Content networks of other makers

MODULE = """
import torch

def fill(image, mask):
    return torch.tensor([1.0, 0.4, 0.0]).view(1, 3, 1, 1).expand_as(image)

def half(image, mask):
    return image[..., ::2]

def nothing(image, mask):
    return image / (1 - mask)

def broken(image, mask):
    raise RuntimeError("out of order\\nand of paint")

number = 3
"""


class Orange(torch.nn.Module):
    """Paints what `fill` above does; downsamples twice, so that an odd size fails."""

    def __init__(self) -> None:
        super().__init__()
        self.down = torch.nn.Conv2d(4, 4, 4, 4)
        self.up = torch.nn.ConvTranspose2d(4, 3, 4, 4)
        torch.nn.init.zeros_(self.up.weight)
        self.up.bias.data = torch.tensor([1.0, 0.4, 0.0])

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return image * (1 - mask) + mask * self.up(self.down(torch.cat([image, mask], 1)))


class Blind(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image


@pytest.fixture
def networks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """mymodule.py and some files in the current folder, from which Python itself imports nothing."""
    Image.open("photo.png").crop((0, 0, 93, 77)).save("photo.png")
    Image.open("mask.png").crop((0, 0, 93, 77)).save("mask.png")
    Path("mymodule.py").write_text(MODULE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(Orange()), "scripted.pt")
        example = torch.rand(1, 3, 16, 24), torch.rand(1, 1, 16, 24)
        torch.jit.save(torch.jit.trace(Orange(), example), "traced.pth")
        torch.jit.save(torch.jit.script(Blind()), "blind.pt")
    torch.save(Orange().state_dict(), "state.pt")
    Path("damaged.pt").write_bytes(Path("scripted.pt").read_bytes()[:-99])
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry and Path(entry) != folder])
    yield
    sys.modules.pop("mymodule", None)


@pytest.mark.parametrize("network", ["scripted.pt", "./traced.pth", "mymodule:fill"])
def test_foreign_content_network(network: str, networks: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert inpaint("--content-network", network, "--iterations", "0", "--quiet", "--context", "5") == 0
    assert capsys.readouterr().err == ""
    before, after = np.asarray(Image.open("photo.png")), np.asarray(Image.open("out.png"))
    hole = np.zeros(after.shape[:2], np.bool_)
    hole[HOLE] = True
    assert (after[hole] == (255, 102, 0)).all()
    assert (after[~hole] == before[~hole]).all()


def test_foreign_content_network_in_a_process_of_its_own(networks: None) -> None:
    root = str(Path(cli.__file__).parents[1])
    # As an installed script, which has its own folder, not the current one, in the path.
    code = "import sys; sys.path[0] = sys.argv.pop(1); from neuralpatch_cuda.cli import main; sys.exit(main())"
    command = [sys.executable, "-W", "default", "-c", code, root, "inpaint", "photo.png", "mask.png", "-o", "out.png"]
    for network in ("mymodule:fill", "scripted.pt"):
        arguments = [*command, *FAST, "--content-network", network, "--iterations", "0", "--quiet"]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert Image.open("out.png").getpixel((50, 40)) == (255, 102, 0)
        os.remove("out.png")


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("missing.pt", r"There is no weights file missing\.pt\.$"),
        ("damaged.pt", r"damaged\.pt is not a readable TorchScript file"),
        ("state.pt", r"state\.pt holds weights without their network; .*torch\.jit\.save"),
        ("blind.pt", r"blind\.pt is of another network: it takes \(image\) instead of \(image, mask\)\.$"),
        ("mymodul:fill", r"mymodul:fill cannot be imported \(ModuleNotFoundError: No module named 'mymodul'\)\.$"),
        ("mymodule:fil", r"mymodule:fil cannot be imported \(AttributeError: .* has no attribute 'fil'\)\.$"),
        ("mymodule:number", r"mymodule:number must be a function, not int\.$"),
        ("mymodule:half", r"mymodule:half must return a float tensor \[1, 3, .* not \[1, 3, .*\]\.$"),
        ("mymodule:nothing", r"mymodule:nothing must return a float tensor .* not NaN or infinity\.$"),
        ("mymodule:broken", r"mymodule:broken failed at \d+ x \d+ px \(RuntimeError: out of order\)\.$"),
    ],
)
def test_bad_foreign_content_network(
    network: str, words: str, networks: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inpaint("--content-network", network, "--quiet") == 2
    assert_one_sentence(capsys.readouterr().err, words)
    assert not Path("out.png").exists()


# How it fails


@pytest.fixture
def old_output(folder: Path) -> Iterator[None]:
    """An output from an earlier run; checks that it is the same afterwards, and that nothing was left beside it."""
    Path("out.png").write_bytes(b"the old file")
    yield
    assert Path("out.png").read_bytes() == b"the old file"
    assert [name for name in os.listdir() if name.startswith((".", "out"))] == ["out.png"]


def assert_one_sentence(error: str, words: str) -> None:
    lines = error.strip().splitlines()
    assert len(lines) == 1, error
    assert re.search(words, lines[0]), error
    assert lines[0].startswith("Error: ")


def save(name: str, pixels: Any, kind: Any = np.uint8) -> None:
    Image.fromarray(np.asarray(pixels, kind)).save(name)


def truncate(name: str) -> None:
    content = Path(name).read_bytes()
    Path(name).write_bytes(content[: len(content) // 2])


def lab() -> None:
    Image.new("LAB", (96, 80)).save("photo.tif")
    os.replace("photo.tif", "photo.png")


BAD_INPUT: dict[str, tuple[Callable[[], object], str]] = {
    "image missing": (lambda: os.remove("photo.png"), r"There is no file photo\.png\.$"),
    "mask missing": (lambda: os.remove("mask.png"), r"There is no file mask\.png\.$"),
    "image not an image": (lambda: Path("photo.png").write_text("hello"), r"photo\.png is not an image"),
    "mask not an image": (lambda: Path("mask.png").write_text("hello"), r"mask\.png is not an image"),
    "image truncated": (lambda: truncate("photo.png"), r"photo\.png is damaged"),
    "mask truncated": (lambda: truncate("mask.png"), r"mask\.png is damaged"),
    "mask of another size": (
        lambda: save("mask.png", np.eye(80)),
        r"mask is 80 x 80 px but the image is 96 x 80 px",
    ),
    "mask empty": (lambda: save("mask.png", np.zeros((80, 96))), r"mask is empty"),
    "mask full": (lambda: save("mask.png", np.ones((80, 96))), r"covers the whole image"),
    "image of pixels that cannot be filled": (lab, r"photo\.png has pixels of PIL mode LAB, which cannot be filled"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input(case: str, old_output: None, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, words = BAD_INPUT[case]
    spoil()
    assert inpaint() == 2
    assert_one_sentence(capsys.readouterr().err, words)


def test_few_known_pixels_near_the_hole(capsys: pytest.CaptureFixture[str]) -> None:
    mask = np.zeros((80, 96))
    mask[1:-1, 1:-1] = 1
    save("mask.png", mask)
    assert inpaint("--quiet") == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("Warning: The mask covers 95% of the image")
    assert second.startswith("Warning: Near a hole, no patch of known pixels of the usual size is left to copy from;")
    assert (np.array(Image.open("out.png"))[mask == 0] == np.array(Image.open("photo.png"))[mask == 0]).all()


def test_an_image_smaller_than_a_patch(capsys: pytest.CaptureFixture[str]) -> None:
    save("photo.png", np.arange(9 * 8 * 3).reshape(8, 9, 3))
    save("mask.png", 255 * np.eye(8, 9))
    assert inpaint("--quiet") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--content-network", "nothing"], "no content network called 'nothing'; .* default"),
        (["--texture-network", "nothing"], "no weights called 'nothing'; .* vgg16"),
        (["--content-network", "missing.safetensors"], r"no weights file missing\.safetensors"),
        (["--content-network", str(EMBEDDED_VGG16)], "does not hold a content network"),
        (["--texture-network", "content.safetensors"], r"content\.safetensors"),
        (["--texture-network", "photo.png"], r"photo\.png"),
        (["--layers", "relu3_4"], "vgg16 has no layer 'relu3_4'"),
        (["--alpha", "much"], "alpha must be a number of at least 0, not 'much'"),
        (["--iterations", "10,-1"], "iterations must be a whole number of at least 0, .* not '10,-1'"),
        (["--device", "tpu"], "device"),
        (["--gamma", "1"], "No such option: --gamma"),
        (["third.png"], r"unexpected extra argument"),
        (["--save-scales", "photo.png"], r"Cannot make the folder photo\.png"),
    ],
)
def test_bad_options(arguments: list[str], words: str, old_output: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert inpaint(*arguments) == 2
    assert_one_sentence(capsys.readouterr().err, words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(old_output: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert inpaint("--device", "cuda") == 2
    assert_one_sentence(capsys.readouterr().err, "CUDA was asked for, but")


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("missing/out.png", "there is no folder .*missing"),
        ("photo.png/out.png", "there is no folder"),
        ("out.xyz", "its suffix must be one of"),
        (".", "its suffix must be one of"),
        ("out.jpg", "JPEG cannot hold an image of mode RGBA"),
    ],
)
def test_unwritable_output_is_known_before_work_starts(
    output: str, words: str, old_output: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        pytest.fail("work was started")

    monkeypatch.setattr(inpainter, "Inpainter", refuse)
    Image.open("photo.png").convert("RGBA").save("photo.png")
    assert inpaint(output=output) == 2
    assert_one_sentence(capsys.readouterr().err, words)


def test_interrupt(old_output: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakePainter, "__call__", interrupt)
    monkeypatch.setattr(inpainter, "Inpainter", FakePainter)
    assert inpaint() == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_broken_installation(
    old_output: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "neuralpatch_cuda.inpainter", None)
    assert inpaint() == 2
    assert_one_sentence(capsys.readouterr().err, r"neuralpatch_cuda\.inpainter")


@pytest.mark.parametrize("arguments", [[], ["inpaint"], ["inpaint", "photo.png"], ["unknown"], ["train"]])
def test_wrong_use(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert_one_sentence(capsys.readouterr().err, "see neuralpatch --help")


def test_train_without_accelerate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.delitem(sys.modules, "neuralpatch_cuda.training.train", raising=False)
    monkeypatch.delattr(neuralpatch_cuda.training, "train", raising=False)
    assert cli.main(["train", "--data", ".", "--validation", ".", "--out", "run"]) == 2
    assert_one_sentence(capsys.readouterr().err, r"pip install neuralpatch_cuda\[train\]")


def test_train_with_missing_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--data", "nothing.tar", "--validation", ".", "--out", "run"]) == 2
    assert_one_sentence(capsys.readouterr().err, r"There is no file or folder nothing\.tar\.$")


def test_train(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    train = pytest.importorskip("neuralpatch_cuda.training.train")
    calls = []

    def fake_train(*arguments: Any) -> Path:
        calls.append(arguments)
        return Path("run/content.safetensors")

    monkeypatch.setattr(train, "train", fake_train)
    Path("b").mkdir()
    arguments = "train --data . --data b --validation b --out run --samples 640 --seed 7"
    assert cli.main(arguments.split()) == 0
    data = [Path("."), Path("b")]
    assert calls == [(data, [Path("b")], Path("run"), TrainConfig(samples=640, seed=7), None)]
    assert capsys.readouterr().out == "run/content.safetensors\n"
    assert cli.main([*arguments.split(), "--initial-weights", "content.safetensors", "--adversarial=0.01"]) == 0
    config, network = calls[-1][-2:]
    assert config.adversarial == 0.01
    assert network.config == ContentConfig(width=16, dilations=(1,))


def test_overfit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    train = pytest.importorskip("neuralpatch_cuda.training.train")
    calls = []

    def fake_overfit(*arguments: Any) -> str:
        calls.append(arguments)
        return "they were learnt"

    monkeypatch.setattr(train, "overfit", fake_overfit)
    assert cli.main(["train", "--data", ".", "--out", "run", "--overfit", "8"]) == 0
    assert calls == [([Path(".")], 8, Path("run"), TrainConfig(), None)]
    assert capsys.readouterr().out == "they were learnt\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--data .", r"Give either --validation, photographs that are held out, or --overfit\.$"),
        (
            "--data . --validation . --overfit 8",
            r"Give either --validation, photographs that are held out, or --overfit\.$",
        ),
        ("--data . --validation . --samples none", r"samples must be a whole number of at least 1, not 'none'\.$"),
        ("--data . --validation . --l2=-1", r"l2 must be a number of at least 0, not '-1'\.$"),
        (
            "--data . --validation . --architecture unet",
            r"architecture must be content or context-encoder, not 'unet'\.$",
        ),
        (
            "--data . --validation . --initial-weights none.safetensors",
            r"There is no weights file none\.safetensors\.$",
        ),
        ("--data empty --validation .", r"No images \(\.bmp, .*\) were found in empty\.$"),
        (
            "--data . --validation .",
            r"None of the 2 images in \. can be used: 0 cannot be read, 2 have a short side of less",
        ),
    ],
)
def test_training_that_cannot_start(arguments: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("neuralpatch_cuda.training.train")
    Path("empty").mkdir()
    assert cli.main(["train", "--out", "run", *arguments.split()]) == 2
    assert_one_sentence(capsys.readouterr().err, sentence)
