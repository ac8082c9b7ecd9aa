"""Training of the map that moves concept embeddings towards the photos that show them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import Config
from ..data.lexicon import named_share, nouns_of
from ..data.photos import Photo, batches, caption_shares
from ..model.pcm_net import ConceptMap
from .loop import Log, cosine, epoch_order, seed_step


def precision(images: Tensor, concepts: Tensor, words: Sequence[str], photos: Sequence[Photo], top: int = 5) -> float:
    """The share of the `top` nearest concepts of each photo that one of its captions names. `images` [P, E] and `concepts` [C, E]
    are unit vectors."""
    return named_share((images @ concepts.T).topk(top, dim=-1).indices.tolist(), words, photos)


def train_concept_map(
    config: Config,
    images: Tensor,
    photos: Sequence[Photo],
    dev_images: Tensor,
    dev_photos: Sequence[Photo],
    words: Sequence[str],
    embeddings: Tensor,
    log: Log,
) -> ConceptMap:
    """Trains the map by cross-entropy between the detection softmax of a photo and the concepts that its captions name.

    `images` [P, E] and `embeddings` [C, E] are unit vectors of photos and words. It takes about a minute, so it has no
    checkpoint.
    """
    settings = config.concepts
    shares = torch.from_numpy(caption_shares(photos, words, nouns_of))
    used = shares.sum(1) > 0
    images, shares = images[used], shares[used]
    target = shares / shares.sum(1, keepdim=True)
    torch.manual_seed(config.seed)
    moved = ConceptMap(embeddings.shape[1])
    optimizer = torch.optim.AdamW(moved.parameters(), settings.learning_rate, weight_decay=0.0)
    per_epoch = max(1, len(images) // settings.batch_size)
    step = 0
    for epoch in range(settings.epochs):
        order = epoch_order(range(len(images)), config.seed, epoch).tolist()
        for chosen in batches(order, settings.batch_size)[:per_epoch]:
            seed_step(config.seed, step)
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * cosine(step, settings.epochs * per_epoch, 0)
            noisy = F.normalize(images[chosen] + torch.randn_like(images[chosen]) * settings.image_noise, dim=-1)
            logits = noisy @ moved(embeddings).T / config.model.temperature
            loss = F.cross_entropy(logits, target[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        with torch.inference_mode():
            reached = precision(dev_images, moved(embeddings), words, dev_photos)
        log.write(stage="concepts", epoch=epoch + 1, loss=loss.item(), dev_precision=reached)
    return moved
