"""Features of images, a row each, as training and captioning take them a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class HasRow(Protocol):
    """A photo, or a training pair."""

    @property
    def row(self) -> int:
        """Row of its image in the features."""


class Features(Protocol):
    """Features of images, read by their rows."""

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Grid [B, N, D], local embeddings [B, N, E], unit global embeddings [B, E]"""

    def ahead(self, plan: Iterable[NDArray[np.int64]], workers: int) -> Features:
        """The same features for a loop that will ask for the batches of `plan`, in its order: worker processes may read them
        ahead."""


@dataclass(frozen=True)
class View:
    """Features of all photos in memory or memory-mapped, of one view: as they are, or mirrored."""

    grid: NDArray[np.float16]
    """[P, N, D]"""
    local: Tensor
    """[P, N, E] float16"""
    image: Tensor
    """Unit vectors  # [P, E]"""

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        grid = torch.from_numpy(self.grid[rows]).float()
        return grid, self.local[rows].float(), self.image[rows]

    def ahead(self, plan: Iterable[NDArray[np.int64]], workers: int) -> Features:
        return self  # in memory already


def mixed_views(views: Sequence[Features], rows: NDArray[np.int64], rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """The features of each row from a view drawn at random, in the order of `rows`; shapes as of `Features.batch`."""
    choice = rng.integers(0, len(views), len(rows))
    if len(views) == 1:
        return views[0].batch(rows)
    parts = [view.batch(rows[choice == v]) for v, view in enumerate(views)]
    order = torch.from_numpy(np.argsort(np.concatenate([np.flatnonzero(choice == v) for v in range(len(views))])))
    grid, local, image = (torch.cat([part[i] for part in parts])[order] for i in range(3))
    return grid, local, image
