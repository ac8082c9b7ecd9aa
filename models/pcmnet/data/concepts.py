"""The concept vocabulary: which words it has, and the embedding of each."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from .unpickling import load_pickle


def concept_words(captions: Iterable[str], nouns_of: Callable[[str], set[str]], min_captions: int, max_words: int) -> list[str]:
    """At most `max_words` nouns, each in at least `min_captions` captions, most frequent first."""
    counts = Counter(noun for caption in captions for noun in nouns_of(caption))
    kept = [noun for noun, count in counts.items() if count >= min_captions]
    return sorted(kept, key=lambda noun: (-counts[noun], noun))[:max_words]


def prompt_ensemble(words: Sequence[str], prompts: Sequence[str], embed: Callable[[Sequence[str]], Tensor]) -> Tensor:
    """Embeds each word as the mean of its unit embeddings over the prompts, normalised again  # [C, E]

    `embed` maps X texts to unit vectors [X, E].
    """
    with torch.inference_mode():
        embedded = embed([prompt.format(word) for word in words for prompt in prompts]).view(len(words), len(prompts), -1)
    return F.normalize(embedded.mean(1), dim=-1)


def write_concepts(path: Path, words: Sequence[str], embeddings: Tensor) -> None:
    """Writes the vocabulary in the released layout, a pickle of (words, embeddings [C, E])."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps((list(words), embeddings)))


def read_concepts(path: Path) -> tuple[list[str], Tensor]:
    """Reads a pickle of (words, embeddings) → C words and unit vectors [C, E] float32. Released embeddings are float16 and
    not quite of unit length. Raises ValueError for anything else."""
    held = load_pickle(path)
    if not isinstance(held, list | tuple) or len(held) != 2:
        raise ValueError(f"{path} holds no pair of words and embeddings")
    words = [str(word) for word in held[0]]
    vectors = torch.as_tensor(held[1]).float()
    if vectors.ndim != 2 or len(vectors) != len(words):
        raise ValueError(f"{path} has {len(words)} words, but embeddings of shape {tuple(vectors.shape)}")
    return words, F.normalize(vectors, dim=-1)
