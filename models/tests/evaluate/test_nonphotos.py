"""Drawings of every kind are images, and differ."""

from __future__ import annotations

import numpy as np

from pcmnet.evaluate.nonphotos import KINDS, draw_nonphotos


def test_every_kind_draws_images_that_the_seed_decides() -> None:
    kinds, pixels = draw_nonphotos(4, 96, seed=3)
    assert kinds == [kind for kind in KINDS for _ in range(4)]
    assert pixels.shape == (4 * len(KINDS), 96, 96, 3)
    assert pixels.dtype == np.uint8
    assert len({drawing.tobytes() for drawing in pixels}) == len(pixels)
    assert np.array_equal(pixels, draw_nonphotos(4, 96, seed=3)[1])
    assert not np.array_equal(pixels, draw_nonphotos(4, 96, seed=4)[1])
