"""Captioned photos on disk: the records, the splits, and the photos as fixed-size pixels."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tqdm import tqdm

DEV_PHOTOS = 500
"""Photos split off `train` on which every choice is made; `val` only reports."""

PHOTO_SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))


@dataclass(frozen=True)
class Photo:
    """One captioned photo; `row` is its line in `captions.jsonl` and its row in every array of features."""

    row: int
    image: str
    source: str
    split: str
    captions: tuple[str, ...]


def read_photos(data: Path) -> list[Photo]:
    """All photos of `captions.jsonl`; 500 of the training photos with five captions become split `dev`.

    The choice is by the SHA-1 of the file name, among the photos of the validation set's own source, so that it is
    the same on every machine and looks like `val`.
    """
    with (data / "captions.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    source = next(row["source"] for row in rows if row["split"] == "val")
    candidates = [r["image"] for r in rows if r["split"] == "train" and r["source"] == source and len(r["captions"]) == 5]
    dev = set(sorted(candidates, key=lambda name: hashlib.sha1(name.encode()).hexdigest())[:DEV_PHOTOS])
    return [
        Photo(n, r["image"], r["source"], "dev" if r["image"] in dev else r["split"], tuple(r["captions"]))
        for n, r in enumerate(rows)
    ]


def photos_in(folder: Path) -> list[Path]:
    """The photos of a folder and its subfolders, by name."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES)


def of_split(photos: Sequence[Photo], split: str) -> list[Photo]:
    return [photo for photo in photos if photo.split == split]


def read_texts(data: Path) -> list[str]:
    """The captions without photos."""
    with gzip.open(data / "text.txt.gz", "rt", encoding="utf-8") as lines:
        return [line.strip() for line in lines if line.strip()]


def decode_photo(file: Path | BinaryIO, side: int, resize: str = "stretch") -> NDArray[np.uint8]:
    """The photo as the service sees it: EXIF orientation applied, resized by bicubic  # [side, side, 3] uint8 sRGB

    `stretch` ignores the aspect ratio; `crop` is CLIP's pre-processing: the short side fitted, the middle cut out.
    """
    with Image.open(file) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
        if resize == "crop":
            return np.asarray(fit_and_crop(upright, side))
        return np.asarray(upright.resize((side, side), Image.Resampling.BICUBIC))


def fit_and_crop(image: Image.Image, side: int) -> Image.Image:
    """With CLIP's roundings: the long side down, the margins half to even."""
    short = min(image.size)
    width, height = (side if length == short else int(side * length / short) for length in image.size)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))


def open_pixels(path: Path, photos: Sequence[Photo], images: Path, side: int, resize: str = "stretch") -> NDArray[np.uint8]:
    """Memory-mapped pixels of all photos, written on first use  # [rows, side, side, 3] uint8"""
    shape = (len(photos), side, side, 3)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        store = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        with ThreadPoolExecutor() as pool:
            decoded = pool.map(lambda photo: decode_photo(images / photo.image, side, resize), photos)
            for row, pixels in enumerate(tqdm(decoded, total=len(photos), desc="pixels")):
                store[row] = pixels
        store.flush()
        partial.rename(path)
    pixels = np.load(path, mmap_mode="r")
    if pixels.shape != shape:
        raise ValueError(f"{path} holds {pixels.shape}, but these photos need {shape}; remove it to write it anew")
    return pixels


def caption_shares(photos: Sequence[Photo], words: Sequence[str], words_in: Callable[[str], set[str]]) -> NDArray[np.float32]:
    """The share of each photo's captions in which `words_in` finds each word  # [P, W]"""
    column = {word: i for i, word in enumerate(words)}
    shares = np.zeros((len(photos), len(words)), np.float32)
    for row, photo in enumerate(photos):
        for caption in photo.captions:
            for word in words_in(caption) & column.keys():
                shares[row, column[word]] += 1 / len(photo.captions)
    return shares


def batches(rows: Sequence[int], size: int) -> list[list[int]]:
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]
