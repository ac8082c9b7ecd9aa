"""Choice of the decoding defaults on the `dev` photos: length penalty, n-gram blocking, weight of the cosine in re-ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..export.bundle import Decoding, NamedConcepts
from ..export.pipeline import Arrays
from .answers import Answering, ranks_of
from .metrics import quick_cider

LENGTH_PENALTIES = (0.0, 0.5, 1.0)
NO_REPEAT = (2, 3)
NAMED_CONCEPTS = NamedConcepts(min_cosine=0.25, bias=2.0)
"""On validation photos a third of the nouns that at least two people used of a photo reach this cosine, and one in a hundred of
the other nouns. Without a bias the network seldom writes a named concept; a larger one distorts the sentence around the word."""
RERANK_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)


@dataclass(frozen=True)
class Trial:
    length_penalty: float
    no_repeat_ngram: int
    rerank_weight: float
    cider: float


def try_decodings(
    answering: Answering, pixels: NDArray[np.uint8], references: Sequence[Sequence[str]], batch: int = 10
) -> list[Trial]:
    """Measures CIDEr on photos [P, H, W, 3] with every length penalty, then with n-gram blocking at the best of them, each
    with every re-ranking weight. Trials are sorted, best first. Photos are encoded once."""
    parts = [answering.pipeline.encode(np.ascontiguousarray(pixels[s : s + batch])) for s in range(0, len(pixels), batch)]
    plain = [trial for penalty in LENGTH_PENALTIES for trial in _try(answering, parts, references, penalty, 0)]
    penalty = max(plain, key=lambda trial: trial.cider).length_penalty
    blocked = [trial for ngram in NO_REPEAT for trial in _try(answering, parts, references, penalty, ngram)]
    return sorted(plain + blocked, key=lambda trial: -trial.cider)


def _try(
    answering: Answering, parts: Sequence[Arrays], references: Sequence[Sequence[str]], penalty: float, ngram: int
) -> list[Trial]:
    pipeline = answering.pipeline
    chosen: dict[float, list[str]] = {weight: [] for weight in RERANK_WEIGHTS}
    for part in parts:
        decoded = pipeline.decode(part, length_penalty=penalty, no_repeat_ngram=ngram)
        texts = [[" ".join(pipeline.vocabulary.decode(beam)) for beam in image] for image in decoded["tokens"].tolist()]
        embedded = answering.embed([text for image in texts for text in image]).reshape(*decoded["log_probs"].shape, -1)
        cosine = np.einsum("be,bke->bk", part["image_embedding"], embedded)
        for weight, captions in chosen.items():
            captions += [texts[i][j] for i, j in enumerate(ranks_of(decoded, cosine, penalty, weight).argmax(1))]
    return [Trial(penalty, ngram, weight, quick_cider(captions, references)) for weight, captions in chosen.items()]


def decoding_of(trial: Trial) -> Decoding:
    return Decoding(
        length_penalty=trial.length_penalty,
        no_repeat_ngram=trial.no_repeat_ngram,
        rerank_weight=trial.rerank_weight,
        named_concepts=NAMED_CONCEPTS,
    )
