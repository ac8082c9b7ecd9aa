"""What the tower is to say of each photo: its captions, their words, their nouns, and what a detector sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.augment import Crop
from ..data.detector import cropped_map
from ..data.lexicon import nouns_of
from ..data.photos import Photo, caption_shares
from ..data.text import words_of
from .dual_encoder import CaptionBank, word_targets


def with_teacher(photo: Photo) -> Photo:
    """The teacher's sentence as one more caption."""
    return replace(photo, captions=(*photo.captions, photo.teacher)) if photo.teacher else photo


def caption_bank(photos: Sequence[Photo], embed: Callable[[Photo], Tensor]) -> CaptionBank:
    """Captions of these photos and the teacher's, of which `embed` gives the sentence embeddings  # [captions + teacher, S]"""
    return CaptionBank([with_teacher(photo) for photo in photos], torch.cat([embed(photo) for photo in photos]))


@dataclass(frozen=True)
class TowerTargets:
    bank: CaptionBank
    word_list: Sequence[str]
    words: Tensor
    """Share of each photo's captions that use each word  # [P, W]"""
    concept_list: Sequence[str]
    concepts: Tensor
    """The same of nouns  # [P, C]"""
    prompts: Tensor
    """Sentence embeddings of each noun in each prompt  # [C, R, S]"""
    class_maps: NDArray[np.uint8] | None
    """A detector's scores of all photos, a row each as in every array of features  # [rows, M, M, K]"""

    @property
    def photos(self) -> Sequence[Photo]:
        return self.bank.photos

    def classes(self) -> int:
        return 0 if self.class_maps is None else self.class_maps.shape[-1]

    def scores(self, indices: NDArray[np.int64], crops: Sequence[Crop], side: int) -> Tensor:
        """The detector's, in each cell of each crop  # [B, side · side, K]"""
        if self.class_maps is None:
            raise ValueError("there is no detector")
        found = []
        for index, crop in zip(indices.tolist(), crops, strict=True):
            cells = cropped_map(self.class_maps[self.photos[index].row], crop.top, crop.left, crop.height, crop.width, side)
            found.append(cells[:, ::-1] if crop.mirrored else cells)
        return torch.from_numpy(np.stack(found).reshape(len(found), side * side, -1)).float() / 255


def tower_targets(
    bank: CaptionBank, concept_list: Sequence[str], prompts: Tensor, class_maps: NDArray[np.uint8] | None
) -> TowerTargets:
    word_list, words = word_targets(bank.photos)
    return TowerTargets(bank, word_list, words, concept_list, noun_shares(bank.photos, concept_list), prompts, class_maps)


def word_shares(photos: Sequence[Photo], words: Sequence[str]) -> Tensor:
    return torch.from_numpy(caption_shares(photos, words, lambda caption: set(words_of(caption))))


def noun_shares(photos: Sequence[Photo], concepts: Sequence[str]) -> Tensor:
    return torch.from_numpy(caption_shares(photos, concepts, nouns_of))
