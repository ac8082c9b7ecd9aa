"""PCM-Net: concept detection, patch-wise cross-modal mixup, visual-semantic encoder, decoder.

Luo et al., "Unleashing Text-to-Image Diffusion Prior for Zero-Shot Image Captioning", ECCV 2024 (arXiv 2501.00437).
Parameter names are those of the released checkpoints, so that their state dicts load as they are.
Shapes: B images, N patches, M = 1 + 2N places of memory at inference (1 + N in training), d width, T tokens, V ids.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig
from .dropout import Dropout, dropout
from .mixup import Concepts, concept_features, cosine_of_patches, detect_concepts, most_salient, salient_patches

MASKED = -10000.0
"""Added to the attention logits of what must not be attended."""
KeysValues = tuple[Tensor, Tensor]
"""[B, heads, T, 64] twice."""


@dataclass(frozen=True)
class Memory:
    """What the decoder attends to."""

    states: Tensor
    """[B, M, d]"""
    mask: Tensor
    """1 where attended, else 0  # [B, M]"""
    concepts: Concepts
    patch_scores: Tensor
    """Cosines of patches and concepts  # [B, N, k]"""


def additive(mask: Tensor) -> Tensor:
    """[B, M] of 1 and 0 → what attention adds  # [B, 1, 1, M]"""
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
    """The two Linears with their two dropouts; mixed into a layer so that its keys stay the layer's own."""

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
        """`x` [B·n, T, d]: n sequences of each image. They are query positions of one cross-attention over the image's
        [B, M, d] memory, whose keys and values are computed once."""
        x = self.self_attn(x, own, own_mask)
        images = cross[0].shape[0]
        grouped = x.reshape(images, -1, x.shape[-1])
        x = self.x_att(grouped, cross, cross_mask).reshape(x.shape)
        return self.feed_forward(x)


class ConceptMap(nn.Module):
    """Moves concept embeddings to the photos that show them. Text embeddings of words lie near sentences with that word, which is
    not where a photo lies that shows the thing; one affine map for all words serves a user's own words too."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, concepts: Tensor) -> Tensor:
        """Unit vectors [C, E] → unit vectors [C, E]"""
        return F.normalize(self.linear(concepts), dim=-1)


class VisualEmbed(nn.Module):
    """Mixup and embedding: grid features, concept features and the global embedding as one sequence."""

    def __init__(self, config: ModelConfig, own_projection: bool) -> None:
        super().__init__()
        self.config = config
        d, e = config.width, config.embedding
        self.embeddings = nn.Linear(config.grid_width, d)  # E
        self.g_embeddings = nn.Linear(e, d)  # G
        self.t_embeddings = nn.Linear(e, d)  # T
        self.embeddings_pos = nn.Parameter(torch.empty(1, config.patches + 1, d))
        nn.init.trunc_normal_(self.embeddings_pos, std=0.02, a=-2.0, b=2.0)
        self.embeddings_token_type = nn.Embedding(2, d)
        self.embeddings_norm = nn.LayerNorm(d, eps=1e-5)
        self.dropout = Dropout(config.embedding_dropout)
        if config.adapt_concepts:
            self.concept_map = ConceptMap(e).requires_grad_(False)
        if own_projection:
            # CLIP's final LayerNorm and projection, frozen: they make local embeddings of grid features.
            self.ln_post = nn.LayerNorm(config.grid_width, eps=1e-5).requires_grad_(False)
            self.proj = nn.Parameter(torch.empty(config.grid_width, e), requires_grad=False)
            nn.init.normal_(self.proj, std=config.grid_width**-0.5)

    def local(self, grid: Tensor) -> Tensor:
        """CLIP's own embedding of each patch: [B, N, D] → [B, N, E]"""
        return self.ln_post(grid) @ self.proj

    def _finish(self, x: Tensor, positions: Tensor, types: Tensor) -> Tensor:
        table = self.embeddings_token_type.weight
        kind = table[0] + types.unsqueeze(-1) * (table[1] - table[0])
        return self.dropout(self.embeddings_norm(F.relu(x + positions + kind)))

    def of_text(self, text: Tensor, vocabulary: Tensor) -> Tensor:
        """Embeddings of captions [B, E] in the place of images: a caption without a photo has no patches, but the global
        token and its concepts, at places drawn at random  # [B, 1 + k, d]"""
        c = self.config
        with torch.no_grad(), self._exact(text):
            if c.adapt_concepts:
                vocabulary = self.concept_map(vocabulary)
            tags = detect_concepts(text, vocabulary, c.k, c.temperature, c.threshold).tags
            places = torch.rand(len(text), c.patches, device=text.device).topk(c.k, dim=-1).indices
        start = self.g_embeddings(self._noisy(text)).unsqueeze(1)
        positions = torch.cat([self.embeddings_pos[:, :1].expand_as(start), self.embeddings_pos[0, 1:][places]], 1)
        types = torch.cat([text.new_zeros(len(text), 1), text.new_ones(len(text), c.k)], 1)
        return self._finish(torch.cat([start, self.t_embeddings(tags)], 1), positions, types)

    def _exact(self, x: Tensor) -> AbstractContextManager[object]:
        """Detection in float32: cosines are divided by 0.01, and what bfloat16 rounds off them would choose the concepts."""
        return torch.autocast(x.device.type, enabled=False) if self.training else nullcontext()

    def _noisy(self, embedding: Tensor) -> Tensor:
        return F.normalize(embedding + torch.randn_like(embedding) * math.sqrt(self.config.noise_variance), dim=-1)

    def forward(
        self, grid: Tensor, local: Tensor, image: Tensor, vocabulary: Tensor, compact: bool = False
    ) -> tuple[Tensor, Tensor, Concepts, Tensor]:
        """`grid` [B, N, D], `local` [B, N, E], `image` [B, E] and `vocabulary` [C, E] of unit vectors
        → embedded sequence [B, M, d], its mask [B, M], the concepts, S [B, N, k]. Training mode selects the form. `compact`
        appends only as many places as can be attended, which changes no caption: for serving."""
        c = self.config
        with torch.no_grad(), self._exact(image):
            if c.adapt_concepts:
                vocabulary = self.concept_map(vocabulary)
            concepts = detect_concepts(image, vocabulary, c.k, c.temperature, c.threshold)
            similarity = cosine_of_patches(local, concepts.tags)
            v = concept_features(similarity, concepts.tags, c.temperature)
            m = salient_patches(similarity, c.k2, c.mode, self.training)  # [B, N]
        first = m.new_zeros(m.shape[0], 1)
        patches, tags = self.embeddings(grid), self.t_embeddings(v)
        if self.training:
            start = self.g_embeddings(self._noisy(image)).unsqueeze(1)
            mixed = torch.where(m.unsqueeze(-1) > 0, tags, patches)
            x = self._finish(torch.cat([start, mixed], 1), self.embeddings_pos, torch.cat([first, m], 1))
            return x, torch.ones_like(x[..., 0]), concepts, similarity
        x = torch.cat([self.g_embeddings(image).unsqueeze(1), patches], 1)
        none, again = torch.zeros_like(m), self.embeddings_pos[:, 1:]
        if compact:
            # Unlike m itself, the keys have no ties, which every runtime would break in its own way.
            keys = m - torch.arange(c.patches, device=m.device) / c.patches
            places = keys.topk(most_salient(c.patches, c.k, c.k2, c.mode), dim=-1).indices
            m = m.gather(1, places)
            tags = tags.gather(1, places.unsqueeze(-1).expand(-1, -1, c.width))
            again = self.embeddings_pos[0, 1:][places]
        positions = torch.cat([self.embeddings_pos.expand_as(x), again.expand_as(tags)], 1)
        x = self._finish(torch.cat([x, tags], 1), positions, torch.cat([first, none, m], 1))
        mask = torch.cat([first + 1, torch.ones_like(none), m], 1)
        return x, mask, concepts, similarity


class VisualSemanticEncoder(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        d = config.width
        self.gvfeat_embed = nn.Sequential(nn.Linear(d * (config.encoder_layers + 1), d), nn.LayerNorm(d, eps=1e-5))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[B, M, d], [B, M] → [B, M, d]; the first token gathers the first tokens of every level."""
        weights = additive(mask)
        firsts = [x[:, 0]]
        for layer in self.layers:
            x = layer(x, weights)
            firsts.append(x[:, 0])
        gathered = self.gvfeat_embed(torch.cat(firsts, -1)).unsqueeze(1)
        return torch.cat([gathered, x[:, 1:]], 1)


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


class TokenEmbed(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(config.vocabulary, config.width)
        self.embeddings_pos = SinusoidPosition(config.width)
        self.embeddings_norm = nn.LayerNorm(config.width, eps=1e-5)
        self.dropout = Dropout(config.token_dropout)

    def forward(self, tokens: Tensor, start: int | Tensor = 0) -> Tensor:
        """`tokens` [B, T], the first of them at position `start`  # [B, T, d]"""
        positions = torch.arange(tokens.shape[1], device=tokens.device) + start
        x = self.embeddings(tokens) + self.embeddings_pos.pe[0, positions]
        return self.dropout(self.embeddings_norm(x))


class Decoder(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        layers = [DecoderLayer(config) for _ in range(config.decoder_layers)]
        self.g_layers = cast("Sequence[DecoderLayer]", nn.ModuleList(layers))  # a list that knows what it holds

    def cross(self, states: Tensor) -> list[KeysValues]:
        """Keys and values of the memory [B, M, d], once an image."""
        return [layer.x_att.keys_values(states) for layer in self.g_layers]


class Predictor(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dropout = Dropout(config.output_dropout)
        self.logits = nn.Linear(config.width, config.vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.dropout(x))


class PCMNet(nn.Module):
    def __init__(self, config: ModelConfig, own_projection: bool = False) -> None:
        super().__init__()
        self.config = config
        self.visual_embed = VisualEmbed(config, own_projection)
        self.encoder = VisualSemanticEncoder(config)
        self.decoder = Decoder(config)
        self.token_embed = TokenEmbed(config)
        self.predictor = Predictor(config)

    def encode(self, grid: Tensor, local: Tensor, image: Tensor, vocabulary: Tensor, compact: bool = False) -> Memory:
        """Grid features, local and global embeddings of images, and a concept vocabulary → memory (see `VisualEmbed`)."""
        x, mask, concepts, similarity = self.visual_embed(grid, local, image, vocabulary, compact)
        return Memory(self.encoder(x, mask), mask, concepts, similarity)

    def forward(self, memory: Memory, tokens: Tensor) -> Tensor:
        """Teacher forcing: `tokens` [B·n, T], n captions of each image in a row → logits  # [B·n, T, V]"""
        return self._predict(memory.states, memory.mask, tokens)

    def of_text(self, text: Tensor, vocabulary: Tensor, tokens: Tensor) -> Tensor:
        """The same of captions [B, T] without a photo, whose embeddings [B, E] are all there is → logits  # [B, T, V]"""
        x = self.visual_embed.of_text(text, vocabulary)
        mask = torch.ones_like(x[..., 0])
        return self._predict(self.encoder(x, mask), mask, tokens)

    def _predict(self, states: Tensor, mask: Tensor, tokens: Tensor) -> Tensor:
        x = self.token_embed(tokens)
        length = tokens.shape[1]
        causal = torch.full((length, length), MASKED, device=x.device, dtype=x.dtype).triu(1)
        cross_mask = additive(mask)
        for layer, cross in zip(self.decoder.g_layers, self.decoder.cross(states), strict=True):
            x = layer(x, layer.self_attn.keys_values(x), causal, cross, cross_mask)
        return self.predictor(x)

    def step(
        self,
        tokens: Tensor,
        position: int | Tensor,
        past: Sequence[KeysValues] | None,
        cross: Sequence[KeysValues],
        cross_mask: Tensor,
    ) -> tuple[Tensor, list[KeysValues]]:
        """One token of every beam: `tokens` [B·K, 1] at `position`, the caches of what came before [B·K, heads, t, 64]
        (None at the start), keys and values of the memory [B, heads, M, 64], additive mask [B, 1, 1, M]
        → logits [B·K, V], the caches with this token."""
        x = self.token_embed(tokens, position)
        present: list[KeysValues] = []
        for i, layer in enumerate(self.decoder.g_layers):
            keys, values = layer.self_attn.keys_values(x)
            if past is not None:
                keys, values = torch.cat([past[i][0], keys], 2), torch.cat([past[i][1], values], 2)
            present.append((keys, values))
            x = layer(x, (keys, values), None, cross[i], cross_mask)
        return self.predictor(x[:, -1]), present
