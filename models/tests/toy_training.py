"""Captioned toy photos with random features: what the training loops take."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from pcmnet.config import Config
from pcmnet.data.captions import Texts
from pcmnet.data.features import View
from pcmnet.data.photos import Photo
from pcmnet.data.text import Vocabulary

WORDS = ["a", "the", "dog", "cat", "horse", "runs", "sleeps", "eats", "here", "there"]


def toy() -> tuple[Config, list[Photo], View, Vocabulary, torch.Tensor]:
    config = Config()
    config.model.__dict__.update(
        grid_width=12,
        embedding=8,
        patches=3,
        width=16,
        heads=2,
        ffn=32,
        k=2,
        k2=2,
        encoder_layers=1,
        decoder_layers=1,
        max_words=6,
    )
    config.captioner.__dict__.update(batch_size=4, epochs=4, warmup_steps=2, captions_per_photo=2, bf16=False, learning_rate=3e-3)
    rng = np.random.default_rng(0)
    photos = [
        Photo(i, f"{i}.jpg", "toy", "train", tuple(" ".join(rng.choice(WORDS, 4)) for _ in range(1 + i % 3))) for i in range(16)
    ]
    vocabulary = Vocabulary(WORDS)
    config.model.vocabulary = len(vocabulary)
    torch.manual_seed(0)
    grid = torch.randn(16, 3, 12).half().numpy()
    view = View(grid, torch.randn(16, 3, 8).half(), F.normalize(torch.randn(16, 8), dim=-1))
    return config, photos, view, vocabulary, F.normalize(torch.randn(5, 8), dim=-1)


def toy_texts(vocabulary: Vocabulary) -> Texts:
    return Texts([["a", "dog"], ["the", "cat", "sleeps"]], F.normalize(torch.eye(2, 8), dim=-1), vocabulary, 6)
