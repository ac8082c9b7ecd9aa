"""`pcmnet prepare`: captions → vocabulary, records of training pairs and of test images."""

from __future__ import annotations

from collections.abc import Sequence

from .records import Row, image_id_of, of_split
from .text import Vocabulary, sequences, words_of


def pairs_to_make(rows: Sequence[Row]) -> list[Row]:
    """A row for every caption, each of an image that is still to be made."""
    made: list[Row] = []
    for number, row in enumerate(rows):
        name = image_id_of(row) if "image_id" in row or "image" in row else f"{number:07}"
        several = len(row["captions"]) > 1
        made += [{"image_id": f"{name}_{n}" if several else name, "captions": [c]} for n, c in enumerate(row["captions"])]
    return made


def prepare(rows: Sequence[Row], synthetic: bool, min_count: int, max_words: int) -> tuple[Vocabulary, list[Row], list[Row]]:
    """Plain captions → the vocabulary of split `train`, its records with tokens, and the records of split `test`.

    Rows without a split are of `train`. `synthetic`: every caption is a pair of its own, for an image to be made of it.
    """
    train = list(of_split(rows, "train"))
    if synthetic:
        train = pairs_to_make(train)
    # A caption without a single word teaches nothing.
    cleaned = [(row, [caption for caption in row["captions"] if words_of(caption)]) for row in train]
    vocabulary = Vocabulary.from_captions([caption for _, captions in cleaned for caption in captions], min_count)
    records: list[Row] = []
    for row, captions in cleaned:
        if captions:
            coded = [sequences(vocabulary.encode(words_of(caption)), max_words) for caption in captions]
            tokens, targets = (list(part) for part in zip(*coded, strict=True))
            records.append({"image_id": image_id_of(row), "captions": captions, "tokens_ids": tokens, "target_ids": targets})
    test = [{"image_id": image_id_of(row), "captions": row["captions"]} for row in rows if row.get("split") == "test"]
    return vocabulary, records, test
