"""Training pairs and test captions: SynthImgCap's records and plain captions."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .text import Vocabulary, sequences, words_of
from .train_captioner import Captions
from .unpickling import load_pickle

CLIPSCORE = 2.5
"""A stored score is this times the cosine, if that is positive (Hessel et al., 2021)."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """An image and its c captions, each T = max_words + 1 tokens (see `text.sequences`)."""

    row: int
    image_id: str
    split_id: str
    """Empty: its folder has no splits."""
    tokens: NDArray[np.int64]
    """[c, T]"""
    targets: NDArray[np.int64]
    """[c, T]"""
    clipscore: NDArray[np.float32]
    """[c]"""

    def file(self, folder: Path, suffix: str) -> Path:
        """Of its image or its features, in the released layout."""
        return split_folder(folder, self.split_id) / f"{self.image_id}{suffix}"

    def above(self, clipscore: float) -> Pair:
        """With the captions that score more."""
        more = self.clipscore > clipscore
        if more.all():
            return self
        return replace(self, tokens=self.tokens[more], targets=self.targets[more], clipscore=self.clipscore[more])


@dataclass(frozen=True)
class Described:
    image_id: str
    captions: tuple[str, ...]


def split_folder(folder: Path, split_id: str) -> Path:
    return folder.with_name(f"{folder.name}_sp{split_id}") if split_id else folder


def read_rows(path: Path) -> list[Row]:
    """Objects of a `.pkl` or a `.jsonl`, or the captions of a `.txt` as such objects."""
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
    """To a `.pkl` or a `.jsonl`, which is replaced whole; raises ValueError for any other."""
    if path.suffix not in (".pkl", ".jsonl"):
        raise ValueError(f"{path} is neither .pkl nor .jsonl, which is what records are written to")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    if path.suffix == ".pkl":
        partial.write_bytes(pickle.dumps(list(rows)))
    else:
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    partial.rename(path)


def image_id_of(row: Row) -> str:
    """The record's own, or the image's file name without its ending."""
    if "image_id" in row:
        return str(row["image_id"])
    if "image" in row:
        return Path(row["image"]).stem
    raise ValueError(f"a record has neither image_id nor image: {row}")


def split_of(row: Row) -> str:
    return "" if row.get("split_id") is None else str(row["split_id"])


def texts_of(row: Row, vocabulary: Vocabulary) -> list[str]:
    """A record's captions; where it has only tokens, their words."""
    if "captions" in row:
        return list(row["captions"])
    return [" ".join(vocabulary.decode(ids)) for ids in np.atleast_2d(row["target_ids"]).clip(min=0).tolist()]


def read_pairs(path: Path, vocabulary: Vocabulary, max_words: int) -> list[Pair]:
    """Records that have tokens as they are, plain captions (those of split `train`, if they have splits) encoded. A missing
    score counts as 1."""
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
    """Plain captions (those of split `test`, if they have splits), or COCO's annotations, with people's captions."""
    if path.suffix != ".json":
        return [Described(image_id_of(row), tuple(row["captions"])) for row in of_split(read_rows(path), "test")]
    captions: dict[str, list[str]] = {}
    for annotation in json.loads(path.read_text(encoding="utf-8"))["annotations"]:
        captions.setdefault(str(annotation["image_id"]), []).append(annotation["caption"])
    return [Described(image_id, tuple(texts)) for image_id, texts in captions.items()]


def select(pairs: Sequence[Pair], share: float, min_clipscore: float, seed: int) -> list[Pair]:
    """Images with captions that score above the threshold, without their others; and of those `share`, drawn at random."""
    kept = [pair for pair in (pair.above(min_clipscore) for pair in pairs) if len(pair.clipscore)]
    if share < 1:
        chosen = np.random.default_rng(seed).permutation(len(kept))[: int(len(kept) * share)]
        kept = [kept[i] for i in chosen]
    return kept


class PairCaptions(Captions):
    """The captions of pairs, as they are drawn in training."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.width = pairs[0].tokens.shape[1]
        self.tokens = [pair.tokens for pair in pairs]
        self.targets = [pair.targets for pair in pairs]
