"""Calibration of the embedded model's confidence and match probability on the validation photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..data.photos import Photo
from ..evaluate.answers import Answering, Answers
from ..evaluate.calibration import (
    CONFIDENCE_FEATURES,
    MATCH_FEATURES,
    Choice,
    Reliability,
    agreements,
    cross_fitted,
    feature_matrix,
    fit,
    labels,
    probabilities,
)
from ..evaluate.nonphotos import draw_nonphotos
from ..export.bundle import Logistic

NONPHOTOS_OF_A_KIND = 20


@dataclass(frozen=True)
class Calibration:
    confidence: Logistic
    match_probability: Logistic
    reliability: Reliability
    match_reliability: Reliability
    choices: Sequence[Choice]
    """Effect of a minimal confidence."""
    threshold: float
    """Q, the CIDEr-D that three quarters of human captions reach."""
    positives: float
    """Share of the model's captions that reach it."""
    nonphoto_confidence: dict[str, float]
    """Mean confidence on each kind of drawing, on drawings that were not fitted on."""

    def to_json(self) -> dict[str, Any]:
        """The figures of the confidence that the documentation shows."""
        curve = self.reliability
        return {
            "threshold": self.threshold,
            "share": self.positives,
            "groups": [
                {"confidence": predicted, "good": observed}
                for predicted, observed in zip(curve.predicted.tolist(), curve.observed.tolist(), strict=True)
            ],
            "minConfidence": [
                {"least": c.least, "captioned": c.taken, "good": c.good if c.taken else None, "kept": c.found}
                for c in self.choices
            ],
        }


def calibrate(answering: Answering, answers: Answers, photos: Sequence[Photo], side: int, seed: int) -> Calibration:
    """Fits both functions on the answers to the validation photos, with drawings as negatives. Errors are cross-fitted."""
    references = [photo.captions for photo in photos]
    machine, human = agreements([answer.caption for answer in answers.answers], references)
    label, threshold = labels(machine, human)
    kinds, drawings = draw_nonphotos(NONPHOTOS_OF_A_KIND, side, seed)
    negatives = feature_matrix(answering.answer(drawings).answers, CONFIDENCE_FEATURES)
    features = feature_matrix(answers.answers, CONFIDENCE_FEATURES)
    errors = cross_fitted(CONFIDENCE_FEATURES, features, label, np.arange(len(photos)), negatives, seed=seed)
    confidence = fit(CONFIDENCE_FEATURES, features, label, negatives)

    unseen_kinds, unseen = draw_nonphotos(NONPHOTOS_OF_A_KIND, side, seed + 1)
    trusted = probabilities(confidence, feature_matrix(answering.answer(unseen).answers, CONFIDENCE_FEATURES))
    by_kind = {kind: float(trusted[[k == kind for k in unseen_kinds]].mean()) for kind in dict.fromkeys(kinds)}

    texts = answering.embed([caption for caps in references for caption in caps]).reshape(len(photos), len(references[0]), -1)
    own = np.einsum("pe,pce->pc", answers.image_embeddings, texts)  # [P, 5]
    rng = np.random.default_rng(seed)
    others = (np.arange(len(photos))[:, None] + rng.integers(1, len(photos), own.shape)) % len(photos)
    foreign = np.einsum("pe,pce->pc", answers.image_embeddings, texts[others, np.arange(own.shape[1])])
    cosine = np.concatenate([own.ravel(), foreign.ravel()])
    owner = np.tile(np.repeat(np.arange(len(photos)), own.shape[1]), 2)
    match_features = np.stack([cosine, answers.familiarity[owner]], 1).astype(np.float64)
    match_label = np.arange(len(cosine)) < own.size
    match_errors = cross_fitted(MATCH_FEATURES, match_features, match_label, owner, draws=200, seed=seed)
    match = fit(MATCH_FEATURES, match_features, match_label)
    return Calibration(
        replace(confidence, error=errors.to_json()),
        replace(match, error=match_errors.to_json()),
        errors.reliability,
        match_errors.reliability,
        errors.choices,
        threshold,
        float(label.mean()),
        by_kind,
    )
