"""CUDA graphs without a GPU: a stand-in that records operations on fixed tensors and repeats them there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from neuralpatch_cuda import ops
from neuralpatch_cuda.networks.weights import load_texture_network
from neuralpatch_cuda.synthesis import replay, scale
from neuralpatch_cuda.synthesis.optimiser import LBFGS, Adam, Minimiser
from neuralpatch_cuda.synthesis.replay import WARM_UP, Replay, replayed
from neuralpatch_cuda.synthesis.scale import Objective, ScaleSettings, synthesise
from neuralpatch_cuda.synthesis.sources import Sources

SETTINGS = ScaleSettings(
    alpha=1,
    beta=0.01,
    content_weight=1,
    iterations=9,
    rematch_every=6,
    tolerance=0,
    patch_size=3,
    optimizer="lbfgs",
)


class RecordedGraph(TorchDispatchMode):
    """Like a CUDA graph: the capture changes no tensor that exists, and a replay puts each result where it lay."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.inplace_view in func.tags:  # changes a shape, on the host
            return func(*args, **kwargs)
        written = [i for i, a in enumerate(func._schema.arguments) if a.alias_info and a.alias_info.is_write]
        if len(written) == 1 and len(func._schema.returns) == 1:
            name = func._schema.arguments[written[0]].name
            result = kwargs[name] if name in kwargs else args[written[0]]
        else:
            result = func(*args, **kwargs)
        self._calls.append((func, args, kwargs, result))
        return result

    def replay(self) -> None:
        for func, args, kwargs, results in self._calls:
            for then, now in zip(tree_leaves(results), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(then, Tensor) and then.data_ptr() != now.data_ptr():
                    then.view_as(now).copy_(now)


@contextmanager
def record(graph: RecordedGraph, capture_error_mode: str) -> Iterator[None]:
    assert capture_error_mode == "thread_local"
    with graph:
        yield


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "CUDAGraph", RecordedGraph)
    monkeypatch.setattr(torch.cuda, "graph", record)


def hole() -> tuple[Tensor, Tensor]:
    mask = torch.zeros(96, 96, dtype=torch.bool)
    mask[36:60, 30:60] = True
    return torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(0)), mask


@pytest.mark.usefixtures("graphs")
def test_a_replay_does_the_same_work_again() -> None:
    x, calls = torch.zeros(3), []

    def add() -> None:
        calls.append(1)
        x.add_(torch.ones(3) * 2)

    function = Replay(add)
    for _ in range(WARM_UP + 4):
        function()
    assert len(calls) == WARM_UP + 1, "once more for the capture"
    assert x.tolist() == [2 * (WARM_UP + 4)] * 3


@pytest.mark.usefixtures("graphs")
def test_a_scale_comes_out_the_same_through_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    network = load_texture_network("vgg16", ("relu2_1", "relu3_1"))
    plain = synthesise(network, *hole(), SETTINGS)
    monkeypatch.setattr(scale, "replayed", lambda function, device: Replay(function))
    through_graphs = synthesise(network, *hole(), SETTINGS)
    assert through_graphs.losses == plain.losses and through_graphs.scores == plain.scores
    assert torch.equal(through_graphs.image, plain.image)


@pytest.mark.skipif(
    not torch.cuda.is_available() or ops.build_info()["cuda"] != "yes", reason="needs a GPU and a build for it"
)
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_scale_comes_out_the_same_through_cuda_graphs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, optimizer: str
) -> None:
    network = load_texture_network("vgg16", ("relu2_1", "relu3_1")).cuda()
    image, mask = (x.cuda() for x in hole())
    settings = replace(SETTINGS, optimizer=optimizer)
    through_graphs = synthesise(network, image, mask, settings)
    monkeypatch.setattr(scale, "replayed", lambda function, device: function)
    plain = synthesise(network, image, mask, settings)
    assert not caplog.records, "the capture failed"
    assert through_graphs.losses == pytest.approx(plain.losses, rel=1e-3)
    torch.testing.assert_close(through_graphs.image, plain.image, atol=1e-2, rtol=0)


@pytest.mark.parametrize("minimiser", [LBFGS, Adam])
def test_no_iteration_waits_for_the_device(minimiser: type[LBFGS] | type[Adam]) -> None:
    image, mask = hole()
    sources = Sources(torch.ones_like(mask))
    objective = Objective(load_texture_network("vgg16", ("relu2_1", "relu3_1")), image, mask, SETTINGS, sources)
    x = objective.values
    descent: Minimiser = minimiser(x)
    objective.move(x)
    objective.texture.match()
    # A fake tensor has no values: whatever asks for one, and would wait for it on a GPU, is refused.
    with FakeTensorMode(allow_non_fake_inputs=True):
        for _ in range(2):
            objective.move(x)
            objective.texture.match()
            descent.renew()
            loss, gradient = objective.evaluate(x)
            x = descent.step(x, gradient)
        with pytest.raises(DataDependentOutputException):
            loss.item()


def test_a_failed_capture_leaves_the_function_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @contextmanager
    def fail(graph: object, capture_error_mode: str) -> Iterator[None]:
        yield
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", fail)
    calls = []
    function = Replay(lambda: calls.append(1))
    with caplog.at_level(logging.WARNING, replay.__name__):
        for _ in range(WARM_UP + 3):
            function()
    assert len(calls) == WARM_UP + 3 + 1
    assert len(caplog.records) == 1 and "not permitted" in caplog.text


def test_the_cpu_needs_no_graph() -> None:
    def function() -> None: ...

    assert replayed(function, torch.device("cpu")) is function
