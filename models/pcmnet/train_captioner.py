"""Cross-entropy training of the captioner on stored grids."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from . import processes
from .config import CaptionerConfig, Config
from .data import Photo, batches
from .dual_encoder import DualEncoder
from .loss import caption_loss, clip_weights
from .model import PCMNet
from .text import IGNORED, Vocabulary, sequences, words_of
from .training import Checkpoint, Log, bf16_autocast, cosine, epoch_order, noam, seed_step


class HasRow(Protocol):
    """A photo, or a pair of an image and its captions."""

    @property
    def row(self) -> int:
        """Its row in every array of features."""


class Features(Protocol):
    """Of images, a row each."""

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Grid [B, N, D], local embeddings [B, N, E], unit global embeddings [B, E]"""


@dataclass(frozen=True)
class View:
    """Features of all photos in one view (as they are, or mirrored), a row each."""

    grid: NDArray[np.float16]
    """[P, N, D]"""
    local: Tensor
    """[P, N, E] float16"""
    image: Tensor
    """Unit vectors  # [P, E]"""

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        grid = torch.from_numpy(self.grid[rows]).float()
        return grid, self.local[rows].float(), self.image[rows]


@torch.inference_mode()
def embed_view(grid: NDArray[np.float16], encoder: DualEncoder) -> View:
    """Local and global embeddings of stored grids."""
    encoder.eval()
    local = torch.empty(*grid.shape[:2], encoder.text.out_features, dtype=torch.float16)
    image = torch.empty(len(grid), encoder.text.out_features)
    for rows in batches(range(len(grid)), 64):
        x = torch.from_numpy(grid[rows[0] : rows[-1] + 1].astype(np.float32))
        with bf16_autocast():
            local[rows] = encoder.embed_patches(x).half()
        image[rows] = encoder.embed_image(x)
    return View(grid, local, image)


class Captions:
    """Encoded captions of photos, drawn n at a time."""

    def __init__(self, photos: Sequence[Photo], vocabulary: Vocabulary, max_words: int) -> None:
        self.width = max_words + 1
        pairs = [[sequences(vocabulary.encode(words_of(c)), max_words) for c in photo.captions] for photo in photos]
        self.tokens = [np.array([p[0] for p in photo]) for photo in pairs]
        self.targets = [np.array([p[1] for p in photo]) for photo in pairs]

    def draw(self, indices: NDArray[np.int64], n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """n different captions of each photo → tokens, targets, number of the caption  # [B·n, T], [B·n, T], [B·n]

        A photo with fewer has rows without any target.
        """
        tokens = np.zeros((len(indices), n, self.width), np.int64)
        targets = np.full((len(indices), n, self.width), IGNORED, np.int64)
        number = np.zeros((len(indices), n), np.int64)
        for row, index in enumerate(indices):
            chosen = rng.permutation(len(self.tokens[index]))[:n]
            tokens[row, : len(chosen)] = self.tokens[index][chosen]
            targets[row, : len(chosen)] = self.targets[index][chosen]
            number[row, : len(chosen)] = chosen
        longest = int((targets != IGNORED).sum(-1).max())
        flat = (len(indices) * n, self.width)
        return (
            torch.from_numpy(tokens.reshape(flat)[:, :longest].copy()),
            torch.from_numpy(targets.reshape(flat)[:, :longest].copy()),
            torch.from_numpy(number.reshape(-1)),
        )


class Texts:
    """Captions without photos, drawn at random."""

    def __init__(self, texts: Sequence[Sequence[str]], embeddings: Tensor, vocabulary: Vocabulary, max_words: int) -> None:
        """`texts` as words, `embeddings` unit vectors [X, E] that stand for the photos."""
        self.embeddings = embeddings
        pairs = [sequences(vocabulary.encode(words), max_words) for words in texts]
        self.tokens, self.targets = (torch.tensor([pair[i] for pair in pairs], dtype=torch.int32) for i in range(2))

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """→ embeddings, tokens, targets  # [count, E], [count, T], [count, T]"""
        chosen = torch.from_numpy(rng.integers(0, len(self.tokens), count))
        targets = self.targets[chosen].long()
        longest = int((targets != IGNORED).sum(1).max())
        return self.embeddings[chosen], self.tokens[chosen, :longest].long(), targets[:, :longest]


def new_optimizer(model: nn.Module, settings: CaptionerConfig) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, settings.learning_rate, betas=(0.9, 0.999), eps=1e-8)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    raise ValueError(f"unknown optimizer {settings.optimizer!r}: adam or adamw")


def learning_rate(settings: CaptionerConfig, width: int, step: int, steps: int) -> float:
    """The paper's Adam follows Noam's schedule, AdamW a cosine; `step` from 0."""
    if settings.optimizer == "adam":
        return noam(step + 1, width)
    return settings.learning_rate * cosine(step, steps, settings.warmup_steps)


def clip_gradients(model: nn.Module, settings: CaptionerConfig) -> None:
    if settings.clip_value > 0:
        nn.utils.clip_grad_value_(model.parameters(), settings.clip_value)
    else:
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)


def train_captioner(
    config: Config,
    model: PCMNet,
    views: Sequence[Features],
    concepts: Tensor,
    photos: Sequence[HasRow],
    captions: Captions,
    checkpoint: Checkpoint,
    log: Log,
    evaluate: Callable[[PCMNet], dict[str, float]],
    pair_cosines: Sequence[Tensor] | None = None,
    texts: Texts | None = None,
    save_every: int = 100,
    keep: Callable[[int], None] | None = None,
) -> None:
    """Trains `model` in place, on its device; resumes from the checkpoint with the result of an uninterrupted run.

    `concepts` [C, E]. A photo of a batch is taken from a random view. `pair_cosines` (one tensor a photo, a cosine a caption)
    weigh the loss when the configuration's alpha is above 0. With `texts`, each step also learns from some of them. `evaluate`
    runs after every epoch, and `keep` with its number. Several processes (see `processes`) share a batch; each averages its loss
    over its own tokens.
    """
    settings = config.captioner
    device = concepts.device
    rows = np.array([photo.row for photo in photos])
    per_pass = len(photos) // settings.batch_size
    if per_pass == 0 or settings.batch_size % processes.count():
        raise ValueError(f"{len(photos)} photos and {processes.count()} processes cannot share batches of {settings.batch_size}")
    if texts is not None and processes.count() > 1:
        raise ValueError("captions without photos are for one process")
    per_epoch = int(per_pass / config.data.share)
    steps = per_epoch * settings.epochs
    optimizer = new_optimizer(model, settings)
    network = processes.shared(model)
    start = 0
    if state := checkpoint.load():
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    for step in range(start, steps):
        model.train()
        passed, place = divmod(step, per_pass)
        if place == 0 or step == start:
            order = epoch_order(range(len(photos)), config.seed, passed)
        indices = np.sort(order[place * settings.batch_size : (place + 1) * settings.batch_size])
        indices = indices[processes.number() :: processes.count()]
        rng = seed_step(config.seed, step, processes.number())
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, config.model.width, step, steps)
        features = [tensor.to(device) for tensor in mixed_views(views, rows[indices], rng)]
        tokens, targets, number = captions.draw(indices, settings.captions_per_photo, rng)
        tokens, targets = tokens.to(device), targets.to(device)
        weights = None
        if settings.clip_weight_alpha > 0:
            if pair_cosines is None:
                raise ValueError("clip_weight_alpha needs the cosine of every pair")
            owners = np.repeat(indices, settings.captions_per_photo)
            cosines = torch.stack([pair_cosines[i][n] for i, n in zip(owners.tolist(), number.tolist(), strict=True)])
            weights = clip_weights(cosines, settings.clip_weight_alpha).to(device)
        with bf16_autocast(settings.bf16, device.type):
            logits = network(*features, concepts, tokens)
        # Rows without a target are cut before the softmax, the dearest step of the loss.
        used = (targets != IGNORED).any(1)
        loss = caption_loss(
            logits[used],
            targets[used],
            None if weights is None else weights[used],
            settings.label_smoothing,
            settings.focal,
            settings.focal_gamma,
        )
        if texts is not None:
            embeddings, text_tokens, text_targets = texts.draw(config.refine.text_batch, rng)
            with bf16_autocast(settings.bf16, device.type):
                text_logits = model.of_text(embeddings, concepts, text_tokens)
            loss = loss + config.refine.text_weight * caption_loss(text_logits, text_targets, None, settings.label_smoothing)
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"the loss is {loss.item()} at step {step + 1}")
        optimizer.zero_grad()
        loss.backward()
        clip_gradients(model, settings)
        optimizer.step()
        done = step + 1
        if processes.number() == 0:
            if done % 20 == 0:
                log.write(stage="captioner", step=done, of=steps, loss=loss.item())
            if done % per_epoch == 0:
                if keep is not None:
                    keep(done // per_epoch)
                log.write(stage="captioner", epoch=done // per_epoch, **evaluate(model))
            # After the evaluation, which a run that was stopped in it repeats.
            if done % save_every == 0 or done % per_epoch == 0:
                checkpoint.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": done})
        if done % per_epoch == 0:
            processes.wait()


def mixed_views(views: Sequence[Features], rows: NDArray[np.int64], rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Each photo from a view of its own draw, in the order of `rows`."""
    choice = rng.integers(0, len(views), len(rows))
    parts = [view.batch(rows[choice == v]) for v, view in enumerate(views)]
    order = torch.from_numpy(np.argsort(np.concatenate([np.flatnonzero(choice == v) for v in range(len(views))])))
    grid, local, image = (torch.cat([part[i] for part in parts])[order] for i in range(3))
    return grid, local, image
