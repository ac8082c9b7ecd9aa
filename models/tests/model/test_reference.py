"""The network against PCM-Net's description written out a second time, on a state dict in the released names."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toy_network import inputs, small

State = Mapping[str, Tensor]
HEADS = 2


def _linear(w: State, name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _norm(w: State, name: str, x: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def _attend(w: State, name: str, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
    """One image: x [T, d] attends to memory [M, d] under an additive mask [T or 1, M]"""
    query, key, value = (
        _linear(w, f"{name}.self.{part}", of).unflatten(-1, (HEADS, -1)).transpose(0, 1)
        for part, of in (("query", x), ("key", memory), ("value", memory))
    )
    weights = (query @ key.transpose(1, 2) / math.sqrt(query.shape[-1]) + mask).softmax(-1)
    joined = (weights @ value).transpose(0, 1).flatten(1)
    return _norm(w, f"{name}.output.LayerNorm", _linear(w, f"{name}.output.dense", joined) + x, 1e-12)


def _feed_forward(w: State, name: str, x: Tensor) -> Tensor:
    hidden = _linear(w, f"{name}.intermediate.dense", x).clamp(min=0)
    return _norm(w, f"{name}.output.LayerNorm", _linear(w, f"{name}.output.dense", hidden) + x, 1e-12)


def _detected(g: Tensor, vocabulary: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Of one image → shares [k] and tags [k, E]"""
    shares, order = (g @ vocabulary.T / 0.01).softmax(0).sort(descending=True)
    return shares[:k], vocabulary[order[:k]]


def _mixed(w: State, grid: Tensor, local: Tensor, tags: Tensor, g: Tensor, k: int, k2: int) -> tuple[Tensor, Tensor, Tensor]:
    """The inference form of one image → sequence [1 + 2N, d], additive mask [1 + 2N], S [N, k]"""
    s = torch.stack([F.cosine_similarity(local, tag.expand_as(local), dim=-1) for tag in tags], 1)  # [N, k]
    v = (s / 0.01).softmax(1) @ tags
    cells = (s / 0.01).flatten().sort(descending=True).indices[:k2]
    m = torch.zeros(len(grid))
    m[cells // k] = 1
    e = "visual_embed"
    x = torch.cat(
        [_linear(w, f"{e}.g_embeddings", g[None]), _linear(w, f"{e}.embeddings", grid), _linear(w, f"{e}.t_embeddings", v)]
    )
    places = w[f"{e}.embeddings_pos"][0]
    types = torch.cat([torch.zeros(1 + len(grid)), m]).long()
    x = x + torch.cat([places, places[1:]]) + w[f"{e}.embeddings_token_type.weight"][types]
    mask = torch.cat([torch.zeros(1 + len(grid)), (1 - m) * -10000])
    return _norm(w, f"{e}.embeddings_norm", x.clamp(min=0), 1e-5), mask, s


def _encoded(w: State, x: Tensor, mask: Tensor, layers: int) -> Tensor:
    firsts = [x[0]]
    for i in range(layers):
        x = _attend(w, f"encoder.layers.{i}.attention", x, x, mask[None])
        x = _feed_forward(w, f"encoder.layers.{i}", x)
        firsts.append(x[0])
    gathered = _norm(w, "encoder.gvfeat_embed.1", _linear(w, "encoder.gvfeat_embed.0", torch.cat(firsts)), 1e-5)
    return torch.cat([gathered[None], x[1:]])


def _logits(w: State, memory: Tensor, mask: Tensor, tokens: Tensor, layers: int) -> Tensor:
    x = w["token_embed.embeddings.weight"][tokens]
    width, length = x.shape[1], len(tokens)
    for position in range(length):
        for i in range(width // 2):
            angle = position * math.exp(-2 * i / width * math.log(10000))
            x[position, 2 * i] += math.sin(angle)
            x[position, 2 * i + 1] += math.cos(angle)
    x = _norm(w, "token_embed.embeddings_norm", x, 1e-5)
    causal = torch.full((length, length), -10000.0).triu(1)
    for i in range(layers):
        name = f"decoder.g_layers.{i}"
        x = _attend(w, f"{name}.self_attn", x, x, causal)
        x = _attend(w, f"{name}.x_att", x, memory, mask[None])
        x = _feed_forward(w, name, x)
    return _linear(w, "predictor.logits", x)


def test_memory_and_logits_are_those_of_the_description() -> None:
    model = small().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):  # fresh ones do nothing that could be missed
                module.weight.normal_(1, 0.3)
                module.bias.normal_(0, 0.3)
        model.visual_embed.embeddings_pos.normal_(0, 0.5)
        grid, local, image, vocabulary = inputs()
        tokens = torch.tensor([[0, 3, 5, 2], [0, 1, 1, 4], [0, 9, 8, 7], [0, 10, 2, 6]])
        memory = model.encode(grid, local, image, vocabulary)
        logits = model(memory, tokens)
        w = model.state_dict()
        for n in range(4):
            shares, tags = _detected(image[n], vocabulary, 2)
            x, mask, s = _mixed(w, grid[n], local[n], tags, image[n], 2, 2)
            torch.testing.assert_close(memory.concepts.scores[n], shares)
            torch.testing.assert_close(memory.patch_scores[n], s)
            expected = _encoded(w, x, mask, 3)
            torch.testing.assert_close(memory.states[n], expected, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(logits[n], _logits(w, expected, mask, tokens[n], 3), atol=1e-5, rtol=1e-4)


def test_dropout_is_where_the_description_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, tuple[int, ...]]] = []

    def note(x: Tensor, rate: float, training: bool) -> Tensor:
        assert training
        seen.append((rate, tuple(x.shape)))
        return x

    for module in ("pcmnet.model.layers", "pcmnet.model.dropout"):
        monkeypatch.setattr(f"{module}.dropout", note)
    model = small().train()
    model(model.encode(*inputs()), torch.tensor([[0, 3]] * 4))
    places, written, hidden = (4, 4, 16), (4, 2, 16), 32
    encoder_layer = [(0.3, (4, 2, 4, 4)), (0.2, places), (0.2, (4, 4, hidden)), (0.2, places)]
    own, cross = [(0.3, (4, 2, 2, 2)), (0.2, written)], [(0.3, (4, 2, 2, 4)), (0.2, written)]
    decoder_layer = [*own, *cross, (0.2, (4, 2, hidden)), (0.2, written)]
    assert seen == [(0.5, places), *3 * encoder_layer, (0.1, written), *3 * decoder_layer, (0.5, written)]


def test_what_is_dropped_is_dropped_before_the_residual_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pcmnet.model.dropout.dropout", lambda x, rate, training: 0 * x)
    layer = small().encoder.layers[0]
    x = torch.randn(2, 3, 16)
    kept = layer.output["LayerNorm"](layer.attention.output["LayerNorm"](x))
    torch.testing.assert_close(layer(x, torch.zeros(2, 1, 1, 3)), kept)
