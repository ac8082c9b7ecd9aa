"""Nouns of captions, by the lexicon that TextBlob packages (extra `lexicon`)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from textblob.en import lexicon
from textblob.en.inflect import singularize

from .photos import Photo
from .text import words_of

NOT_SHOWN = frozenset(
    (
        "something",
        "someone",
        "thing",
        "front",
        "back",
        "side",
        "other",
        "lot",
        "bunch",
        "way",
        "time",
        "while",
        "kind",
        "sort",
        "type",
        "part",
        "place",
        "view",
        "day",
        "one",
        "amount",
        "direction",
        "attempt",
        "middle",
        "top",
        "bottom",
        "left",
        "right",
        "edge",
        "end",
        "set",
        "bit",
        "distance",
        "name",
        "close-up",
    )
)
"""Nouns that no image patch could show."""


def nouns_of(caption: str) -> set[str]:
    """The common nouns of a caption, in the singular, by TextBlob's lexicon of most frequent tags."""
    found: set[str] = set()
    for word in words_of(caption):
        tag = lexicon.get(word)
        if tag == "NN":
            found.add(word)
        elif tag == "NNS":
            found.add(singularize(word))
    return found - NOT_SHOWN


_NO_NOUN = re.compile(r".*(ing|ed)|.*[^a-z].*")
"""Words beyond the lexicon that are verbs' forms, possessives, or have digits."""


def probable_nouns_of(caption: str) -> set[str]:
    """`nouns_of`, and the words that the lexicon does not know: of a caption these are nearly always nouns, such as frisbee,
    giraffe, skateboard and surfer."""
    unknown = {word for word in words_of(caption) if word not in lexicon and not _NO_NOUN.fullmatch(word)}
    return nouns_of(caption) | {singularize(word) if word.endswith("s") else word for word in unknown}


_AUXILIARY = re.compile(
    "am|are|be|been|being|is|was|were|do|does|did|doing|had|has|have|having|get|gets|getting"
    "|can|could|may|might|must|shall|should|will|would"
)


def stem_of(word: str) -> str:
    """What a noun, verb or adjective is a form of, as far as a reader minds hearing it twice: the singular of a noun, others as
    they are. Empty for other words, and for auxiliary verbs."""
    tag = lexicon.get(word)
    if tag is None or tag.startswith("NN"):
        plural = word.endswith("s") if tag is None else tag in ("NNS", "NNPS")
        return singularize(word) if plural else word
    return word if tag[:2] in ("JJ", "VB") and not _AUXILIARY.fullmatch(word) else ""


def named_share(concepts: Sequence[Sequence[int]], words: Sequence[str], photos: Sequence[Photo]) -> float:
    """The share of each photo's concepts (rows of `words`) that one of its captions names, averaged over the photos."""
    named = [set().union(*(nouns_of(caption) for caption in photo.captions)) for photo in photos]
    return float(np.mean([[words[i] in said for i in row] for row, said in zip(concepts, named, strict=True)]))
