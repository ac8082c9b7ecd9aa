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

from ..config import ModelConfig
from .dropout import Dropout
from .layers import MASKED, DecoderLayer, EncoderLayer, KeysValues, SinusoidPosition, additive
from .mixup import Concepts, concept_features, cosine_of_patches, detect_concepts, most_salient, salient_patches


@dataclass(frozen=True)
class Memory:
    """The encoder's output, which the decoder attends to."""

    states: Tensor
    """[B, M, d]"""
    mask: Tensor
    """1 at places that are attended, else 0  # [B, M]"""
    concepts: Concepts
    patch_scores: Tensor
    """Cosines of patches and concepts  # [B, N, k]"""


class ConceptMap(nn.Module):
    """An affine map of concept embeddings towards the images that show them. The text embedding of a word lies near sentences
    with that word, which is not where images of the thing lie. One map for all words also serves words it was not trained
    on."""

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
            # CLIP's final LayerNorm and projection, frozen: they turn grid features into local embeddings.
            self.ln_post = nn.LayerNorm(config.grid_width, eps=1e-5).requires_grad_(False)
            self.proj = nn.Parameter(torch.empty(config.grid_width, e), requires_grad=False)
            nn.init.normal_(self.proj, std=config.grid_width**-0.5)

    def local(self, grid: Tensor) -> Tensor:
        """Projects grid features by CLIP's own LayerNorm and projection: [B, N, D] → [B, N, E], not normalised"""
        return self.ln_post(grid) @ self.proj

    def _finish(self, x: Tensor, positions: Tensor, types: Tensor) -> Tensor:
        table = self.embeddings_token_type.weight
        kind = table[0] + types.unsqueeze(-1) * (table[1] - table[0])
        return self.dropout(self.embeddings_norm(F.relu(x + positions + kind)))

    def of_text(self, text: Tensor, vocabulary: Tensor) -> Tensor:
        """Embeds captions [B, E] in the place of images, for training on text alone. Such a sequence has no patches: it is
        the global token and the detected concepts, at patch positions drawn at random  # [B, 1 + k, d]"""
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
        """Turns autocast off for detection: cosines are divided by 0.01, so bfloat16's rounding would decide which concepts
        win."""
        return torch.autocast(x.device.type, enabled=False) if self.training else nullcontext()

    def _noisy(self, embedding: Tensor) -> Tensor:
        return F.normalize(embedding + torch.randn_like(embedding) * math.sqrt(self.config.noise_variance), dim=-1)

    def forward(
        self,
        grid: Tensor,
        local: Tensor,
        image: Tensor,
        vocabulary: Tensor,
        compact: bool = False,
        concept_bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Concepts, Tensor]:
        """`grid` [B, N, D], `local` [B, N, E], `image` [B, E] and `vocabulary` [C, E] of unit vectors
        → embedded sequence [B, M, d], its mask [B, M], the concepts, S [B, N, k]. Training mode replaces salient patches,
        evaluation mode appends their concept features. `compact` appends only as many places as can be attended, which changes
        no caption and is cheaper to serve. `concept_bias` [B, C] is added to the logits of the detection."""
        c = self.config
        with torch.no_grad(), self._exact(image):
            if c.adapt_concepts:
                vocabulary = self.concept_map(vocabulary)
            concepts = detect_concepts(image, vocabulary, c.k, c.temperature, c.threshold, concept_bias)
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
            # Ties in m would be broken differently by each runtime; these keys have none.
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
        """[B, M, d], [B, M] → [B, M, d]. The first token of the output is a projection of the first tokens of all layers."""
        weights = additive(mask)
        firsts = [x[:, 0]]
        for layer in self.layers:
            x = layer(x, weights)
            firsts.append(x[:, 0])
        gathered = self.gvfeat_embed(torch.cat(firsts, -1)).unsqueeze(1)
        return torch.cat([gathered, x[:, 1:]], 1)


class TokenEmbed(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        # Starts of sources come after the vocabulary, where no prediction can reach them.
        self.embeddings = nn.Embedding(config.vocabulary + len(config.sources), config.width)
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
        self.g_layers = cast("Sequence[DecoderLayer]", nn.ModuleList(layers))  # mypy does not know what a ModuleList holds

    def cross(self, states: Tensor) -> list[KeysValues]:
        """Cross-attention's keys and values of the memory [B, M, d], one pair a layer, computed once for an image."""
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

    def encode(
        self,
        grid: Tensor,
        local: Tensor,
        image: Tensor,
        vocabulary: Tensor,
        compact: bool = False,
        concept_bias: Tensor | None = None,
    ) -> Memory:
        """Encodes images. Shapes are those of `VisualEmbed.forward`."""
        x, mask, concepts, similarity = self.visual_embed(grid, local, image, vocabulary, compact, concept_bias)
        return Memory(self.encoder(x, mask), mask, concepts, similarity)

    def forward(self, memory: Memory, tokens: Tensor) -> Tensor:
        """Teacher forcing: `tokens` [B·n, T], n consecutive captions of each image → logits  # [B·n, T, V]"""
        return self._predict(memory.states, memory.mask, tokens)

    def of_text(self, text: Tensor, vocabulary: Tensor, tokens: Tensor) -> Tensor:
        """Teacher forcing on captions without photos: their embeddings [B, E] and `tokens` [B, T] → logits  # [B, T, V]"""
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
        → logits [B·K, V], the caches including this token."""
        x = self.token_embed(tokens, position)
        present: list[KeysValues] = []
        for i, layer in enumerate(self.decoder.g_layers):
            keys, values = layer.self_attn.keys_values(x)
            if past is not None:
                keys, values = torch.cat([past[i][0], keys], 2), torch.cat([past[i][1], values], 2)
            present.append((keys, values))
            x = layer(x, (keys, values), None, cross[i], cross_mask)
        return self.predictor(x[:, -1]), present
