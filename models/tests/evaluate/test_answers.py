"""Which of a photo's sentences is the answer."""

from __future__ import annotations

import numpy as np

from pcmnet.evaluate.answers import Candidates, Ranking, count_repeated
from pcmnet.export.pipeline import FORBIDDEN
from pcmnet.model.beam_search import DEAD


def test_the_answer_has_words_and_none_that_is_blocked() -> None:
    beams = {
        "tokens": np.array([[[0, 0, 0], [4, 5, 0], [6, 0, 0], [7, 8, 0], [9, 8, 0]]]),
        "log_probs": np.array([[-0.1, -3.0, -4.0, FORBIDDEN - 1, DEAD]], np.float32),
        "lengths": np.array([[1, 3, 2, 3, 3]]),
    }
    cosines = np.array([[0.0, 0.2, 0.9, 0.9, 0.9]], np.float32)
    found = Candidates(beams, [], cosines, np.array([[0, 2, 0, 0, 1]]))
    np.testing.assert_allclose(found.ranks(Ranking(1.0, 0.0)), [[-np.inf, -1, -2, -np.inf, -np.inf]])
    # The cosine may make another sentence the best one, but none of the three that are none.
    np.testing.assert_allclose(found.ranks(Ranking(1.0, 2.0)), [[-np.inf, -0.6, -0.2, -np.inf, -np.inf]], atol=1e-6)
    # Without a length penalty it is the sum of logarithms that counts, as in the paper.
    np.testing.assert_allclose(found.ranks(Ranking(0.0, 0.0)), [[-np.inf, -3, -4, -np.inf, -np.inf]])
    # A sentence that says words again ranks lower.
    np.testing.assert_allclose(found.ranks(Ranking(1.0, 0.0, 0.3)), [[-np.inf, -1.6, -2, -np.inf, -np.inf]], atol=1e-6)


def test_words_said_again_are_counted_in_whichever_form() -> None:
    stems = {"dog": "dog", "dogs": "dog", "red": "red"}
    assert count_repeated(["a", "red", "dog", "and", "the", "dogs", "of", "a", "red", "dog"], stems) == 3
    assert count_repeated(["a", "red", "dog", "and", "a", "cat"], stems) == 0
