"""From captions to words, ids and the token sequences of PCM-Net, and back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

END = 0
"""Id 0 is both BOS and EOS."""
IGNORED = -1
"""Target of a padded position."""
UNKNOWN = "UNK"

_WORD = re.compile(r"[a-z0-9]+(?:['-][a-z0-9]+)*")


def words_of(caption: str) -> list[str]:
    """Splits a caption into lower-case words. Punctuation is dropped; apostrophes and hyphens inside a word stay."""
    return _WORD.findall(caption.lower().replace("\u2019", "'"))


def sentence_of(words: Sequence[str]) -> str:
    """The words as a printed caption: a capital letter, no full stop."""
    text = " ".join(words)
    return text[:1].upper() + text[1:]


class Vocabulary:
    """Word n, counted from 1, has id n. Id 0 is BOS and EOS and has no word."""

    def __init__(self, words: Sequence[str]) -> None:
        if len(set(words)) != len(words):
            raise ValueError("a vocabulary lists each word once")
        self.words = list(words)
        self.ids = {word: index for index, word in enumerate(self.words, start=1)}

    @classmethod
    def from_captions(cls, captions: Iterable[str], min_count: int, extra: Iterable[str] = ()) -> Vocabulary:
        """Words that occur at least `min_count` times, most frequent first, then `extra`, then UNK."""
        counts = Counter(word for caption in captions for word in words_of(caption))
        kept = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
        return cls([*dict.fromkeys([*kept, *extra]), UNKNOWN])

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        return cls(path.read_text(encoding="utf-8").splitlines())

    def write(self, path: Path) -> None:
        path.write_text("".join(f"{word}\n" for word in self.words), encoding="utf-8")

    def __len__(self) -> int:
        """Number of ids, id 0 included."""
        return len(self.words) + 1

    def encode(self, words: Sequence[str]) -> list[int]:
        unknown = self.ids.get(UNKNOWN)
        ids = (self.ids.get(word, unknown) for word in words)
        return [i for i in ids if i is not None]

    def decode(self, tokens: Iterable[int]) -> list[str]:
        """The words of ids up to the first id 0."""
        out: list[str] = []
        for token in tokens:
            if token == END:
                break
            out.append(self.words[int(token) - 1])
        return out


def sequences(ids: Sequence[int], max_words: int) -> tuple[list[int], list[int]]:
    """Input and target of one caption, both `max_words + 1` long.

    Input is BOS and the words, zero-padded; the target is the words, EOS, then IGNORED. A longer caption keeps word
    `max_words + 1`, not EOS, as its last target.
    """
    width = max_words + 1
    tokens = [END, *ids][:width]
    targets = [*ids, END][:width]
    return tokens + [0] * (width - len(tokens)), targets + [IGNORED] * (width - len(targets))


def batch_sequences(captions: Iterable[Sequence[int]], max_words: int) -> tuple[Tensor, Tensor]:
    """`tokens` and `targets` of several captions, cut to the longest  # [B, T], [B, T]"""
    pairs = [sequences(ids, max_words) for ids in captions]
    tokens = torch.tensor([p[0] for p in pairs])
    targets = torch.tensor([p[1] for p in pairs])
    longest = int((targets != IGNORED).sum(1).max())
    return tokens[:, :longest], targets[:, :longest]
