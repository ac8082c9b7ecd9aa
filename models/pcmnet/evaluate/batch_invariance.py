"""Checks that an image's caption does not depend on the images that share its batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..export.pipeline import Captions, OnnxPipeline

BATCH_SIZES = (2, 4, 8, 16, 32)
MAX_DIFFERENCE = 1e-3
"""Largest allowed difference of a caption's log-probability (the sum over its tokens), in nats."""


@dataclass(frozen=True)
class Difference:
    """Differences between photos in batches of one size and the same photos alone."""

    batch_size: int
    changed: int
    """Number of photos of which any beam has other words."""
    log_prob: float
    """Largest difference of a beam's log-probability."""

    @property
    def is_none(self) -> bool:
        return self.changed == 0 and self.log_prob <= MAX_DIFFERENCE


@dataclass(frozen=True)
class Invariance:
    photos: int
    differences: list[Difference]

    @property
    def holds(self) -> bool:
        return all(difference.is_none for difference in self.differences)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"holds": self.holds}


def _difference(alone: Captions, together: Captions, order: NDArray[np.int64], size: int) -> Difference:
    words = [alone.words[i] for i in order]
    changed = sum(one != other for one, other in zip(words, together.words, strict=True))
    return Difference(size, changed, float(np.abs(alone.log_probs[order] - together.log_probs).max()))


def batch_invariance(pipeline: OnnxPipeline, pixels: NDArray[np.uint8], sizes: Sequence[int] = BATCH_SIZES) -> Invariance:
    """Captions photos [P, H, W, 3] alone, then in batches of each size in another order, and compares."""
    rng = np.random.default_rng(0)
    alone = pipeline.caption(pixels, batch_size=1)
    differences: list[Difference] = []
    for size in sizes:
        order = rng.permutation(len(pixels))
        differences.append(_difference(alone, pipeline.caption(pixels[order], batch_size=size), order, size))
    return Invariance(len(pixels), differences)
