"""Choices of concepts at inference beyond the paper: by retrieved captions, or by a calibrated probability. Both are off unless
`[inference]` sets them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.clip_features import read_image
from ..data.photos import batches
from ..model.mixup import detect_concepts
from .run import PaperRun, present


def naming(captions: Sequence[str], words: Sequence[str]) -> NDArray[np.bool_]:
    """Which captions name which concepts, a concept being one or more words in a row  # [X, C]"""
    padded = [f" {caption} " for caption in captions]
    return np.array([[f" {word} " in caption for word in words] for caption in padded], np.bool_)


def training_captions(run: PaperRun) -> list[str]:
    """All captions of the training pairs."""
    return [" ".join(run.vocabulary.decode(ids)) for pair in run.pairs for ids in pair.targets.clip(0)]


def retrieved_bias(run: PaperRun, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Maps images [B, E] to what their retrieved captions add to the logits of the concepts [B, C]: captions of images like this
    one name what it shows (cf. Ramos et al., "SmallCap", CVPR 2023)."""
    settings = run.config.inference
    captions = training_captions(run)
    embeddings = _embedded(run, captions, device)
    named = torch.from_numpy(naming(captions, run.concepts[0])).float().to(device)

    def bias(images: Tensor) -> Tensor:
        nearest = (images @ embeddings.T).topk(min(settings.retrieved_captions, len(captions)), dim=-1).indices  # [B, r]
        return settings.retrieval_weight * named[nearest].mean(1)

    return bias


def _embedded(run: PaperRun, captions: Sequence[str], device: torch.device) -> Tensor:
    """CLIP's embeddings of the captions, kept beside the records  # [X, E]"""
    kept = run.own_path("train").with_suffix(f".{run.path('clip').stem}.npy")
    if kept.exists():
        found = np.load(kept)
        if len(found) == len(captions):
            return torch.from_numpy(found).float().to(device)
    embeddings: Tensor = run.clip.texts.to(device).encode(captions)
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.save(kept, embeddings.half().cpu().numpy())
    return embeddings.float()


def gate_threshold(run: PaperRun) -> float:
    """The concept probability above which a training caption names the concept with the calibrated probability `inference.gate`:
    Platt's scaling of the logit of the detected concepts' probabilities. Raises ValueError if they tell nothing."""
    model, settings = run.config.model, run.config.inference
    pairs = run.pairs[: settings.calibration_pairs]
    files = run.train_files[: len(pairs)]
    present(files)
    words, embeddings = run.concepts
    scores: list[Tensor] = []
    right: list[Tensor] = []
    for rows in batches(range(len(pairs)), 256):
        images = torch.from_numpy(np.stack([read_image(files[row]) for row in rows]))
        found = detect_concepts(images, embeddings, model.k, model.temperature, 0.0)
        said = [[" ".join(run.vocabulary.decode(ids)) for ids in pairs[row].targets.clip(0)] for row in rows]
        named = np.stack([naming(captions, words).any(0) for captions in said])  # [B, C]
        scores.append(found.scores)
        right.append(torch.from_numpy(named).gather(1, found.ids))
    probability, truth = torch.cat(scores).flatten().double(), torch.cat(right).flatten().double()
    slope, intercept = _platt(torch.logit(probability, eps=1e-9), truth)
    if slope <= 0:
        raise ValueError("inference.gate: on these pairs a probable concept is named no more often than others")
    wanted = torch.tensor(settings.gate, dtype=torch.float64)
    threshold = float(torch.sigmoid((torch.logit(wanted) - intercept) / slope))
    print(f"inference.gate {settings.gate} is model.threshold {threshold:.4g} on {len(pairs)} pairs", file=sys.stderr, flush=True)
    return threshold


def _platt(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Slope and intercept of the logistic regression of y on x, by Newton's method; a small ridge keeps it finite."""
    design = torch.stack([x, torch.ones_like(x)], 1)
    weights = torch.zeros(2, dtype=x.dtype)
    ridge = 1e-3 * torch.eye(2, dtype=x.dtype)
    for _ in range(100):
        p = torch.sigmoid(design @ weights)
        gradient = design.T @ (p - y) + ridge @ weights
        step = torch.linalg.solve((design * (p * (1 - p)).unsqueeze(1)).T @ design + ridge, gradient)
        weights = weights - step.clamp(-5, 5)
        if step.abs().max() < 1e-8:
            break
    return float(weights[0]), float(weights[1])
