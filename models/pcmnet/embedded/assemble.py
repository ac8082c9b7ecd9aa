"""Assembles the bundle's parts from the trained embedded model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor

from ..data.lexicon import stem_of
from ..export.bundle import BundleParts, Decoding, Logistic, Repetition
from ..model.embedded_encoders import EmbeddedImageEncoder, EmbeddedTextEncoder
from ..train.sources import served
from .workspace import Workspace

CENTROIDS = 256
SOURCES = (
    "Flickr8k and Flickr30k photos and captions (research use)",
    "MS COCO photos (their Flickr licences) and captions (CC BY 4.0)",
    "Captions without photos: Flickr30k, MS COCO, and the validation texts of Conceptual Captions",
    "EfficientNet-Lite2, ImageNet weights (Apache-2.0)",
    "all-MiniLM-L6-v2 sentence encoder (Apache-2.0)",
)
UNFITTED = Logistic(("cosine",), (0.0,), (1.0,), (0.0,), 0.0, {})


def image_centroids(embeddings: Tensor, count: int, seed: int) -> Tensor:
    """Normalised k-means centroids of unit vectors [P, E], which summarise the training photos  # [count, E]"""
    means = KMeans(count, n_init=1, random_state=seed).fit(embeddings.numpy())
    return F.normalize(torch.from_numpy(means.cluster_centers_).float(), dim=-1)


def assemble(work: Workspace) -> BundleParts:
    """The trained parts, with calibrations that are not fitted yet."""
    dual = work.dual_encoder()
    words, embeddings = work.concepts
    with torch.inference_mode():
        features = work.pooled(tuned=True)[[photo.row for photo in work.split("train")]]
        images = dual.embed_image(features[:, None])
    return BundleParts(
        encoder=EmbeddedImageEncoder(work.tower(tuned=True), dual),
        text_encoder=EmbeddedTextEncoder(work.sentence_encoder, dual),
        captioner=served(work.captioner()),
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
        decoding=Decoding(repetition=Repetition(tuple(stem_of(word) for word in work.vocabulary.words), 0.0)),
    )
