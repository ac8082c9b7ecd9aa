"""The model bundle: the folder that training writes and the service reads."""

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

from ..data.text import UNKNOWN, Vocabulary
from ..model.encoders import ImageEncoder, TextEncoder
from ..model.pcm_net import PCMNet
from .manifest import FORMAT_VERSION, MANIFEST, STEMS, check_manifest, graph_files, manifest_of


@dataclass(frozen=True)
class NamedConcepts:
    """How much more likely the decoder is to write a concept that a client named and the image seems to show."""

    min_cosine: float
    """Cosine of image and concept from which the image seems to show it."""
    bias: float
    """Added to the logit of the concept's word in that case."""


@dataclass(frozen=True)
class Repetition:
    """How much lower candidates rank that say a word twice."""

    stems: tuple[str, ...]
    """What each word of the vocabulary, from id 1, is a form of; empty where a caption may say it again."""
    penalty: float
    """Taken from the rank score for each word that is said again."""


@dataclass(frozen=True)
class Decoding:
    """How the service decodes unless a request says otherwise."""

    beam_size: int = 3
    max_length: int = 20
    length_penalty: float = 0.0
    """A beam's score is log_prob / length ** length_penalty."""
    no_repeat_ngram: int = 0
    rerank_weight: float = 0.0
    """Candidates are ranked by score + rerank_weight · cosine; 0 keeps the order of the search."""
    repetition: Repetition | None = None
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
class BundleParts:
    """The parts of a bundle; modules are in evaluation mode. Raises ValueError if their sizes do not fit."""

    encoder: ImageEncoder
    text_encoder: TextEncoder
    captioner: PCMNet
    vocabulary: Vocabulary
    concepts: Sequence[str]
    concept_embeddings: Tensor
    """Unit vectors  # [C, E]"""
    centroids: Tensor
    """Unit vectors, the centroids of the training photos' embeddings  # [R, E]"""
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
                raise ValueError(f"the parts do not fit: {name} is {has} in one and {wants} in another")
        if len(self.concepts) < c.k:
            raise ValueError(f"{len(self.concepts)} concepts are fewer than the {c.k} detected in each image")


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_rows(path: Path, rows: Tensor) -> None:
    path.write_bytes(rows.detach().cpu().numpy().astype("<f4").tobytes())


def _write_tokenizer(path: Path, encoder: TextEncoder) -> None:
    """Writes the tokenizer without padding, which is done batch by batch, and with truncation at `max_tokens`."""
    tokenizer = Tokenizer.from_str(encoder.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.enable_truncation(encoder.max_tokens)
    tokenizer.save(str(path))


def write_bundle(parts: BundleParts, graphs: Iterable[tuple[str, Mapping[str, onnx.ModelProto]]], folder: Path) -> dict[str, Any]:
    """Writes the whole folder and returns the manifest.

    `graphs`: each precision, and its graphs by manifest key (see `manifest.GRAPHS`). Graphs of an earlier bundle in the folder
    stay until the new one is complete; files that no manifest names, such as the model card, stay for good. The manifest is
    written last: a folder with a manifest is complete. Raises ValueError, and leaves an earlier bundle as it was, if the manifest
    does not follow the service's schema.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as created:
        partial = Path(created)
        (partial / "concepts.json").write_text(json.dumps(list(parts.concepts), indent=1) + "\n", encoding="utf-8")
        if parts.decoding.repetition is not None:
            stems = "".join(f"{stem}\n" for stem in parts.decoding.repetition.stems)
            (partial / STEMS).write_text(stems, encoding="utf-8")
        _write_rows(partial / "concepts.f32", parts.concept_embeddings)
        parts.vocabulary.write(partial / "vocabulary.txt")
        _write_tokenizer(partial / "tokenizer.json", parts.text_encoder)
        _write_rows(partial / "image-centroids.f32", parts.centroids)
        precisions = []
        for precision, by_key in graphs:
            for key, name in graph_files(precision).items():
                onnx.save_model(by_key[key], partial / name)
            precisions.append(precision)
            del by_key  # or its memory would be held while the next precision is made
        manifest = manifest_of(parts, precisions)
        written = sorted(partial.iterdir())
        manifest["files"] = {file.name: {"bytes": file.stat().st_size, "sha256": sha256_of(file)} for file in written}
        check_manifest(manifest)
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")

        (folder / MANIFEST).unlink(missing_ok=True)
        for stale in folder.glob("*.onnx"):
            stale.unlink()
        for file in (*written, partial / MANIFEST):
            file.replace(folder / file.name)
    return manifest


def read_bundle(folder: Path) -> dict[str, Any]:
    """Reads the manifest and checks the hash of every file. Raises ValueError for another format version or a changed file."""
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if manifest["formatVersion"] != FORMAT_VERSION:
        raise ValueError(f"{folder} is of format {manifest['formatVersion']}, not {FORMAT_VERSION}")
    for name, facts in manifest["files"].items():
        if not (folder / name).is_file() or sha256_of(folder / name) != facts["sha256"]:
            raise ValueError(f"{folder / name} is not the file that {MANIFEST} records")
    return manifest


def read_rows(path: Path, width: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Reads a file of little-endian float32  # [rows, width]"""
    return np.fromfile(path, "<f4").reshape(-1, width)
