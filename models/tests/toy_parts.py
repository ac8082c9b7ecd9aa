"""All that a bundle is made of, small and random: exported in seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from toy_captioner import random_captioner
from transformers import BertConfig, BertModel

from pcmnet.data.text import UNKNOWN, Vocabulary
from pcmnet.export.bundle import BundleParts, Decoding, Logistic
from pcmnet.model.dual_encoder import DualEncoder, SentenceEncoder, packaged_sentence_encoder
from pcmnet.model.embedded_encoders import EmbeddedImageEncoder, EmbeddedTextEncoder
from pcmnet.model.lite_tower import LiteTower

SIDE = 64
WORDS = [f"word{n}" for n in range(28)]
CONCEPTS = [f"concept{n}" for n in range(12)]


def tiny_sentence_encoder(folder: Path) -> SentenceEncoder:
    """The packaged tokenizer before a BERT of two narrow layers."""
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copyfile(packaged_sentence_encoder() / name, folder / name)
    torch.manual_seed(2)
    config = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    BertModel(config).save_pretrained(folder)
    return SentenceEncoder(folder, max_tokens=16)


def random_parts(folder: Path) -> BundleParts:
    """`folder` is for the sentence encoder's files."""
    torch.manual_seed(3)
    tower = LiteTower("efficientnet-lite0", SIDE, pretrained=False).eval()
    for module in tower.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics that folding has to take into account
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    dual = DualEncoder(tower.width, 16, 32, 24, 0.1).eval()
    captioner = random_captioner(len(WORDS) + 2, grid_width=tower.width, patches=tower.patches)
    return BundleParts(
        encoder=EmbeddedImageEncoder(tower, dual),
        text_encoder=EmbeddedTextEncoder(tiny_sentence_encoder(folder / "sentences"), dual),
        captioner=captioner,
        vocabulary=Vocabulary([*WORDS, UNKNOWN]),
        concepts=CONCEPTS,
        concept_embeddings=torch.nn.functional.normalize(torch.randn(len(CONCEPTS), 16), dim=-1),
        centroids=torch.nn.functional.normalize(torch.randn(4, 16), dim=-1),
        confidence=Logistic(("cosine", "meanLogProb"), (0.1, -1.0), (0.2, 0.5), (1.0, 2.0), 0.3, {"ece": 0.1}),
        match_probability=None,
        side=SIDE,
        prompts=["a photo of a {}"],
        id="toy",
        version="1.2.3",
        licence="MIT",
        description="A toy",
        sources=["drawn at random"],
        decoding=Decoding(beam_size=3, max_length=9, no_repeat_ngram=2),
    )


def random_pixels(photos: int) -> NDArray[np.uint8]:
    """[P, SIDE, SIDE, 3]: blocks of colour, which differ more from each other than noise does"""
    blocks = np.random.default_rng(4).integers(0, 256, (photos, 4, 4, 3), dtype=np.uint8)
    return blocks.repeat(SIDE // 4, 1).repeat(SIDE // 4, 2)
