"""Measured weaknesses of a model: photos in the dark, and one sentence for many photos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..export.bundle import Logistic
from .answers import Answering
from .calibration import feature_matrix, probabilities
from .metrics import caption_metrics

BRIGHTNESS = (1.0, 0.2, 0.1, 0.05)
SENSOR_NOISE = 2.0
"""Standard deviation of the noise, in levels of 0…255."""


@dataclass(frozen=True)
class Darkness:
    brightness: float
    """Brightness relative to the photo's own."""
    cider: float
    confidence: float
    """Mean confidence."""


def darkened(pixels: NDArray[np.uint8], brightness: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Photos [P, H, W, 3] at a lower brightness, with sensor noise; unchanged at brightness 1."""
    if brightness >= 1:
        return pixels
    noise = rng.normal(0, SENSOR_NOISE, pixels.shape).astype(np.float32)
    return np.clip(np.rint(pixels * np.float32(brightness) + noise), 0, 255).astype(np.uint8)


def in_the_dark(
    answering: Answering, confidence: Logistic, pixels: NDArray[np.uint8], references: Sequence[Sequence[str]], seed: int
) -> list[Darkness]:
    """CIDEr and confidence of the same photos [P, H, W, 3] at each brightness."""
    rng = np.random.default_rng(seed)
    found: list[Darkness] = []
    for brightness in BRIGHTNESS:
        answers = answering.answer(darkened(pixels, brightness, rng)).answers
        cider = caption_metrics([answer.caption for answer in answers], references)["CIDEr"]
        trusted = probabilities(confidence, feature_matrix(answers, confidence.features))
        found.append(Darkness(brightness, cider, float(trusted.mean())))
    return found


@dataclass(frozen=True)
class Sameness:
    """The number of different sentences, and the most frequent one."""

    photos: int
    different: int
    most_frequent: str
    most_frequent_photos: int


def sameness(captions: Sequence[str]) -> Sameness:
    counts = Counter(captions)
    caption, photos = counts.most_common(1)[0]
    return Sameness(len(captions), len(counts), caption, photos)


@dataclass(frozen=True)
class Limits:
    darkness: Sequence[Darkness]
    darkened_photos: int
    sameness: Sameness
