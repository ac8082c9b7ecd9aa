"""`pcmnet paper prepare`: from captions to the vocabulary and the records of training pairs and test images."""

from __future__ import annotations

from collections.abc import Sequence

from ..data.records import Row, image_id_of, of_split
from ..data.text import Vocabulary, sequences, words_of


def pairs_to_make(rows: Sequence[Row]) -> list[Row]:
    """One record for every caption, for an image that is still to be synthesized."""
    made: list[Row] = []
    for number, row in enumerate(rows):
        name = image_id_of(row) if "image_id" in row or "image" in row else f"{number:07}"
        several = len(row["captions"]) > 1
        made += [{"image_id": f"{name}_{n}" if several else name, "captions": [c]} for n, c in enumerate(row["captions"])]
    return made


def prepare(rows: Sequence[Row], synthetic: bool, min_count: int, max_words: int) -> tuple[Vocabulary, list[Row], list[Row]]:
    """Plain captions → the vocabulary and the token records of split `train`, and the records of split `test`.

    Rows without a split belong to `train`. `synthetic`: every caption becomes a pair of its own, for which an image is made.
    """
    train = list(of_split(rows, "train"))
    if synthetic:
        train = pairs_to_make(train)
    # Captions without any word are dropped.
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
