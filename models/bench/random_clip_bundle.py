"""A bundle of PCM-Net on CLIP ViT-L/14 with random weights: what it writes is nonsense, how fast it runs is not.

`python bench/random_clip_bundle.py FOLDER`, with the package `pcmnet` installed. Towers come from `transformers`, the captioner
has the released sizes. In `fp16` the two towers compute in float16; mixup, whose softmax is sharp, and the search in float32.
Random weights end no sentence early, so the decoder always takes all its steps.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
import torch.nn.functional as F
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    PreTrainedTokenizerBase,
)

from pcmnet.bundle import Logistic, Pieces, write_bundle
from pcmnet.config import ModelConfig
from pcmnet.dual_encoder import packaged_sentence_encoder
from pcmnet.export_graphs import decoder_graph, mixup_graph, to_onnx
from pcmnet.model import PCMNet
from pcmnet.onnx_weights import store
from pcmnet.text import UNKNOWN, Vocabulary

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
CONCEPTS = 446
CENTROIDS = 256
"""As many as the embedded bundle has."""


@dataclass(frozen=True)
class Sizes:
    """ViT-L/14's; tests take smaller ones."""

    side: int = 224
    patch: int = 14
    vision_width: int = 1024
    vision_layers: int = 24
    vision_heads: int = 16
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    embedding: int = 768
    text_vocabulary: int = 49408
    vocabulary: int = 10200


class ClipEncoder(nn.Module):
    """CLIP's image side as PCM-Net takes it: the last block's patches averaged 2×2, before the final LayerNorm."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        config = CLIPVisionConfig(
            hidden_size=sizes.vision_width,
            intermediate_size=4 * sizes.vision_width,
            num_hidden_layers=sizes.vision_layers,
            num_attention_heads=sizes.vision_heads,
            image_size=sizes.side,
            patch_size=sizes.patch,
            projection_dim=sizes.embedding,
        )
        self.clip = CLIPVisionModelWithProjection._from_config(config, attn_implementation="eager")
        self.rows = self.columns = sizes.side // sizes.patch // 2
        self.register_buffer("mean", 255 * torch.tensor(MEAN))
        self.register_buffer("deviation", 255 * torch.tensor(DEVIATION))

    @property
    def patches(self) -> int:
        return self.rows * self.columns

    @property
    def width(self) -> int:
        return self.clip.config.hidden_size

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """uint8 [B, H, W, 3] → grid [B, N, D], local [B, N, E], image_embedding [B, E]"""
        x = ((pixels.to(torch.float32) - self.mean) / self.deviation).permute(0, 3, 1, 2)
        vision = self.clip.vision_model
        states = vision(x).last_hidden_state  # [B, 1 + 4 N, D]
        cells = states[:, 1:].transpose(1, 2).unflatten(2, (2 * self.rows, 2 * self.columns))
        grid = F.avg_pool2d(cells, 2).flatten(2).transpose(1, 2)

        def embed(tokens: Tensor) -> Tensor:
            return self.clip.visual_projection(vision.post_layernorm(tokens))

        return grid, embed(grid), F.normalize(embed(states[:, 0]), dim=-1)


class ClipText(nn.Module):
    """CLIP's text side behind the packaged tokenizer, whose ids are within CLIP's."""

    max_tokens = 77

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            packaged_sentence_encoder(), local_files_only=True
        )
        config = CLIPTextConfig(
            vocab_size=sizes.text_vocabulary,
            bos_token_id=self.tokenizer.cls_token_id,
            eos_token_id=self.tokenizer.sep_token_id,
            hidden_size=sizes.text_width,
            intermediate_size=4 * sizes.text_width,
            num_hidden_layers=sizes.text_layers,
            num_attention_heads=sizes.text_heads,
            max_position_embeddings=self.max_tokens,
            projection_dim=sizes.embedding,
        )
        self.clip = CLIPTextModelWithProjection._from_config(config, attn_implementation="eager")
        self.text = self.clip.text_projection

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [X, S] twice → unit vectors [X, E]"""
        return F.normalize(self.clip(input_ids=input_ids, attention_mask=attention_mask).text_embeds, dim=-1)


def random_pieces(sizes: Sizes) -> Pieces:
    torch.manual_seed(1)
    encoder, text = ClipEncoder(sizes).eval(), ClipText(sizes).eval()
    config = ModelConfig(
        grid_width=encoder.width, embedding=sizes.embedding, patches=encoder.patches, vocabulary=sizes.vocabulary
    )
    return Pieces(
        tower=encoder,  # type: ignore[arg-type]
        dual=text,  # type: ignore[arg-type]
        sentences=text,  # type: ignore[arg-type]
        captioner=PCMNet(config).eval(),
        vocabulary=Vocabulary([*(f"word{n}" for n in range(sizes.vocabulary - 2)), UNKNOWN]),
        concepts=[f"concept{n}" for n in range(CONCEPTS)],
        concept_embeddings=F.normalize(torch.randn(CONCEPTS, sizes.embedding), dim=-1),
        centroids=F.normalize(torch.randn(CENTROIDS, sizes.embedding), dim=-1),
        confidence=Logistic(("cosine",), (0.0,), (1.0,), (1.0,), 0.0, {}),
        match_probability=None,
        side=sizes.side,
        prompts=["a photo of a {}"],
        id="random-clip-vit-l14",
        version="0.0.0",
        licence="none: random weights",
        description="PCM-Net on CLIP ViT-L/14 with random weights, for measuring speed",
        sources=["drawn at random"],
        resize="crop",
    )


def in_half_precision(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Weights and arithmetic in float16; inputs and outputs stay as they are."""
    half = onnx.ModelProto()
    half.CopyFrom(graph)
    converted: onnx.ModelProto = convert_float_to_float16(half, keep_io_types=True)
    return converted


def export(folder: Path, sizes: Sizes, precisions: tuple[str, ...] = ("fp16", "w8")) -> None:
    pieces = random_pieces(sizes)
    pixels = torch.randint(0, 256, (2, sizes.side, sizes.side, 3), dtype=torch.uint8)
    ids = torch.randint(1000, 2000, (2, 6))
    n, e = pieces.tower.patches, sizes.embedding
    towers = {
        "encoder": to_onnx(
            pieces.tower,
            {"pixels": (pixels, ("B", sizes.side, sizes.side, 3))},
            {"grid": ("B", n, pieces.tower.width), "local": ("B", n, e), "image_embedding": ("B", e)},
        ),
        "textEncoder": to_onnx(
            pieces.sentences,
            {"input_ids": (ids, ("X", "S")), "attention_mask": (torch.ones_like(ids), ("X", "S"))},
            {"text_embedding": ("X", e)},
        ),
    }
    rest = {"mixup": mixup_graph(pieces.captioner), "decoder": decoder_graph(pieces.captioner)}
    graphs = {
        precision: {
            **{
                key: in_half_precision(graph) if precision == "fp16" else store(graph, precision) for key, graph in towers.items()
            },
            **{key: store(graph, precision) for key, graph in rest.items()},
        }
        for precision in precisions
    }
    write_bundle(pieces, graphs, folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    export(parser.parse_args().folder, Sizes())
