"""Captioned photos on disk: records, splits, and images decoded to a fixed size."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .text import words_of
from .vips import read_cropped, read_stretched

DEV_PHOTOS = 500
"""Photos of `train` that are held out for choosing models and settings; `val` only reports."""

COCO_2017_SOURCE = "coco2017-val"
"""All of its photos are `dev-coco17`: the detector that training may learn from never saw them."""
COCO_NEW_SOURCE = "coco2014-train"
FIRST_NEW_ROW = 10_785
"""From here on, photos are in the second version of the data only, and no bundle before it has seen them."""
COCO_NEW_PHOTOS = 200
"""Of `COCO_NEW_SOURCE` and new, with five captions: `dev-coconew`."""
REBUILT_SUFFIX = "-cocoqa"
"""Sources whose sentences were rebuilt from questions and answers; one in ten is broken, so they are a split of their own."""

HELD_OUT = ("val", "dev", "dev-coco17", "dev-coconew")
"""Splits that no stage trains on."""

PHOTO_SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))


@dataclass(frozen=True)
class Photo:
    """One captioned photo; `row` is its line in `captions.jsonl` and its row in every array of features."""

    row: int
    image: str
    source: str
    split: str
    """`train`, `cocoqa`, or one of `HELD_OUT`"""
    captions: tuple[str, ...]
    """People's, or those rebuilt from questions in `cocoqa`."""
    teacher: str = ""
    """A sentence by a captioner that was trained on all of COCO, where there is one."""


def read_photos(data: Path) -> list[Photo]:
    """Reads all photos of `captions.jsonl`, with the development sets split off `train`.

    `dev` is 500 photos with five captions of the validation set's own source, so that it looks like `val`. It and
    `dev-coconew` are chosen by the SHA-1 of the file name, so that they are the same on every machine. What no person wrote is
    left out where it says what a validation caption says, unless a person said it of a training photo, too.
    """
    with (data / "captions.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    source = next(row["source"] for row in rows if row["split"] == "val")
    dev = _first_by_hash(_with_five_captions(rows, source), DEV_PHOTOS)
    coco_new = _first_by_hash(_with_five_captions(rows[FIRST_NEW_ROW:], COCO_NEW_SOURCE), COCO_NEW_PHOTOS)

    def split_of(row: dict[str, Any]) -> str:
        if row["split"] != "train":
            return str(row["split"])
        if row["source"].endswith(REBUILT_SUFFIX):
            return "cocoqa"
        if row["source"] == COCO_2017_SOURCE:
            return "dev-coco17"
        return "dev" if row["image"] in dev else "dev-coconew" if row["image"] in coco_new else "train"

    photos = [
        Photo(n, r["image"], r["source"], split_of(r), tuple(r["captions"]), r.get("teacher") or "") for n, r in enumerate(rows)
    ]
    secret = normalised_captions(of_split(photos, "val")) - normalised_captions(of_split(photos, "train"))
    return [_without(secret, photo) for photo in photos]


def _with_five_captions(rows: Sequence[dict[str, Any]], source: str) -> list[str]:
    return [r["image"] for r in rows if r["split"] == "train" and r["source"] == source and len(r["captions"]) == 5]


def _first_by_hash(names: Sequence[str], count: int) -> set[str]:
    return set(sorted(names, key=lambda name: hashlib.sha1(name.encode()).hexdigest())[:count])


def _without(secret: Set[str], photo: Photo) -> Photo:
    """A rebuilt photo may be left without captions."""
    if photo.split == "cocoqa":
        return replace(photo, captions=tuple(c for c in photo.captions if normalised(c) not in secret))
    return replace(photo, teacher="") if photo.teacher and normalised(photo.teacher) in secret else photo


def normalised(caption: str) -> str:
    return " ".join(words_of(caption))


def normalised_captions(photos: Iterable[Photo]) -> set[str]:
    return {normalised(caption) for photo in photos for caption in photo.captions}


def photos_in(folder: Path) -> list[Path]:
    """Image files of a folder and its subfolders, sorted by path."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES)


def of_split(photos: Sequence[Photo], split: str) -> list[Photo]:
    return [photo for photo in photos if photo.split == split]


def trained_on(photos: Sequence[Photo], rebuilt: bool) -> list[Photo]:
    """What stages may learn from; the photos whose captions were rebuilt from questions, if asked."""
    return [photo for photo in photos if photo.split == "train" or (rebuilt and photo.split == "cocoqa" and photo.captions)]


def read_texts(data: Path) -> list[str]:
    """Reads the captions without photos, `text.txt.gz`."""
    with gzip.open(data / "text.txt.gz", "rt", encoding="utf-8") as lines:
        return [line.strip() for line in lines if line.strip()]


def decode_photo(file: Path | BinaryIO, side: int, resize: str = "stretch") -> NDArray[np.uint8]:
    """The photo as the service sees it: EXIF orientation applied, resized by bicubic  # [side, side, 3] uint8 sRGB

    `stretch` ignores the aspect ratio; `crop` fits the short side and cuts the middle out, as CLIP does.
    """
    return read_cropped(file, side) if resize == "crop" else read_stretched(file, side)


def open_pixels(path: Path, photos: Sequence[Photo], images: Path, side: int, resize: str = "stretch") -> NDArray[np.uint8]:
    """Memory-maps the pixels of all photos, which are written on first use  # [rows, side, side, 3] uint8

    Raises ValueError if the file was written for other photos or another side.
    """
    shape = (len(photos), side, side, 3)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        store = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        with ThreadPoolExecutor() as pool:
            decoded = pool.map(lambda photo: decode_photo(images / photo.image, side, resize), photos)
            for row, pixels in enumerate(tqdm(decoded, total=len(photos), desc="pixels", mininterval=10)):
                store[row] = pixels
        store.flush()
        partial.rename(path)
    pixels = np.load(path, mmap_mode="r")
    if pixels.shape != shape:
        raise ValueError(f"{path} holds {pixels.shape}, but these photos need {shape}; remove it to write it anew")
    return pixels


def caption_shares(photos: Sequence[Photo], words: Sequence[str], words_in: Callable[[str], set[str]]) -> NDArray[np.float32]:
    """For each photo the share of its captions in which `words_in` finds each word  # [P, W]"""
    column = {word: i for i, word in enumerate(words)}
    shares = np.zeros((len(photos), len(words)), np.float32)
    for row, photo in enumerate(photos):
        for caption in photo.captions:
            for word in words_in(caption) & column.keys():
                shares[row, column[word]] += 1 / len(photo.captions)
    return shares


def batches(rows: Sequence[int], size: int) -> list[list[int]]:
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]
