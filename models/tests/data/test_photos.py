"""The real data and the embedded bundle: nothing of the validation captions leaks, and concepts are as common as promised."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from pcmnet.data.lexicon import nouns_of
from pcmnet.data.photos import (
    COCO_NEW_PHOTOS,
    DEV_PHOTOS,
    FIRST_NEW_ROW,
    HELD_OUT,
    normalised,
    normalised_captions,
    of_split,
    read_photos,
    read_texts,
)
from pcmnet.data.text import UNKNOWN, words_of

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared" / "data"
BUNDLE = ROOT / "models" / "default"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the captioned photos are not here")


def test_splits_are_those_that_figures_are_reported_on() -> None:
    photos = read_photos(DATA)
    sizes = Counter(photo.split for photo in photos)
    assert (sizes["val"], sizes["dev"], sizes["dev-coco17"], sizes["dev-coconew"]) == (1000, DEV_PHOTOS, 324, COCO_NEW_PHOTOS)
    assert sizes["train"] + sizes["cocoqa"] == len(photos) - sum(sizes[split] for split in HELD_OUT)
    assert {photo.source for photo in of_split(photos, "dev-coco17")} == {"coco2017-val"}
    assert min(photo.row for photo in of_split(photos, "dev-coconew")) >= FIRST_NEW_ROW
    assert [photo.row for photo in photos] == list(range(len(photos)))


def test_the_bundles_figures_are_of_the_whole_validation_split() -> None:
    manifest = json.loads((BUNDLE / "bundle.json").read_text(encoding="utf-8"))
    assert manifest["quality"]["photos"] == len(of_split(read_photos(DATA), "val"))


def test_no_validation_caption_reaches_training_but_where_a_training_photo_has_the_same() -> None:
    photos = read_photos(DATA)
    said = normalised_captions(of_split(photos, "train"))
    validation = normalised_captions(of_split(photos, "val")) - said
    teacher = {normalised(photo.teacher) for photo in photos if photo.teacher}
    assert len(teacher) > 1000
    for texts in (teacher, normalised_captions(of_split(photos, "cocoqa")), {normalised(text) for text in read_texts(DATA)}):
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
