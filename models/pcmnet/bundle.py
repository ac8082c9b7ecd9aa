"""The model bundle: the folder in which training meets serving."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from tokenizers import Tokenizer
from torch import Tensor

from .encoders import ImageEncoder, TextEncoder
from .export_graphs import memory_length
from .model import PCMNet
from .text import UNKNOWN, Vocabulary

FORMAT_VERSION = 1
MANIFEST = "bundle.json"
GRAPHS = {"encoder": "encoder", "mixup": "mixup", "decoder": "decoder", "textEncoder": "text-encoder"}
"""Key in the manifest → beginning of the file's name."""


@dataclass(frozen=True)
class NamedConcepts:
    """What makes the decoder write a concept that a client named, beyond the fusion of its patches."""

    min_cosine: float
    """Of image and concept, from which on the image seems to show it."""
    bias: float
    """Added to the logit of its word then."""


@dataclass(frozen=True)
class Decoding:
    """How the service decodes unless a request says otherwise."""

    beam_size: int = 3
    max_length: int = 20
    length_penalty: float = 0.0
    """A beam's score is log_prob / length ** length_penalty."""
    no_repeat_ngram: int = 0
    rerank_weight: float = 0.0
    """Candidates are ranked by their score + rerank_weight · cosine; with 0, as by the search."""
    blocked_words: tuple[str, ...] = (UNKNOWN,)
    named_concepts: NamedConcepts | None = None


@dataclass(frozen=True)
class Logistic:
    """probability = sigmoid(intercept + Σ coefficient · (feature - mean) / scale)"""

    features: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float
    error: Mapping[str, float]

    def __post_init__(self) -> None:
        if not len(self.features) == len(self.mean) == len(self.scale) == len(self.coefficients):
            raise ValueError("a logistic function needs a mean, a scale and a coefficient of each feature")

    def to_json(self) -> dict[str, Any]:
        return {
            "features": list(self.features),
            "mean": list(self.mean),
            "scale": list(self.scale),
            "coefficients": list(self.coefficients),
            "intercept": self.intercept,
            "error": dict(self.error),
        }


@dataclass(frozen=True)
class Pieces:
    """All that a bundle is made of; modules in evaluation mode."""

    encoder: ImageEncoder
    text_encoder: TextEncoder
    captioner: PCMNet
    vocabulary: Vocabulary
    concepts: Sequence[str]
    concept_embeddings: Tensor
    """Unit rows  # [C, E]"""
    centroids: Tensor
    """Unit rows: where the embeddings of training photos lie  # [R, E]"""
    confidence: Logistic
    match_probability: Logistic | None
    side: int
    """Pixels of the square input."""
    prompts: Sequence[str]
    id: str
    version: str
    licence: str
    description: str
    sources: Sequence[str]
    decoding: Decoding = Decoding()
    quality: Mapping[str, Any] = field(default_factory=dict)
    resize: str = "stretch"
    kernel: str = "cubic"

    def __post_init__(self) -> None:
        c, e = self.captioner.config, self.encoder.embedding
        facts = {
            "vocabulary": (len(self.vocabulary), c.vocabulary),
            "patches": (self.encoder.patches, c.patches),
            "grid width": (self.encoder.width, c.grid_width),
            "embedding": (e, c.embedding),
            "text embedding": (self.text_encoder.embedding, e),
            "concept embeddings": (tuple(self.concept_embeddings.shape), (len(self.concepts), e)),
            "centroids": (self.centroids.shape[1:], (e,)),
        }
        for name, (has, wants) in facts.items():
            if has != wants:
                raise ValueError(f"the pieces do not fit: {name} is {has} in one and {wants} in another")
        if len(self.concepts) < c.k:
            raise ValueError(f"{len(self.concepts)} concepts are fewer than the {c.k} detected in each image")


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def graph_files(precision: str) -> dict[str, str]:
    """Manifest key → file name of each graph in a precision."""
    return {key: f"{name}.{precision}.onnx" for key, name in GRAPHS.items()}


def manifest_of(pieces: Pieces, precisions: Sequence[str]) -> dict[str, Any]:
    """`bundle.json` but for its `files`."""
    c, d = pieces.captioner.config, pieces.decoding
    calibration: dict[str, Any] = {"confidence": pieces.confidence.to_json()}
    if pieces.match_probability is not None:
        calibration["matchProbability"] = pieces.match_probability.to_json()
    concepts: dict[str, Any] = {
        "words": "concepts.json",
        "embeddings": "concepts.f32",
        "prompts": list(pieces.prompts),
        "k": c.k,
    }
    if d.named_concepts is not None:
        concepts["named"] = {"minCosine": d.named_concepts.min_cosine, "bias": d.named_concepts.bias}
    calibration["imageCentroids"] = {"file": "image-centroids.f32", "rows": len(pieces.centroids)}
    return {
        "formatVersion": FORMAT_VERSION,
        "id": pieces.id,
        "version": pieces.version,
        "licence": pieces.licence,
        "description": pieces.description,
        "sources": list(pieces.sources),
        "image": {"width": pieces.side, "height": pieces.side, "resize": pieces.resize, "kernel": pieces.kernel},
        "grid": {"rows": pieces.encoder.rows, "columns": pieces.encoder.columns},
        "dimensions": {
            "grid": c.grid_width,
            "embedding": c.embedding,
            "memory": c.width,
            "memoryLength": memory_length(c),
            "vocabulary": c.vocabulary,
        },
        "decoding": {
            "beamSize": d.beam_size,
            "maxLength": d.max_length,
            "lengthPenalty": d.length_penalty,
            "noRepeatNgram": d.no_repeat_ngram,
            "rerankWeight": d.rerank_weight,
            "blockedWords": list(d.blocked_words),
        },
        "concepts": concepts,
        "vocabulary": "vocabulary.txt",
        "tokenizer": {"file": "tokenizer.json", "maxTokens": pieces.text_encoder.max_tokens},
        "calibration": calibration,
        "precisions": {precision: graph_files(precision) for precision in precisions},
        "quality": dict(pieces.quality),
    }


def _write_rows(path: Path, rows: Tensor) -> None:
    path.write_bytes(rows.detach().cpu().numpy().astype("<f4").tobytes())


def _write_tokenizer(path: Path, encoder: TextEncoder) -> None:
    """The packaged one pads every text to 128 tokens; this one leaves padding to the batch, and cuts at `max_tokens`."""
    tokenizer = Tokenizer.from_str(encoder.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.enable_truncation(encoder.max_tokens)
    tokenizer.save(str(path))


def write_bundle(pieces: Pieces, graphs: Iterable[tuple[str, Mapping[str, onnx.ModelProto]]], folder: Path) -> dict[str, Any]:
    """Writes the whole folder and returns the manifest.

    `graphs`: each precision, and its graphs by manifest key (see `GRAPHS`). Graphs of an earlier bundle in the folder stay until
    the new one is complete; other files that it does not name, such as the model card, stay for good. The manifest comes last:
    a folder with a manifest is complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as created:
        partial = Path(created)
        (partial / "concepts.json").write_text(json.dumps(list(pieces.concepts), indent=1) + "\n", encoding="utf-8")
        _write_rows(partial / "concepts.f32", pieces.concept_embeddings)
        pieces.vocabulary.write(partial / "vocabulary.txt")
        _write_tokenizer(partial / "tokenizer.json", pieces.text_encoder)
        _write_rows(partial / "image-centroids.f32", pieces.centroids)
        precisions = []
        for precision, by_key in graphs:
            for key, name in graph_files(precision).items():
                onnx.save_model(by_key[key], partial / name)
            precisions.append(precision)
            del by_key  # else it would be held while the next precision is made
        manifest = manifest_of(pieces, precisions)
        written = sorted(partial.iterdir())
        manifest["files"] = {file.name: {"bytes": file.stat().st_size, "sha256": sha256_of(file)} for file in written}
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")

        (folder / MANIFEST).unlink(missing_ok=True)
        for stale in folder.glob("*.onnx"):
            stale.unlink()
        for file in (*written, partial / MANIFEST):
            file.replace(folder / file.name)
    return manifest


def read_bundle(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle whose files all have their recorded hash; raises ValueError naming one that has not."""
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if manifest["formatVersion"] != FORMAT_VERSION:
        raise ValueError(f"{folder} is of format {manifest['formatVersion']}, not {FORMAT_VERSION}")
    for name, facts in manifest["files"].items():
        if not (folder / name).is_file() or sha256_of(folder / name) != facts["sha256"]:
            raise ValueError(f"{folder / name} is not the file that {MANIFEST} records")
    return manifest


def read_rows(path: Path, width: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """float32 [rows, width]"""
    return np.fromfile(path, "<f4").reshape(-1, width)
