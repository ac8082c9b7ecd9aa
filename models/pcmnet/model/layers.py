"""The transformer layers of PCM-Net: BERT's attention and feed-forward sub-layers, with LayerNorm after the residual sum.

Parameter names are those of the released checkpoints. Shapes: B images, M places of memory, d width, T tokens.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from .dropout import Dropout, dropout

MASKED = -10000.0
"""Added to the attention logits of places that must not be attended."""
KeysValues = tuple[Tensor, Tensor]
"""Keys and values of an attention, each [B, heads, T, d / heads]."""


def additive(mask: Tensor) -> Tensor:
    """A mask of 1 and 0 [B, M] → the additive mask of attention logits, 0 and −10000  # [B, 1, 1, M]"""
    return (1 - mask[:, None, None, :]) * MASKED


class Attention(nn.Module):
    """BERT's attention sub-layer: LayerNorm(dropout(dense(attention)) + input)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.width
        self.heads = config.heads
        self.self = nn.ModuleDict({name: nn.Linear(d, d) for name in ("query", "key", "value")})
        self.output = nn.ModuleDict({"dense": nn.Linear(d, d), "LayerNorm": nn.LayerNorm(d, eps=1e-12)})
        self.attention_dropout = config.attention_dropout
        self.dropout = Dropout(config.dropout)

    def _split(self, x: Tensor) -> Tensor:
        """[B, T, d] → [B, heads, T, d / heads]"""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def keys_values(self, x: Tensor) -> KeysValues:
        return self._split(self.self["key"](x)), self._split(self.self["value"](x))

    def forward(self, x: Tensor, keys_values: KeysValues, mask: Tensor | None) -> Tensor:
        """`x` [B, T, d] attends to given keys and values under an additive mask  # [B, T, d]"""
        query = self._split(self.self["query"](x))
        keys, values = keys_values
        logits = query @ keys.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if mask is not None:
            logits = logits + mask
        weights = dropout(F.softmax(logits, dim=-1), self.attention_dropout, self.training)
        context = (weights @ values).transpose(1, 2).flatten(2)
        return self.output["LayerNorm"](self.dropout(self.output["dense"](context)) + x)


class FeedForward(nn.Module):
    """Two Linear layers with a dropout after each. A base class of the layers, so that the parameters keep their released
    names."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.width
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(d, config.ffn)})
        self.output = nn.ModuleDict({"dense": nn.Linear(config.ffn, d), "LayerNorm": nn.LayerNorm(d, eps=1e-12)})
        self.dropout = Dropout(config.dropout)

    def feed_forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(F.relu(self.intermediate["dense"](x)))
        return self.output["LayerNorm"](self.dropout(self.output["dense"](hidden)) + x)


class EncoderLayer(FeedForward):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.attention = Attention(config)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.feed_forward(self.attention(x, self.attention.keys_values(x), mask))


class DecoderLayer(FeedForward):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.self_attn = Attention(config)
        self.x_att = Attention(config)

    def forward(self, x: Tensor, own: KeysValues, own_mask: Tensor | None, cross: KeysValues, cross_mask: Tensor) -> Tensor:
        """`x` [B·n, T, d]: n sequences of each image. All of them are queries of one cross-attention over the image's memory
        [B, M, d], whose keys and values are computed once."""
        x = self.self_attn(x, own, own_mask)
        images = cross[0].shape[0]
        grouped = x.reshape(images, -1, x.shape[-1])
        x = self.x_att(grouped, cross, cross_mask).reshape(x.shape)
        return self.feed_forward(x)


class SinusoidPosition(nn.Module):
    pe: Tensor

    def __init__(self, width: int, length: int = 5000) -> None:
        super().__init__()
        position = torch.arange(length).unsqueeze(1)
        frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
        pe = torch.zeros(length, width)
        pe[:, 0::2] = torch.sin(position * frequency)
        pe[:, 1::2] = torch.cos(position * frequency)
        self.register_buffer("pe", pe.unsqueeze(0))
