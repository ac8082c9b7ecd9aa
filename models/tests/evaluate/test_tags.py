"""Tags: what people name, the fit of each word's probability, the figures that judge it, the model card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pcmnet.data.photos import Photo
from pcmnet.evaluate import tags
from pcmnet.evaluate.tags import Numbers, calibration_error, cross_fitted_tags, fit_tags, named_by_people, quality_of


def photo(*captions: str) -> Photo:
    return Photo(row=0, image="a.jpg", source="", split="val", captions=captions)


def drawn(photos: int, words: int, seed: int) -> tuple[Numbers, np.ndarray, Numbers]:
    """Features of photos, what was named of them, and by which probabilities it was drawn  # [P, W, F], [P, W], [P, W]"""
    random = np.random.default_rng(seed)
    features = np.stack(
        [
            random.normal(0.2 + 0.02 * np.arange(words), 0.1, (photos, words)),
            random.random((photos, words)) < 0.2,
            random.random((photos, words)),
        ],
        -1,
    )
    intercept = np.linspace(-3.5, -1.5, words) - 10 * (0.2 + 0.02 * np.arange(words))
    true = 1 / (1 + np.exp(-(intercept + 10 * features[..., 0] + 2 * features[..., 1] + features[..., 2])))
    return features, random.random(true.shape) < true, true


def test_a_word_is_named_when_two_people_use_it_in_whatever_number() -> None:
    photos = [
        photo("two dogs and a dog", "a cat", "grass", "grass", "a tree"),
        photo("a dog runs", "dogs run on grass", "a brown animal", "an animal", "grass"),
    ]
    named = named_by_people(photos, ["dog", "cat", "grass", "animal"])
    assert named.tolist() == [[False, False, True, False], [True, False, True, True]]


def test_fitted_probabilities_are_those_by_which_words_were_named() -> None:
    features, named, _ = drawn(4000, 6, seed=1)
    others, named_there, true = drawn(4000, 6, seed=2)
    predicted = fit_tags(features, named, named.mean(0)).probabilities(others)
    assert np.abs(predicted - true).mean() < 0.02
    assert calibration_error(predicted.ravel(), named_there.ravel()) < 0.02


def test_the_scale_of_a_words_cosines_does_not_matter() -> None:
    features, named, _ = drawn(500, 4, seed=3)
    moved = features.copy()
    moved[:, 2, 0] = 7 * moved[:, 2, 0] - 1
    share = named.mean(0)
    expected = fit_tags(features, named, share).probabilities(features)
    assert fit_tags(moved, named, share).probabilities(moved) == pytest.approx(expected, abs=1e-3)


def test_a_word_that_is_named_seldom_stays_close_to_what_all_share() -> None:
    """By itself, a word that is named for one photo would get a function that names it for no other."""
    features, named, _ = drawn(1000, 8, seed=4)
    named[:, 0] = False
    named[np.argmax(features[:, 0, 0]), 0] = True
    model = fit_tags(features, named, np.maximum(named.mean(0), 0.001))
    scale = features[..., 0].std(0)
    own = model.coefficients[:, 0] * scale
    assert 0 < own[0] < 2 * own[1:].max()


def test_cross_fitted_figures_are_of_photos_that_the_fit_has_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    features, named, _ = drawn(60, 4, seed=5)
    judged: list[float] = []

    class Remembers:
        def __init__(self, fitted_on: Numbers) -> None:
            self.fitted_on = set(fitted_on[:, 0, 0].tolist())

        def probabilities(self, held: Numbers) -> Numbers:
            photos = held[:, 0, 0].tolist()
            assert self.fitted_on.isdisjoint(photos)
            judged.extend(photos)
            return np.full(held.shape[:2], 0.5)

    monkeypatch.setattr(tags, "fit_tags", lambda fitted_on, _named, _share: Remembers(fitted_on))
    cross_fitted_tags(features, named, named.mean(0), seed=0)
    assert sorted(judged) == sorted(features[:, 0, 0].tolist()), "each photo is judged once"


def test_calibration_error_is_the_gap_of_each_bin_by_its_size() -> None:
    predicted = np.array([0.05, 0.05, 0.95, 1.0])
    assert calibration_error(predicted, np.array([False, False, True, True])) == pytest.approx((0.1 + 0.05) / 4)
    assert calibration_error(predicted, np.array([True, False, False, True])) == pytest.approx((0.9 + 0.95) / 4)


def test_the_figures_of_the_card_count_what_would_be_shown() -> None:
    named = np.zeros((20, 2), bool)
    named[:10, 0] = True
    named[0, 1] = True
    predicted = np.where(named, 0.9, 0.02)
    predicted[1, 0], predicted[15, 0] = 0.3, 0.6  # one is missed at 0.5, and one wrong
    quality = quality_of(predicted, named)
    assert quality["averagedWords"] == 1, "the second word is named too seldom"
    assert quality["precision"] == pytest.approx(10 / 11)
    assert quality["recall"] == pytest.approx(10 / 11)
    assert quality["tagsPerPhoto"] == pytest.approx(11 / 20)
    # Nine photos that have the word lead; the last one comes behind the wrong one.
    assert quality["meanAveragePrecision"] == pytest.approx((9 + 10 / 11) / 10)


def test_the_card_has_one_section_about_tags_however_often_they_are_fitted(tmp_path: Path) -> None:
    card = tmp_path / "MODEL_CARD.md"
    card.write_text("# Card\n\n## Limits\nMany.\n", encoding="utf-8")
    figures = {"photos": 10.0, "ece": 0.01, "eceShown": 0.02, "meanAveragePrecision": 0.5, "averagedWords": 3.0}
    figures |= {"precision": 0.7, "recall": 0.3, "tagsPerPhoto": 1.5}
    for words in (5, 7):
        tags._write_card(card, {"words": words, "crossFitted": figures, "validation": figures})
    text = card.read_text(encoding="utf-8")
    assert text.count("## Tags\n") == text.count("## Limits\n") == 1
    assert "`tags` has 7 words" in text
    assert text.index("## Tags") < text.index("## Limits")
    assert text.endswith("## Limits\nMany.\n")
