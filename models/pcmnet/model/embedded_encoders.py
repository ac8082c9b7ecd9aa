"""The embedded model's image and text encoders, as a bundle holds them."""

from __future__ import annotations

from torch import Tensor

from .dual_encoder import DualEncoder, SentenceEncoder
from .encoders import ImageEncoder, TextEncoder
from .lite_tower import LiteTower


class EmbeddedImageEncoder(ImageEncoder):
    """The vision tower and the projection of its grid into the shared space."""

    def __init__(self, tower: LiteTower, dual: DualEncoder) -> None:
        super().__init__()
        self.tower, self.dual = tower, dual
        self.rows, self.columns, self.width = tower.rows, tower.columns, tower.width
        self.embedding = dual.text.out_features

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grid = self.tower(pixels)
        return grid, self.dual.embed_patches(grid), self.dual.embed_image(grid)


class EmbeddedTextEncoder(TextEncoder):
    """The sentence encoder and the linear map of its embeddings into the shared space."""

    def __init__(self, sentences: SentenceEncoder, dual: DualEncoder) -> None:
        super().__init__()
        self.sentences, self.dual = sentences, dual
        self.tokenizer, self.max_tokens = sentences.tokenizer, sentences.max_tokens
        self.embedding = dual.text.out_features

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.dual.embed_text(self.sentences(input_ids, attention_mask))
