"""Networks of other makers: what they are given, what is made of what they return, and how they are found."""

from __future__ import annotations

import os
import re
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neuralpatch_cuda import InpaintConfig, Inpainter
from neuralpatch_cuda.errors import NetworkError, WeightsError
from neuralpatch_cuda.networks.content import ContentConfig, ContentNetwork
from neuralpatch_cuda.networks.context_encoder import ContextEncoder, ContextEncoderConfig
from neuralpatch_cuda.networks.foreign import ForeignNetwork
from neuralpatch_cuda.networks.weights import EMBEDDED_VGG16, UnknownWeightsError, save_content_network
from neuralpatch_cuda.synthesis.content import resolve_content_network
from neuralpatch_cuda.synthesis.exemplar import CombinedContent, ExemplarContent


class TinyLama(nn.Module):
    """Shaped as LaMa is: downsamples, upsamples, and composites itself, so that odd sizes fail."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8))
        self.up = nn.Sequential(nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 3, 4, 2, 1))

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        masked = torch.cat([image * (1 - mask), mask], 1)
        filled = torch.sigmoid(self.up(self.down(masked)))
        return mask * filled + (1 - mask) * image


class OneInput(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image


class ThreeInputs(nn.Module):
    def forward(self, image: Tensor, mask: Tensor, edges: Tensor) -> Tensor:
        return image + mask + edges


class WithAnOption(nn.Module):
    def forward(self, image: Tensor, mask: Tensor, strength: float = 0.5) -> Tensor:
        return image + mask * strength


class NoForward(nn.Module):
    @torch.jit.export
    def fill(self, image: Tensor, mask: Tensor) -> Tensor:
        return image + mask


class WrongChannels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(5, 3, 1)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return self.stem(torch.cat([image, mask], 1))


def lama() -> TinyLama:
    torch.manual_seed(0)
    return TinyLama().eval().requires_grad_(False)


def traced(network: nn.Module) -> torch.jit.ScriptModule:
    return torch.jit.trace(network, (torch.rand(1, 3, 64, 48), torch.rand(1, 1, 64, 48)))


EXPORTS: dict[str, Callable[[nn.Module], torch.jit.ScriptModule]] = {
    "scripted": torch.jit.script,
    "traced": traced,
    "frozen": lambda network: torch.jit.freeze(torch.jit.script(network)),
}


def export(network: nn.Module, path: Path, how: str = "scripted") -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(EXPORTS[how](network), path)
    return path


def picture(height: int = 45, width: int = 61) -> tuple[Tensor, Tensor]:
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(1, 1, height, width)
    mask[..., height // 3 :, 5 : width // 2] = 1
    return image, mask


def one_sentence(error: pytest.ExceptionInfo[BaseException]) -> str:
    message = str(error.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


# What they are given, and what becomes of what they return


@pytest.mark.parametrize("size", [(45, 61), (48, 64), (12, 13), (5, 3), (1, 1)])
def test_what_a_network_is_given(size: tuple[int, int]) -> None:
    calls: list[tuple[Tensor, Tensor]] = []

    def fill(image: Tensor, mask: Tensor) -> Tensor:
        calls.append((image.clone(), mask.clone()))
        image[:], mask[:] = 0.25, 0  # what it is given, it may write to
        return image

    image, mask = picture(*size)
    before = image.clone(), mask.clone()
    out = ForeignNetwork(fill)(image, mask)
    assert torch.equal(image, before[0]) and torch.equal(mask, before[1])
    ((seen, hole),) = calls
    (height, width) = size
    assert seen.dtype == hole.dtype == torch.float32
    assert seen.shape == (1, 3, -(-height // 8) * 8, -(-width // 8) * 8)
    assert hole.shape == (1, 1, *seen.shape[2:])
    assert torch.equal(hole[..., :height, :width], mask)
    assert torch.equal(seen[..., :height, :width], image * (1 - mask))
    # The padding continues the last row and column, of the image and of the hole.
    assert torch.equal(
        seen[..., height:, :width], seen[..., height - 1 : height, :width].expand(-1, -1, -height % 8, -1)
    )
    assert torch.equal(hole[..., width:], hole[..., width - 1 : width].expand(-1, -1, -1, -width % 8))
    assert torch.equal(out, torch.where(mask > 0, 0.25, image))


def test_the_result_is_cropped_and_composited() -> None:
    def ramp(image: Tensor, mask: Tensor) -> Tensor:
        return torch.arange(image.shape[-1]).div(100).expand_as(image).double()

    image, mask = picture()
    out = ForeignNetwork(ramp)(image, mask)
    assert out.dtype == torch.float32
    expected = torch.arange(61).div(100).expand_as(image)
    torch.testing.assert_close(out, torch.where(mask > 0, expected, image))


def test_a_module_moves_and_evaluates_with_its_wrapper() -> None:
    module = TinyLama().train()
    network = ForeignNetwork(module)
    assert not any(part.training for part in module.modules())
    network.to("meta")
    assert all(parameter.is_meta for parameter in module.parameters())


@pytest.mark.parametrize(
    ("fill", "wrong"),
    [
        (lambda image, mask: None, "NoneType"),
        (lambda image, mask: image.numpy(), "ndarray"),
        (lambda image, mask: (image, mask), "tuple"),
        (lambda image, mask: image[..., 1:], "[1, 3, 48, 63]"),
        (lambda image, mask: image[0], "[3, 48, 64]"),
        (lambda image, mask: mask, "[1, 1, 48, 64]"),
        (lambda image, mask: image.byte(), "torch.uint8"),
        (lambda image, mask: image / (1 - mask), "NaN or infinity"),
        (lambda image, mask: image + mask / 0, "NaN or infinity"),
    ],
)
def test_a_wrong_result(fill: Callable[[Tensor, Tensor], Any], wrong: str) -> None:
    with pytest.raises(NetworkError) as error:
        ForeignNetwork(fill, "net")(*picture())
    assert one_sentence(error) == (
        f"The content network net must return a float tensor [1, 3, 48, 64] with values in [0, 1], not {wrong}."
    )


def test_a_callable_that_fails() -> None:
    def fill(image: Tensor, mask: Tensor) -> Tensor:
        raise KeyError("weights\nand more")

    def one(image: Tensor) -> Tensor:
        return image

    for wrong, words in (
        (fill, r"fill failed at 64 x 48 px \(KeyError: "),
        (one, r"one failed .*TypeError: .*argument"),
    ):
        with pytest.raises(NetworkError, match=words) as error:
            ForeignNetwork(wrong)(*picture())
        one_sentence(error)
        assert error.value.__cause__ is not None


def test_too_little_memory_stays_what_it_is() -> None:
    def fill(image: Tensor, mask: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        ForeignNetwork(fill)(*picture())


# TorchScript


@pytest.mark.parametrize("name", ["lama.pt", "lama.pth", "lama.torchscript", "lama.bin", "lama"])
@pytest.mark.parametrize("how", EXPORTS)
def test_torchscript(tmp_path: Path, how: str, name: str) -> None:
    path = export(lama(), tmp_path / name, how)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = resolve_content_network(path)
    image, mask = picture()
    with pytest.raises(RuntimeError):  # what the padding is for
        lama()(image, mask)
    padded = (
        nn.functional.pad(image * (1 - mask), (0, 3, 0, 3), "replicate"),
        nn.functional.pad(mask, (0, 3, 0, 3), "replicate"),
    )
    expected = torch.where(mask > 0, lama()(*padded)[..., :45, :61], image)
    torch.testing.assert_close(network(image, mask), expected)


def test_other_deprecations_are_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = export(lama(), tmp_path / "lama.pt")
    load = torch.jit.load

    def outdated(*arguments: Any, **options: Any) -> Any:
        warnings.warn("an operator of this file is deprecated", DeprecationWarning, stacklevel=2)
        return load(*arguments, **options)

    monkeypatch.setattr(torch.jit, "load", outdated)
    with pytest.warns(DeprecationWarning, match="operator") as caught:
        resolve_content_network(path)
    assert [str(warning.message) for warning in caught] == ["an operator of this file is deprecated"]


def test_torchscript_with_an_option_of_its_own(tmp_path: Path) -> None:
    image, mask = picture()
    out = resolve_content_network(str(export(WithAnOption(), tmp_path / "net.pt")))(image, mask)
    torch.testing.assert_close(out, torch.where(mask > 0, 0.5, image))


@pytest.mark.parametrize(
    ("network", "taken"), [(OneInput(), "image"), (ThreeInputs(), "image, mask, edges"), (NoForward(), "")]
)
def test_torchscript_with_another_signature(tmp_path: Path, network: nn.Module, taken: str) -> None:
    path = export(network, tmp_path / "net.pt")
    with pytest.raises(WeightsError) as error:
        resolve_content_network(path)
    assert str(error.value) == f"{path} is of another network: it takes ({taken}) instead of (image, mask)."


def test_torchscript_that_fails(tmp_path: Path) -> None:
    path = export(WrongChannels(), tmp_path / "net.pt")
    with pytest.raises(NetworkError, match=r"expected input\[1, 4, 48, 64\] to have 5 channels") as error:
        resolve_content_network(path)(*picture())
    assert one_sentence(error).startswith(
        f"The content network {path} failed at 64 x 48 px (RuntimeError: Given groups=1"
    )


@pytest.mark.parametrize("name", ["lama.pt", "lama.ckpt"])
def test_weights_without_their_network(tmp_path: Path, name: str) -> None:
    torch.save(lama().state_dict(), tmp_path / name)
    with pytest.raises(WeightsError, match=rf"{name} holds weights without their network; .*torch\.jit\.save") as error:
        resolve_content_network(tmp_path / name)
    one_sentence(error)


@pytest.mark.parametrize("name", ["lama.pt", "lama.pth", "lama.torchscript", "lama"])
@pytest.mark.parametrize("content", [b"", b"not a network", b"\x80\x02garbage", b"PK\x03\x04broken", b"\xff" * 64])
def test_damaged_file(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match="damaged") as error:
        resolve_content_network(tmp_path / name)
    assert str(tmp_path / name) in one_sentence(error)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_part_of_a_file(tmp_path: Path, share: float) -> None:
    data = export(lama(), tmp_path / "lama.pt").read_bytes()
    (tmp_path / "lama.pt").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsError, match="not a readable TorchScript file") as error:
        resolve_content_network(tmp_path / "lama.pt")
    one_sentence(error)


def test_an_archive_with_a_wrong_program(tmp_path: Path) -> None:
    whole = export(lama(), tmp_path / "whole.pt")
    path = tmp_path / "lama.pt"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, b"def forward(" if "/code/" in name else source.read(name))
    with pytest.raises(WeightsError, match="not a readable TorchScript file") as error:
        resolve_content_network(path)
    one_sentence(error)


# Names, weights and networks of the library's own


def test_weights_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert isinstance(resolve_content_network("default"), ContentNetwork)
    export(lama(), tmp_path / "default")  # a name goes before a file of that name
    assert isinstance(resolve_content_network("default"), ContentNetwork)
    assert isinstance(resolve_content_network(Path("default")), ForeignNetwork)
    small = ContentNetwork(ContentConfig(8, (1,)))
    encoder = ContextEncoder(ContextEncoderConfig(4, 16))
    for network, kind in ((small, ContentNetwork), (encoder, ContextEncoder)):
        save_content_network(network, tmp_path / "net.safetensors")
        for source in ("net.safetensors", tmp_path / "net.safetensors"):
            loaded = resolve_content_network(source)
            assert isinstance(loaded, kind)
            assert loaded.side == 128


def test_a_network_of_the_library_is_used_as_such() -> None:
    network = ContentNetwork(ContentConfig(8, (1,)))
    assert resolve_content_network(network) is network
    assert not network.training


@pytest.mark.parametrize(("name", "kind"), [("exemplar", ExemplarContent), ("combined", CombinedContent)])
def test_patches_of_the_photograph_in_the_place_of_a_network(name: str, kind: type[nn.Module]) -> None:
    """Stripes go through the hole, which a guess of one colour would not do."""
    stripes = (torch.arange(128) % 8 < 4).float().expand(1, 3, 128, 128)
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 48:80, 48:80] = 1
    network = resolve_content_network(name)
    assert isinstance(network, kind)
    assert network.side == 128
    filled = network(stripes, mask)
    assert (filled - stripes).abs().mean() * 16 < 0.1
    painter = Inpainter(InpaintConfig(content_network=name, iterations=0), device="cpu")
    out = painter(stripes[0], mask[0, 0] > 0)
    torch.testing.assert_close(out, filled[0].clamp(0, 1), atol=1e-4, rtol=0)


def test_what_is_not_there(tmp_path: Path) -> None:
    for source in ("nowhere/lama.pt", "lama.pt", Path("nowhere"), tmp_path / "a:b"):
        with pytest.raises(FileNotFoundError, match=r"There is no weights file .*\.$"):
            resolve_content_network(source)
    known = "default, .*exemplar, combined"
    with pytest.raises(UnknownWeightsError, match=f"no content network called 'lama'; give a path, .* one of: {known}"):
        resolve_content_network("lama")
    with pytest.raises(WeightsError, match="does not hold a content network"):
        resolve_content_network(EMBEDDED_VGG16)


# Import strings

MODULE = """
from pathlib import Path

import torch

def fill(image, mask):
    from neighbour import COLOUR
    return torch.full_like(image, COLOUR)

class Painter:
    def fill(self, image, mask):
        return torch.full_like(image, 0.75)

painter = Painter()
number = 3
"""


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, from which nothing can be imported yet, with some modules."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry and os.path.abspath(entry) != str(tmp_path)])
    before = set(sys.modules)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "module.py").write_text(MODULE)
    (tmp_path / "mymodule.py").write_text(MODULE)
    (tmp_path / "neighbour.py").write_text("COLOUR = 0.5")
    (tmp_path / "unfinished.py").write_text("def fill(image, mask:\n")
    (tmp_path / "needy.py").write_text("import not_installed_anywhere")
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("package", "mymodule", "neighbour", "unfinished", "needy"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("text", "value"),
    [("mymodule:fill", 0.5), ("package.module:fill", 0.5), ("mymodule:painter.fill", 0.75)],
)
def test_import_string(workplace: Path, text: str, value: float) -> None:
    network = resolve_content_network(text)
    assert isinstance(network, ForeignNetwork)
    assert network.name == text
    image, mask = picture()
    assert torch.equal(network(image, mask), torch.where(mask > 0, value, image))
    resolve_content_network(text)
    assert sys.path.count(str(workplace)) == 1


def test_the_path_is_left_alone_without_an_import_string(workplace: Path) -> None:
    before = list(sys.path)
    resolve_content_network("default")
    assert sys.path == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nomodule:fill", "cannot be imported (ModuleNotFoundError: No module named 'nomodule')"),
        ("package.nothing:fill", "cannot be imported (ModuleNotFoundError: No module named 'package.nothing')"),
        ("mymodule:fil", "cannot be imported (AttributeError: module 'mymodule' has no attribute 'fil')"),
        ("unfinished:fill", "cannot be imported (SyntaxError: "),
        ("needy:fill", "cannot be imported (ModuleNotFoundError: No module named 'not_installed_anywhere')"),
        (":fill", "cannot be imported (ValueError: "),
        ("..:fill", "cannot be imported (ValueError: "),
        ("mymodule:", "must be a function, not module"),
        ("mymodule:number", "must be a function, not int"),
    ],
)
def test_wrong_import_string(workplace: Path, text: str, words: str) -> None:
    with pytest.raises(NetworkError, match=re.escape(f"The content network {text} {words}")) as error:
        resolve_content_network(text)
    one_sentence(error)
