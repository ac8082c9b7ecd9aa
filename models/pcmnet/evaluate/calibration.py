"""Calibration of `confidence` and `matchProbability`: logistic functions of named features, and their calibration errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocoevalcap.cider.cider_scorer import CiderScorer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from ..export.bundle import Logistic
from .answers import Answer
from .metrics import tokenized

Numbers = NDArray[np.float64]
CONFIDENCE_FEATURES = ("rankScore", "familiarity", "conceptScore")
"""Of these only the rank score differs among the candidates of an image: the best one has the highest confidence."""
MATCH_FEATURES = ("cosine", "familiarity")
BINS = 10
"""Equal-mass bins of the reliability curve."""
HUMAN_PERCENTILE = 25
"""Percentile of human agreement that a good caption reaches."""
SPLITS = 20
"""Random splits that errors are averaged over."""
NEGATIVE_WEIGHT = 0.5
"""Weight of a drawing relative to a photo. A larger one makes the confidence in doubtful photos too low."""
MIN_CONFIDENCES = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9)


def agreements(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[Numbers, Numbers]:
    """CIDEr-D of each photo's caption, and of each of its five human captions against the other four.

    Document frequencies are those of all references. A caption's CIDEr-D against all five references equals the mean of its five
    CIDEr-D against four of them, so the two results are comparable. → [P], [P, 5]
    """
    ours = tokenized([[caption] for caption in candidates])
    theirs = tokenized(references)
    frequencies = CiderScorer()
    for i in range(len(references)):
        frequencies += (None, theirs[i])
    frequencies.compute_doc_freq()

    def scores(pairs: Sequence[tuple[str, list[str]]]) -> Numbers:
        scorer = CiderScorer()
        scorer.document_frequency = frequencies.document_frequency
        for hypothesis, others in pairs:
            scorer += (hypothesis, others)
        return np.asarray(scorer.compute_cider())

    machine = scores([(ours[i][0], theirs[i]) for i in range(len(references))])
    human = [
        scores([(theirs[i][left], theirs[i][:left] + theirs[i][left + 1 :]) for i in range(len(references))])
        for left in range(len(references[0]))
    ]
    return machine, np.stack(human, 1)


def labels(machine: Numbers, human: Numbers) -> tuple[NDArray[np.bool_], float]:
    """True where a caption agrees with the references as well as three quarters of human captions do; and that threshold Q."""
    threshold = float(np.percentile(human, HUMAN_PERCENTILE))
    return machine >= threshold, threshold


def fit(names: Sequence[str], features: Numbers, label: NDArray[np.bool_], negatives: Numbers | None = None) -> Logistic:
    """Fits a logistic regression on standardised features [X, F]; `negatives` [N, F] are labelled 0, with `NEGATIVE_WEIGHT`
    each."""
    weights = np.ones(len(label))
    if negatives is not None:
        features = np.concatenate([features, negatives])
        label = np.concatenate([label, np.zeros(len(negatives), bool)])
        weights = np.concatenate([weights, np.full(len(negatives), NEGATIVE_WEIGHT)])
    mean, scale = features.mean(0), features.std(0) + 1e-9
    model = LogisticRegression(C=1.0, max_iter=1000).fit((features - mean) / scale, label, weights)
    return Logistic(
        tuple(names), tuple(mean.tolist()), tuple(scale.tolist()), tuple(model.coef_[0].tolist()), float(model.intercept_[0]), {}
    )


def feature_matrix(answers: Sequence[Answer], names: Sequence[str]) -> Numbers:
    """The named features of answers  # [P, F]"""
    return np.array([[answer.features[name] for name in names] for answer in answers])


def probabilities(logistic: Logistic, features: Numbers) -> Numbers:
    """[X, F] → [X]"""
    standard = (features - np.array(logistic.mean)) / np.array(logistic.scale)
    return 1 / (1 + np.exp(-(logistic.intercept + standard @ np.array(logistic.coefficients))))


@dataclass(frozen=True)
class Reliability:
    """Mean predicted probability and observed share in equal-mass bins."""

    predicted: Numbers
    observed: Numbers
    error: float
    """Expected calibration error."""


def reliability(predicted: Numbers, label: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    groups = np.array_split(np.argsort(predicted, kind="stable"), bins)
    means = np.array([predicted[group].mean() for group in groups])
    shares = np.array([label[group].mean() for group in groups])
    mass = np.array([len(group) for group in groups]) / len(predicted)
    return Reliability(means, shares, float((np.abs(means - shares) * mass).sum()))


@dataclass(frozen=True)
class Choice:
    """The effect of taking only what is predicted to be at least `least` likely."""

    least: float
    taken: float
    """Share of all that is taken."""
    good: float
    """Share of the taken that is good; not a number if nothing is taken."""
    found: float
    """Share of the good that is taken."""


def choices(predicted: Numbers, label: NDArray[np.bool_]) -> list[Choice]:
    """One `Choice` for each of `MIN_CONFIDENCES`."""
    found: list[Choice] = []
    for least in MIN_CONFIDENCES:
        taken = predicted >= least
        good = float(label[taken].mean()) if taken.any() else float("nan")
        found.append(Choice(least, float(taken.mean()), good, float((taken & label).sum() / label.sum())))
    return found


def _mean_choice(same: Sequence[Choice]) -> Choice:
    taken, good, found = np.mean([(c.taken, c.good * c.taken if c.taken else 0.0, c.found) for c in same], 0).tolist()
    return Choice(same[0].least, taken, good / taken if taken else float("nan"), found)


@dataclass(frozen=True)
class Errors:
    """Errors of probabilities on data that the function was not fitted on, averaged over the splits."""

    reliability: Reliability
    choices: Sequence[Choice]
    auroc: float
    interval: tuple[float, float]
    """95 % interval of the AUROC, by bootstrap over the data and the splits."""

    def to_json(self) -> dict[str, float]:
        low, high = self.interval
        return {"ece": self.reliability.error, "auroc": self.auroc, "aurocLow": low, "aurocHigh": high}


def cross_fitted(
    names: Sequence[str],
    features: Numbers,
    label: NDArray[np.bool_],
    owner: NDArray[np.int64],
    negatives: Numbers | None = None,
    splits: int = SPLITS,
    draws: int = 1000,
    seed: int = 0,
) -> Errors:
    """Two-fold cross-fitting over `splits` random splits; a single split changes the calibration error by a third.

    Each row is predicted by a function that was fitted on the other half and on `negatives`. `owner` [X] is the photo of each
    row; all rows of a photo are in the same half.
    """
    rng = np.random.default_rng(seed)
    predictions: list[Numbers] = []
    for _ in range(splits):
        half = (rng.permutation(owner.max() + 1) % 2)[owner]
        predicted = np.empty(len(label))
        for held in (half == 0, half == 1):
            predicted[held] = probabilities(fit(names, features[~held], label[~held], negatives), features[held])
        predictions.append(predicted)
    curves = [reliability(predicted, label) for predicted in predictions]
    mean = Reliability(
        np.mean([curve.predicted for curve in curves], 0),
        np.mean([curve.observed for curve in curves], 0),
        float(np.mean([curve.error for curve in curves])),
    )
    chosen_by = zip(*(choices(predicted, label) for predicted in predictions), strict=True)
    areas = [float(roc_auc_score(label, predicted)) for predicted in predictions]
    drawn: list[float] = []
    while len(drawn) < draws:
        chosen = rng.integers(0, len(label), len(label))
        if label[chosen].any() and not label[chosen].all():
            drawn.append(float(roc_auc_score(label[chosen], predictions[len(drawn) % splits][chosen])))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Errors(mean, [_mean_choice(same) for same in chosen_by], float(np.mean(areas)), (float(low), float(high)))
