"""From a trained run to the embedded bundle: export, comparison, calibration, evaluation, model card."""

from __future__ import annotations

import io
import json
import tempfile
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from sklearn.cluster import KMeans
from torch import Tensor
from tqdm import tqdm

from .answers import Answering, Answers
from .batch_invariance import Invariance, batch_invariance
from .bundle import Logistic, Pieces, write_bundle
from .calibration import (
    CONFIDENCE_FEATURES,
    MATCH_FEATURES,
    Choice,
    Reliability,
    agreements,
    cross_fitted,
    feature_matrix,
    fit,
    labels,
    probabilities,
)
from .concepts import named_share
from .data import Photo, decode_photo
from .decoding_choice import decoding_of, try_decodings
from .encoders import EmbeddedImageEncoder, EmbeddedTextEncoder
from .export import stored_graphs
from .export_compare import Comparison, compare_graphs
from .int8 import Examples
from .limits import Limits, in_the_dark, sameness
from .metrics import caption_metrics
from .model_card import write_model_card
from .nonphotos import draw_nonphotos
from .onnx_pipeline import OnnxPipeline
from .retrieval import recalls
from .text import sentence_of
from .workspace import Workspace

CENTROIDS = 256
COMPARED_PHOTOS = 200
DARKENED_PHOTOS = 200
CALIBRATION_PHOTOS = 40
"""Of the training split, for the ranges of integer activations."""
INVARIANCE_PHOTOS = 64
SHIPPED = ("int8", "w8")
"""Precisions of the bundle unless the command names others. The first is what a CPU runs: decoding defaults and confidence are
fitted to its answers."""
MOST_LOSS = 0.02
"""CIDEr that a shipped precision may lie below fp32."""
NONPHOTOS_OF_A_KIND = 20
SOURCES = (
    "Flickr8k and Flickr30k photos and captions (research use)",
    "MS COCO photos (their Flickr licences) and captions (CC BY 4.0)",
    "Captions without photos: Flickr30k, MS COCO, and the validation texts of Conceptual Captions",
    "EfficientNet-Lite2, ImageNet weights (Apache-2.0)",
    "all-MiniLM-L6-v2 sentence encoder (Apache-2.0)",
)
UNFITTED = Logistic(("cosine",), (0.0,), (1.0,), (0.0,), 0.0, {})


def image_centroids(embeddings: Tensor, count: int, seed: int) -> Tensor:
    """Unit centroids of unit vectors [P, E]: a small picture of where training photos lie  # [count, E]"""
    means = KMeans(count, n_init=1, random_state=seed).fit(embeddings.numpy())
    return F.normalize(torch.from_numpy(means.cluster_centers_).float(), dim=-1)


def assemble(work: Workspace) -> Pieces:
    """The trained parts, with a calibration still to be fitted."""
    dual = work.dual_encoder()
    words, embeddings = work.concepts
    with torch.inference_mode():
        features = work.pooled(tuned=True)[[photo.row for photo in work.split("train")]]
        images = dual.embed_image(features[:, None])
    return Pieces(
        encoder=EmbeddedImageEncoder(work.tower(tuned=True), dual),
        text_encoder=EmbeddedTextEncoder(work.sentence_encoder, dual),
        captioner=work.captioner(),
        vocabulary=work.vocabulary,
        concepts=words,
        concept_embeddings=embeddings,
        centroids=image_centroids(images, CENTROIDS, work.config.seed),
        confidence=UNFITTED,
        match_probability=UNFITTED,
        side=work.config.vision.side,
        prompts=work.config.concepts.prompts,
        id=work.config.id,
        version=work.config.version,
        licence="MIT for the weights' own part; trained on data for research use: see MODEL_CARD.md",
        description="PCM-Net on EfficientNet-Lite2, trained on 9,285 captioned photos",
        sources=SOURCES,
    )


@dataclass(frozen=True)
class Calibration:
    confidence: Logistic
    match_probability: Logistic
    reliability: Reliability
    match_reliability: Reliability
    choices: Sequence[Choice]
    """Of the confidence."""
    threshold: float
    """Q: the CIDEr-D that three quarters of human captions reach."""
    positives: float
    """Share of captions that reach it."""
    nonphoto_confidence: dict[str, float]
    """Mean of each kind, on drawings that the fit has not seen."""

    def to_json(self) -> dict[str, Any]:
        """What the documentation says of the confidence."""
        curve = self.reliability
        return {
            "threshold": self.threshold,
            "share": self.positives,
            "groups": [
                {"confidence": predicted, "good": observed}
                for predicted, observed in zip(curve.predicted.tolist(), curve.observed.tolist(), strict=True)
            ],
            "minConfidence": [
                {"least": c.least, "captioned": c.taken, "good": c.good if c.taken else None, "kept": c.found}
                for c in self.choices
            ],
        }


def calibrate(answering: Answering, answers: Answers, photos: Sequence[Photo], side: int, seed: int) -> Calibration:
    """Fits on the answers to the validation photos, with drawings as negatives; errors are of two-fold cross-fitting."""
    references = [photo.captions for photo in photos]
    machine, human = agreements([answer.caption for answer in answers.answers], references)
    label, threshold = labels(machine, human)
    kinds, drawings = draw_nonphotos(NONPHOTOS_OF_A_KIND, side, seed)
    negatives = feature_matrix(answering.answer(drawings).answers, CONFIDENCE_FEATURES)
    features = feature_matrix(answers.answers, CONFIDENCE_FEATURES)
    errors = cross_fitted(CONFIDENCE_FEATURES, features, label, np.arange(len(photos)), negatives, seed=seed)
    confidence = fit(CONFIDENCE_FEATURES, features, label, negatives)

    unseen_kinds, unseen = draw_nonphotos(NONPHOTOS_OF_A_KIND, side, seed + 1)
    trusted = probabilities(confidence, feature_matrix(answering.answer(unseen).answers, CONFIDENCE_FEATURES))
    by_kind = {kind: float(trusted[[k == kind for k in unseen_kinds]].mean()) for kind in dict.fromkeys(kinds)}

    texts = answering.embed([caption for caps in references for caption in caps]).reshape(len(photos), len(references[0]), -1)
    own = np.einsum("pe,pce->pc", answers.image_embeddings, texts)  # [P, 5]
    rng = np.random.default_rng(seed)
    others = (np.arange(len(photos))[:, None] + rng.integers(1, len(photos), own.shape)) % len(photos)
    foreign = np.einsum("pe,pce->pc", answers.image_embeddings, texts[others, np.arange(own.shape[1])])
    cosine = np.concatenate([own.ravel(), foreign.ravel()])
    owner = np.tile(np.repeat(np.arange(len(photos)), own.shape[1]), 2)
    match_features = np.stack([cosine, answers.familiarity[owner]], 1).astype(np.float64)
    match_label = np.arange(len(cosine)) < own.size
    match_errors = cross_fitted(MATCH_FEATURES, match_features, match_label, owner, draws=200, seed=seed)
    match = fit(MATCH_FEATURES, match_features, match_label)
    return Calibration(
        replace(confidence, error=errors.to_json()),
        replace(match, error=match_errors.to_json()),
        errors.reliability,
        match_errors.reliability,
        errors.choices,
        threshold,
        float(label.mean()),
        by_kind,
    )


def concept_precision(answers: Answers, words: Sequence[str], photos: Sequence[Photo], top: int = 5) -> dict[str, float]:
    """Share of the first `top` concepts that a reference names, and the same of the most frequent nouns for every photo."""
    ours = [answer.concepts[:top] for answer in answers.answers]
    return {
        "precision": named_share(ours, words, photos),
        "constant": named_share([range(top)] * len(photos), words, photos),
    }


def retrieval_of(answering: Answering, answers: Answers, photos: Sequence[Photo]) -> dict[str, float]:
    texts = answering.embed([caption for photo in photos for caption in photo.captions])
    owner = [i for i, photo in enumerate(photos) for _ in photo.captions]
    return recalls(torch.from_numpy(answers.image_embeddings), torch.from_numpy(texts), owner)


def _pixels(work: Workspace, photos: Sequence[Photo]) -> NDArray[np.uint8]:
    return work.pixels[[photo.row for photo in photos]]


def compare(work: Workspace, pieces: Pieces, folder: Path) -> Comparison:
    photos = work.split("val")[:COMPARED_PHOTOS]
    texts = [photo.captions[0] for photo in photos]
    return compare_graphs(pieces, folder, "fp32", _pixels(work, photos), texts)


def _examples(work: Workspace) -> Examples:
    photos = work.split("train")
    chosen = np.random.default_rng(work.config.seed).permutation(len(photos))[:CALIBRATION_PHOTOS]
    picked = [photos[i] for i in chosen]
    return Examples(_pixels(work, picked), [caption for photo in picked for caption in photo.captions])


def bundle_invariance(work: Workspace, folder: Path, precision: str, photos: int = INVARIANCE_PHOTOS) -> Invariance:
    """On the first validation photos."""
    return batch_invariance(OnnxPipeline(folder, precision), _pixels(work, work.split("val")[:photos]))


def limits_of(work: Workspace, answering: Answering, answers: Answers, calibration: Calibration) -> Limits:
    """On the validation photos; the dark on the first of them."""
    photos = work.split("val")[:DARKENED_PHOTOS]
    references = [photo.captions for photo in photos]
    dark = in_the_dark(answering, calibration.confidence, _pixels(work, photos), references, work.config.seed)
    return Limits(dark, len(photos), sameness([sentence_of(answer.caption.split()) for answer in answers.answers]))


def export_embedded(work: Workspace, out: Path, shipped: Sequence[str] = SHIPPED) -> None:
    """Writes the bundle. Fails, leaving `out` alone, when the graphs are not PyTorch's, when a shipped precision is worse than
    `fp32`, or when a caption depends on the photos that share its batch."""
    served = shipped[0]
    pieces = assemble(work)
    dev, val = work.split("dev"), work.split("val")
    graphs = dict(stored_graphs(pieces, ("fp32", *shipped), _examples(work)))
    with tempfile.TemporaryDirectory() as name:
        trial = Path(name)
        write_bundle(pieces, graphs.items(), trial)
        trials = try_decodings(Answering(trial, served), _pixels(work, dev), [photo.captions for photo in dev])
        pieces = replace(pieces, decoding=decoding_of(trials[0]))
        write_bundle(pieces, graphs.items(), trial)
        comparison = compare(work, pieces, trial)
        references = [photo.captions for photo in val]
        pixels = _pixels(work, val)
        answers = {precision: Answering(trial, precision).answer(pixels) for precision in graphs}
        metrics = {p: caption_metrics([a.caption for a in found.answers], references) for p, found in answers.items()}
        _check(comparison, {precision: scores["CIDEr"] for precision, scores in metrics.items()}, shipped)
        invariance = {precision: bundle_invariance(work, trial, precision) for precision in shipped}
        if broken := [precision for precision, found in invariance.items() if not found.holds]:
            raise ValueError(f"captions depend on the photos of their batch in {', '.join(broken)}: {invariance}")
        answering = Answering(trial, served)
        calibration = calibrate(answering, answers[served], val, pieces.side, work.config.seed)
        limits = limits_of(work, answering, answers[served], calibration)
        quality: dict[str, Any] = {
            "photos": len(val),
            **metrics,
            "largestDifference": comparison.largest,
            "equalCaptions": comparison.equal_captions,
            "batchInvariance": {precision: found.to_json() for precision, found in invariance.items()},
            "retrieval": retrieval_of(answering, answers[served], val),
            "concepts": concept_precision(answers[served], pieces.concepts, val),
            "confidence": calibration.to_json(),
            "nonPhotoConfidence": calibration.nonphoto_confidence,
        }
    final = replace(pieces, confidence=calibration.confidence, match_probability=calibration.match_probability, quality=quality)
    manifest = write_bundle(final, ((precision, graphs[precision]) for precision in shipped), out)
    write_model_card(out, work.config, manifest, calibration, trials, comparison, limits)
    print(json.dumps(quality, indent=2))


def _check(comparison: Comparison, cider: dict[str, float], shipped: Sequence[str]) -> None:
    if comparison.largest > 1e-3:
        raise ValueError(f"a graph differs from PyTorch by {comparison.largest}: {comparison.differences}")
    if comparison.equal_captions < 0.99:
        raise ValueError(f"only {comparison.equal_captions:.1%} of captions equal PyTorch's: {comparison.examples[:5]}")
    for precision in shipped:
        if cider[precision] < cider["fp32"] - MOST_LOSS:
            raise ValueError(f"CIDEr falls from {cider['fp32']:.4f} to {cider[precision]:.4f} in {precision}")


def enlarged(path: Path, megapixels: float) -> bytes:
    """The photo as users send it: sharp and large, JPEG of quality 95."""
    with Image.open(path) as image:
        factor = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
        size = round(image.width * factor), round(image.height * factor)
        buffer = io.BytesIO()
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _caption_by_service(url: str, image: bytes) -> str:
    request = urllib.request.Request(f"{url}/v1/captions", image, {"Content-Type": "image/jpeg"})
    with urllib.request.urlopen(request, timeout=60) as response:
        caption: str = json.load(response)["caption"]
    return caption


def captions_by_service(url: str, images: Sequence[Path], megapixels: float | None) -> list[str]:
    """Captions of photos through a running service, eight at a time; enlarged first if `megapixels` are given."""

    def caption(image: Path) -> str:
        return _caption_by_service(url, image.read_bytes() if megapixels is None else enlarged(image, megapixels))

    with ThreadPoolExecutor(8) as pool:
        return list(tqdm(pool.map(caption, images), total=len(images), desc="captions", mininterval=10))


def captions_by_bundle(
    work: Workspace, folder: Path, precision: str, photos: Sequence[Photo], megapixels: float | None
) -> list[str]:
    """Captions by the graphs of what Pillow reads in the very files that a service would be sent."""
    if megapixels is None:
        pixels = _pixels(work, photos)
    else:
        sent = (io.BytesIO(enlarged(work.data / "images" / photo.image, megapixels)) for photo in photos)
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
    megapixels: float | None = None,
) -> dict[str, float]:
    """Metrics of captions through a running service, or through a bundle's graphs. Given both, also the share of photos
    that both caption alike, which is what the service's decoding and resizing may cost."""
    if url is None and bundle is None:
        raise ValueError("name a bundle or the URL of a service")
    found: list[list[str]] = []
    if url is not None:
        found.append(captions_by_service(url, [work.data / "images" / photo.image for photo in photos], megapixels))
    if bundle is not None:
        found.append(captions_by_bundle(work, bundle, precision, photos, megapixels))
    captions = found[0]
    if captions_file is not None:
        rows = [{"image": p.image, "caption": c, "references": p.captions} for p, c in zip(photos, captions, strict=True)]
        captions_file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    metrics = caption_metrics(captions, [photo.captions for photo in photos])
    if len(found) == 2:
        metrics["equalCaptions"] = sum(a == b for a, b in zip(*found, strict=True)) / len(photos)
    return metrics
