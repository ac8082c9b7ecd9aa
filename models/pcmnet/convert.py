"""`pcmnet convert`: a released checkpoint of PCM-Net and OpenAI's CLIP become a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .bundle import Logistic, Pieces
from .clip import HEAD_WIDTH, Clip, read_clip
from .config import PROMPTS, ModelConfig
from .data import decode_photo, photos_in
from .export import export_bundle
from .export_compare import torch_decode
from .int8 import Examples
from .model import PCMNet
from .text import Vocabulary
from .unpickling import load_pickle, state_dict_in

UNCALIBRATED = Logistic(("cosine",), (0.0,), (1.0,), (0.0,), 0.0, {})
"""Says 0.5 of every caption: nothing was measured."""
CALIBRATION_PHOTOS = 40
"""For the ranges of integer activations."""
SOURCES = (
    "PCM-Net's released checkpoint (Luo et al., ECCV 2024)",
    "OpenAI's CLIP (MIT)",
)


@dataclass(frozen=True)
class Converted:
    pieces: Pieces
    unused: tuple[str, ...]
    """Entries of the checkpoint and of CLIP's file that nothing in the bundle uses."""


def config_of(state: Mapping[str, Tensor]) -> ModelConfig:
    """The sizes of a released checkpoint; what weights do not show keeps the released defaults."""
    try:
        width, grid_width = state["visual_embed.embeddings.weight"].shape
        return ModelConfig(
            grid_width=grid_width,
            embedding=state["visual_embed.g_embeddings.weight"].shape[1],
            patches=state["visual_embed.embeddings_pos"].shape[1] - 1,
            vocabulary=len(state["predictor.logits.weight"]),
            width=width,
            heads=width // HEAD_WIDTH,
            ffn=len(state["encoder.layers.0.intermediate.dense.weight"]),
            encoder_layers=_layers(state, "encoder.layers"),
            decoder_layers=_layers(state, "decoder.g_layers"),
        )
    except KeyError as error:
        raise ValueError(f"no checkpoint of PCM-Net: it has no {error}") from None


def _layers(state: Mapping[str, Tensor], prefix: str) -> int:
    return sum(name.startswith(f"{prefix}.") and name.endswith(".intermediate.dense.weight") for name in state)


def read_captioner(path: Path) -> tuple[PCMNet, tuple[str, ...]]:
    """The network of a released checkpoint, in evaluation mode, and the weights in it that the network has no place for."""
    state = state_dict_in(path)
    model = PCMNet(config_of(state), own_projection=True)
    found = model.load_state_dict(state, strict=False)
    if found.missing_keys:
        raise ValueError(f"{path} lacks {', '.join(found.missing_keys)}")
    return model.eval(), tuple(found.unexpected_keys)


def read_concepts(path: Path) -> tuple[list[str], Tensor]:
    """A pickle of (words, embeddings) → C words and unit vectors [C, E]. Stored ones are float16 and not quite of unit length."""
    held = load_pickle(path)
    if not isinstance(held, list | tuple) or len(held) != 2:
        raise ValueError(f"{path} holds no pair of words and embeddings")
    words = [str(word) for word in held[0]]
    vectors = torch.as_tensor(held[1]).float()
    if vectors.ndim != 2 or len(vectors) != len(words):
        raise ValueError(f"{path} has {len(words)} words, but embeddings of shape {tuple(vectors.shape)}")
    return words, F.normalize(vectors, dim=-1)


def _check_projection(captioner: PCMNet, clip: Clip) -> None:
    """The checkpoint carries CLIP's final LayerNorm and projection: they tell whether this is the CLIP it was trained on."""
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


def released_pieces(
    checkpoint: Path, clip_file: Path, concepts_file: Path, vocabulary_file: Path, merges: Path | None = None, id: str = ""
) -> Converted:
    """All that the bundle is made of; raises ValueError where the four files do not belong together."""
    captioner, unexpected = read_captioner(checkpoint)
    clip = read_clip(clip_file, merges)
    _check_projection(captioner, clip)
    words, embeddings = read_concepts(concepts_file)
    pieces = Pieces(
        encoder=clip.images,
        text_encoder=clip.texts,
        captioner=captioner,
        vocabulary=Vocabulary.read(vocabulary_file),
        concepts=words,
        concept_embeddings=embeddings,
        # No photo was seen, so familiarity means nothing; the fit above does not use it.
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
        quality={"clip": clip.name, "calibrated": False},
        resize="crop",
    )
    return Converted(pieces, (*unexpected, *(f"{name} (of CLIP)" for name in clip.unused)))


def examples_of(pieces: Pieces, photos: Sequence[Path]) -> Examples:
    """Photos, and what the network writes of them: all that `int8` is calibrated on."""
    pixels = np.stack([decode_photo(photo, pieces.side, pieces.resize) for photo in photos])
    texts: list[str] = []
    with torch.inference_mode():
        for photo in torch.from_numpy(pixels):
            grid, local, image = pieces.encoder(photo[None])
            memory = pieces.captioner.encode(grid, local, image, pieces.concept_embeddings)
            beams = torch_decode(pieces, memory).tokens[0]
            texts += [" ".join(pieces.vocabulary.decode(tokens)) for tokens in beams.tolist()]
    return Examples(pixels, texts)


def convert(converted: Converted, out: Path, precisions: Sequence[str], photos: Path | None = None) -> dict[str, Any]:
    """Writes the bundle and returns its manifest. `int8` takes a folder of photos, the first of which calibrate it."""
    examples = None
    if "int8" in precisions:
        chosen = [] if photos is None else photos_in(photos)[:CALIBRATION_PHOTOS]
        if not chosen:
            raise ValueError("int8 is calibrated on photos: name a folder of them by --photos, or leave int8 out of --precisions")
        examples = examples_of(converted.pieces, chosen)
    return export_bundle(converted.pieces, out, precisions, examples)
