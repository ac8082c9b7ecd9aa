"""Choice of the decoding defaults on held-out photos: length penalty and n-gram blocking by CIDEr, the ranking by confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from ..export.bundle import Decoding, NamedConcepts
from ..export.pipeline import Arrays
from .answers import Answering, Answers, ImageBeams, Ranking, count_repeated
from .calibration import CONFIDENCE_FEATURES, agreements, feature_matrix, fit, labels, probabilities
from .metrics import quick_cider

LENGTH_PENALTIES = (0.0, 0.5, 1.0)
NO_REPEAT = (2, 3)
NAMED_CONCEPTS = NamedConcepts(min_cosine=0.25, bias=2.0)
"""On validation photos a third of the nouns that at least two people used of a photo reach this cosine, and one in a hundred of
the other nouns. Without a bias the network seldom writes a named concept; a larger one distorts the sentence around the word."""
RERANK_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
REPEAT_PENALTIES = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)
AUROC_TIE = 0.004
"""Weights whose AUROC differs by less are equally good. The smallest is taken: drawings get less confidence with it. It was set
when the figures of the first bundle on the validation photos were known, so these are not independent of it."""
REPEATED_TIE = 0.002
"""Likewise of the share of captions that say a word twice; a larger penalty takes worse sentences."""


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
    chosen: dict[float, list[list[str]]] = {weight: [] for weight in RERANK_WEIGHTS}
    for part in parts:
        found = answering.candidates(part, length_penalty=penalty, no_repeat_ngram=ngram)
        for weight, captions in chosen.items():
            best = found.ranks(Ranking(penalty, weight)).argmax(1)
            captions += [found.words[i][j] for i, j in enumerate(best)]
    return [
        Trial(penalty, ngram, weight, quick_cider([" ".join(words) for words in captions], references))
        for weight, captions in chosen.items()
    ]


@dataclass(frozen=True)
class RankingTrial:
    ranking: Ranking
    auroc: float
    """Of a confidence that is fitted to this ranking: good captions against the other ones and those of drawings."""
    repeated: float
    """Share of captions that say a word twice."""
    cider: tuple[float, ...]
    """Of each set of photos."""


@dataclass(frozen=True)
class AnsweredSet:
    """Photos of one source, with five captions each: what people say of them, and what the graphs do."""

    beams: Sequence[ImageBeams]
    references: Sequence[Sequence[str]]


def try_rankings(answering: Answering, sets: Sequence[AnsweredSet], drawings: Sequence[ImageBeams]) -> list[RankingTrial]:
    """Tries every re-ranking weight with the repeat penalty that suits it."""

    def answer(ranking: Ranking) -> list[Answers]:
        return [answering.answer_beams(each.beams, ranking) for each in sets]

    def with_penalty(weight: float) -> Ranking:
        rankings = [Ranking(answering.ranking.length_penalty, weight, penalty) for penalty in REPEAT_PENALTIES]
        shares = [_share_repeated(answering, answer(ranking)) for ranking in rankings]
        return next(ranking for ranking, share in zip(rankings, shares, strict=True) if share <= min(shares) + REPEATED_TIE)

    def measure(ranking: Ranking) -> RankingTrial:
        answers = answer(ranking)
        captions = [[each.caption for each in found.answers] for found in answers]
        good = [labels(*agreements(said, each.references))[0] for said, each in zip(captions, sets, strict=True)]
        features = np.concatenate([feature_matrix(found.answers, CONFIDENCE_FEATURES) for found in answers])
        negatives = feature_matrix(answering.answer_beams(drawings, ranking).answers, CONFIDENCE_FEATURES)
        label = np.concatenate(good)
        fitted = fit(CONFIDENCE_FEATURES, features, label, negatives)
        predicted = probabilities(fitted, np.concatenate([features, negatives]))
        auroc = float(roc_auc_score(np.concatenate([label, np.zeros(len(negatives), bool)]), predicted))
        cider = tuple(quick_cider(said, each.references) for said, each in zip(captions, sets, strict=True))
        return RankingTrial(ranking, auroc, _share_repeated(answering, answers), cider)

    return [measure(with_penalty(weight)) for weight in RERANK_WEIGHTS]


def _share_repeated(answering: Answering, answers: Sequence[Answers]) -> float:
    captions = [answer.caption.split() for found in answers for answer in found.answers]
    return sum(count_repeated(words, answering.stems) > 0 for words in captions) / len(captions)


def best_ranking(trials: Sequence[RankingTrial]) -> Ranking:
    return next(trial.ranking for trial in trials if trial.auroc >= max(t.auroc for t in trials) - AUROC_TIE)


def searched_as(decoding: Decoding, trial: Trial) -> Decoding:
    """The defaults of a bundle, with the search of a trial."""
    return replace(
        decoding,
        length_penalty=trial.length_penalty,
        no_repeat_ngram=trial.no_repeat_ngram,
        rerank_weight=trial.rerank_weight,
        named_concepts=NAMED_CONCEPTS,
    )


def ranked_as(decoding: Decoding, ranking: Ranking) -> Decoding:
    """The defaults of a bundle, with another ranking of the same search."""
    repetition = decoding.repetition and replace(decoding.repetition, penalty=ranking.repeat_penalty)
    return replace(decoding, rerank_weight=ranking.rerank_weight, repetition=repetition)
