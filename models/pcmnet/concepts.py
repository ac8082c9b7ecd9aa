"""The concept vocabulary: nouns that training captions use, and their embeddings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from textblob.en import lexicon
from textblob.en.inflect import singularize
from torch import Tensor

from .data import Photo
from .dual_encoder import DualEncoder, SentenceEncoder
from .text import words_of

NOT_SHOWN = frozenset(
    (
        "something",
        "someone",
        "thing",
        "front",
        "back",
        "side",
        "other",
        "lot",
        "bunch",
        "way",
        "time",
        "while",
        "kind",
        "sort",
        "type",
        "part",
        "place",
        "view",
        "day",
        "one",
        "amount",
        "direction",
        "attempt",
        "middle",
        "top",
        "bottom",
        "left",
        "right",
        "edge",
        "end",
        "set",
        "bit",
        "distance",
        "name",
        "close-up",
    )
)
"""Nouns that name nothing a patch could show."""


def nouns_of(caption: str) -> set[str]:
    """Singular forms of the words that the packaged lexicon (TextBlob's, of most frequent tags) calls common nouns."""
    found: set[str] = set()
    for word in words_of(caption):
        tag = lexicon.get(word)
        if tag == "NN":
            found.add(word)
        elif tag == "NNS":
            found.add(singularize(word))
    return found - NOT_SHOWN


def concept_words(captions: Iterable[str], min_captions: int, max_words: int) -> list[str]:
    """Nouns in at least so many captions, most frequent first."""
    counts = Counter(noun for caption in captions for noun in nouns_of(caption))
    kept = [noun for noun, count in counts.items() if count >= min_captions]
    return sorted(kept, key=lambda noun: (-counts[noun], noun))[:max_words]


def named_share(concepts: Sequence[Sequence[int]], words: Sequence[str], photos: Sequence[Photo]) -> float:
    """Share of each photo's concepts, rows of `words`, that one of its captions names; the mean over the photos."""
    named = [set().union(*(nouns_of(caption) for caption in photo.captions)) for photo in photos]
    return float(np.mean([[words[i] in said for i in row] for row, said in zip(concepts, named, strict=True)]))


def prompt_ensemble(words: Sequence[str], prompts: Sequence[str], embed: Callable[[Sequence[str]], Tensor]) -> Tensor:
    """Mean of the unit embeddings of each word in each prompt, unit length again  # [C, E]"""
    with torch.inference_mode():
        embedded = embed([prompt.format(word) for word in words for prompt in prompts]).view(len(words), len(prompts), -1)
    return F.normalize(embedded.mean(1), dim=-1)


def embed_concepts(words: Sequence[str], prompts: Sequence[str], sentences: SentenceEncoder, encoder: DualEncoder) -> Tensor:
    """In the embedded model's space  # [C, E]"""
    return prompt_ensemble(words, prompts, lambda texts: encoder.eval().embed_text(sentences.encode(texts)))
