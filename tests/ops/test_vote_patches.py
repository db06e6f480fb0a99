from __future__ import annotations

import pytest
import torch

from neuralpatch_cuda import ops
from neuralpatch_cuda.ops import reference

CASES = [  # channels, key height and width, target height and width, size, share of positions with a match
    (5, 8, 9, 7, 11, 3, 0.5),
    (256, 12, 10, 16, 9, 3, 1.0),
    (3, 6, 6, 1, 1, 1, 1.0),
    (33, 9, 8, 20, 21, 5, 0.1),
    (2, 3, 3, 3, 3, 3, 1.0),
    (4, 6, 6, 6, 6, 3, 0.0),
]


def random_matches(case, device):
    _, key_height, key_width, height, width, size, share = case
    positions = torch.arange((height - size + 1) * (width - size + 1))
    position = positions[torch.rand(len(positions)) < share]
    position = position[torch.randperm(len(position))]
    index = torch.randint((key_height - size + 1) * (key_width - size + 1), position.shape)
    return position.to(device), index.to(device)


@pytest.mark.parametrize("case", CASES)
def test_matches_reference(case, dtype, make_map, device):
    channels, key_height, key_width, height, width, size, _ = case
    key = make_map(channels, key_height, key_width, dtype)
    position, index = random_matches(case, device)
    target, count = ops.vote_patches(key, position, index, size, height, width)
    exact, exact_count = reference.vote_patches(key.double(), position, index, size, height, width)
    assert target.dtype == dtype
    assert target.shape == (channels, height, width)
    assert target.stride(0) == 1 or channels == 1
    assert torch.equal(count, exact_count)
    by_torch, _ = reference.vote_patches(key, position, index, size, height, width)
    torch_error = (by_torch.double() - exact).abs().max()
    assert (target.double() - exact).abs().max() <= 2 * torch_error + torch.finfo(torch.float32).eps
    assert not target[:, count == 0].any()


def test_identity_matches_reproduce_the_map(device):
    key = torch.randn(6, 9, 10, device=device)
    everywhere = torch.arange(7 * 8, device=device)
    target, count = ops.vote_patches(key, everywhere, everywhere, 3, 9, 10)
    torch.testing.assert_close(target, key)
    assert count.max() == 9
    assert count[0, 0] == 1


@pytest.mark.parametrize("channels", [5, 64])
def test_several_maps(channels, dtype, make_map, device):
    """Maps of different sizes, and patches of several of them on one pixel."""
    extents = [(8, 9), (3, 3), (12, 5), (6, 14)]
    keys = [make_map(channels, height, width, dtype) for height, width in extents]
    sizes = [(height - 2) * (width - 2) for height, width in extents]
    position = torch.randperm(9 * 12)[:80].to(device)
    index = torch.randint(sum(sizes), position.shape, device=device)
    target, count = ops.vote_patches(keys, position, index, 3, 11, 14)
    exact, exact_count = reference.vote_patches([key.double() for key in keys], position, index, 3, 11, 14)
    assert torch.equal(count, exact_count)
    tolerance = torch.finfo(dtype).eps if dtype != torch.float32 else 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(target.double(), exact, rtol=tolerance, atol=tolerance)


def test_written_in_place(dtype, device):
    key, position = torch.randn(7, 9, 10).to(device, dtype), torch.arange(0, 20, 2, device=device)
    expected = ops.vote_patches(key, position, position, 3, 9, 10)
    out = torch.full((9, 10, 7), torch.nan, dtype=dtype, device=device).permute(2, 0, 1), torch.zeros(9, 10).to(device)
    result = ops.vote_patches(key, position, position, 3, 9, 10, out=out)
    for mine, theirs, same in zip(out, result, expected, strict=True):
        assert mine is theirs
        assert torch.equal(mine, same)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_written_past_the_caches(dtype):
    """As targets larger than the caches are, on the CPU: channels in vectors, and the same map as one by one."""
    key = torch.randn(20, 30, 256).to(dtype).permute(2, 0, 1)
    position = torch.arange(178 * 198)
    index = torch.randint(18 * 28, position.shape)
    target, _ = ops.vote_patches(key, position, index, 3, 180, 200)
    parts = [ops.vote_patches(key[c : c + 32], position, index, 3, 180, 200)[0] for c in range(0, 256, 32)]
    assert target.numel() * target.element_size() >= 16 << 20
    assert torch.equal(target, torch.cat(parts))


def test_non_contiguous_matches(device):
    key = torch.randn(6, 9, 10, device=device)
    pairs = torch.stack([torch.arange(0, 20), torch.arange(30, 50)], 1).to(device)
    result = ops.vote_patches(key, pairs[:, 0], pairs[:, 1], 3, 9, 10)
    expected = ops.vote_patches(key, pairs[:, 0].clone(), pairs[:, 1].clone(), 3, 9, 10)
    assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))


def test_same_bytes_for_any_threads_and_order(threads):
    case = (48, 20, 30, 25, 35, 3, 0.8)
    key = torch.randn(48, 20, 30)
    position, index = random_matches(case, "cpu")
    threads(1)
    expected = ops.vote_patches(key, position, index, 3, 25, 35)
    threads(2)
    order = torch.randperm(len(position))
    result = ops.vote_patches(key, position[order], index[order], 3, 25, 35)
    assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))


def test_opcheck(device):
    arguments = (
        torch.randn(4, 8, 9, device=device),
        torch.tensor([0, 3, 7], device=device),
        torch.tensor([1, 2, 2], device=device),
    )
    out = torch.empty(6, 7, 4, device=device).permute(2, 0, 1), torch.empty(6, 7, device=device)
    key, *places = arguments
    torch.library.opcheck(torch.ops.neuralpatch.vote_patches.default, ([key, key], *places, 3, *out))


@pytest.mark.parametrize(("position", "index"), [(-1, 0), (20, 0), (0, -1), (0, 42)])
def test_out_of_range(position, index):
    key = torch.randn(4, 8, 9)
    with pytest.raises(ValueError, match="must be in"):
        ops.vote_patches(key, torch.tensor([1, position]), torch.tensor([1, index]), 3, 6, 7)


def test_wrong_arguments(device):
    key = torch.randn(4, 8, 9, device=device)
    some = torch.tensor([0, 1], device=device)
    with pytest.raises(ValueError, match="shape of position"):
        ops.vote_patches(key, some, some[:1], 3, 6, 7)
    with pytest.raises(ValueError, match="do not fit"):
        ops.vote_patches(key, some, some, 7, 6, 7)
    with pytest.raises(ValueError, match="do not fit into key"):
        ops.vote_patches(key, some, some, 9, 20, 20)
    with pytest.raises(ValueError, match="size"):
        ops.vote_patches(key, some, some, 0, 6, 7)
    with pytest.raises(TypeError, match="int64"):
        ops.vote_patches(key, some.int(), some, 3, 6, 7)
    with pytest.raises(ValueError, match="at least one"):
        ops.vote_patches([], some, some, 3, 6, 7)
    with pytest.raises(ValueError, match="1 to 64 keys"):
        ops.vote_patches([key] * 65, some, some, 3, 6, 7)
    with pytest.raises(ValueError, match="equally many channels"):
        ops.vote_patches([key, key[1:]], some, some, 3, 6, 7)
    with pytest.raises(TypeError, match="key must be float32"):
        ops.vote_patches([key, key.half()], some, some, 3, 6, 7)
    out = ops.vote_patches(key, some, some, 3, 6, 7)
    with pytest.raises(ValueError, match="6 x 8 pixels"):
        ops.vote_patches(key, some, some, 3, 6, 8, out=out)
    with pytest.raises(ValueError, match="channels-last memory"):
        ops.vote_patches(key, some, some, 3, 6, 7, out=(out[0].contiguous(), out[1]))
