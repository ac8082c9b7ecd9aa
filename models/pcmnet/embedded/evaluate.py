"""Evaluation of the embedded model on captioned photos, through a bundle or a service: captions, concepts, retrieval."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..data.lexicon import named_share
from ..data.photos import Photo, decode_photo
from ..data.text import sentence_of
from ..evaluate.answers import Answering, Answers
from ..evaluate.metrics import caption_metrics
from ..evaluate.retrieval import recalls
from ..evaluate.service import AS_THEY_ARE, Upload, captions_by_service
from .workspace import Workspace


def concept_precision(answers: Answers, words: Sequence[str], photos: Sequence[Photo], top: int = 5) -> dict[str, float]:
    """The share of the first `top` concepts that a reference names; and that of the most frequent nouns as a constant
    baseline."""
    ours = [answer.concepts[:top] for answer in answers.answers]
    return {
        "precision": named_share(ours, words, photos),
        "constant": named_share([range(top)] * len(photos), words, photos),
    }


def retrieval_of(answering: Answering, answers: Answers, photos: Sequence[Photo]) -> dict[str, float]:
    """Recalls between photos and their captions; see `evaluate.retrieval.recalls`."""
    texts = answering.embed([caption for photo in photos for caption in photo.captions])
    owner = [i for i, photo in enumerate(photos) for _ in photo.captions]
    return recalls(torch.from_numpy(answers.image_embeddings), torch.from_numpy(texts), owner)


def captions_by_bundle(work: Workspace, folder: Path, precision: str, photos: Sequence[Photo], upload: Upload) -> list[str]:
    """Captions by the bundle's graphs, of the same files that a service would be sent."""
    if upload == AS_THEY_ARE:
        pixels = work.pixels_of(photos)
    else:
        sent = (io.BytesIO(upload.file_of(work.data / "images" / photo.image)) for photo in photos)
        pixels = np.stack([decode_photo(file, work.config.vision.side, work.config.vision.resize) for file in sent])
    answers = Answering(folder, precision).answer(pixels).answers
    return [sentence_of(answer.caption.split()) for answer in answers]


def evaluate_captions(
    work: Workspace,
    photos: Sequence[Photo],
    captions_file: Path | None,
    *,
    bundle: Path | None = None,
    precision: str = "w8",
    url: str | None = None,
    upload: Upload = AS_THEY_ARE,
) -> dict[str, float]:
    """Metrics of captions through a running service or a bundle's graphs. Given both, also the share of photos with equal
    captions, which shows what the service's decoding and resizing change. Raises ValueError if neither is given."""
    if url is None and bundle is None:
        raise ValueError("name a bundle or the URL of a service")
    found: list[list[str]] = []
    if url is not None:
        found.append(captions_by_service(url, [work.data / "images" / photo.image for photo in photos], upload))
    if bundle is not None:
        found.append(captions_by_bundle(work, bundle, precision, photos, upload))
    captions = found[0]
    if captions_file is not None:
        rows = [{"image": p.image, "caption": c, "references": p.captions} for p, c in zip(photos, captions, strict=True)]
        captions_file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    metrics = caption_metrics(captions, [photo.captions for photo in photos])
    if len(found) == 2:
        metrics["equalCaptions"] = sum(a == b for a, b in zip(*found, strict=True)) / len(photos)
    return metrics
