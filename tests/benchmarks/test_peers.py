"""Every peer that the operators are measured beside computes what the reference does."""

from __future__ import annotations

import pytest
import torch

from benchmarks.peers import extraction, losses, matching, voting
from benchmarks.peers.attention import SelfAttention, rotate
from neuralpatch_cuda.ops import reference

DTYPES = [torch.float32, torch.bfloat16]


def tolerance(dtype: torch.dtype) -> float:
    return 1e-5 if dtype == torch.float32 else 2e-2


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("peer", [matching.product, matching.chunked, matching.convolution, matching.faiss_flat])
def test_matching(peer, dtype, monkeypatch):
    if peer is matching.faiss_flat:
        pytest.importorskip("faiss")
        if dtype != torch.float32:
            pytest.skip("float32 only")
    monkeypatch.setattr(matching, "BLOCK", 40)  # several blocks, and some without a key
    query, key = torch.randn(24, 14, 11).to(dtype), torch.randn(24, 16, 19).to(dtype)
    key[:, :4, :4] = 0
    query_mask, key_mask = torch.rand(12, 9) < 0.6, torch.rand(14, 17) < 0.7
    key_mask[:2] = False
    index, score = peer(query, key, query_mask, key_mask)
    exact = [x.double() for x in (query, key)]
    expected_index, expected_score = reference.match_patches(*exact, query_mask, key_mask)
    assert bool(key_mask.flatten()[index].all())
    torch.testing.assert_close(score.double(), expected_score, rtol=0, atol=tolerance(dtype))
    if dtype == torch.float32:
        assert torch.equal(index, expected_index)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("peer", [voting.index_add, voting.embedding_bag])
def test_voting(peer, dtype):
    key = torch.randn(11, 13, 8).permute(2, 0, 1).to(dtype)
    position = torch.randperm(10 * 7)[:30]
    index = torch.randint(9 * 11, position.shape)
    target, count = peer(key, position, index, 3, 12, 9)
    expected_target, expected_count = reference.vote_patches(key, position, index, 3, 12, 9)
    torch.testing.assert_close(target, expected_target, rtol=tolerance(dtype), atol=tolerance(dtype))
    assert torch.equal(count, expected_count)


@pytest.mark.parametrize("dtype", DTYPES)
def test_texture_by_hand(dtype):
    features, target = torch.randn(2, 8, 9, 7).to(dtype)
    count = torch.randint(0, 10, (9, 7)).float()
    variable = features.clone().requires_grad_()
    expected = reference.texture_loss(variable, target, count)
    expected.backward()
    loss, gradient = losses.texture_by_hand(features, target, count)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, variable.grad)


@pytest.mark.parametrize("dtype", DTYPES)
def test_variation_by_hand(dtype):
    x, mask = torch.randn(3, 9, 7).to(dtype), torch.rand(9, 7) < 0.4
    variable = x.clone().requires_grad_()
    expected = reference.total_variation(variable, mask)
    expected.backward()
    loss, gradient = losses.variation_by_hand(x, mask)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, variable.grad, rtol=tolerance(dtype), atol=tolerance(dtype))


@pytest.mark.parametrize("stride", [1, 2])
def test_strided_copy(stride):
    features = torch.randn(2, 5, 9, 8)
    assert torch.equal(extraction.strided_copy(features, 3, stride), reference.extract_patches(features, 3, stride))


def attention(channels: int = 16) -> SelfAttention:
    torch.manual_seed(0)
    layer = SelfAttention(channels).requires_grad_(False)
    torch.nn.init.normal_(layer.out.weight, std=0.1)
    torch.nn.init.normal_(layer.qkv.weight, std=0.5)
    return layer


def test_attention_reaches_across_the_map() -> None:
    layer, x = attention(), torch.randn(1, 16, 9, 12)
    other = x.clone()
    other[..., 0, 0] += 5
    assert (layer(other) - layer(x))[..., 8, 11].abs().max() > 1e-5


def test_attention_knows_distances_and_not_places() -> None:
    """Scores between cells depend on how far they are apart: of a map and of its part, the same."""
    layer = attention()
    cosine, sine = layer._rotations(6, 7, 16, torch.device("cpu"))
    q, k = torch.randn(2, 16)

    def score(row: int, column: int, down: int, right: int) -> float:
        i, j = row * 7 + column, (row + down) * 7 + column + right
        return float(rotate(q, cosine[i], sine[i]) @ rotate(k, cosine[j], sine[j]))

    assert score(0, 0, 3, 2) == pytest.approx(score(2, 4, 3, 2), abs=1e-4)
    assert score(0, 0, 3, 2) != pytest.approx(score(0, 0, 2, 3), abs=1e-2)
    assert score(0, 0, 3, 2) != pytest.approx(score(3, 2, -3, -2), abs=1e-2)


def test_attention_has_the_softmax_of_its_definition() -> None:
    layer, x = attention(), torch.randn(1, 16, 3, 4)
    q, k, v = layer.qkv(layer.norm(x)).view(3, 16, 12).transpose(1, 2)
    cosine, sine = layer._rotations(3, 4, 16, x.device)
    weights = (rotate(q, cosine, sine) @ rotate(k, cosine, sine).T / 4).softmax(-1)
    expected = x + layer.out((weights @ v).T.reshape(1, 16, 3, 4))
    torch.testing.assert_close(layer(x), expected)
