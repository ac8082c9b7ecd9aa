"""What the image encoder and the text encoder of every bundle have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ImageEncoder(nn.Module):
    """uint8 pixels [B, H, W, 3] → grid [B, N, D], local [B, N, E], image_embedding [B, E] (unit length)"""

    rows: int
    columns: int
    """Rows and columns of the grid; N is their product."""
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
