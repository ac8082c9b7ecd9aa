"""The CLIP-weighted, focal, label-smoothed cross-entropy (PCM-Net, section 3.5)."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def smoothed_divergence(log_probs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """KL divergence of the prediction from the smoothed target, summed over the vocabulary.

    `log_probs` [..., V], `targets` [...] (any id where ignored) → [...]. The target has probability 1 - smoothing, every
    other id smoothing / (V - 1).
    """
    vocabulary = log_probs.shape[-1]
    high, low = 1 - smoothing, smoothing / (vocabulary - 1)
    entropy = (high * math.log(high) if high > 0 else 0.0) + ((vocabulary - 1) * low * math.log(low) if low > 0 else 0.0)
    chosen = log_probs.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return entropy - (high - low) * chosen - low * log_probs.sum(-1)


def clip_weights(cosine: Tensor, alpha: float) -> Tensor:
    """w = clamp(alpha · cos⁺, 0, 1), the weight of each pair: cosines [S] → [S]"""
    return (alpha * cosine.clamp(min=0)).clamp(0, 1)


def caption_loss(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    smoothing: float = 0.1,
    focal: str = "none",
    gamma: float = 2.0,
) -> Tensor:
    """Loss of S sentences: `logits` [S, T, V], `targets` [S, T] (negative: padding), `weights` [S] → scalar.

    `focal`: `batch` (the released default), `word`, `sent`, or `none`; gamma ≤ 0 turns the factor off too. Raises ValueError for
    any other.
    """
    mask = (targets >= 0).float()  # float32: bfloat16 logits would count only to 256
    safe = targets.clamp(min=0)
    log_probs = F.log_softmax(logits.float(), dim=-1)
    loss = smoothed_divergence(log_probs, safe, smoothing) * mask  # l_t  [S, T]
    if weights is not None:
        loss = loss * weights.unsqueeze(1)
    n = mask.sum()
    if focal == "none" or gamma <= 0:
        return loss.sum() / n
    chance = log_probs.gather(-1, safe.unsqueeze(-1)).squeeze(-1).exp()
    factor = (1 - chance) ** gamma * mask  # f_t, not detached
    if focal == "batch":
        return (factor.sum() / n) * (loss.sum() / n)
    if focal == "word":
        return (factor * loss).sum() / n
    if focal == "sent":
        return (factor.sum(1) * loss.sum(1)).sum() / (mask.sum(1) ** 2).sum()
    raise ValueError(f"unknown focal mode {focal!r}: batch, word, sent or none")
