"""Salient visual concept detection and patch-wise cross-modal mixup (PCM-Net, sections 3.2 and 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_EPS = 1e-9


@dataclass(frozen=True)
class Concepts:
    """The k concepts of a vocabulary that are detected in each image."""

    ids: Tensor
    """Rows of the vocabulary, most probable first  # [B, k]"""
    scores: Tensor
    """Probabilities in the softmax over the vocabulary  # [B, k]"""
    tags: Tensor
    """Embeddings; zero where the probability does not exceed the threshold  # [B, k, E]"""


def detect_concepts(
    image: Tensor, vocabulary: Tensor, k: int, temperature: float, threshold: float, bias: Tensor | None = None
) -> Concepts:
    """`image` [B, E] and `vocabulary` [C, E], unit vectors → the k most probable concepts of each image (section 3.2). `bias`
    [B, C] is added to the logits."""
    logits = image @ vocabulary.T / temperature  # [B, C]
    shares = F.softmax(logits if bias is None else logits + bias, dim=-1)
    scores, ids = shares.topk(k, dim=-1)
    tags = vocabulary[ids] * (scores > threshold).unsqueeze(-1)
    return Concepts(ids, scores, tags)


def cosine_of_patches(local: Tensor, tags: Tensor) -> Tensor:
    """S: `local` [B, N, E], `tags` [B, k, E] → [B, N, k]; a zeroed tag has cosine 0 with every patch."""
    # The paper divides by norm + eps. That is the same in float32, but the exporter drops so small an addend.
    return F.normalize(local, dim=-1, eps=_EPS) @ F.normalize(tags, dim=-1, eps=_EPS).transpose(1, 2)


def concept_features(similarity: Tensor, tags: Tensor, temperature: float) -> Tensor:
    """v: for each patch the mean of the tags, weighted by a softmax of its cosines  # [B, N, E]"""
    return F.softmax(similarity / temperature, dim=-1) @ tags


def most_salient(patches: int, k: int, k2: float, mode: str) -> int:
    """The largest number of patches that can be salient at inference."""
    return min(salient_cells(patches, k, k2), patches) if mode == "top" else patches


def salient_cells(patches: int, k: int, k2: float) -> int:
    """The number of cells of S that are replaced in mode `top`."""
    return int(k2) if k2 >= 1 else int(k2 * patches * k)


def salient_patches(similarity: Tensor, k2: float, mode: str, training: bool) -> Tensor:
    """m: 1 for the patches that concepts replace, else 0  # [B, N]

    `top`: patches that hold one of the k2 largest cells of S (the softmax over all cells keeps their order, so it is left
    out); cells may share a patch. k2 below 1 is a share of the N·k cells. `random`: each patch with probability k2 in
    training, every patch otherwise. `all`: every patch. `off`: none.
    """
    batch, patches, k = similarity.shape
    if mode == "off":
        return similarity.new_zeros(batch, patches)
    if mode == "all" or (mode == "random" and not training):
        return similarity.new_ones(batch, patches)
    if mode == "random":
        if k2 >= 1:
            raise ValueError(f"mode random takes k2 as the chance of a patch, below 1, got {k2}")
        return (torch.rand(batch, patches, device=similarity.device) < k2).to(similarity.dtype)
    if mode != "top":
        raise ValueError(f"unknown mixup mode {mode!r}: top, random, all or off")
    cells = salient_cells(patches, k, k2)
    chosen = similarity.flatten(1).topk(cells, dim=-1).indices  # [B, k2]
    patch = torch.div(chosen, k, rounding_mode="floor")
    return similarity.new_zeros(batch, patches).scatter(1, patch, 1.0)
