"""The two sides of a bundle that compare images with texts: what every kind of them has, and the embedded model's."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from .dual_encoder import DualEncoder, SentenceEncoder
from .vision import LiteTower


class ImageEncoder(nn.Module):
    """uint8 pixels [B, H, W, 3] → grid [B, N, D], local [B, N, E], image_embedding [B, E] (unit length)"""

    rows: int
    columns: int
    """Of the grid; N is their product."""
    width: int
    """D"""
    embedding: int
    """E"""

    @property
    def patches(self) -> int:
        """N"""
        return self.rows * self.columns


class TextEncoder(nn.Module):
    """input_ids and attention_mask, int64 [X, S] → unit vectors [X, E]"""

    tokenizer: PreTrainedTokenizerBase
    max_tokens: int
    embedding: int
    """E"""


class EmbeddedImageEncoder(ImageEncoder):
    """The tower, and the projections of its grid."""

    def __init__(self, tower: LiteTower, dual: DualEncoder) -> None:
        super().__init__()
        self.tower, self.dual = tower, dual
        self.rows, self.columns, self.width = tower.rows, tower.columns, tower.width
        self.embedding = dual.text.out_features

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grid = self.tower(pixels)
        return grid, self.dual.embed_patches(grid), self.dual.embed_image(grid)


class EmbeddedTextEncoder(TextEncoder):
    """The sentence encoder, and the map of its vectors to the images'."""

    def __init__(self, sentences: SentenceEncoder, dual: DualEncoder) -> None:
        super().__init__()
        self.sentences, self.dual = sentences, dual
        self.tokenizer, self.max_tokens = sentences.tokenizer, sentences.max_tokens
        self.embedding = dual.text.out_features

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.dual.embed_text(self.sentences(input_ids, attention_mask))
