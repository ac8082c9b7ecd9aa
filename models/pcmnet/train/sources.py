"""Where captions come from: the token that a sentence of each source begins with, and the share of a source in training.

Flickr's captions and COCO's differ in style, and one decoder learns both. The start tokens are rows of the token table after the
vocabulary, so nothing can write them; `served` puts one of them in the place of the plain start, and then the network is as one
without sources.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..config import ModelConfig
from ..data.photos import Photo
from ..data.text import END
from ..model.pcm_net import PCMNet


def source_of(photo: Photo, prefixes: Sequence[str]) -> int:
    """The number of the prefix that the name of the photo's source begins with."""
    found = next((n for n, prefix in enumerate(prefixes) if photo.source.startswith(prefix)), None)
    if found is None:
        raise ValueError(f"the source {photo.source} begins with none of {', '.join(prefixes)}")
    return found


def start_tokens(photos: Sequence[Photo], config: ModelConfig) -> NDArray[np.int64]:
    """What the captions of each photo begin with  # [P]"""
    if not config.sources:
        return np.full(len(photos), END)
    return np.array([config.vocabulary + source_of(photo, config.sources) for photo in photos])


def served(model: PCMNet, source: str | None = None) -> PCMNet:
    """A copy that begins every sentence as those of one source, the configuration's unless it is named."""
    c = model.config
    if not c.sources:
        return model
    chosen = c.sources.index(source or c.served_source or c.sources[0])
    copied = copy.deepcopy(model)
    copied.config = replace(c, sources=[], served_source="")
    table = copied.token_embed.embeddings.weight.data
    kept = table[: c.vocabulary].clone()
    kept[END] = table[c.vocabulary + chosen]
    copied.token_embed.embeddings = nn.Embedding.from_pretrained(kept, freeze=False)
    return copied


def with_share(photos: Sequence[Photo], prefix: str, share: float, seed: int) -> list[Photo]:
    """All photos, those whose source begins with `prefix` repeated until they are at least this share."""
    ours = [photo for photo in photos if photo.source.startswith(prefix)]
    others = len(photos) - len(ours)
    if not 0 <= share < 1 or (share > 0 and not ours):
        raise ValueError(f"photos of {prefix} cannot be {share} of {len(photos)}, of which they are {len(ours)}")
    wanted = max(len(ours), math.ceil(others * share / (1 - share) - 1e-9))
    whole, part = divmod(wanted - len(ours), max(1, len(ours)))
    drawn = np.random.default_rng([seed, 3]).permutation(len(ours))[:part]
    return [*photos, *ours * whole, *(ours[i] for i in sorted(drawn.tolist()))]
