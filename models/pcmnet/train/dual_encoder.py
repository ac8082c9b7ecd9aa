"""Training of the embedded dual encoder: its projections on stored grids, then the tower and the projections together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..config import Config, HeadConfig, TowerConfig
from ..data.photos import Photo, batches, caption_shares, of_split
from ..data.text import words_of
from ..evaluate.retrieval import recalls
from ..model.dual_encoder import DualEncoder
from ..model.lite_tower import LiteTower
from .loop import Checkpoint, Log, cosine, epoch_order, seed_step


class CaptionBank:
    """Sentence embeddings of all captions of some photos, and the photo of each."""

    def __init__(self, photos: Sequence[Photo], embeddings: Tensor) -> None:
        self.photos = photos
        self.embeddings = embeddings  # [T, S]
        self.owner = np.concatenate([np.full(len(p.captions), i) for i, p in enumerate(photos)])  # index into photos
        self.first = np.concatenate([[0], np.cumsum([len(p.captions) for p in photos])])

    def draw(self, indices: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """Draws one caption of each photo, as sentence embeddings  # [B, S]"""
        counts = self.first[indices + 1] - self.first[indices]
        return self.embeddings[self.first[indices] + rng.integers(0, counts)]

    def draw_others(self, indices: NDArray[np.int64], count: int, rng: np.random.Generator) -> Tensor:
        """Draws captions of other photos, at most `count`  # [≤ count, S]"""
        chosen = rng.integers(0, len(self.owner), count)
        return self.embeddings[chosen[~np.isin(self.owner[chosen], indices)]]


def contrastive_loss(similarity: Tensor) -> Tensor:
    """Symmetric InfoNCE of logits [B, B] whose diagonal holds the matching pairs."""
    target = torch.arange(len(similarity))
    return (F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target)) / 2


@torch.inference_mode()
def evaluate(encoder: DualEncoder, pooled: Tensor, bank: CaptionBank) -> dict[str, float]:
    """Recalls of image and text retrieval; `pooled` [P, D] are features of the bank's photos."""
    encoder.eval()
    return recalls(encoder.embed_image(pooled[:, None]), encoder.embed_text(bank.embeddings), torch.from_numpy(bank.owner))


def new_dual_encoder(config: Config, width: int, sentence: int = 384) -> DualEncoder:
    head = config.head
    return DualEncoder(width, head.embedding, sentence, head.hidden, head.dropout)


def train_head(
    config: Config, pooled: Tensor, bank: CaptionBank, dev_pooled: Tensor, dev_bank: CaptionBank, log: Log
) -> DualEncoder:
    """`pooled` [P, D] of the bank's photos → a trained dual encoder. It takes about a minute, so it has no checkpoint."""
    settings: HeadConfig = config.head
    torch.manual_seed(config.seed)
    encoder = new_dual_encoder(config, pooled.shape[1], bank.embeddings.shape[1])
    deviation = pooled.std(0)
    optimizer = torch.optim.AdamW(encoder.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    per_epoch = len(pooled) // settings.batch_size
    steps = settings.epochs * per_epoch
    step = 0
    for epoch in range(settings.epochs):
        encoder.train()
        order = epoch_order(range(len(pooled)), config.seed, epoch)
        for chosen in batches(order.tolist(), settings.batch_size)[:per_epoch]:
            rng = seed_step(config.seed, step)
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * cosine(step, steps, 20)
            indices = np.asarray(chosen)
            x = pooled[indices]
            x = x + torch.randn_like(x) * deviation * settings.feature_noise
            images = encoder.embed_image(x[:, None])
            texts = encoder.embed_text(bank.draw(indices, rng))
            loss = contrastive_loss(encoder.log_scale.exp() * images @ texts.T)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                encoder.log_scale.clamp_(max=math.log(100))
            step += 1
        log.write(stage="head", epoch=epoch + 1, loss=loss.item(), **evaluate(encoder, dev_pooled, dev_bank))
    return encoder


def word_targets(photos: Sequence[Photo], min_captions: int = 20) -> tuple[list[str], Tensor]:
    """The words of at least `min_captions` captions, and the share of each photo's captions that use them  # W words, [P, W]"""
    counts = Counter(word for photo in photos for caption in photo.captions for word in set(words_of(caption)))
    words = sorted(word for word, count in counts.items() if count >= min_captions)
    return words, torch.from_numpy(caption_shares(photos, words, lambda caption: set(words_of(caption))))


def random_crops(pixels: Tensor, side: int, min_area: float, rng: np.random.Generator) -> Tensor:
    """Random crops, half of them mirrored: [B, H, W, 3] uint8 → [B, side, side, 3] float, 0…255"""
    out = torch.empty(len(pixels), 3, side, side).to(memory_format=torch.channels_last)
    height, width = pixels.shape[1:3]
    for i, photo in enumerate(pixels):
        area, aspect = rng.uniform(min_area, 1), math.exp(rng.uniform(-0.22, 0.22))
        h = min(height, round(height * math.sqrt(area / aspect)))
        w = min(width, round(width * math.sqrt(area * aspect)))
        top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
        crop = photo[top : top + h, left : left + w].permute(2, 0, 1)[None].float()
        resized = F.interpolate(crop, (side, side), mode="bilinear", antialias=True, align_corners=False)[0]
        out[i] = resized.flip(2) if rng.random() < 0.5 else resized
    return out.permute(0, 2, 3, 1)


def tower_loss(scale: Tensor, images: Tensor, texts: Tensor, other_texts: Tensor) -> Tensor:
    """InfoNCE in both directions: images against the batch's and other captions, captions against the batch's images.

    There is no memory of earlier images: see docs/decisions/0003.
    """
    target = torch.arange(len(images))
    similarity = images @ texts.T
    image_to_text = torch.cat([similarity, images @ other_texts.T], 1)
    return (F.cross_entropy(scale * image_to_text, target) + F.cross_entropy(scale * similarity.T, target)) / 2


def train_tower(
    config: Config,
    tower: LiteTower,
    encoder: DualEncoder,
    pixels: NDArray[np.uint8],
    bank: CaptionBank,
    dev_bank: CaptionBank,
    checkpoint: Checkpoint,
    log: Log,
    save_every: int = 100,
) -> None:
    """Fine-tunes `tower` and `encoder` in place; resumes from the checkpoint."""
    settings: TowerConfig = config.tower
    photos = bank.photos
    _, words = word_targets(photos)
    torch.manual_seed(config.seed)
    to_words = nn.Linear(tower.width, words.shape[1])
    word_head = nn.Sequential(nn.LayerNorm(tower.width), to_words)
    nn.init.zeros_(to_words.weight)
    to_words.bias.data = torch.logit(words.mean(0).clamp(1e-4, 1 - 1e-4))
    modules = nn.ModuleDict({"tower": tower, "encoder": encoder, "words": word_head})
    tower.freeze_blocks(settings.frozen_blocks)
    trained = [p for p in tower.parameters() if p.requires_grad]
    heads = [*encoder.parameters(), *word_head.parameters()]
    rates = [settings.learning_rate, settings.head_learning_rate]
    optimizer = torch.optim.AdamW([{"params": trained}, {"params": heads}], weight_decay=settings.weight_decay)
    rows = np.array([photo.row for photo in photos])
    per_epoch = len(photos) // settings.batch_size
    steps = per_epoch * settings.epochs
    start = 0
    if state := checkpoint.load():
        modules.load_state_dict(state["modules"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    for step in range(start, steps):
        modules.train()
        epoch, place = divmod(step, per_epoch)
        order = epoch_order(range(len(photos)), config.seed, epoch)
        chosen = order[place * settings.batch_size : (place + 1) * settings.batch_size]
        rng = seed_step(config.seed, step)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * cosine(step, steps, settings.warmup_steps)
        optimizer.zero_grad()
        for micro in batches(chosen.tolist(), settings.micro_batch):
            indices = np.asarray(micro)
            ids = torch.from_numpy(indices)
            crops = random_crops(torch.from_numpy(pixels[rows[indices]]), settings.crop_side, settings.min_crop_area, rng)
            pooled = tower(crops).mean(1, keepdim=True)
            images = encoder.embed_image(pooled)
            texts = encoder.embed_text(bank.draw(indices, rng))
            others = encoder.embed_text(bank.draw_others(indices, settings.text_negatives, rng))
            contrastive = tower_loss(encoder.log_scale.exp(), images, texts, others)
            word = F.binary_cross_entropy_with_logits(word_head(pooled[:, 0]), words[ids])
            loss = contrastive + settings.word_loss * word
            (loss * len(micro) / len(chosen)).backward()
        nn.utils.clip_grad_norm_(modules.parameters(), 5.0)
        optimizer.step()
        with torch.no_grad():
            encoder.log_scale.clamp_(max=math.log(100))
        done = step + 1
        if done % 20 == 0:
            log.write(stage="tower", step=done, of=steps, contrastive=contrastive.item(), words=word.item())
        if done % per_epoch == 0:
            dev_rows = np.array([photo.row for photo in dev_bank.photos])
            log.write(stage="tower", epoch=done // per_epoch, **evaluate(encoder, pool(tower, pixels, dev_rows), dev_bank))
        if done % save_every == 0 or done == steps:
            checkpoint.save({"modules": modules.state_dict(), "optimizer": optimizer.state_dict(), "step": done})


@torch.inference_mode()
def pool(tower: LiteTower, pixels: NDArray[np.uint8], rows: NDArray[np.int64]) -> Tensor:
    """The mean of each photo's grid  # [P, D]"""
    tower.eval()
    return torch.cat([tower(torch.from_numpy(pixels[np.asarray(chosen)])).mean(1) for chosen in batches(rows.tolist(), 64)])


def photos_with(photos: Sequence[Photo], split: str, sentences: Tensor, first: NDArray[np.int64]) -> CaptionBank:
    """The bank of one split. `sentences` [T, S] are of all photos' captions in order, `first` [P + 1] each photo's first row."""
    chosen = of_split(photos, split)
    places = np.concatenate([np.arange(first[p.row], first[p.row + 1]) for p in chosen])
    return CaptionBank(chosen, sentences[places])
