"""`pcmnet convert`: makes a bundle of a released checkpoint of PCM-Net and OpenAI's CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..config import PROMPTS, Config
from ..data.concepts import read_concepts
from ..data.photos import decode_photo, photos_in
from ..data.text import Vocabulary
from ..model.checkpoint import find_checkpoint, read_captioner, recorded_config
from ..model.clip import Clip, read_clip
from ..model.pcm_net import PCMNet
from ..quantize.int8 import Examples
from .bundle import BundleParts, Decoding, Logistic
from .compare import torch_decode
from .precisions import export_bundle

UNCALIBRATED = Logistic(("cosine",), (0.0,), (1.0,), (0.0,), 0.0, {})
"""Gives 0.5 for every caption: nothing was measured."""
CALIBRATION_PHOTOS = 40
"""Photos that calibrate the ranges of integer activations."""
SOURCES = (
    "PCM-Net's released checkpoint (Luo et al., ECCV 2024)",
    "OpenAI's CLIP (MIT)",
)


@dataclass(frozen=True)
class Converted:
    parts: BundleParts
    unused: tuple[str, ...]
    """Entries of the checkpoint and of CLIP's file that nothing in the bundle uses."""


def _check_projection(captioner: PCMNet, clip: Clip) -> None:
    """Raises ValueError if the checkpoint's copy of CLIP's final LayerNorm and projection differs from this CLIP's: it was then
    trained on another CLIP."""
    embed = captioner.visual_embed
    pairs = {
        "ln_post.weight": (embed.ln_post.weight, clip.images.vision.post_layernorm.weight),
        "ln_post.bias": (embed.ln_post.bias, clip.images.vision.post_layernorm.bias),
        "proj": (embed.proj, clip.images.projection.weight.T),
    }
    for name, (ours, theirs) in pairs.items():
        # One of them may have been rounded to float16.
        if ours.shape != theirs.shape or not torch.allclose(ours, theirs, rtol=1e-2, atol=1e-3):
            raise ValueError(f"the checkpoint was trained on another CLIP: visual_embed.{name} is not that of {clip.name}")


def released_parts(
    checkpoint: Path,
    clip_file: Path,
    concepts_file: Path,
    vocabulary_file: Path,
    merges: Path | None = None,
    id: str = "",
    config: Config | None = None,
    changes: Sequence[str] = (),
) -> Converted:
    """Reads the parts of a bundle from released files. `checkpoint` is a file, or a folder whose last epoch is taken; `config` is
    that of a checkpoint that records none, `changes` override it. Raises ValueError if the files do not belong together."""
    checkpoint = find_checkpoint(checkpoint)
    if config is not None and recorded_config(checkpoint) is not None:
        raise ValueError(f"{checkpoint} records its configuration: leave out --config, or override it by --set")
    captioner, unexpected = read_captioner(checkpoint, config, changes)
    clip = read_clip(clip_file, merges)
    _check_projection(captioner, clip)
    words, embeddings = read_concepts(concepts_file)
    parts = BundleParts(
        encoder=clip.images,
        text_encoder=clip.texts,
        captioner=captioner,
        vocabulary=Vocabulary.read(vocabulary_file),
        concepts=words,
        concept_embeddings=embeddings,
        # Without photos there is no distance to the training data; UNCALIBRATED does not use it.
        centroids=F.normalize(embeddings.mean(0, keepdim=True), dim=-1),
        confidence=UNCALIBRATED,
        match_probability=None,
        side=clip.sizes.side,
        prompts=PROMPTS,
        id=id or checkpoint.stem,
        version="1.0.0",
        licence="see the terms of PCM-Net's released weights and of CLIP",
        description=f"PCM-Net on CLIP {clip.name}, converted from released weights; its confidence is not calibrated",
        sources=SOURCES,
        decoding=Decoding(max_length=captioner.config.max_words),
        quality={"clip": clip.name, "calibrated": False},
        resize="crop",
    )
    return Converted(parts, (*unexpected, *(f"{name} (of CLIP)" for name in clip.unused)))


def examples_of(parts: BundleParts, photos: Sequence[Path]) -> Examples:
    """Photos and the network's captions of them, which `int8` is calibrated on."""
    pixels = np.stack([decode_photo(photo, parts.side, parts.resize) for photo in photos])
    texts: list[str] = []
    with torch.inference_mode():
        for photo in torch.from_numpy(pixels):
            grid, local, image = parts.encoder(photo[None])
            memory = parts.captioner.encode(grid, local, image, parts.concept_embeddings)
            beams = torch_decode(parts, memory).tokens[0]
            texts += [" ".join(parts.vocabulary.decode(tokens)) for tokens in beams.tolist()]
    return Examples(pixels, texts)


def convert(converted: Converted, out: Path, precisions: Sequence[str], photos: Path | None = None) -> dict[str, Any]:
    """Writes the bundle and returns its manifest. `int8` is calibrated on the first photos of the folder `photos`; raises
    ValueError if it has none."""
    examples = None
    if "int8" in precisions:
        chosen = [] if photos is None else photos_in(photos)[:CALIBRATION_PHOTOS]
        if not chosen:
            raise ValueError("int8 is calibrated on photos: name a folder of them by --photos, or leave int8 out of --precisions")
        examples = examples_of(converted.parts, chosen)
    return export_bundle(converted.parts, out, precisions, examples)
