"""Captions as token sequences, drawn a few at a time for each step of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .photos import Photo
from .text import END, IGNORED, Vocabulary, sequences, words_of


class Captions:
    """Encoded captions of photos, of which n are drawn for each photo of a batch."""

    def __init__(
        self, photos: Sequence[Photo], vocabulary: Vocabulary, max_words: int, starts: NDArray[np.int64] | None = None
    ) -> None:
        """`starts` [P] are the first tokens of each photo's captions (see `train.sources`), BOS if not given."""
        self.starts = np.full(len(photos), END) if starts is None else starts
        self.width = max_words + 1
        pairs = [[sequences(vocabulary.encode(words_of(c)), max_words) for c in photo.captions] for photo in photos]
        self.tokens = [np.array([p[0] for p in photo]) for photo in pairs]
        self.targets = [np.array([p[1] for p in photo]) for photo in pairs]
        for tokens, start in zip(self.tokens, self.starts, strict=True):
            tokens[:, 0] = start

    def draw(self, indices: NDArray[np.int64], n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draws n different captions of each photo → tokens, targets, index of the caption  # [B·n, T], [B·n, T], [B·n]

        A photo with fewer captions gets rows whose targets are all IGNORED.
        """
        tokens = np.zeros((len(indices), n, self.width), np.int64)
        targets = np.full((len(indices), n, self.width), IGNORED, np.int64)
        number = np.zeros((len(indices), n), np.int64)
        for row, index in enumerate(indices):
            chosen = rng.permutation(len(self.tokens[index]))[:n]
            tokens[row, : len(chosen)] = self.tokens[index][chosen]
            targets[row, : len(chosen)] = self.targets[index][chosen]
            number[row, : len(chosen)] = chosen
        longest = int((targets != IGNORED).sum(-1).max())
        flat = (len(indices) * n, self.width)
        return (
            torch.from_numpy(tokens.reshape(flat)[:, :longest].copy()),
            torch.from_numpy(targets.reshape(flat)[:, :longest].copy()),
            torch.from_numpy(number.reshape(-1)),
        )


class Texts:
    """Encoded captions without photos, drawn at random."""

    def __init__(self, texts: Sequence[Sequence[str]], embeddings: Tensor, vocabulary: Vocabulary, max_words: int) -> None:
        """`texts` are split into words; `embeddings` are unit vectors [X, E], used in the place of image embeddings."""
        self.embeddings = embeddings
        pairs = [sequences(vocabulary.encode(words), max_words) for words in texts]
        self.tokens, self.targets = (torch.tensor([pair[i] for pair in pairs], dtype=torch.int32) for i in range(2))

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draws `count` captions → embeddings, tokens, targets  # [count, E], [count, T], [count, T]"""
        chosen = torch.from_numpy(rng.integers(0, len(self.tokens), count))
        targets = self.targets[chosen].long()
        longest = int((targets != IGNORED).sum(1).max())
        return self.embeddings[chosen], self.tokens[chosen, :longest].long(), targets[:, :longest]
