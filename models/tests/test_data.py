"""The real data and the embedded bundle: nothing of the validation captions leaks, and concepts are as common as promised."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from pcmnet.concepts import nouns_of
from pcmnet.data import DEV_PHOTOS, of_split, read_photos, read_texts
from pcmnet.text import UNKNOWN, words_of

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
BUNDLE = ROOT / "models" / "default"
pytestmark = pytest.mark.skipif(not DATA.exists() and "CI" not in os.environ, reason="the captioned photos are not here")


def normalised(caption: str) -> str:
    return " ".join(words_of(caption))


def test_splits_are_those_that_figures_are_reported_on() -> None:
    photos = read_photos(DATA)
    assert len(of_split(photos, "val")) == 1000
    assert len(of_split(photos, "dev")) == DEV_PHOTOS
    assert len(of_split(photos, "train")) == 9285


def test_no_validation_caption_reaches_training_but_where_a_training_photo_has_the_same() -> None:
    photos = read_photos(DATA)
    validation = {normalised(caption) for photo in of_split(photos, "val") for caption in photo.captions}
    texts = {normalised(text) for text in read_texts(DATA)}
    assert not validation & texts


def test_the_bundle_knows_only_words_of_training_texts() -> None:
    photos = read_photos(DATA)
    known = {word for photo in of_split(photos, "train") for caption in photo.captions for word in words_of(caption)}
    known |= {word for text in read_texts(DATA) for word in words_of(text)}
    vocabulary = (BUNDLE / "vocabulary.txt").read_text(encoding="utf-8").splitlines()
    assert set(vocabulary) - known == {UNKNOWN}


def test_every_concept_is_in_at_least_five_training_captions() -> None:
    counts = Counter(
        noun for photo in of_split(read_photos(DATA), "train") for caption in photo.captions for noun in nouns_of(caption)
    )
    concepts = json.loads((BUNDLE / "concepts.json").read_text(encoding="utf-8"))
    assert len(concepts) >= 400
    assert min(counts[concept] for concept in concepts) >= 5
