"""A bundle of PCM-Net on CLIP ViT-L/14 with random weights: what it writes is nonsense, how fast it runs is not.

`python bench/random_clip_bundle.py FOLDER`, with the package `pcmnet` installed. Towers come from `transformers`, the captioner
has the released sizes. In `fp16` the two towers compute in float16; mixup, whose softmax is sharp, and the search in float32.
Random weights end no sentence early, so the decoder always takes all its steps.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx
import torch
import torch.nn.functional as F
from onnxruntime.transformers.float16 import convert_float_to_float16
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from pcmnet.config import ModelConfig
from pcmnet.data.text import UNKNOWN, Vocabulary
from pcmnet.export.bundle import BundleParts, Logistic, write_bundle
from pcmnet.export.graphs import decoder_graph, encoder_graph, mixup_graph, text_encoder_graph
from pcmnet.model.clip import VIT_L_14, ClipImageEncoder, ClipSizes, ClipTextEncoder, new_clip
from pcmnet.model.dual_encoder import packaged_sentence_encoder
from pcmnet.model.pcm_net import PCMNet
from pcmnet.quantize.storage import store

CONCEPTS = 446
CENTROIDS = 256
"""As many as the embedded bundle has."""
VOCABULARY = 10200


def random_parts(sizes: ClipSizes, vocabulary: int = VOCABULARY) -> BundleParts:
    """The text side stands behind the packaged tokenizer, whose ids are within CLIP's."""
    torch.manual_seed(1)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(packaged_sentence_encoder(), local_files_only=True)
    clip = new_clip(sizes, end=tokenizer.sep_token_id)
    encoder = ClipImageEncoder(clip, sizes).eval()
    config = ModelConfig(grid_width=encoder.width, embedding=sizes.embedding, patches=encoder.patches, vocabulary=vocabulary)
    return BundleParts(
        encoder=encoder,
        text_encoder=ClipTextEncoder(clip, sizes, tokenizer).eval(),
        captioner=PCMNet(config).eval(),
        vocabulary=Vocabulary([*(f"word{n}" for n in range(vocabulary - 2)), UNKNOWN]),
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


def export(folder: Path, sizes: ClipSizes, precisions: tuple[str, ...] = ("fp16", "w8"), vocabulary: int = VOCABULARY) -> None:
    parts = random_parts(sizes, vocabulary)
    towers = {"encoder": encoder_graph(parts.encoder, sizes.side), "textEncoder": text_encoder_graph(parts.text_encoder)}
    rest = {"mixup": mixup_graph(parts.captioner), "decoder": decoder_graph(parts.captioner)}
    graphs = {
        precision: {
            **{
                key: in_half_precision(graph) if precision == "fp16" else store(graph, precision) for key, graph in towers.items()
            },
            **{key: store(graph, precision) for key, graph in rest.items()},
        }
        for precision in precisions
    }
    write_bundle(parts, graphs.items(), folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    export(parser.parse_args().folder, VIT_L_14)
