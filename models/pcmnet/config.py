"""Configurations: short TOML files that override these defaults."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

PROMPTS = ("a photo of a {}", "a {}", "there is a {} in the picture")
"""Prompts of the concept embeddings: a concept is embedded as the mean over them."""
STORAGES = ("w8", "fp16", "fp32")
"""Precisions in which weights are stored; the graph computes in float32 in all of them."""
PRECISIONS = (*STORAGES, "int8")
"""`int8` computes in integers too, and is calibrated on photos."""
SHIPPED = ("int8", "w8")
"""Precisions of the embedded bundle unless the command names others. The first is what a CPU runs: decoding defaults and
confidence are fitted to its answers."""
MIXUP_MODES = ("top", "random", "all", "off")
"""See `model.mixup.salient_patches`."""
FOCAL_MODES = ("batch", "word", "sent", "none")
"""See `train.loss.caption_loss`."""
OPTIMIZERS = ("adam", "adamw")
STAGE_NAMES = ("tower", "dual-encoder", "concepts", "captioner", "refine", "self-critical")
"""Training stages of the embedded model, in their order: see `embedded.stages`."""
INVARIANCE_PHOTOS = 64
"""Validation photos that are captioned alone and in batches, and have to get the same captions."""


@dataclass
class VisionConfig:
    tower: str = "efficientnet-lite2"
    side: int = 288
    """Pixels of the square input."""
    resize: str = "stretch"
    """How images become square, `stretch` or `crop`: see `data.photos.decode_photo`."""


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
    """Standard deviation of the Gaussian noise on pooled features, relative to each feature's own."""


@dataclass
class TowerConfig:
    """Contrastive fine-tuning of the tower, from the trained head."""

    crop_side: int = 224
    min_crop_area: float = 0.5
    frozen_blocks: int = 8
    batch_size: int = 64
    micro_batch: int = 16
    """Photos of one forward pass; gradients accumulate over a batch. 27 photos/s instead of 15 for whole batches, on two
    cores."""
    epochs: int = 3
    learning_rate: float = 3e-4
    head_learning_rate: float = 5e-4
    weight_decay: float = 0.05
    warmup_steps: int = 50
    text_negatives: int = 3072
    """Captions of other photos that are negatives of each image; their sentence embeddings are frozen, so never stale."""
    word_loss: float = 10.0
    """Weight of the loss that predicts the words of a photo's captions relative to the contrastive loss. It keeps details in the
    grid that one sentence does not mention."""


@dataclass
class AugmentConfig:
    """How a photo differs each time that `tune` shows it."""

    min_crop_area: float = 0.4
    max_aspect: float = 1.3
    """Of a crop, relative to the photo's own, and its inverse."""
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.2
    """Largest change of each, as a factor; captions name colours, so hues stay."""
    jpeg_chance: float = 0.2
    jpeg_quality: int = 30
    """The lowest."""
    resample_chance: float = 0.25
    resample_factor: float = 0.4
    """The smallest: a crop is made so small and large again."""


@dataclass
class TuneConfig:
    """Long fine-tuning of the tower on several losses at once; it takes the place of `head` and `tower`."""

    epochs: int = 0
    """0 leaves it out."""
    sides: list[int] = field(default_factory=lambda: [192, 192, 192, 224, 224, 288])
    """Pixels of a crop's side in equal shares of the epochs: cheap at first, as the service sees photos at the end."""
    frozen_blocks: int = 8
    batch_size: int = 64
    micro_batch: int = 32
    learning_rate: float = 3e-4
    head_learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 300
    captions_per_photo: int = 4
    text_negatives: int = 8192
    """Captions of other photos each image is told apart from."""
    word_loss: float = 10.0
    """Weight of predicting the words people used of the photo."""
    concept_loss: float = 10.0
    """Weight of predicting its nouns by cosines with their embeddings, of the photo and of its best cells."""
    detector: str = ""
    """A detector's graph whose class scores each cell learns to predict, as a path from the folder of `--data`; none if empty."""
    detector_loss: float = 40.0
    rebuilt: bool = True
    """Learn from photos whose captions were rebuilt from questions, too."""
    average_decay: float = 0.998
    """Of the running average of the weights, a step; the average is what is evaluated and kept."""
    evaluate_every: int = 2
    """Epochs."""
    save_every: int = 50
    """Steps."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass
class ConceptConfig:
    min_captions: int = 5
    """Training captions that a noun must be in."""
    max_words: int = 800
    prompts: list[str] = field(default_factory=lambda: list(PROMPTS))
    epochs: int = 15
    """Epochs of the map from word embeddings to the photos that show them."""
    batch_size: int = 256
    learning_rate: float = 3e-3
    image_noise: float = 0.02
    """Standard deviation of the Gaussian noise on the image embeddings, which have unit length."""


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
    """Concepts detected in each image."""
    k2: float = 5.0
    """Replaced cells of S. Below 1: the share of the cells (mode `top`) or the probability of each patch (mode `random`)."""
    mode: str = "top"
    """Which patches concepts replace, `top`, `random`, `all` or `off`: see `mixup.salient_patches`."""
    threshold: float = 0.0
    """Probability that a concept must exceed; the embedding of any other is set to zero."""
    temperature: float = 0.01
    """Of the softmax over concepts and over cells of S."""
    adapt_concepts: bool = False
    """Map concept embeddings by a trained affine map before they are compared with an image; not in the paper."""
    noise_variance: float = 0.016
    """Variance of the Gaussian noise on the global embedding in training."""
    dropout: float = 0.2
    attention_dropout: float = 0.3
    embedding_dropout: float = 0.5
    token_dropout: float = 0.1
    output_dropout: float = 0.5
    max_words: int = 20
    sources: list[str] = field(default_factory=list)
    """Beginnings of names of sources in `captions.jsonl`: captions of each start with a token of their own. None: one start."""
    served_source: str = ""
    """The one that sentences are written as, the first if empty."""


@dataclass
class DataConfig:
    """Files and folders of the paper's path, relative to the folder of `--data`. The embedded model's configuration leaves
    `train` empty and trains on photos."""

    captions: str = "captions.jsonl"
    """One object a line with `captions`, and `image` and `split` where there are any; or `.txt`, one caption a line."""
    train: str = ""
    """Records of the training pairs, `.pkl` as released or `.jsonl`; or plain captions in the format of `captions`."""
    train_images: str = ""
    train_features: str = ""
    """Folders of images and features. Those of records with `split_id` 3 lie in a folder whose name ends in `_sp3`."""
    test: str = ""
    """Plain captions in the format of `captions`, or COCO's annotations as `.json`."""
    test_list: str = ""
    """Lines `id, file` that name the features of test images, as NoCaps' are: see `data.records.read_image_list`."""
    test_images: str = ""
    test_features: str = ""
    vocabulary: str = "vocabulary.txt"
    concepts: str = "concepts.pkl"
    clip: str = "clip.pt"
    merges: str = ""
    """File of the merges of CLIP's tokenizer. Empty: the file that an installed package carries."""
    share: float = 1.0
    """Share of the training pairs that is used, drawn once. An epoch passes over them 1 / share times, so that the number of
    updates stays."""
    min_clipscore: float = -1.0
    """CLIPScore that a pair must exceed; others are dropped before the share is drawn."""


@dataclass
class ReleasedNames:
    """Names below `--data` under which the authors publish what `DataConfig` names. A file or folder is read from here if it is
    not in its own place; nothing is written here."""

    train: str = ""
    train_features: str = ""
    test: str = ""
    test_features: str = ""
    vocabulary: str = ""
    concepts: str = ""


@dataclass
class SynthesisConfig:
    """Settings of the text-to-image model."""

    steps: int = 50
    """Denoising steps."""
    guidance: float = 7.5
    """Scale of classifier-free guidance."""
    side: int = 512
    """Pixels of the square image."""
    batch_size: int = 8


@dataclass
class CaptionerConfig:
    """Cross-entropy training of the captioner on stored grids."""

    min_word_count: int = 4
    min_text_count: int = 25
    """Captions without photos that a word must be in to join the vocabulary, if too few training captions have it."""
    batch_size: int = 32
    captions_per_photo: int = 3
    epochs: int = 6
    optimizer: str = "adamw"
    """`adamw` with a cosine schedule from `learning_rate`, or the paper's: `adam` with Noam's schedule."""
    learning_rate: float = 3e-4
    """Peak of the cosine schedule."""
    noam_factor: float = 1.0
    """Factor of Noam's schedule."""
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    """Decay of the optimizer's running averages of the gradient and of its square."""
    weight_decay: float = 0.01
    warmup_steps: int = 300
    """Steps in which the learning rate grows, of either schedule."""
    clip_value: float = 0.0
    """Elementwise bound of the gradient; with 0 its norm is clipped at 1 instead."""
    label_smoothing: float = 0.1
    focal: str = "none"
    """Focal factor of the loss, `batch`, `word`, `sent` or `none`: see `train.loss.caption_loss`."""
    focal_gamma: float = 0.0
    clip_weight_alpha: float = 0.0
    """A pair's loss is weighted by clamp(alpha · cos⁺, 0, 1); with 0 all pairs weigh the same."""
    teacher: bool = False
    """Learn from the teacher's sentence as from one more caption of its photo."""
    rebuilt: bool = False
    """Learn from captions that were rebuilt from questions, too."""
    flickr_share: float = 0.0
    """Least share of Flickr's photos in an epoch, which are repeated for it."""
    workers: int = 2
    """Processes that read stored features ahead; 0 reads each batch when it is its turn."""
    bf16: bool = True
    """Train in bfloat16 where the processor multiplies it; elsewhere in float32."""


@dataclass
class RefineConfig:
    """Further cross-entropy training of the captioner, on captions without photos too."""

    epochs: int = 0
    """0 skips the stage."""
    learning_rate: float = 2e-4
    warmup_steps: int = 100
    text_batch: int = 64
    """Captions without photos in each step."""
    text_weight: float = 0.5
    """Weight of the text loss relative to the photo loss."""


@dataclass
class SelfCriticalConfig:
    """Self-critical training after cross-entropy: sampled captions are rewarded by CIDEr-D."""

    sources: list[str] = field(default_factory=list)
    """Sources in `captions.jsonl` whose photos are used: those whose captions have the style of the evaluation. Empty: all."""
    worlds: list[str] = field(default_factory=list)
    """Beginnings of names of sources: each world has document frequencies of its own in the reward. None: one world."""
    min_captions: int = 1
    """Photos with fewer are left out: a reward by few captions is noise."""
    temperature: float = 1.0
    """Sampling temperature. Below 1, words whose probability comes only from label smoothing are sampled less."""
    batch_size: int = 32
    samples: int = 5
    """Captions sampled for each photo. The baseline of each is the mean reward of the others."""
    steps: int = 0
    """0 skips the stage."""
    learning_rate: float = 5e-5
    warmup_steps: int = 30
    cross_entropy: float = 0.1
    """Weight of the cross-entropy on human captions relative to the reward's loss."""
    captions_per_photo: int = 1
    """Human captions of each photo in the cross-entropy."""
    average_decay: float = 0.99
    """Decay of the running average of the weights, per step."""
    evaluate_every: int = 125
    """Steps between evaluations."""


@dataclass
class InferenceConfig:
    """Choices of concepts at inference that the paper does not make, of its path; all are off."""

    gate: float = 0.0
    """Calibrated probability that a caption of the image names a detected concept; others are left out."""
    calibration_pairs: int = 5000
    """The first training pairs, this many, calibrate that probability."""
    retrieved_captions: int = 0
    """Training captions that are retrieved for each image by their cosine with it."""
    retrieval_weight: float = 2.0
    """Added to a concept's logit times the share of the retrieved captions that name it. Cosines have a weight of 100."""


@dataclass
class Config:
    seed: int = 1234
    id: str = "pcm-net-lite2"
    version: str = "0.1.0"
    data: DataConfig = field(default_factory=DataConfig)
    released: ReleasedNames = field(default_factory=ReleasedNames)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    vision: VisionConfig = field(default_factory=VisionConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    tower: TowerConfig = field(default_factory=TowerConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    concepts: ConceptConfig = field(default_factory=ConceptConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    captioner: CaptionerConfig = field(default_factory=CaptionerConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)
    self_critical: SelfCriticalConfig = field(default_factory=SelfCriticalConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)


def _override(target: Any, values: Mapping[str, Any], where: str) -> None:
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
    """The settings of a file, which override those of its `base`, a path relative to the file."""
    own = tomllib.loads(path.read_text(encoding="utf-8"))
    return _merged(_read(path.parent / own.pop("base")), own) if "base" in own else own


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {name: _merged(below[name], value) for name, value in above.items() if isinstance(value, dict) and name in below}
    return below | above | both


def read_config(path: Path, changes: Sequence[str] = ()) -> Config:
    """Reads a configuration: the defaults, overridden by the file, then by `changes`, lines of TOML such as `model.k = 3`.

    Raises ValueError for an unknown name, a value of another type, or one that makes no sense (see `check_config`), and
    tomllib.TOMLDecodeError for what is not TOML.
    """
    return config_of(_read(path), changes)


def config_of(values: Mapping[str, Any], changes: Sequence[str] = ()) -> Config:
    """The configuration of nested settings, such as a checkpoint's, overridden by `changes`. Raises as `read_config`."""
    config = Config()
    _override(config, values, "")
    for change in changes:
        _override(config, tomllib.loads(change), "")
    check_config(config)
    return config


def settings_of(config: Config) -> dict[str, Any]:
    """Every setting by its full name, such as `model.k`."""

    def flattened(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in values.items():
            if isinstance(value, dict):
                yield from flattened(value, f"{prefix}{name}.")
            else:
                yield prefix + name, value

    return dict(flattened(dataclasses.asdict(config), ""))


def differences(config: Config, other: Config) -> list[str]:
    """The settings in which two configurations differ, such as `model.k is 3, not 5`."""
    theirs = settings_of(other)
    return [f"{name} is {value!r}, not {theirs[name]!r}" for name, value in settings_of(config).items() if value != theirs[name]]


def check_config(config: Config) -> None:
    """Raises ValueError for a value that makes no sense, or one that another setting leaves without effect."""
    model, captioner, data, inference, defaults = config.model, config.captioner, config.data, config.inference, Config()
    cells = model.patches * model.k
    whole = model.k2 >= 1 and model.k2 == int(model.k2)
    for name, good, wanted in (
        ("model.k", model.k >= 1, "at least 1"),
        ("model.k2", 0 < model.k2 < 1 or (whole and model.k2 <= cells), f"a share between 0 and 1, or 1 to {cells} whole cells"),
        ("model.mode", model.mode in MIXUP_MODES, f"one of {', '.join(MIXUP_MODES)}"),
        ("model.threshold", 0 <= model.threshold < 1, "at least 0 and below 1"),
        ("model.temperature", model.temperature > 0, "above 0"),
        ("model.noise_variance", model.noise_variance >= 0, "at least 0"),
        ("model.max_words", model.max_words >= 1, "at least 1"),
        *(
            (f"model.{name}", 0 <= getattr(model, name) < 1, "at least 0 and below 1")
            for name in ("dropout", "attention_dropout", "embedding_dropout", "token_dropout", "output_dropout")
        ),
        ("captioner.optimizer", captioner.optimizer in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}"),
        ("captioner.focal", captioner.focal in FOCAL_MODES, f"one of {', '.join(FOCAL_MODES)}"),
        ("captioner.workers", captioner.workers >= 0, "at least 0"),
        ("captioner.batch_size", captioner.batch_size >= 1, "at least 1"),
        ("captioner.epochs", captioner.epochs >= 1, "at least 1"),
        ("captioner.captions_per_photo", captioner.captions_per_photo >= 1, "at least 1"),
        ("captioner.warmup_steps", captioner.warmup_steps >= (captioner.optimizer == "adam"), "at least 1 for adam, else 0"),
        ("captioner.betas", len(captioner.betas) == 2 and all(0 <= b < 1 for b in captioner.betas), "two, each in [0, 1)"),
        ("captioner.weight_decay", captioner.weight_decay >= 0, "at least 0"),
        ("captioner.label_smoothing", 0 <= captioner.label_smoothing < 1, "at least 0 and below 1"),
        ("captioner.clip_weight_alpha", captioner.clip_weight_alpha >= 0, "at least 0"),
        ("captioner.clip_value", captioner.clip_value >= 0, "at least 0"),
        ("inference.gate", 0 <= inference.gate < 1, "at least 0 and below 1"),
        ("inference.retrieved_captions", inference.retrieved_captions >= 0, "at least 0"),
        ("data.share", 0 < data.share <= 1, "above 0 and at most 1"),
    ):
        if not good:
            raise ValueError(f"{name} must be {wanted}, got {settings_of(config)[name]!r}")
    for name, ignored, why in (
        ("model.k2", model.mode in ("all", "off"), f"mode {model.mode} does not choose patches"),
        ("captioner.learning_rate", captioner.optimizer == "adam", "adam follows Noam's schedule: set captioner.noam_factor"),
        ("captioner.noam_factor", captioner.optimizer != "adam", "only adam follows Noam's schedule"),
    ):
        if ignored and settings_of(config)[name] != settings_of(defaults)[name]:
            raise ValueError(f"{name} has no effect: {why}")
    if inference.gate > 0 and inference.retrieved_captions > 0:
        raise ValueError(
            "inference.gate and inference.retrieved_captions exclude each other: a training image retrieves its caption"
        )
    if model.mode == "random" and model.k2 >= 1:
        raise ValueError(f"model.k2 must be the probability of a patch, below 1, in mode random, got {model.k2!r}")
