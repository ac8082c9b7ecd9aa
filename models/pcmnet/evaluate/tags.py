"""Tags: for each word, the calibrated probability that at least two of five people would name it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from ..data.lexicon import nouns_of
from ..data.photos import HELD_OUT, Photo, decode_photo, of_split, read_photos
from ..export.bundle import read_bundle, sha256_of
from ..export.manifest import MANIFEST, check_manifest
from .answers import Answering

Numbers = NDArray[np.float64]
TAG_FILE = "tags.json"
FEATURES = ("cosine", "inCaption", "inCandidates")
"""Cosine of image and word; whether the best candidate has the word; the share of all candidates that have it."""
MIN_PEOPLE = 2
"""People that have to name a word, of the five who described a photo."""
MIN_PHOTOS = 20
"""Training photos that a word is named for; rarer ones are no tags."""
SHRINKAGE = 0.1
"""Variance of a word's own coefficients around those that all words share."""
NEWTON_STEPS = 10
MIN_POSITIVES = 10
"""Photos that a word is named for, to have a part in the mean average precision."""
SHOWN = 0.1
"""Calibration is reported from this probability on, too: nearly all pairs of photo and word are far below it."""


@dataclass(frozen=True)
class TagModel:
    """probability = sigmoid(intercept + Σ coefficient · feature), one row for each of W words."""

    intercept: Numbers
    """[W]"""
    coefficients: Numbers
    """[W, F]"""

    def probabilities(self, features: Numbers) -> Numbers:
        """[P, W, F] → [P, W]"""
        return 1 / (1 + np.exp(-(self.intercept + (features * self.coefficients).sum(-1))))


def named_by_people(photos: Sequence[Photo], words: Sequence[str]) -> NDArray[np.bool_]:
    """Whether at least `MIN_PEOPLE` captions of a photo name a word  # [P, W]"""
    column = {word: i for i, word in enumerate(words)}
    named = np.zeros((len(photos), len(words)), bool)
    for row, photo in enumerate(photos):
        counts = Counter(noun for caption in photo.captions for noun in nouns_of(caption))
        for noun, people in counts.items():
            if people >= MIN_PEOPLE and noun in column:
                named[row, column[noun]] = True
    return named


def with_five_captions(photos: Sequence[Photo]) -> list[Photo]:
    return [photo for photo in photos if len(photo.captions) == 5]


def features_of(answering: Answering, photos: Sequence[Photo], images: Path, rows: Sequence[int], batch_size: int = 8) -> Numbers:
    """The features of each photo and word; `rows` are the words' rows of the concept vocabulary  # [P, W, F]"""
    pipeline = answering.pipeline
    column = {pipeline.concept_words[row]: i for i, row in enumerate(rows)}
    concepts = pipeline.concepts[list(rows)]
    side = pipeline.manifest["image"]["width"]
    out = np.zeros((len(photos), len(rows), len(FEATURES)))
    for start in range(0, len(photos), batch_size):
        batch = photos[start : start + batch_size]
        pixels = np.stack([decode_photo(images / photo.image, side, pipeline.manifest["image"]["resize"]) for photo in batch])
        encoded = pipeline.encode(pixels)
        found = answering.candidates(encoded)
        ranks = found.ranks(answering.ranking)
        out[start : start + len(batch), :, 0] = encoded["image_embedding"] @ concepts.T
        for row, beams in enumerate(found.words):
            order = [int(k) for k in np.argsort(-ranks[row]) if np.isfinite(ranks[row][k])]
            for place, k in enumerate(order):
                for noun in nouns_of(" ".join(beams[k])) & column.keys():
                    out[start + row, column[noun], 1] = max(out[start + row, column[noun], 1], float(place == 0))
                    out[start + row, column[noun], 2] += 1 / len(order)
    return out


def fit_tags(features: Numbers, named: NDArray[np.bool_], share: Numbers) -> TagModel:
    """Fits a logistic function for each word: one that all words share, and each word's own deviation from it, kept small by
    `SHRINKAGE`, since most words are named seldom.

    `share` [W] is how often people name each word in training photos; its logit is a feature of the shared function.
    """
    mean, scale = features[..., 0].mean(0), features[..., 0].std(0) + 1e-6  # each word's own
    prior = np.broadcast_to(np.log(share / (1 - share)), features.shape[:2])
    level = prior - prior.mean()
    cosine = (features[..., 0] - mean) / scale
    in_caption, in_candidates = features[..., 1], features[..., 2]
    design = np.stack([cosine, in_caption, in_candidates, prior, cosine * level, in_caption * level, in_candidates * level], -1)
    shared = LogisticRegression(C=1.0, max_iter=1000).fit(design.reshape(-1, design.shape[-1]), named.ravel())
    a = shared.coef_[0]
    intercept = shared.intercept_[0] + a[3] * prior[0]
    coefficients = np.stack([a[0] + a[4] * level[0], a[1] + a[5] * level[0], a[2] + a[6] * level[0]], -1)
    for w in range(named.shape[1]):
        x = np.stack([np.ones(len(named)), cosine[:, w], in_caption[:, w], in_candidates[:, w]], -1)
        offset = intercept[w] + x[:, 1:] @ coefficients[w]
        own = np.zeros(x.shape[1])
        for _ in range(NEWTON_STEPS):
            p = 1 / (1 + np.exp(-(offset + x @ own)))
            gradient = x.T @ (named[:, w] - p) - own / SHRINKAGE
            curvature = (x * (p * (1 - p))[:, None]).T @ x + np.eye(len(own)) / SHRINKAGE
            own += np.linalg.solve(curvature, gradient)
        intercept[w] += own[0]
        coefficients[w] += own[1:]
    # On the features as they are, without each word's mean and scale.
    intercept -= coefficients[:, 0] * mean / scale
    coefficients[:, 0] /= scale
    return TagModel(intercept, coefficients)


def calibration_error(predicted: Numbers, label: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error in bins of equal width."""
    bin_of = np.minimum((predicted * bins).astype(int), bins - 1)
    parts = [(predicted[bin_of == b].sum() - label[bin_of == b].sum()) for b in range(bins)]
    return float(np.abs(parts).sum() / len(predicted))


def quality_of(predicted: Numbers, named: NDArray[np.bool_]) -> dict[str, float]:
    """The figures of the model card; `predicted` and `named` are [P, W]."""
    frequent = np.flatnonzero(named.sum(0) >= MIN_POSITIVES)
    shown = predicted >= SHOWN
    likely = predicted >= 0.5
    return {
        "photos": float(len(named)),
        "ece": calibration_error(predicted.ravel(), named.ravel()),
        "eceShown": calibration_error(predicted[shown], named[shown]),
        "meanAveragePrecision": float(np.mean([average_precision_score(named[:, w], predicted[:, w]) for w in frequent])),
        "averagedWords": float(len(frequent)),
        "precision": float(named[likely].mean()),
        "recall": float((likely & named).sum() / named.sum()),
        "tagsPerPhoto": float(likely.sum() / len(named)),
    }


def cross_fitted_tags(features: Numbers, named: NDArray[np.bool_], share: Numbers, seed: int) -> dict[str, float]:
    """Figures of probabilities by functions that were fitted on the other half of the photos."""
    half = np.random.default_rng(seed).permutation(len(named)) % 2
    predicted = np.empty(named.shape)
    for held in (half == 0, half == 1):
        predicted[held] = fit_tags(features[~held], named[~held], share).probabilities(features[held])
    return quality_of(predicted, named)


def _words(model: TagModel, words: Sequence[str], vocabulary: Sequence[str]) -> list[dict[str, Any]]:
    forms: dict[str, list[str]] = {}
    for spelled in vocabulary:
        for noun in nouns_of(spelled):
            forms.setdefault(noun, []).append(spelled)
    return [
        {
            "word": word,
            "forms": forms.get(word, []),
            "intercept": round(float(model.intercept[w]), 4),
            "coefficients": [round(float(c), 4) for c in model.coefficients[w]],
        }
        for w, word in enumerate(words)
    ]


def add_tags(folder: Path, data: Path, precision: str, seed: int = 0) -> dict[str, Any]:
    """Fits tags to a bundle, writes them into it and its manifest and model card, and returns the figures.

    Fitted on the held-out photos of `data` other than the validation photos: cross-fitted figures are of these, and those of
    the validation photos are of functions that never saw one.
    """
    photos = read_photos(data)
    answering = Answering(folder, precision)
    concept_words = answering.pipeline.concept_words
    training = with_five_captions(of_split(photos, "train"))
    counts = named_by_people(training, concept_words).sum(0)
    rows = np.flatnonzero(counts >= MIN_PHOTOS).tolist()
    words = [concept_words[row] for row in rows]
    share = (counts[rows] + 0.5) / (len(training) + 1)

    fitted = with_five_captions([photo for split in HELD_OUT if split != "val" for photo in of_split(photos, split)])
    reported = with_five_captions(of_split(photos, "val"))
    features, named = features_of(answering, fitted, data / "images", rows), named_by_people(fitted, words)
    model = fit_tags(features, named, share)
    on_validation = model.probabilities(features_of(answering, reported, data / "images", rows))
    quality = {
        "words": len(words),
        "crossFitted": cross_fitted_tags(features, named, share, seed),
        "validation": quality_of(on_validation, named_by_people(reported, words)),
    }
    vocabulary = (folder / answering.pipeline.manifest["vocabulary"]).read_text(encoding="utf-8").splitlines()
    _write(folder, _words(model, words, vocabulary), quality)
    return quality


def _write(folder: Path, words: list[dict[str, Any]], quality: dict[str, Any]) -> None:
    manifest = read_bundle(folder)
    lines = ",\n ".join(json.dumps(word) for word in words)
    (folder / TAG_FILE).write_text(f"[\n {lines}\n]\n", encoding="utf-8")
    path = folder / TAG_FILE
    manifest["tags"] = {"file": TAG_FILE, "features": list(FEATURES)}
    manifest["quality"]["tags"] = quality
    manifest["files"][TAG_FILE] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    check_manifest(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    _write_card(folder / "MODEL_CARD.md", quality)


def _write_card(path: Path, quality: dict[str, Any]) -> None:
    """Puts the section about tags before the one about limits, in place of an earlier one."""
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition("## Tags\n")
    if rest:
        text = before + rest[rest.index("## Limits\n") :]
    rows = [
        f"| {name} | {q['photos']:.0f} | {q['ece']:.4f} | {q['eceShown']:.3f} | {q['meanAveragePrecision']:.3f} ({q['averagedWords']:.0f}) "
        f"| {q['precision']:.0%} | {q['recall']:.0%} | {q['tagsPerPhoto']:.1f} |"
        for name, q in (
            ("fitted on, two-fold cross-fitted", quality["crossFitted"]),
            ("validation, not fitted on", quality["validation"]),
        )
    ]
    section = f"""## Tags
`tags` has {quality["words"]} words, each with the probability that at least {MIN_PEOPLE} of 5 people would name it: a logistic function of the cosine of image
and word, of whether the best caption has the word, and of the share of the candidates that have it. The functions are fitted on
held-out photos; each word's own differs from one that all share as far as the data says. ECE: expected calibration error over all
pairs of photo and word, and over those of probability {SHOWN:g} and more; mean average precision over the words that at least {MIN_POSITIVES} photos have.

| photos | number | ECE | ECE from {SHOWN:g} | mean average precision (words) | at 0.5: precision | recall | tags a photo |
| --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

"""
    head, limits, tail = text.partition("## Limits\n")
    path.write_text(head + section + limits + tail, encoding="utf-8")
