"""Weights: the embedded files, the formats, the downloads, and what is refused."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import pickle
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from neuralpatch_cuda.errors import NeuralPatchError, WeightsError
from neuralpatch_cuda.networks import weights
from neuralpatch_cuda.networks.content import ContentConfig, ContentNetwork
from neuralpatch_cuda.networks.context_encoder import ContextEncoder, ContextEncoderConfig
from neuralpatch_cuda.networks.texture import (
    CAFFE_NORMALISATION,
    LAYERS,
    TORCHVISION_NORMALISATION,
    Architecture,
)
from neuralpatch_cuda.networks.weights import (
    EMBEDDED_VGG16,
    TEXTURE_NETWORKS,
    Download,
    UnknownWeightsError,
    cache_folder,
    load_content_network,
    load_texture_network,
    save_content_network,
)

# Place and shape of the convolutions in torchvision's `features`, written out.
TORCHVISION: dict[Architecture, dict[int, tuple[str, int, int]]] = {
    "vgg16": {
        0: ("conv1_1", 64, 3),
        2: ("conv1_2", 64, 64),
        5: ("conv2_1", 128, 64),
        7: ("conv2_2", 128, 128),
        10: ("conv3_1", 256, 128),
        12: ("conv3_2", 256, 256),
        14: ("conv3_3", 256, 256),
        17: ("conv4_1", 512, 256),
    },
    "vgg19": {
        0: ("conv1_1", 64, 3),
        2: ("conv1_2", 64, 64),
        5: ("conv2_1", 128, 64),
        7: ("conv2_2", 128, 128),
        10: ("conv3_1", 256, 128),
        12: ("conv3_2", 256, 256),
        14: ("conv3_3", 256, 256),
        16: ("conv3_4", 256, 256),
        19: ("conv4_1", 512, 256),
    },
}


def torchvision_state(architecture: Architecture) -> OrderedDict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    state: OrderedDict[str, Tensor] = OrderedDict()
    for i, (_, out, into) in TORCHVISION[architecture].items():
        state[f"features.{i}.weight"] = torch.randn(out, into, 3, 3, generator=generator)
        state[f"features.{i}.bias"] = torch.randn(out, generator=generator)
    return state


@pytest.fixture(scope="module", params=["vgg16", "vgg19"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Architecture, Path]:
    """A checkpoint as torchvision publishes it: deeper layers and the classifier follow."""
    state = torchvision_state(request.param)
    last = max(TORCHVISION[request.param])
    state[f"features.{last + 2}.weight"] = torch.zeros(512, 512, 3, 3)
    state["classifier.0.weight"] = torch.zeros(8, 8)
    path = tmp_path_factory.mktemp("checkpoint") / "net.pth"
    torch.save(state, path)
    return request.param, path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("NEURALPATCH_CACHE", str(folder))
    monkeypatch.delenv("NEURALPATCH_OFFLINE", raising=False)
    return folder


@pytest.fixture
def served(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, list[str]]]:
    """A checkpoint behind a local web server, registered as "vgg19", and the list of requests to it."""
    folder = tmp_path / "site"
    folder.mkdir()
    file = folder / "vgg19-test.pth"
    torch.save(torchvision_state("vgg19"), file)
    requests: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            requests.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/{file.name}"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setitem(TEXTURE_NETWORKS, "vgg19", Download(url, digest))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield file, requests
    server.shutdown()
    server.server_close()


def one_sentence(error: pytest.ExceptionInfo[BaseException]) -> str:
    message = str(error.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


# The embedded texture network


def test_embedded_vgg16_has_the_published_values() -> None:
    state = load_texture_network("vgg16", LAYERS["vgg16"]).state_dict()
    # Published for BGR input; the stored input channels are RGB, so blue is the last.
    blue = state["conv1_1.weight"][0, 2].flatten()[:6]
    published = torch.tensor([0.42947057, 0.373467, -0.06136011, 0.27476987, 0.03868078, -0.36722335])
    torch.testing.assert_close(blue, published, rtol=2**-11, atol=0)
    assert state["conv1_1.weight"][0, 1, 0, 0].item() == pytest.approx(0.55037946, rel=2**-11)
    assert state["conv1_1.bias"][0].item() == pytest.approx(0.73429835, rel=2**-11)
    assert state["conv1_1.bias"][25].item() == pytest.approx(0.7446502, rel=2**-11)
    assert state["conv1_2.weight"][63, 63, 2, 2].item() == pytest.approx(0.016082443, rel=2**-11)
    assert state["conv2_1.bias"][1].item() == pytest.approx(0.06440781, rel=2**-11)


def test_embedded_vgg16_file() -> None:
    assert EMBEDDED_VGG16.stat().st_size < 6e6
    with safe_open(EMBEDDED_VGG16, "pt") as file:
        header = file.metadata()
    assert header["architecture"] == "vgg16"
    assert header["licence"].startswith("CC BY 4.0")
    assert "Simonyan" in header["source"]
    stored = load_file(EMBEDDED_VGG16)
    assert {value.dtype for value in stored.values()} == {torch.float16}
    assert {name for name, _, _ in TORCHVISION["vgg16"].values()} == {name.split(".")[0] for name in stored}
    network = load_texture_network("vgg16", ["relu4_1"])
    assert network.normalisation == CAFFE_NORMALISATION
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}


def test_loading_spends_no_random_numbers() -> None:
    before = torch.get_rng_state()
    weight = load_texture_network("vgg16", ["relu1_1"]).get_parameter("conv1_1.weight")
    assert torch.equal(torch.get_rng_state(), before)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.requires_grad


# Files


def test_torchvision_checkpoint(checkpoint: tuple[Architecture, Path]) -> None:
    architecture, path = checkpoint
    network = load_texture_network(path, ["relu3_1", "relu4_1"])
    assert network.architecture == architecture
    assert network.normalisation == TORCHVISION_NORMALISATION
    state = torchvision_state(architecture)
    for i, (name, _, _) in TORCHVISION[architecture].items():
        assert torch.equal(network.state_dict()[f"{name}.weight"], state[f"features.{i}.weight"])
        assert torch.equal(network.state_dict()[f"{name}.bias"], state[f"features.{i}.bias"])


def test_torchvision_weights_as_safetensors(tmp_path: Path) -> None:
    save_file(torchvision_state("vgg19"), tmp_path / "vgg.safetensors")
    network = load_texture_network(str(tmp_path / "vgg.safetensors"), ["relu1_2"])
    assert (network.architecture, network.normalisation) == ("vgg19", TORCHVISION_NORMALISATION)


def test_layer_of_the_other_architecture_is_refused(checkpoint: tuple[Architecture, Path]) -> None:
    architecture, path = checkpoint
    if architecture == "vgg19":
        assert load_texture_network(path, ["relu3_4"]).layers == ("relu3_4",)
    else:
        with pytest.raises(ValueError, match=r"vgg16 has no layer 'relu3_4'"):
            load_texture_network(path, ["relu3_4"])


def test_missing_path() -> None:
    for load in (functools.partial(load_texture_network, layers=["relu1_1"]), load_content_network):
        with pytest.raises(FileNotFoundError, match="nowhere") as error:
            load("nowhere/vgg.pth")
        one_sentence(error)
        with pytest.raises(FileNotFoundError):
            load(Path("nowhere"))


def test_unknown_name() -> None:
    with pytest.raises(UnknownWeightsError, match=r"vgg61.*: vgg16, vgg16-torchvision, vgg19") as error:
        load_texture_network("vgg61", ["relu1_1"])
    assert isinstance(error.value, ValueError)
    assert isinstance(error.value, NeuralPatchError)
    one_sentence(error)
    with pytest.raises(ValueError, match="one of: default"):
        load_content_network("vgg16")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x02garbage", b"PK\x03\x04broken", b"\xff" * 64])
def test_damaged_file(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    for load in (functools.partial(load_texture_network, layers=["relu1_1"]), load_content_network):
        with pytest.raises(WeightsError, match="damaged") as error:
            load(path)
        assert str(path) in one_sentence(error)


def test_half_a_file(tmp_path: Path) -> None:
    data = EMBEDDED_VGG16.read_bytes()
    (tmp_path / "half.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match="damaged"):
        load_texture_network(tmp_path / "half.safetensors", ["relu1_1"])


class Payload:
    """Runs a command when it is unpickled carelessly."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, zipped: bool) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.pth"
    content = {**torchvision_state("vgg16"), "payload": Payload(trace)}
    if zipped:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(Payload(trace)))
    with pytest.raises(WeightsError, match="tensors only"):
        load_texture_network(path, ["relu1_1"])
    assert not trace.exists()
    torch.load(path, weights_only=False) if zipped else pickle.loads(path.read_bytes())
    assert trace.exists()  # the payload was armed


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"model": {"features.0.weight": torch.zeros(1)}}, {"epoch": 3}])
def test_checkpoint_that_is_no_state_dictionary(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="state dictionary"):
        load_texture_network(tmp_path / "net.pth", ["relu1_1"])


def test_checkpoint_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"layer1.0.weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match="does not hold a texture network"):
        load_texture_network(path, ["relu1_1"])

    state = torchvision_state("vgg16")
    del state["features.7.bias"]
    torch.save(state, path)
    # Also when the layer asked for would not need the missing one.
    with pytest.raises(WeightsError, match=r"another network: conv2_2\.bias is missing instead of \[128\]"):
        load_texture_network(path, ["relu1_1"])

    state = torchvision_state("vgg16")
    state["features.17.weight"] = torch.zeros(512, 512, 3, 3)  # as VGG-13 has it
    torch.save(state, path)
    with pytest.raises(WeightsError, match=r"conv4_1\.weight is \[512, 512, 3, 3\] instead of \[512, 256, 3, 3\]"):
        load_texture_network(path, ["relu1_1"])


@pytest.mark.parametrize(
    "change",
    [{"architecture": "vgg11"}, {"mean": "[1, 2]"}, {"std": "none"}, {"mean": "3"}, {"std": '["a", 1, 1]'}],
)
def test_texture_header_with_an_error(tmp_path: Path, change: dict[str, str]) -> None:
    header = {"network": "texture", "architecture": "vgg16", "mean": "[0, 0, 0]", "std": "[1, 1, 1]"}
    tensors, path = load_file(EMBEDDED_VGG16), tmp_path / "vgg.safetensors"
    save_file(tensors, path, header)
    assert load_texture_network(path, ["relu1_1"]).normalisation.mean == (0, 0, 0)
    save_file(tensors, path, {**header, **change})
    with pytest.raises(WeightsError, match="header"):
        load_texture_network(path, ["relu1_1"])


# Downloads


def test_registered_addresses_end_in_the_start_of_the_digest() -> None:
    downloads = [entry for entry in TEXTURE_NETWORKS.values() if isinstance(entry, Download)]
    assert len(downloads) == 2
    for entry in downloads:
        assert len(entry.sha256) == 64
        assert entry.file_name.endswith(f"-{entry.sha256[:8]}.pth")


def test_download_and_reuse(served: tuple[Path, list[str]], cache: Path) -> None:
    file, requests = served
    assert load_texture_network("vgg19", ["relu3_4"]).architecture == "vgg19"
    assert [path.name for path in cache.iterdir()] == [file.name]
    assert (cache / file.name).read_bytes() == file.read_bytes()
    assert load_texture_network("vgg19", ["relu3_4"], offline=True).architecture == "vgg19"
    load_texture_network("vgg19", ["relu3_4"])
    assert len(requests) == 1


def test_download_with_a_wrong_digest(
    served: tuple[Path, list[str]], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = TEXTURE_NETWORKS["vgg19"]
    assert isinstance(entry, Download)
    monkeypatch.setitem(TEXTURE_NETWORKS, "vgg19", Download(entry.url, "0" * 64))
    with pytest.raises(WeightsError, match="wrong sha256") as error:
        load_texture_network("vgg19", ["relu1_1"])
    message = one_sentence(error)
    assert entry.url in message
    assert str(cache / entry.file_name) in message
    assert list(cache.iterdir()) == []


def test_damaged_file_in_the_cache(served: tuple[Path, list[str]], cache: Path) -> None:
    file, requests = served
    cache.mkdir()
    (cache / file.name).write_bytes(file.read_bytes()[:-1])
    with pytest.raises(WeightsError, match=r"damaged \(wrong sha256\); delete it") as error:
        load_texture_network("vgg19", ["relu1_1"])
    assert str(cache / file.name) in one_sentence(error)
    assert requests == []


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_offline(served: tuple[Path, list[str]], cache: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    file, requests = served
    if how == "environment":
        monkeypatch.setenv("NEURALPATCH_OFFLINE", "1")
    with pytest.raises(WeightsError, match="downloads are switched off") as error:
        load_texture_network("vgg19", ["relu1_1"], offline=how == "argument")
    message = one_sentence(error)
    assert f"/{file.name} elsewhere" in message
    assert str(cache / file.name) in message
    assert requests == []
    assert not cache.exists()


def test_offline_0_is_online(served: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURALPATCH_OFFLINE", "0")
    assert load_texture_network("vgg19", ["relu1_1"]).layers == ("relu1_1",)


def test_failed_download(served: tuple[Path, list[str]], cache: Path) -> None:
    file, _ = served
    file.unlink()
    with pytest.raises(WeightsError, match=r"could not be downloaded .*404") as error:
        load_texture_network("vgg19", ["relu1_1"])
    assert str(cache / file.name) in one_sentence(error)
    assert list(cache.iterdir()) == []


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NEURALPATCH_CACHE", str(tmp_path / "a"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.setenv("NEURALPATCH_CACHE", "")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    assert cache_folder() == tmp_path / "hub" / "checkpoints"


# The content network


def test_content_network_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ContentConfig(width=8, dilations=(1,))
    save_content_network(ContentNetwork(config), tmp_path / "content.safetensors")
    monkeypatch.setitem(weights.CONTENT_NETWORKS, "default", tmp_path / "content.safetensors")
    assert load_content_network().config == config


def test_a_file_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not hold a content network") as error:
        load_content_network(EMBEDDED_VGG16)
    one_sentence(error)
    save_content_network(ContentNetwork(ContentConfig(8, (1,))), tmp_path / "content.safetensors")
    with pytest.raises(WeightsError, match="does not hold a texture network"):
        load_texture_network(tmp_path / "content.safetensors", ["relu1_1"])


@pytest.mark.parametrize(
    "config",
    [
        None,
        "{",
        "[]",
        "{}",
        '{"width": 8}',
        '{"width": 8, "dilations": [1], "depth": 2}',
        '{"width": "a", "dilations": [1]}',
    ],
)
def test_content_header_with_an_error(tmp_path: Path, config: str | None) -> None:
    path = tmp_path / "content.safetensors"
    header = {"network": "content"} | ({} if config is None else {"config": config})
    save_file(dict(ContentNetwork(ContentConfig(8, (1,))).state_dict()), path, header)
    with pytest.raises(WeightsError, match="header"):
        load_content_network(path)


@pytest.mark.parametrize(("width", "dilations"), [(16, [1]), (8, [1, 1]), (8, [])])
def test_content_weights_that_do_not_fit_their_header(tmp_path: Path, width: int, dilations: list[int]) -> None:
    path = tmp_path / "content.safetensors"
    config = json.dumps({"width": width, "dilations": dilations, "detail": [1], "noise": 0.0})
    state = dict(ContentNetwork(ContentConfig(8, (1,), (1,))).state_dict())
    save_file(state, path, {"network": "content", "config": config})
    with pytest.raises(WeightsError, match="of another network") as error:
        load_content_network(path)
    one_sentence(error)


# The context encoder

TINY = ContextEncoderConfig(width=4, bottleneck=16)


@pytest.fixture
def context_encoder() -> ContextEncoder:
    """As after some steps of training: the statistics of its batch normalisations are their own."""
    torch.manual_seed(0)
    network = ContextEncoder(TINY)
    mask = torch.zeros(2, 1, 128, 128)
    mask[..., 32:96, 32:96] = 1
    for _ in range(3):
        network(torch.rand(2, 3, 128, 128), mask)
    return network


def test_context_encoder_is_saved_and_loaded(context_encoder: ContextEncoder, tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    context_encoder.state_dict()["encoder.3.num_batches_tracked"].fill_(2**24 + 1)  # neither float16 nor float32 has it
    save_content_network(context_encoder, path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    loaded = load_content_network(path)
    assert isinstance(loaded, ContextEncoder)
    assert loaded.config == TINY
    assert not any(module.training for module in loaded.modules())
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    state = loaded.state_dict()
    assert state["encoder.3.num_batches_tracked"] == 2**24 + 1
    assert (state["encoder.3.running_mean"] != 0).all()
    for name, value in context_encoder.state_dict().items():
        counted = name.endswith("num_batches_tracked")
        assert state[name].dtype == value.dtype == (torch.int64 if counted else torch.float32)
        assert torch.equal(state[name], value if counted else value.half().float()), name

    image, mask = torch.rand(1, 3, 90, 120), torch.zeros(1, 1, 90, 120)
    mask[..., 20:50, 30:80] = 1
    expected = context_encoder.eval()(image, mask)
    torch.testing.assert_close(loaded(image, mask), expected, atol=5e-3, rtol=0)


def test_loading_a_content_network_spends_no_random_numbers(context_encoder: ContextEncoder, tmp_path: Path) -> None:
    save_content_network(context_encoder, tmp_path / "encoder.safetensors")
    before = torch.get_rng_state()
    load_content_network(tmp_path / "encoder.safetensors")
    load_content_network()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "config",
    [None, "{", "[]", "3", "{}", '{"width": 4}', '{"width": 4, "bottleneck": -1}', '{"width": 8, "dilations": [1]}'],
)
def test_context_encoder_header_with_an_error(
    context_encoder: ContextEncoder, tmp_path: Path, config: str | None
) -> None:
    path = tmp_path / "encoder.safetensors"
    header = {"network": "context-encoder"} | ({} if config is None else {"config": config})
    save_file(context_encoder.state_dict(), path, header)
    with pytest.raises(WeightsError, match="header") as error:
        load_content_network(path)
    one_sentence(error)


def test_context_encoder_weights_that_do_not_fit_their_header(context_encoder: ContextEncoder, tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    header = {"network": "context-encoder", "config": '{"width": 4, "bottleneck": 16}'}
    state = context_encoder.state_dict()
    name = "decoder.1.num_batches_tracked"

    save_file({key: value for key, value in state.items() if key != name}, path, header)
    with pytest.raises(WeightsError, match=rf"of another network: {name} is missing instead of \[\]\.$"):
        load_content_network(path)

    save_file(state | {name: torch.zeros(1)}, path, header)
    with pytest.raises(WeightsError, match=rf"of another network: {name} is \[1\] instead of \[\]\.$"):
        load_content_network(path)

    save_file(state | {"decoder.1.bias": torch.zeros(())}, path, header)
    with pytest.raises(WeightsError, match=r"of another network: decoder\.1\.bias is \[\] instead of \[32\]\.$"):
        load_content_network(path)

    save_file(state | {"count": torch.zeros(())}, path, header)
    with pytest.raises(WeightsError, match=r"of another network: count is not part of it\.$"):
        load_content_network(path)

    save_file(state, path, {**header, "config": '{"width": 4, "bottleneck": 17}'})
    with pytest.raises(WeightsError, match=r"encoder\.14\.weight is \[16, 32, 4, 4\] instead of \[17, 32, 4, 4\]"):
        load_content_network(path)

    save_file(state, path, {"network": "discriminator", "config": header["config"]})
    with pytest.raises(WeightsError, match="does not hold a content network"):
        load_content_network(path)
