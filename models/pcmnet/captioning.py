"""Captions of stored features, in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .beam_search import beam_search
from .data import batches
from .model import PCMNet
from .text import UNKNOWN, Vocabulary
from .train_captioner import Features


def forbid(vocabulary: Vocabulary, words: Sequence[str]) -> Tensor:
    """A word bias that forbids these words, UNK for one  # [1, V]"""
    bias = torch.zeros(1, len(vocabulary))
    bias[0, [vocabulary.ids[word] for word in words if word in vocabulary.ids]] = -1e4
    return bias


@torch.inference_mode()
def caption_rows(
    model: PCMNet,
    view: Features,
    rows: Sequence[int],
    concepts: Tensor,
    vocabulary: Vocabulary,
    beam_size: int = 3,
    length_penalty: float = 0.0,
    no_repeat_ngram: int = 0,
    batch_size: int = 50,
    blocked: Sequence[str] = (UNKNOWN,),
) -> list[str]:
    """The best caption of each photo, lower case, without the blocked words."""
    model.eval()
    captions: list[str] = []
    for chosen in batches(rows, batch_size):
        memory = model.encode(*view.batch(np.asarray(chosen)), concepts)
        bias = forbid(vocabulary, blocked).to(concepts.device).expand(len(chosen), -1)
        beams = beam_search(model, memory, beam_size, model.config.max_words, length_penalty, no_repeat_ngram, bias)
        captions += [" ".join(vocabulary.decode(tokens.tolist())) for tokens in beams.tokens[:, 0]]
    return captions
