"""Limits: darkened photos, and sentences that many photos share."""

from __future__ import annotations

import numpy as np

from pcmnet.evaluate.limits import SENSOR_NOISE, darkened, sameness


def test_a_darkened_photo_keeps_its_share_of_light_and_gets_noise() -> None:
    pixels = np.full((2, 32, 32, 3), 200, np.uint8)
    dark = darkened(pixels, 0.1, np.random.default_rng(0))
    assert dark.shape == pixels.shape
    assert dark.dtype == np.uint8
    assert abs(dark.mean() - 20) < 0.2
    assert abs(dark.std() - SENSOR_NOISE) < 0.3
    assert np.array_equal(darkened(pixels, 1, np.random.default_rng(0)), pixels)


def test_black_does_not_wrap_around_to_white() -> None:
    assert darkened(np.zeros((1, 64, 64, 3), np.uint8), 0.05, np.random.default_rng(0)).max() < 20


def test_sameness_counts_sentences() -> None:
    found = sameness(["a dog", "a cat", "a dog", "a man"])
    assert (found.photos, found.different, found.most_frequent, found.most_frequent_photos) == (4, 3, "a dog", 2)
