"""How well image and text embeddings find each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def recalls(images: Tensor, texts: Tensor, owner: Sequence[int] | Tensor, ranks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Recall at each rank, both ways.

    `images` [P, E] and `texts` [T, E] are unit vectors; `owner[t]` is the image of text t. Text→image: its photo is among the
    first r of all photos. Image→text: any of its texts is among the first r of all texts.
    """
    owners = torch.as_tensor(owner)
    similarity = images @ texts.T  # [P, T]
    own = similarity[owners, torch.arange(len(owners))]  # [T]
    text_rank = (similarity > own).sum(0)  # photos before the right one
    best_own = torch.full((len(images),), -torch.inf).scatter_reduce(0, owners, own, "amax")
    image_rank = (similarity > best_own[:, None]).sum(1)
    out: dict[str, float] = {}
    for r in ranks:
        out[f"text_to_image_r{r}"] = (text_rank < r).float().mean().item()
        out[f"image_to_text_r{r}"] = (image_rank < r).float().mean().item()
    return out
