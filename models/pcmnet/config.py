"""Configurations: short TOML files that override these defaults."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

PROMPTS = ("a photo of a {}", "a {}", "there is a {} in the picture")
"""A concept's embedding is the mean of its embeddings in these."""


@dataclass
class VisionConfig:
    tower: str = "efficientnet-lite2"
    side: int = 288
    """Pixels of the square input."""
    resize: str = "stretch"
    """How photos become square: see `data.decode_photo`."""


@dataclass
class HeadConfig:
    """Contrastive training of the projections on pooled grids, the tower frozen."""

    embedding: int = 384
    hidden: int = 1024
    dropout: float = 0.3
    batch_size: int = 512
    epochs: int = 10
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    feature_noise: float = 0.1
    """Gaussian noise on pooled features, in units of each feature's deviation."""


@dataclass
class TowerConfig:
    """Contrastive fine-tuning of the tower, from the trained head."""

    crop_side: int = 224
    min_crop_area: float = 0.5
    frozen_blocks: int = 8
    batch_size: int = 64
    micro_batch: int = 16
    """Photos of one pass; gradients add up to a batch. 27 photos/s against 15 for whole batches, on two cores."""
    epochs: int = 3
    learning_rate: float = 3e-4
    head_learning_rate: float = 5e-4
    weight_decay: float = 0.05
    warmup_steps: int = 50
    text_negatives: int = 3072
    """Captions of other photos each image is told apart from (their sentence embeddings are frozen, so never stale)."""
    word_loss: float = 10.0
    """Weight of predicting which words people used of the photo; keeps detail in the grid that one sentence hides."""


@dataclass
class ConceptConfig:
    min_captions: int = 5
    max_words: int = 800
    prompts: list[str] = field(default_factory=lambda: list(PROMPTS))
    epochs: int = 15
    """Of the map that moves the words' embeddings to photos that show them."""
    batch_size: int = 256
    learning_rate: float = 3e-3
    image_noise: float = 0.02
    """Gaussian noise on the image embeddings."""


@dataclass
class ModelConfig:
    """PCM-Net's sizes and switches; the defaults are the released ones."""

    grid_width: int = 1280
    embedding: int = 384
    patches: int = 81
    vocabulary: int = 0
    width: int = 512
    heads: int = 8
    ffn: int = 2048
    encoder_layers: int = 3
    decoder_layers: int = 3
    k: int = 5
    """Concepts kept of an image."""
    k2: float = 5.0
    """Replaced cells of S; below 1 a share of them (`top`) or the chance of a patch (`random`)."""
    mode: str = "top"
    threshold: float = 0.0
    temperature: float = 0.01
    adapt_concepts: bool = False
    """Move concept embeddings by a trained affine map before anything compares them with an image; not in the paper."""
    noise_variance: float = 0.016
    dropout: float = 0.2
    attention_dropout: float = 0.3
    embedding_dropout: float = 0.5
    token_dropout: float = 0.1
    output_dropout: float = 0.5
    max_words: int = 20


@dataclass
class DataConfig:
    """What a run on stored features of CLIP reads and writes, as paths in the folder of `--data`. Without `train` the run
    trains on photos, as the embedded model's."""

    captions: str = "captions.jsonl"
    """`image` (none where images are to be made), `captions`, `split`, an object a line; or `.txt`: a caption a line."""
    train: str = ""
    """Records of the training pairs, `.pkl` as released or `.jsonl`; or plain captions, as `captions`."""
    train_images: str = ""
    train_features: str = ""
    """Folders; `_sp3` comes after the name where a record is of split 3."""
    test: str = ""
    """Plain captions, as `captions`, or COCO's `.json`."""
    test_images: str = ""
    test_features: str = ""
    vocabulary: str = "vocabulary.txt"
    concepts: str = "concepts.pkl"
    clip: str = "clip.pt"
    merges: str = ""
    """Of CLIP's tokenizer; else an installed package's."""
    share: float = 1.0
    """Of the training pairs, drawn once; an epoch goes over them 1 / share times."""
    min_clipscore: float = -1.0
    """Pairs not above it are left out before that."""


@dataclass
class SynthesisConfig:
    """How images are made of captions."""

    steps: int = 50
    guidance: float = 7.5
    side: int = 512
    batch_size: int = 8


@dataclass
class CaptionerConfig:
    """Cross-entropy training of the captioner on stored grids."""

    min_word_count: int = 4
    min_text_count: int = 25
    """Captions without photos a word must be in, if training captions lack it."""
    batch_size: int = 32
    captions_per_photo: int = 3
    epochs: int = 6
    optimizer: str = "adamw"
    learning_rate: float = 3e-4
    weight_decay: float = 0.01
    warmup_steps: int = 300
    clip_value: float = 0.0
    """Elementwise bound of the gradient; 0 clips its norm at 1 instead."""
    label_smoothing: float = 0.1
    focal: str = "none"
    focal_gamma: float = 0.0
    clip_weight_alpha: float = 0.0
    """Weight of a pair is clamp(alpha · cos⁺, 0, 1); 0 turns it off."""
    bf16: bool = True
    """Where the processor has it; elsewhere training is in fp32."""


@dataclass
class RefineConfig:
    """More cross-entropy after the first, with captions that have no photo."""

    epochs: int = 0
    """0 leaves the stage out."""
    learning_rate: float = 2e-4
    warmup_steps: int = 100
    text_batch: int = 64
    """Captions without photos in a step."""
    text_weight: float = 0.5
    """Of their loss beside that of the photos."""


@dataclass
class SelfCriticalConfig:
    """Training on the reward of the model's own captions, after cross-entropy."""

    sources: list[str] = field(default_factory=list)
    """Names in `captions.jsonl`, of photos whose captions are written as those the model will be judged by; all if empty."""
    temperature: float = 1.0
    """Of the softmax that captions are drawn from; below 1, words that label smoothing alone makes likely are drawn less."""
    batch_size: int = 32
    samples: int = 5
    """Captions drawn of each photo; each is compared with the others."""
    steps: int = 0
    """0 leaves the stage out."""
    learning_rate: float = 5e-5
    warmup_steps: int = 30
    cross_entropy: float = 0.1
    """Weight of cross-entropy on people's captions beside the reward."""
    captions_per_photo: int = 1
    """People's captions of each photo in the cross-entropy."""
    average_decay: float = 0.99
    """Of the running average of the weights, a step."""
    evaluate_every: int = 125


@dataclass
class Config:
    seed: int = 1234
    id: str = "pcm-net-lite2"
    version: str = "0.1.0"
    data: DataConfig = field(default_factory=DataConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    vision: VisionConfig = field(default_factory=VisionConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    tower: TowerConfig = field(default_factory=TowerConfig)
    concepts: ConceptConfig = field(default_factory=ConceptConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    captioner: CaptionerConfig = field(default_factory=CaptionerConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)
    self_critical: SelfCriticalConfig = field(default_factory=SelfCriticalConfig)


def _override(target: Any, values: dict[str, Any], where: str) -> None:
    kinds = get_type_hints(type(target))
    for name, value in values.items():
        if name not in kinds:
            known = ", ".join(f.name for f in dataclasses.fields(target))
            raise ValueError(f"unknown setting {where}{name}; known: {known}")
        current = getattr(target, name)
        if dataclasses.is_dataclass(current):
            _override(current, value, f"{where}{name}.")
        elif kinds[name] is float and isinstance(value, int) and not isinstance(value, bool):
            setattr(target, name, float(value))
        elif type(value) is not type(current):
            raise ValueError(f"{where}{name} must be {type(current).__name__}, got {value!r}")
        else:
            setattr(target, name, value)


def _read(path: Path) -> dict[str, Any]:
    """The file's settings over those of the file that it names as `base`, a path beside it."""
    own = tomllib.loads(path.read_text(encoding="utf-8"))
    return _merged(_read(path.parent / own.pop("base")), own) if "base" in own else own


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {name: _merged(below[name], value) for name, value in above.items() if isinstance(value, dict) and name in below}
    return below | above | both


def read_config(path: Path, changes: Sequence[str] = ()) -> Config:
    """Defaults overridden by the file, then by `changes`, lines of TOML such as `model.k = 3`; an unknown name or a value of
    another type is an error."""
    config = Config()
    _override(config, _read(path), "")
    for change in changes:
        _override(config, tomllib.loads(change), "")
    return config
