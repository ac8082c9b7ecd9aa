"""The splits of a data folder, and what may not pass between them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pcmnet.data import photos as data
from pcmnet.data.photos import HELD_OUT, Photo, of_split, read_photos, trained_on

FIVE = ("one", "two", "three", "four", "five")


def row(image: str, source: str, captions: tuple[str, ...] = FIVE, split: str = "train", **more: str) -> dict[str, Any]:
    return {"image": image, "source": source, "split": split, "captions": captions, **more}


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Photo]:
    monkeypatch.setattr(data, "FIRST_NEW_ROW", 8)
    monkeypatch.setattr(data, "COCO_NEW_PHOTOS", 2)
    monkeypatch.setattr(data, "DEV_PHOTOS", 1)
    rows = [
        row("secret.jpg", "flickr8k", ("A dog runs.", "A cat sleeps!"), split="val"),
        *(row(f"flickr-{n}.jpg", "flickr8k") for n in range(3)),
        row("old.jpg", "coco2014-train", teacher="a dog runs"),
        row("shared.jpg", "coco2014-train", ("A cat sleeps",), teacher="A cat sleeps."),
        row("seventeen.jpg", "coco2017-val"),
        row("rebuilt.jpg", "coco2014-train-cocoqa", ("a dog runs", "a cat sleeps", "a horse eats")),
        *(row(f"new-{n}.jpg", "coco2014-train", teacher="a horse") for n in range(5)),
        row("few.jpg", "coco2014-train", ("one",)),
    ]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rows))
    return read_photos(tmp_path)


def named(photos: list[Photo], split: str) -> set[str]:
    return {photo.image for photo in of_split(photos, split)}


def test_every_photo_has_one_split_and_its_own_row(photos: list[Photo]) -> None:
    assert [photo.row for photo in photos] == list(range(len(photos)))
    assert named(photos, "val") == {"secret.jpg"}
    assert named(photos, "dev-coco17") == {"seventeen.jpg"}
    assert named(photos, "cocoqa") == {"rebuilt.jpg"}
    assert len(named(photos, "dev")) == 1
    assert next(iter(named(photos, "dev"))).startswith("flickr-")
    assert len(named(photos, "dev-coconew")) == 2
    assert all(name.startswith("new-") for name in named(photos, "dev-coconew"))
    assert named(photos, "train") > {"old.jpg", "shared.jpg", "few.jpg"}


def test_a_validation_caption_is_taught_only_where_a_person_said_it_of_a_training_photo(photos: list[Photo]) -> None:
    by_name = {photo.image: photo for photo in photos}
    assert by_name["old.jpg"].teacher == ""
    assert by_name["shared.jpg"].teacher == "A cat sleeps."
    assert by_name["new-0.jpg"].teacher == "a horse"
    assert by_name["rebuilt.jpg"].captions == ("a cat sleeps", "a horse eats")


@pytest.mark.parametrize("rebuilt", [False, True])
def test_no_stage_trains_on_what_is_held_out(photos: list[Photo], rebuilt: bool) -> None:
    used = trained_on(photos, rebuilt)
    assert {photo.split for photo in used} == {"train", "cocoqa"} if rebuilt else {"train"}
    assert not {photo.row for photo in used} & {photo.row for split in HELD_OUT for photo in of_split(photos, split)}
