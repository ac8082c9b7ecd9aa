"""A tuning of the tower on twelve toy photos: seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pcmnet.config import Config, TuneConfig
from pcmnet.data.photos import Photo
from pcmnet.model.lite_tower import LiteTower
from pcmnet.train.dual_encoder import CaptionBank, new_dual_encoder
from pcmnet.train.loop import Checkpoint, Log
from pcmnet.train.tower_targets import TowerTargets, caption_bank, tower_targets
from pcmnet.train.tune_tower import TowerHeads, TunedTower, tune_tower

SIDE, SENTENCE, CLASSES = 64, 12, 3
NOUNS = ["dog", "cat", "horse"]


def sentences_of(photo: Photo) -> Tensor:
    texts = len(photo.captions) + bool(photo.teacher)
    return F.normalize(torch.randn(texts, SENTENCE, generator=torch.Generator().manual_seed(photo.row)), dim=-1)


class Toy(NamedTuple):
    config: Config
    model: TunedTower
    pixels: NDArray[np.uint8]
    targets: TowerTargets
    dev: CaptionBank


def toy() -> Toy:
    config = Config()
    config.head.__dict__.update(embedding=8, hidden=8)
    config.tune = TuneConfig(
        epochs=2,
        sides=[32, 64],
        batch_size=4,
        micro_batch=2,
        warmup_steps=2,
        captions_per_photo=2,
        text_negatives=6,
        evaluate_every=1,
        save_every=1,
    )
    photos = [
        Photo(n, f"{n}.jpg", "toy", "train", (f"a {NOUNS[n % 3]} runs",) * (1 + n % 2), "a dog" if n % 4 == 0 else "")
        for n in range(12)
    ]
    torch.manual_seed(1)
    maps = np.random.default_rng(2).integers(0, 256, (12, 4, 4, CLASSES), dtype=np.uint8)
    # Words need twenty captions: these are few, but every photo says "a".
    targets = tower_targets(caption_bank(photos, sentences_of), NOUNS, torch.randn(3, 2, SENTENCE), maps)
    tower = LiteTower("efficientnet-lite0", SIDE, pretrained=False)
    heads = TowerHeads(tower.width, targets.words, targets.concepts, targets.classes())
    model = TunedTower(tower, new_dual_encoder(config, tower.width, SENTENCE), heads, 2)
    pixels = np.random.default_rng(3).integers(0, 256, (12, SIDE, SIDE, 3), dtype=np.uint8)
    dev = CaptionBank(photos[:4], torch.cat([sentences_of(replace(p, teacher="")) for p in photos[:4]]))
    return Toy(config, model, pixels, targets, dev)


class Stopping(Log):
    """Interrupts the run as its first epoch is evaluated."""

    def write(self, **values: float | int | str) -> None:
        if values.get("epoch") == 1:
            raise KeyboardInterrupt
        super().write(**values)


def run_toy_tuning(folder: Path, stop: bool = False, **changes: float) -> tuple[TunedTower, Checkpoint]:
    config, model, pixels, targets, dev = toy()
    config.tune.__dict__.update(changes)
    checkpoint = Checkpoint(folder / "tune.ckpt")
    log = (Stopping if stop else Log)(folder / "log.jsonl")
    tune_tower(config, model, pixels, targets, {"dev": dev}, checkpoint, log)
    return model, checkpoint
