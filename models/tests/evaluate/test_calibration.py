"""Calibration: the label's definition, the fit, the figures that judge it."""

from __future__ import annotations

import numpy as np
import pytest

from pcmnet.evaluate.calibration import agreements, choices, cross_fitted, fit, labels, probabilities, reliability

REFERENCES = [
    ["a dog runs on the grass", "a brown dog runs in a field", "the dog is running", "a dog runs fast", "dog on grass"],
    ["two men play guitar", "men with guitars on a stage", "a band plays music", "two men play music", "guitar players"],
    ["a boy jumps into a pool", "a child jumps in the water", "a boy swims", "kid in a pool", "a boy jumps in water"],
    ["a woman rides a horse", "a rider on a horse", "a girl on a brown horse", "horse and rider", "a woman on a horse"],
]


def test_agreement_is_cider_against_all_references_and_humans_are_left_out_in_turn() -> None:
    captions = ["a dog runs on the grass", "a cat sleeps", "a boy jumps into a pool", "a woman rides a horse"]
    machine, human = agreements(captions, REFERENCES)
    assert machine.shape == (4,)
    assert human.shape == (4, 5)
    assert machine[1] == pytest.approx(0.0)
    # The mean over five leave-outs of the figure against four references is the figure against all five; a caption that is
    # itself a reference meets it in four of the five, so it scores above what that human caption does against the others.
    assert machine[0] == pytest.approx((human[0, 0] * 4 + 10) / 5, rel=1e-6)


def test_the_label_is_the_first_quartile_of_human_agreement() -> None:
    human = np.arange(1.0, 101.0).reshape(20, 5)
    label, threshold = labels(np.array([25.0, 25.75, 26.0]), human)
    assert threshold == pytest.approx(25.75)
    assert label.tolist() == [False, True, True]


def test_a_fit_finds_the_function_that_made_the_labels_and_reports_it_calibrated() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(3, 2, (6000, 2))
    truth = 1 / (1 + np.exp(-(features[:, 0] - 3)))
    label = rng.random(6000) < truth
    errors = cross_fitted(("cosine", "length"), features, label, np.arange(6000), splits=4, draws=50)
    assert errors.reliability.error < 0.03
    low, high = errors.interval
    assert low < errors.auroc < high
    logistic = fit(("cosine", "length"), features, label)
    assert abs(logistic.coefficients[1]) < 0.1 < logistic.coefficients[0]
    assert np.abs(probabilities(logistic, features) - truth).mean() < 0.02


def test_calibration_error_is_the_gap_of_equal_mass_bins() -> None:
    predicted = np.repeat([0.2, 0.8], 50)
    label = np.concatenate([np.arange(50) < 20, np.arange(50) < 40])
    curve = reliability(predicted, label, bins=2)
    assert curve.observed.tolist() == pytest.approx([0.4, 0.8])
    assert curve.error == pytest.approx(0.1)


def test_errors_are_of_photos_that_the_function_has_not_seen() -> None:
    # Nothing to learn but the photo itself, of which each row has a copy: seen in the other half, it would be known by heart.
    owner = np.repeat(np.arange(40), 2)
    rng = np.random.default_rng(1)
    label = (rng.random(40) < 0.5)[owner]
    names = tuple(f"photo {i}" for i in range(40))
    errors = cross_fitted(names, np.eye(40)[owner], label, owner, draws=10)
    assert errors.auroc < 0.6


def test_negatives_lower_what_is_predicted_of_their_like() -> None:
    rng = np.random.default_rng(2)
    features, label = rng.normal(0, 1, (400, 1)), rng.random(400) < 0.5
    plain = cross_fitted(("cosine",), features, label, np.arange(400), draws=10)
    lowered = cross_fitted(("cosine",), features, label, np.arange(400), np.full((200, 1), -2.0), draws=10)
    assert lowered.reliability.predicted[0] < plain.reliability.predicted[0] - 0.2


def test_a_least_confidence_says_what_is_taken_and_what_of_it_is_good() -> None:
    predicted = np.array([0.95, 0.65, 0.55, 0.35, 0.1])
    label = np.array([True, True, False, True, False])
    found = {choice.least: choice for choice in choices(predicted, label)}
    assert [found[0.5].taken, found[0.5].good, found[0.5].found] == pytest.approx([3 / 5, 2 / 3, 2 / 3])
    assert [found[0.0].taken, found[0.0].good, found[0.0].found] == pytest.approx([1, 3 / 5, 1])
    assert [found[0.9].taken, found[0.9].good, found[0.9].found] == pytest.approx([1 / 5, 1, 1 / 3])
    assert np.isnan(choices(np.array([0.1]), np.array([True]))[1].good)


def test_choices_of_all_splits_are_averaged() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(0, 1, (2000, 1))
    label = rng.random(2000) < 1 / (1 + np.exp(-2 * features[:, 0]))
    found = cross_fitted(("cosine",), features, label, np.arange(2000), splits=3, draws=10).choices
    assert found[0].taken == found[0].found == 1
    assert found[0].good == pytest.approx(label.mean())
    assert [choice.good for choice in found] == sorted(choice.good for choice in found)
    assert [choice.taken for choice in found] == sorted((choice.taken for choice in found), reverse=True)


def test_a_negative_weighs_half_of_a_photo() -> None:
    features = np.array([[-1.0]] * 20 + [[1.0]] * 40)
    label = np.concatenate([np.arange(20) < 10, np.arange(40) < 30])
    plain = fit(("cosine",), np.concatenate([features, np.full((5, 1), -1.0)]), np.concatenate([label, np.zeros(5, bool)]))
    # Ten negatives of half the weight move the probability at −1 as five photos that are not good do.
    lowered = fit(("cosine",), features, label, np.full((10, 1), -1.0))
    at = np.array([[-1.0], [1.0]])
    assert probabilities(lowered, at) == pytest.approx(probabilities(plain, at), abs=0.01)
    assert probabilities(lowered, at)[0] < probabilities(fit(("cosine",), features, label), at)[0] - 0.03
