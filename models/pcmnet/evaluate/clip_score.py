"""CLIPScore (Hessel et al., 2021): 2.5 times the cosine of image and caption, where that is positive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ..data.clip_features import read_image
from ..data.photos import batches
from ..data.records import CLIPSCORE
from ..model.clip import ClipTextEncoder

PROMPT = "A photo depicts {}"
"""The prompt that the metric prescribes."""


@torch.inference_mode()
def clip_scores(
    texts: ClipTextEncoder, captions: Sequence[str], files: Sequence[Path], batch_size: int = 256
) -> NDArray[np.float32]:
    """CLIPScore of captions and of the images whose stored features are `files`  # [P]"""
    scores: list[NDArray[np.float32]] = []
    for rows in tqdm(batches(range(len(captions)), batch_size), desc="clipscore", mininterval=10, disable=None):
        embedded = texts.encode([PROMPT.format(captions[i]) for i in rows]).cpu().numpy()
        images = np.stack([read_image(files[i]) for i in rows])
        scores.append(CLIPSCORE * np.maximum((embedded * images).sum(1), 0))
    return np.concatenate(scores)
