"""Long fine-tuning of the tower on several losses at once, each on the same random crops.

- contrastive: each photo is told its own captions (people's and the teacher's) from thousands of others, and each caption its
  photo from the others of the pass;
- words: which words its captions use, from the mean of the grid;
- concepts: which nouns they use, by cosines with the nouns' embeddings, of the photo and of its best cells, as PCM-Net will
  compare them;
- detector: what a detector sees in each cell.

A running average of the weights is what is evaluated and kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..config import Config, TuneConfig
from ..data.augment import Crop, augmented
from ..data.photos import batches
from ..evaluate.retrieval import recalls
from ..model.dual_encoder import DualEncoder
from ..model.folded_tower import folded_grid
from ..model.lite_tower import LiteTower
from .dual_encoder import CaptionBank
from .loop import Checkpoint, Log, cosine, epoch_order, seed_step
from .tower_targets import TowerTargets, noun_shares, word_shares

_STRIDE = 32
_MAX_SCALE = 100.0
_BEST_CELLS = 0.1
"""Temperature of the soft maximum over cells."""


class TowerHeads(nn.Module):
    """What the losses need beside the tower and the dual encoder."""

    def __init__(self, width: int, words: Tensor, concepts: Tensor, classes: int) -> None:
        """`words` [P, W] and `concepts` [P, C] are shares of captions; their means are where the predictions begin."""
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.words = nn.Linear(width, words.shape[1])
        self.classes = nn.Linear(width, classes)
        self.photo_scale, self.cell_scale = (nn.Parameter(torch.tensor(10.0)) for _ in range(2))
        self.photo_bias, self.cell_bias = (nn.Parameter(_logit(concepts.mean(0))) for _ in range(2))
        nn.init.zeros_(self.words.weight)
        nn.init.zeros_(self.classes.weight)
        nn.init.constant_(self.classes.bias, -4.0)
        self.words.bias.data = _logit(words.mean(0))


def _logit(share: Tensor) -> Tensor:
    return torch.logit(share.clamp(1e-4, 1 - 1e-4))


class TunedTower(nn.Module):
    """All that is trained."""

    def __init__(self, tower: LiteTower, encoder: DualEncoder, heads: TowerHeads, frozen_blocks: int) -> None:
        super().__init__()
        self.tower, self.encoder, self.heads = tower, encoder, heads
        self.frozen_blocks = frozen_blocks
        tower.freeze_blocks(frozen_blocks)

    def forward(self, crops: Tensor) -> Tensor:
        """[B, side, side, 3] → [B, N, D]"""
        return folded_grid(self.tower, crops, self.frozen_blocks)

    def groups(self) -> list[list[nn.Parameter]]:
        return [
            [p for p in self.tower.parameters() if p.requires_grad],
            [*self.encoder.parameters(), *self.heads.parameters()],
        ]


def caption_contrast(scale: Tensor, images: Tensor, own: Tensor, others: Tensor) -> Tensor:
    """Each image against its captions and others, each caption against the images  # [B, E], [B, n, E], [X, E]"""
    size, count, _ = own.shape
    similarity = scale * torch.einsum("be,cne->bcn", images, own)  # [B images, B owners, n]
    right = similarity.diagonal(dim1=0, dim2=1).T  # [B, n]
    wrong = torch.cat([scale * images @ others.T, similarity.masked_fill(_own(size), -torch.inf).flatten(1)], 1)
    image_to_text = (torch.logaddexp(right, wrong.logsumexp(1, keepdim=True)) - right).mean()
    target = torch.arange(size).unsqueeze(1).expand(size, count)  # [B owners, n]
    text_to_image = F.cross_entropy(similarity.permute(1, 2, 0).reshape(-1, size), target.reshape(-1))
    return (image_to_text + text_to_image) / 2


def _own(size: int) -> Tensor:
    return torch.eye(size, dtype=torch.bool).unsqueeze(-1)


def concept_contrast(heads: TowerHeads, image: Tensor, cells: Tensor, concepts: Tensor, shares: Tensor) -> Tensor:
    """Nouns by the cosines of the photo and by those of its best cells: [B, E], [B, N, E], [C, E], [B, C]"""
    by_photo = heads.photo_scale * image @ concepts.T + heads.photo_bias
    cosines = F.normalize(cells, dim=-1) @ concepts.T  # [B, N, C]
    best = _BEST_CELLS * ((cosines / _BEST_CELLS).logsumexp(1) - math.log(cosines.shape[1]))
    by_cell = heads.cell_scale * best + heads.cell_bias
    return (F.binary_cross_entropy_with_logits(by_photo, shares) + F.binary_cross_entropy_with_logits(by_cell, shares)) / 2


def embedded_concepts(encoder: DualEncoder, prompts: Tensor) -> Tensor:
    """[C, R, S] → unit vectors [C, E]"""
    return F.normalize(encoder.embed_text(prompts.flatten(0, 1)).view(*prompts.shape[:2], -1).mean(1), dim=-1)


def losses_of(
    model: TunedTower,
    crops: Tensor,
    boxes: Sequence[Crop],
    indices: NDArray[np.int64],
    targets: TowerTargets,
    settings: TuneConfig,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Each loss of one pass, weighted."""
    encoder, heads, bank = model.encoder, model.heads, targets.bank
    ids = torch.from_numpy(indices)
    grid = model(crops)
    pooled = grid.mean(1)
    images = encoder.embed_image(grid)
    own = torch.stack([bank.draw(indices, rng) for _ in range(settings.captions_per_photo)], 1)  # [B, n, S]
    texts = encoder.embed_text(own)
    others = encoder.embed_text(bank.draw_others(indices, settings.text_negatives, rng))
    losses = {"contrastive": caption_contrast(encoder.log_scale.exp(), images, texts, others)}
    word_logits = heads.words(heads.norm(pooled))
    losses["words"] = settings.word_loss * F.binary_cross_entropy_with_logits(word_logits, targets.words[ids])
    concepts = embedded_concepts(encoder, targets.prompts)
    contrast = concept_contrast(heads, images, encoder.embed_patches(grid), concepts, targets.concepts[ids])
    losses["concepts"] = settings.concept_loss * contrast
    if targets.class_maps is not None:
        scores = targets.scores(indices, boxes, crops.shape[1] // _STRIDE)
        seen = F.binary_cross_entropy_with_logits(heads.classes(heads.norm(grid)), scores)
        losses["detector"] = settings.detector_loss * seen
    return losses


def side_at(settings: TuneConfig, step: int, steps: int) -> int:
    """Pixels of a crop at a step: the sides share the steps equally."""
    return settings.sides[min(len(settings.sides) - 1, step * len(settings.sides) // steps)]


def tune_tower(
    config: Config,
    model: TunedTower,
    pixels: NDArray[np.uint8],
    targets: TowerTargets,
    dev: Mapping[str, CaptionBank],
    checkpoint: Checkpoint,
    log: Log,
) -> None:
    """Trains `model`; resumes from the checkpoint with the result of an uninterrupted run. The average is left in it."""
    settings = config.tune
    rows = np.array([photo.row for photo in targets.photos])
    per_epoch = len(rows) // settings.batch_size
    steps = per_epoch * settings.epochs
    optimizer = torch.optim.AdamW([{"params": group} for group in model.groups()], weight_decay=settings.weight_decay)
    rates = [settings.learning_rate, settings.head_learning_rate]
    average = {name: value.clone() for name, value in model.state_dict().items()}
    start = rewarmed = 0
    if state := checkpoint.load():
        model.load_state_dict(state["model"])
        average, start = state["average"], state["step"]
        if "optimizer" in state:
            optimizer.load_state_dict(state["optimizer"])
            rewarmed = state["rewarmed"]
        else:  # packed, without the optimizer's moments
            rewarmed = start

    def prepared(step: int) -> tuple[NDArray[np.int64], NDArray[np.uint8], list[Crop]]:
        epoch, place = divmod(step, per_epoch)
        order = epoch_order(range(len(rows)), config.seed, epoch)
        indices = np.sort(order[place * settings.batch_size : (place + 1) * settings.batch_size])
        rng = np.random.default_rng([config.seed, step, 2])
        return indices, *augmented(pixels[rows[indices]], side_at(settings, step, steps), settings.augment, rng)

    with ThreadPoolExecutor(1) as ahead:
        following = ahead.submit(prepared, start) if start < steps else None
        for step in range(start, steps):
            model.train()
            assert following is not None
            indices, variants, boxes = following.result()
            following = ahead.submit(prepared, step + 1) if step + 1 < steps else None
            rng = seed_step(config.seed, step)
            warm = min(1.0, (step - rewarmed + 1) / settings.warmup_steps)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * warm * cosine(step, steps, 0)
            optimizer.zero_grad()
            for micro in batches(range(len(indices)), settings.micro_batch):
                part = slice(micro[0], micro[-1] + 1)
                crops = torch.from_numpy(variants[part])
                losses = losses_of(model, crops, boxes[part], indices[part], targets, settings, rng)
                (torch.stack(list(losses.values())).sum() * len(micro) / len(indices)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            with torch.no_grad():
                model.encoder.log_scale.clamp_(max=math.log(_MAX_SCALE))
                decay = min(settings.average_decay, (1 + step) / (10 + step))
                for name, value in model.state_dict().items():
                    if value.is_floating_point():
                        average[name].lerp_(value, 1 - decay)
            done = step + 1
            if done % 20 == 0:
                log.write(stage="tune", step=done, of=steps, **{name: value.item() for name, value in losses.items()})
            if done % (per_epoch * settings.evaluate_every) == 0 or done == steps:
                current = {name: value.clone() for name, value in model.state_dict().items()}
                model.load_state_dict(average)
                for name, bank in dev.items():
                    log.write(stage="tune", epoch=done // per_epoch, set=name, **evaluate_tower(model, pixels, bank, targets))
                model.load_state_dict(current)
            # After the evaluation, which a run that was stopped in it repeats.
            if done % settings.save_every == 0 or done == steps:
                state = {"model": model.state_dict(), "average": average, "step": done, "rewarmed": rewarmed}
                checkpoint.save(state | {"optimizer": optimizer.state_dict()})
    model.load_state_dict(average)


@torch.inference_mode()
def evaluate_tower(model: TunedTower, pixels: NDArray[np.uint8], bank: CaptionBank, targets: TowerTargets) -> dict[str, float]:
    """Recalls among the bank's photos, mean average precision of words, share of the first five concepts that captions name."""
    model.eval()
    grids = [
        model(torch.from_numpy(pixels[np.array([p.row for p in bank.photos[rows[0] : rows[-1] + 1]])]))
        for rows in batches(range(len(bank.photos)), 32)
    ]
    pooled = torch.cat([grid.mean(1) for grid in grids])
    images = model.encoder.embed_image(pooled[:, None])
    found = recalls(images, model.encoder.embed_text(bank.embeddings), torch.from_numpy(bank.owner), (1, 10))
    words = mean_average_precision(model.heads.words(model.heads.norm(pooled)), word_shares(bank.photos, targets.word_list))
    first = (images @ embedded_concepts(model.encoder, targets.prompts).T).topk(min(5, len(targets.concept_list))).indices
    named = noun_shares(bank.photos, targets.concept_list).gather(1, first) > 0
    return {**found, "word_ap": words, "concepts_named": named.float().mean().item()}


def mean_average_precision(scores: Tensor, shares: Tensor, least_share: float = 0.4, least_photos: int = 3) -> float:
    """Over the words that two of five people used of enough photos: [P, W], [P, W]"""
    positive = shares >= least_share - 1e-6
    used = positive.sum(0) >= least_photos
    ranked = positive[:, used].gather(0, scores[:, used].argsort(0, descending=True)).float()
    precision = ranked.cumsum(0) / torch.arange(1, len(ranked) + 1).unsqueeze(1)
    return ((precision * ranked).sum(0) / ranked.sum(0)).mean().item()
