"""Training pairs and test captions, read from SynthImgCap's records or from plain captions."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .captions import Captions
from .text import END, Vocabulary, sequences, words_of
from .unpickling import load_pickle

CLIPSCORE = 2.5
"""CLIPScore is this factor times the positive part of the cosine (Hessel et al., 2021)."""
Row = dict[str, Any]
_COCO_NAME = re.compile(r"(?:COCO_[a-z0-9]+_)?(\d{12})")
"""COCO names its photos by twelve digits: `COCO_val2014_000000391895.jpg`, or without the prefix since 2017."""


@dataclass(frozen=True)
class Pair:
    """An image and its c captions, each T = max_words + 1 tokens (see `text.sequences`)."""

    row: int
    image_id: str
    split_id: str
    """Split of the synthetic images; empty if the folder has no splits."""
    tokens: NDArray[np.int64]
    """[c, T]"""
    targets: NDArray[np.int64]
    """[c, T]"""
    clipscore: NDArray[np.float32]
    """[c]"""

    def file(self, folder: Path, suffix: str) -> Path:
        """Path of its image or its features, in the released layout."""
        return split_folder(folder, self.split_id) / f"{self.image_id}{suffix}"

    def above(self, clipscore: float) -> Pair:
        """The pair with only the captions whose score exceeds `clipscore`."""
        more = self.clipscore > clipscore
        if more.all():
            return self
        return replace(self, tokens=self.tokens[more], targets=self.targets[more], clipscore=self.clipscore[more])


@dataclass(frozen=True)
class Described:
    image_id: str
    captions: tuple[str, ...]
    domain: str = ""
    """`in-domain`, `near-domain` or `out-domain` in NoCaps, else empty."""


def id_of_image(file: str | Path) -> str:
    """The id that names an image's features: the number of a COCO photo, any other file's name without its suffix."""
    stem = Path(file).stem
    numbered = _COCO_NAME.fullmatch(stem)
    return str(int(numbered[1])) if numbered else stem


def read_image_list(path: Path) -> dict[str, str]:
    """Reads lines `id, file`, as the official extractor names NoCaps' photos: name of each file without suffix → its id. Raises
    ValueError for other lines."""
    ids: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            number, comma, file = line.partition(",")
            if not comma:
                raise ValueError(f"{path}: a line is not `id, file`: {line}")
            ids[Path(file.strip()).stem] = number.strip()
    return ids


def split_folder(folder: Path, split_id: str) -> Path:
    return folder.with_name(f"{folder.name}_sp{split_id}") if split_id else folder


def read_rows(path: Path) -> list[Row]:
    """Reads the records of a `.pkl` or a `.jsonl`, or the captions of a `.txt` as records. Raises ValueError for other
    pickles."""
    if path.suffix == ".pkl":
        rows = load_pickle(path)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{path} holds no list of records")
        return rows
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if path.suffix == ".txt":
        return [{"captions": [line.strip()]} for line in lines]
    return [json.loads(line) for line in lines]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Writes a `.pkl`, in the released types, or a `.jsonl`, atomically. Raises ValueError for any other suffix."""
    if path.suffix not in (".pkl", ".jsonl"):
        raise ValueError(f"{path} is neither .pkl nor .jsonl, which is what records are written to")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    if path.suffix == ".pkl":
        partial.write_bytes(pickle.dumps([_in_released_types(row) for row in rows]))
    else:
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    partial.rename(path)


def _in_released_types(row: Row) -> Row:
    """Tokens as arrays [c, T], and the score of a single caption as a number."""
    typed: Row = {name: np.asarray(row[name], np.int64) for name in ("tokens_ids", "target_ids") if name in row}
    if "clipscore" in row:
        scores = np.asarray(row["clipscore"], np.float32)
        typed["clipscore"] = scores.item() if scores.size == 1 else scores
    return row | typed


def image_id_of(row: Row) -> str:
    """The record's `image_id`, or the id of its image file. Raises ValueError if it has neither."""
    if "image_id" in row:
        return str(row["image_id"])
    if "image" in row:
        return id_of_image(row["image"])
    raise ValueError(f"a record has neither image_id nor image: {row}")


def split_of(row: Row) -> str:
    return "" if row.get("split_id") is None else str(row["split_id"])


def texts_of(row: Row, vocabulary: Vocabulary) -> list[str]:
    """A record's captions, decoded from its tokens if it has only these."""
    if "captions" in row:
        return list(row["captions"])
    return [" ".join(vocabulary.decode(ids)) for ids in np.atleast_2d(row["target_ids"]).clip(min=0).tolist()]


def read_pairs(path: Path, vocabulary: Vocabulary, max_words: int) -> list[Pair]:
    """Reads the training pairs: records of split `train`, or without a split. Plain captions are encoded. A missing score
    counts as 1. Raises ValueError for tokens of another length or beyond the vocabulary."""
    pairs: list[Pair] = []
    for row in of_split(read_rows(path), "train"):
        if "tokens_ids" in row:
            tokens, targets = (np.atleast_2d(np.asarray(row[name], np.int64)) for name in ("tokens_ids", "target_ids"))
        else:
            coded = [sequences(vocabulary.encode(words_of(caption)), max_words) for caption in row["captions"]]
            tokens, targets = (np.array(part, np.int64) for part in zip(*coded, strict=True))
        if tokens.shape != targets.shape or tokens.shape[1] != max_words + 1:
            raise ValueError(f"{path}: {image_id_of(row)} has tokens {tokens.shape}, not {max_words + 1} a caption")
        if max(tokens.max(), targets.max()) >= len(vocabulary):
            raise ValueError(f"{path}: {image_id_of(row)} has ids beyond a vocabulary of {len(vocabulary)}")
        score = np.broadcast_to(np.asarray(row.get("clipscore", 1.0), np.float32), len(tokens))
        pairs.append(Pair(len(pairs), image_id_of(row), split_of(row), tokens, targets, score))
    return pairs


def of_split(rows: Sequence[Row], split: str) -> Iterator[Row]:
    return (row for row in rows if row.get("split", split) == split)


def read_test(path: Path) -> list[Described]:
    """Reads the test images with their human captions: records of split `test`, or without a split, or COCO's annotations, which
    are NoCaps' too, with the domain of each image."""
    if path.suffix != ".json":
        return [Described(image_id_of(row), tuple(row["captions"])) for row in of_split(read_rows(path), "test")]
    held = json.loads(path.read_text(encoding="utf-8"))
    domains = {str(image["id"]): image.get("domain", "") for image in held.get("images", [])}
    captions: dict[str, list[str]] = {}
    for annotation in held["annotations"]:
        captions.setdefault(str(annotation["image_id"]), []).append(annotation["caption"])
    return [Described(image_id, tuple(texts), domains.get(image_id, "")) for image_id, texts in captions.items()]


def select(pairs: Sequence[Pair], share: float, min_clipscore: float, seed: int) -> list[Pair]:
    """Drops captions that do not score above the threshold, and images without any left; then draws `share` of the images."""
    kept = [pair for pair in (pair.above(min_clipscore) for pair in pairs) if len(pair.clipscore)]
    if share < 1:
        chosen = np.random.default_rng(seed).permutation(len(kept))[: int(len(kept) * share)]
        kept = [kept[i] for i in chosen]
    return kept


class PairCaptions(Captions):
    """`Captions` of pairs whose tokens are encoded already."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.starts = np.full(len(pairs), END)
        self.width = pairs[0].tokens.shape[1]
        self.tokens = [pair.tokens for pair in pairs]
        self.targets = [pair.targets for pair in pairs]
