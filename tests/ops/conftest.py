"""Fixtures of the operators' tests: devices, dtypes, random feature maps in awkward layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from neuralpatch_cuda import ops

HAS_CUDA = torch.cuda.is_available() and ops.build_info()["cuda"] == "yes"
NO_CUDA = pytest.mark.skipif(not HAS_CUDA, reason="needs a CUDA device and a build with CUDA")

MakeMap = Callable[..., Tensor]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=NO_CUDA)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(params=[pytest.param("cuda", marks=NO_CUDA)])
def cuda(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(params=[torch.float32, torch.bfloat16, torch.float16], ids=["fp32", "bf16", "fp16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=["contiguous", "channels_last", "sliced"])
def make_map(request: pytest.FixtureRequest, device: torch.device) -> MakeMap:
    """A function (channels, height, width, dtype) -> random `[C, H, W]` in the memory layout under test."""

    def make(channels: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
        if request.param == "contiguous":
            values = torch.randn(channels, height, width)
        elif request.param == "channels_last":
            values = torch.randn(height, width, channels).permute(2, 0, 1)
        else:
            values = torch.randn(channels + 2, height + 3, 2 * width + 1)[1:-1, 2:-1, 1::2]
        return values.to(device, dtype)

    return make


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of CPU threads for the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
