"""Captions of stored features by the network in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..data.features import Features
from ..data.photos import batches
from ..data.text import UNKNOWN, Vocabulary
from ..model.beam_search import beam_search
from ..model.pcm_net import PCMNet


def forbid(vocabulary: Vocabulary, words: Sequence[str]) -> Tensor:
    """A logit bias that forbids words, such as UNK  # [1, V]"""
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
    concept_bias: Callable[[Tensor], Tensor] | None = None,
) -> list[str]:
    """The best caption of each row of `view`, lower case, without the blocked words. `concepts` [C, E]; `concept_bias` maps
    images [B, E] to what is added to the logits of their concepts [B, C]."""
    model.eval()
    captions: list[str] = []
    for chosen in batches(rows, batch_size):
        grid, local, images = view.batch(np.asarray(chosen))
        added = None if concept_bias is None else concept_bias(images)
        memory = model.encode(grid, local, images, concepts, concept_bias=added)
        bias = forbid(vocabulary, blocked).to(concepts.device).expand(len(chosen), -1)
        beams = beam_search(model, memory, beam_size, model.config.max_words, length_penalty, no_repeat_ngram, bias)
        captions += [" ".join(vocabulary.decode(tokens.tolist())) for tokens in beams.tokens[:, 0]]
    return captions
