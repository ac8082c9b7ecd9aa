"""Metrics of a run on stored features: of a checkpoint's captions, and of those that a service or a bundle writes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from . import processes
from .answers import Answering
from .clip_score import clip_scores
from .data import decode_photo, photos_in
from .embedded import captions_by_service
from .feature_run import FeatureRun, captions_of_test, present
from .metrics import caption_metrics
from .records import write_rows
from .spice import SpiceError, spice
from .text import sentence_of


def evaluate_checkpoint(trained: FeatureRun, checkpoint: Path, target: FeatureRun, out: Path | None = None) -> dict[str, float]:
    """All metrics on the target's test images; another target than the run's own is the cross-domain form."""
    present(target.test_files)
    model = trained.model(checkpoint).to(processes.start())
    captions = captions_of_test(model, trained.vocabulary, target)
    return _metrics(captions, target, out)


def evaluate_served(
    target: FeatureRun, url: str | None, bundle: Path | None, precision: str, out: Path | None
) -> dict[str, float]:
    """All metrics of a service's or a bundle's captions; given both, also the share of images that both caption alike."""
    by_name = {path.stem: path for path in photos_in(target.path("test_images"))}
    if lacking := [image.image_id for image in target.test if image.image_id not in by_name]:
        raise FileNotFoundError(f"{target.path('test_images')} lacks {len(lacking)} images, such as {lacking[0]}")
    images = [by_name[image.image_id] for image in target.test]
    found = [] if url is None else [captions_by_service(url, images, None)]
    if bundle is not None:
        answering = Answering(bundle, precision)
        shape = answering.pipeline.manifest["image"]
        pixels = np.stack([decode_photo(image, shape["height"], shape["resize"]) for image in images])
        found.append([sentence_of(answer.caption.split()) for answer in answering.answer(pixels).answers])
    metrics = _metrics(found[0], target, out)
    if len(found) == 2:
        metrics["equalCaptions"] = sum(a == b for a, b in zip(*found, strict=True)) / len(images)
    return metrics


def _metrics(captions: Sequence[str], target: FeatureRun, out: Path | None) -> dict[str, float]:
    if out is not None:
        pairs = zip(target.test, captions, strict=True)
        write_rows(out, [{"image_id": i.image_id, "caption": c, "references": list(i.captions)} for i, c in pairs])
    references = [image.captions for image in target.test]
    metrics = caption_metrics(captions, references)
    try:
        metrics["SPICE"] = spice(captions, references)
    except SpiceError as error:
        print(f"SPICE is left out: {error}", file=sys.stderr, flush=True)
    metrics["CLIPScore"] = float(clip_scores(target.clip.texts, captions, target.test_files).mean())
    return metrics
