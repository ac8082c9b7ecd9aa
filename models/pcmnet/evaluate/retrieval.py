"""Retrieval of images by texts and of texts by images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def recalls(images: Tensor, texts: Tensor, owner: Sequence[int] | Tensor, ranks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Recall at each rank in both directions.

    `images` [P, E] and `texts` [T, E] are unit vectors; `owner[t]` is the image of text t. Text→image: the text's
    image is among the first r images. Image→text: any text of the image is among the first r texts.
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
