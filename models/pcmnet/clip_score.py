"""CLIPScore (Hessel et al., 2021): 2.5 times the cosine of image and caption, where that is positive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from .clip import ClipTextEncoder
from .clip_features import read_image
from .data import batches
from .records import CLIPSCORE

PROMPT = "A photo depicts {}"
"""The metric's own."""


@torch.inference_mode()
def clip_scores(
    texts: ClipTextEncoder, captions: Sequence[str], files: Sequence[Path], batch_size: int = 256
) -> NDArray[np.float32]:
    """Of captions and the stored features of their images  # [P]"""
    scores: list[NDArray[np.float32]] = []
    for rows in tqdm(batches(range(len(captions)), batch_size), desc="clipscore", mininterval=10, disable=None):
        embedded = texts.encode([PROMPT.format(captions[i]) for i in rows]).cpu().numpy()
        images = np.stack([read_image(files[i]) for i in rows])
        scores.append(CLIPSCORE * np.maximum((embedded * images).sum(1), 0))
    return np.concatenate(scores)
