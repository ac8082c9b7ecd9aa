"""The concept vocabulary: which nouns it has, and what stands for each."""

from __future__ import annotations

import torch

from pcmnet.data.concepts import concept_words, prompt_ensemble
from pcmnet.data.lexicon import nouns_of, probable_nouns_of, stem_of


def test_nouns_of_enough_captions_most_frequent_first() -> None:
    captions = ["Two dogs and a dog run to a tree", "a dog sleeps on the side", "a cat on the side of a tree", "a hat", "the cat"]
    # A caption counts once, the plural with the singular; "side" names nothing to be seen.
    assert concept_words(captions, nouns_of, min_captions=2, max_words=9) == ["cat", "dog", "tree"]
    assert concept_words([*captions, "dogs"], nouns_of, min_captions=2, max_words=2) == ["dog", "cat"]


def test_words_that_the_lexicon_lacks_are_taken_for_nouns() -> None:
    """Those of the released list are among them."""
    caption = "Two surfers, a giraffe and a red frisbee on skateboards, skateboarding over someone's 2nd checkered rug"
    assert probable_nouns_of(caption) == {"surfer", "giraffe", "frisbee", "skateboard", "rug"}
    assert not {"giraffe", "frisbee"} & nouns_of(caption)


def test_a_concept_is_the_mean_of_its_prompts_at_unit_length() -> None:
    said = {
        "a photo of a cat": [1.0, 0.0, 0.0],
        "a cat": [0.0, 1.0, 0.0],
        "a photo of a hat": [0.0, 0.6, 0.8],
        "a hat": [0.0, 0.6, -0.8],
    }
    found = prompt_ensemble(
        ["cat", "hat"], ["a photo of a {}", "a {}"], lambda texts: torch.tensor([said[text] for text in texts])
    )
    half = 0.5**0.5
    torch.testing.assert_close(found, torch.tensor([[half, half, 0], [0, 1, 0]]))


def test_what_a_reader_minds_hearing_twice_has_a_stem() -> None:
    assert [stem_of(word) for word in ("dog", "dogs", "women", "frisbees", "red", "riding")] == [
        "dog",
        "dog",
        "woman",
        "frisbee",
        "red",
        "riding",
    ]
    assert [stem_of(word) for word in ("a", "on", "two", "is", "has", "his", "and", "very")] == [""] * 8
