"""Whether a photo's caption depends on the photos that share its batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .onnx_pipeline import Captions, OnnxPipeline

BATCH_SIZES = (2, 4, 8, 16, 32)
MOST_DIFFERENCE = 1e-3
"""Of a log-probability: the sums of a caption's tokens, in nats."""


@dataclass(frozen=True)
class Difference:
    """Photos in batches of a size, against each of them alone."""

    batch_size: int
    changed: int
    """Photos of which any beam has other words."""
    log_prob: float
    """Largest difference of a beam's log-probability."""

    @property
    def is_none(self) -> bool:
        return self.changed == 0 and self.log_prob <= MOST_DIFFERENCE


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
    """Photos [P, H, W, 3] alone, then in batches of each size, with other neighbours every time."""
    rng = np.random.default_rng(0)
    alone = pipeline.caption(pixels, batch_size=1)
    differences: list[Difference] = []
    for size in sizes:
        order = rng.permutation(len(pixels))
        differences.append(_difference(alone, pipeline.caption(pixels[order], batch_size=size), order, size))
    return Invariance(len(pixels), differences)
