"""Metrics on a run's test images, of captions by a checkpoint, a service or a bundle."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..data.photos import decode_photo, photos_in
from ..data.records import id_of_image, write_rows
from ..data.text import sentence_of
from ..evaluate.answers import Answering
from ..evaluate.captioning import caption_rows
from ..evaluate.clip_score import clip_scores
from ..evaluate.metrics import TOKEN_METRICS, Texts, tokenized
from ..evaluate.service import captions_by_service
from ..evaluate.spice import spice
from ..model.pcm_net import PCMNet
from ..train import distributed
from .concept_choice import gate_threshold, retrieved_bias
from .run import PaperRun, present


def evaluate_checkpoint(
    trained: PaperRun, checkpoint: Path, target: PaperRun, out: Path | None = None, metrics: Path | None = None
) -> dict[str, Any]:
    """All metrics of the target's test images (see `measure`). With another run as target, this is cross-domain."""
    present(target.test_files)
    model = trained.model(checkpoint).to(distributed.start())
    captions = captions_of_test(model, trained, target)
    if out is not None:
        write_captions(out, captions, target)
    return measure(captions, target, metrics)


def evaluate_served(
    target: PaperRun, url: str | None, bundle: Path | None, precision: str, out: Path | None, metrics: Path | None = None
) -> dict[str, Any]:
    """All metrics of captions by a service or a bundle; given both, also the share of images with equal captions."""
    ids = target.test_ids
    files = photos_in(target.path("test_images"))
    by_id = {id_of_image(path) if ids is None else ids.get(path.stem, ""): path for path in files}
    if lacking := [image.image_id for image in target.test if image.image_id not in by_id]:
        raise FileNotFoundError(f"{target.path('test_images')} lacks {len(lacking)} images, such as {lacking[0]}")
    images = [by_id[image.image_id] for image in target.test]
    found = [] if url is None else [captions_by_service(url, images)]
    if bundle is not None:
        answering = Answering(bundle, precision)
        shape = answering.pipeline.manifest["image"]
        pixels = np.stack([decode_photo(image, shape["height"], shape["resize"]) for image in images])
        found.append([sentence_of(answer.caption.split()) for answer in answering.answer(pixels).answers])
    if out is not None:
        write_captions(out, found[0], target)
    measured = measure(found[0], target, metrics)
    if len(found) == 2:
        measured["equalCaptions"] = sum(a == b for a, b in zip(*found, strict=True)) / len(images)
    return measured


def captions_of_test(model: PCMNet, trained: PaperRun, target: PaperRun) -> list[str]:
    """Captions the target's test images with the words and the concepts that the model was trained on, by the paper's decoding,
    which allows UNK. Concepts are chosen as `trained.config.inference` says."""
    features = target.features(model, target.test_files)
    device = features.projection.device
    settings, configured = trained.config.inference, model.config
    bias = retrieved_bias(trained, device) if settings.retrieved_captions > 0 else None
    if settings.gate > 0:
        gated = replace(configured, threshold=max(configured.threshold, gate_threshold(trained)))
        model.config = model.visual_embed.config = gated
    try:
        rows, concepts = range(len(target.test)), trained.concepts[1].to(device)
        return caption_rows(model, features, rows, concepts, trained.vocabulary, blocked=(), concept_bias=bias)
    finally:
        model.config = model.visual_embed.config = configured


def write_captions(path: Path, captions: Sequence[str], target: PaperRun) -> None:
    """Writes a `.jsonl` or `.pkl` with the references, or a `.json` as COCO's evaluation takes results."""
    pairs = list(zip(target.test, captions, strict=True))
    if path.suffix == ".json":
        _write_json(path, [{"image_id": image.image_id, "caption": caption} for image, caption in pairs])
    else:
        write_rows(path, [{"image_id": i.image_id, "caption": c, "references": list(i.captions)} for i, c in pairs])


def measure(captions: Sequence[str], target: PaperRun, out: Path | None = None) -> dict[str, Any]:
    """All metrics by name, of the test images together and, under `domains`, of each domain that they have.

    Each metric stands alone: it is written to `out` and to standard error as it is done. One that cannot be computed is left out,
    and `missing` says why.
    """

    @cache
    def tokens() -> tuple[Texts, Texts]:
        return tokenized([image.captions for image in target.test]), tokenized([[caption] for caption in captions])

    found: dict[str, Any] = {}
    domains: dict[str, list[int]] = {"": list(range(len(captions)))}
    for row, image in enumerate(target.test):
        if image.domain:
            domains.setdefault(image.domain, []).append(row)
    for domain, rows in domains.items():
        part = found if not domain else found.setdefault("domains", {}).setdefault(domain, {})
        for name, compute in _computations(captions, rows, tokens, target).items():
            heading = f"{domain} {name}".strip()
            try:
                computed = compute()
            except Exception as error:  # of Java programs and of files that may lack; the other metrics count all the same
                part.setdefault("missing", {})[name] = str(error) or type(error).__name__
                print(f"{heading} is left out: {error}", file=sys.stderr, flush=True)
            else:
                part |= computed
                values = ", ".join(f"{value:.4f}" for value in computed.values())
                print(f"{heading}: {values}", file=sys.stderr, flush=True)
            if out is not None:
                _write_json(out, found)
    return found


def _computations(
    captions: Sequence[str], rows: Sequence[int], tokens: Callable[[], tuple[Texts, Texts]], target: PaperRun
) -> dict[str, Callable[[], dict[str, float]]]:
    """What computes each metric of these rows of the test images."""
    chosen, images = [captions[row] for row in rows], [target.test[row] for row in rows]

    def of_tokens(metric: Callable[[Texts, Texts], dict[str, float]]) -> Callable[[], dict[str, float]]:
        return lambda: metric(*({row: texts[row] for row in rows} for texts in tokens()))

    def clip_score() -> dict[str, float]:
        files = [target.path("test_features") / f"{image.image_id}.npz" for image in images]
        return {"CLIPScore": float(clip_scores(target.clip.texts, chosen, files).mean())}

    return {
        **{name: of_tokens(metric) for name, metric in TOKEN_METRICS.items()},
        "CLIPScore": clip_score,
        "SPICE": lambda: {"SPICE": spice(chosen, [image.captions for image in images])},
    }


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    partial.rename(path)
