from __future__ import annotations

import pytest
import torch

from neuralpatch_cuda import ops
from neuralpatch_cuda.errors import DeviceError


def test_build_info():
    info = ops.build_info()
    assert info["cpu_isa"] in ("baseline", "avx2", "avx512", "avx512bf16")
    assert info["cuda"] in ("yes", "no")
    assert ("cuda_archs" in info) == (info["cuda"] == "yes")


def test_every_operator_is_traceable():
    """Fake tensors get shapes, dtypes and strides without running a kernel."""
    with torch._subclasses.FakeTensorMode():
        features = torch.empty(4, 6, 7, dtype=torch.bfloat16)
        loss = torch.ops.neuralpatch.texture_loss(features, features, torch.empty(6, 7))
        patches = torch.ops.neuralpatch.extract_patches(features[None], 3, 1)
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert patches.shape == (1, 20, 36)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.skipif(ops.build_info()["cuda"] == "yes", reason="needs a build without CUDA")
def test_cuda_tensor_without_cuda_build():
    with pytest.raises(DeviceError, match="built without CUDA"):
        ops.extract_patches(torch.zeros(1, 1, 3, 3, device="cuda"), 3)
