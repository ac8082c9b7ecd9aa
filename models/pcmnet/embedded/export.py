"""Exports the embedded bundle: graphs, decoding defaults, comparison with PyTorch, calibration, model card."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..config import INVARIANCE_PHOTOS, SHIPPED
from ..data.photos import HELD_OUT
from ..data.text import sentence_of
from ..evaluate.answers import Answering, Answers
from ..evaluate.batch_invariance import Invariance, batch_invariance
from ..evaluate.decoding_choice import (
    AnsweredSet,
    RankingTrial,
    best_ranking,
    ranked_as,
    searched_as,
    try_decodings,
    try_rankings,
)
from ..evaluate.limits import Limits, in_the_dark, sameness
from ..evaluate.metrics import caption_metrics
from ..evaluate.nonphotos import draw_nonphotos
from ..evaluate.tags import add_tags, with_five_captions
from ..export.bundle import BundleParts, write_bundle
from ..export.compare import Comparison, compare_graphs
from ..export.pipeline import OnnxPipeline
from ..export.precisions import stored_graphs
from ..quantize.int8 import Examples
from .assemble import assemble
from .calibrate import NONPHOTOS_OF_A_KIND, Calibration, calibrate
from .evaluate import concept_precision, retrieval_of
from .model_card import Choices, write_model_card
from .workspace import Workspace

COMPARED_PHOTOS = 200
"""Validation photos on which the graphs are compared with PyTorch."""
DARKENED_PHOTOS = 200
"""Validation photos that are captioned at lower brightness."""
CALIBRATION_PHOTOS = 40
"""Training photos that calibrate the ranges of integer activations."""
MAX_LOSS = 0.02
"""Largest CIDEr that a shipped precision may lose relative to fp32."""


def compare(work: Workspace, parts: BundleParts, folder: Path) -> Comparison:
    photos = work.split("val")[:COMPARED_PHOTOS]
    texts = [photo.captions[0] for photo in photos]
    return compare_graphs(parts, folder, "fp32", work.pixels_of(photos), texts)


def _examples(work: Workspace) -> Examples:
    photos = work.split("train")
    chosen = np.random.default_rng(work.config.seed).permutation(len(photos))[:CALIBRATION_PHOTOS]
    picked = [photos[i] for i in chosen]
    return Examples(work.pixels_of(picked), [caption for photo in picked for caption in photo.captions])


def bundle_invariance(work: Workspace, folder: Path, precision: str, photos: int = INVARIANCE_PHOTOS) -> Invariance:
    """Checks a bundle on the first `photos` validation photos."""
    return batch_invariance(OnnxPipeline(folder, precision), work.pixels_of(work.split("val")[:photos]))


def limits_of(work: Workspace, answering: Answering, answers: Answers, calibration: Calibration) -> Limits:
    """Measures the limits on the validation photos; darkness on the first `DARKENED_PHOTOS`."""
    photos = work.split("val")[:DARKENED_PHOTOS]
    references = [photo.captions for photo in photos]
    dark = in_the_dark(answering, calibration.confidence, work.pixels_of(photos), references, work.config.seed)
    return Limits(dark, len(photos), sameness([sentence_of(answer.caption.split()) for answer in answers.answers]))


def choose_ranking(work: Workspace, answering: Answering) -> list[RankingTrial]:
    """Tries the rankings on all held-out photos but the validation photos, with drawings as what deserves no confidence."""
    sets = [with_five_captions(work.split(name)) for name in HELD_OUT if name != "val"]
    answered = [
        AnsweredSet(answering.beams(work.pixels_of(photos)), [photo.captions for photo in photos]) for photos in sets if photos
    ]
    _, drawings = draw_nonphotos(NONPHOTOS_OF_A_KIND, work.config.vision.side, work.config.seed)
    return try_rankings(answering, answered, answering.beams(drawings))


def export_embedded(work: Workspace, out: Path, shipped: Sequence[str] = SHIPPED) -> None:
    """Writes the bundle and its model card. Raises ValueError, and leaves `out` as it was, if the graphs differ from PyTorch,
    if a shipped precision is worse than `fp32`, or if a caption depends on the photos in its batch."""
    served = shipped[0]
    parts = assemble(work)
    dev, val = work.split("dev"), work.split("val")
    graphs = dict(stored_graphs(parts, ("fp32", *shipped), _examples(work)))
    with tempfile.TemporaryDirectory() as name:
        trial = Path(name)
        write_bundle(parts, graphs.items(), trial)
        trials = try_decodings(Answering(trial, served), work.pixels_of(dev), [photo.captions for photo in dev])
        parts = replace(parts, decoding=searched_as(parts.decoding, trials[0]))
        write_bundle(parts, graphs.items(), trial)
        rankings = choose_ranking(work, Answering(trial, served))
        parts = replace(parts, decoding=ranked_as(parts.decoding, best_ranking(rankings)))
        write_bundle(parts, graphs.items(), trial)
        comparison = compare(work, parts, trial)
        references = [photo.captions for photo in val]
        pixels = work.pixels_of(val)
        answers = {precision: Answering(trial, precision).answer(pixels) for precision in graphs}
        metrics = {p: caption_metrics([a.caption for a in found.answers], references) for p, found in answers.items()}
        _check(comparison, {precision: scores["CIDEr"] for precision, scores in metrics.items()}, shipped)
        invariance = {precision: bundle_invariance(work, trial, precision) for precision in shipped}
        if broken := [precision for precision, found in invariance.items() if not found.holds]:
            raise ValueError(f"captions depend on the photos of their batch in {', '.join(broken)}: {invariance}")
        answering = Answering(trial, served)
        calibration = calibrate(answering, answers[served], val, parts.side, work.config.seed)
        limits = limits_of(work, answering, answers[served], calibration)
        quality: dict[str, Any] = {
            "photos": len(val),
            **metrics,
            "largestDifference": comparison.largest,
            "equalCaptions": comparison.equal_captions,
            "batchInvariance": {precision: found.to_json() for precision, found in invariance.items()},
            "retrieval": retrieval_of(answering, answers[served], val),
            "concepts": concept_precision(answers[served], parts.concepts, val),
            "confidence": calibration.to_json(),
            "nonPhotoConfidence": calibration.nonphoto_confidence,
        }
    final = replace(parts, confidence=calibration.confidence, match_probability=calibration.match_probability, quality=quality)
    manifest = write_bundle(final, ((precision, graphs[precision]) for precision in shipped), out)
    write_model_card(out, work.config, manifest, calibration, Choices(trials, rankings), comparison, limits)
    add_tags(out, work.data, served, work.config.seed)
    print(json.dumps(quality, indent=2))


def _check(comparison: Comparison, cider: dict[str, float], shipped: Sequence[str]) -> None:
    if comparison.largest > 1e-3:
        raise ValueError(f"a graph differs from PyTorch by {comparison.largest}: {comparison.differences}")
    if comparison.equal_captions < 0.99:
        raise ValueError(f"only {comparison.equal_captions:.1%} of captions equal PyTorch's: {comparison.examples[:5]}")
    for precision in shipped:
        if cider[precision] < cider["fp32"] - MAX_LOSS:
            raise ValueError(f"CIDEr falls from {cider['fp32']:.4f} to {cider[precision]:.4f} in {precision}")
