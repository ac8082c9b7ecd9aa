"""Cross-entropy training of the captioner on stored grids."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from ..config import CaptionerConfig, Config
from ..data.captions import Captions, Texts
from ..data.features import Features, HasRow, mixed_views
from ..data.text import IGNORED
from ..model.pcm_net import PCMNet
from . import distributed
from .loop import Checkpoint, Log, bf16_autocast, cosine, epoch_order, noam, seed_step
from .loss import caption_loss, clip_weights


def new_optimizer(model: nn.Module, settings: CaptionerConfig) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    betas = (settings.betas[0], settings.betas[1])
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, betas=betas, eps=1e-8, weight_decay=settings.weight_decay)
    if settings.optimizer == "adamw":
        rate, decay = settings.learning_rate, settings.weight_decay
        return torch.optim.AdamW(parameters, rate, betas=betas, weight_decay=decay, fused=True)
    raise ValueError(f"unknown optimizer {settings.optimizer!r}: adam or adamw")


def learning_rate(settings: CaptionerConfig, width: int, step: int, steps: int) -> float:
    """Learning rate of a step, counted from 0: Noam's schedule for the paper's Adam, a cosine for AdamW."""
    if settings.optimizer == "adam":
        return settings.noam_factor * noam(step + 1, width, settings.warmup_steps)
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
    keep: Callable[[int], dict[str, float]] | None = None,
) -> None:
    """Trains `model` in place, on its device; resumes from the checkpoint with the result of an uninterrupted run.

    `concepts` are unit vectors [C, E]. The features of each photo of a batch are taken from a random view. `pair_cosines`, one
    tensor a photo with one cosine a caption, weight the loss if the configuration's alpha is above 0. With `texts`, each step
    also trains on captions without photos. After every epoch `keep` is called with its number and `evaluate` with the model, and
    what they return is logged.
    Several processes (see `distributed`) share each batch; each averages the loss over its own tokens. Raises ValueError for
    batches that cannot be filled or shared, FloatingPointError for a loss that is not finite.
    """
    settings = config.captioner
    device = concepts.device
    rows = np.array([photo.row for photo in photos])
    per_pass = len(photos) // settings.batch_size
    if per_pass == 0 or settings.batch_size % distributed.world_size():
        processes = distributed.world_size()
        raise ValueError(f"{len(photos)} photos and {processes} processes cannot share batches of {settings.batch_size}")
    if texts is not None and distributed.world_size() > 1:
        raise ValueError("captions without photos are for one process")
    per_epoch = int(per_pass / config.data.share)
    steps = per_epoch * settings.epochs
    optimizer = new_optimizer(model, settings)
    network = distributed.shared(model)
    start = 0
    if state := checkpoint.load():
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]

    def plan() -> Iterator[NDArray[np.int64]]:
        """The photos of each step's batch."""
        for step in range(start, steps):
            passed, place = divmod(step, per_pass)
            if place == 0 or step == start:
                order = epoch_order(range(len(photos)), config.seed, passed)
            indices = np.sort(order[place * settings.batch_size : (place + 1) * settings.batch_size])
            yield indices[distributed.rank() :: distributed.world_size()]

    if len(views) == 1:  # of several, chance decides which is read
        views = [views[0].ahead((rows[indices] for indices in plan()), settings.workers)]
    hidden = None if distributed.rank() == 0 else True
    bar = tqdm(zip(range(start, steps), plan(), strict=True), "captioner", steps, initial=start, mininterval=1, disable=hidden)
    for step, indices in bar:
        model.train()
        rng = seed_step(config.seed, step, distributed.rank())
        rate = learning_rate(settings, config.model.width, step, steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
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
        # Rows without a target are dropped before the softmax, the most expensive step of the loss.
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
        if distributed.rank() == 0:
            if done % 20 == 0:
                log.write(stage="captioner", step=done, of=steps, loss=loss.item(), learning_rate=rate)
            if done % per_epoch == 0:
                kept = {} if keep is None else keep(done // per_epoch)
                log.write(stage="captioner", epoch=done // per_epoch, **kept, **evaluate(model))
            # Saved after the evaluation, so that a run that is stopped during it repeats it.
            if done % save_every == 0 or done % per_epoch == 0:
                checkpoint.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": done})
        if done % per_epoch == 0:
            distributed.wait()
