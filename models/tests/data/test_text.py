"""Words, vocabulary and token sequences."""

from __future__ import annotations

from pathlib import Path

from pcmnet.data.text import UNKNOWN, Vocabulary, sentence_of, sequences, words_of


def test_words_are_lower_case_without_punctuation() -> None:
    assert words_of("A man's T-shirt , 2 dogs .") == ["a", "man's", "t-shirt", "2", "dogs"]


def test_a_printed_caption_has_a_capital_and_no_full_stop() -> None:
    assert sentence_of(["a", "dog", "runs"]) == "A dog runs"


def test_vocabulary_keeps_frequent_words_and_ends_with_unk(tmp_path: Path) -> None:
    vocabulary = Vocabulary.from_captions(["a dog", "a cat", "a dog"], 2, extra=["horse", "dog"])
    assert vocabulary.words == ["a", "dog", "horse", UNKNOWN]
    assert len(vocabulary) == 5
    assert vocabulary.encode(["a", "zebra", "dog"]) == [1, 4, 2]
    assert vocabulary.decode([1, 2, 0, 3]) == ["a", "dog"]
    vocabulary.write(tmp_path / "vocabulary.txt")
    assert Vocabulary.read(tmp_path / "vocabulary.txt").ids == vocabulary.ids


def test_sequences_begin_with_bos_end_with_eos_and_pad() -> None:
    assert sequences([5, 6], 4) == ([0, 5, 6, 0, 0], [5, 6, 0, -1, -1])


def test_a_longer_caption_keeps_its_next_word_as_last_target() -> None:
    assert sequences([1, 2, 3, 4], 2) == ([0, 1, 2], [1, 2, 3])
