"""`bundle.json`: the manifest of a bundle, and the schema it has to follow.

`bundle.schema.json` is the service's own schema of the manifest (src/inference/manifest.ts), emitted as JSON Schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jsonschema.exceptions import best_match
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

from .graphs import memory_length

if TYPE_CHECKING:
    from .bundle import BundleParts

FORMAT_VERSION = 1
MANIFEST = "bundle.json"
GRAPHS = {"encoder": "encoder", "mixup": "mixup", "decoder": "decoder", "textEncoder": "text-encoder"}
"""Manifest key → first part of the file name."""
SCHEMA = "bundle.schema.json"
STEMS = "stems.txt"


@cache
def _validator() -> Validator:
    schema = json.loads(files(__package__).joinpath(SCHEMA).read_text(encoding="utf-8"))
    return validator_for(schema)(schema)


def check_manifest(manifest: Mapping[str, Any]) -> None:
    """Raises ValueError, naming the member and what is wrong with it, where a manifest is not one that the service reads."""
    error = best_match(_validator().iter_errors(manifest))
    if error is not None:
        where = "".join(f"/{part}" for part in error.absolute_path)
        raise ValueError(f"{MANIFEST}{where and ': '}{where} does not follow {SCHEMA}: {error.message}")


def graph_files(precision: str) -> dict[str, str]:
    """Manifest key → file name of each graph in a precision."""
    return {key: f"{name}.{precision}.onnx" for key, name in GRAPHS.items()}


def manifest_of(parts: BundleParts, precisions: Sequence[str]) -> dict[str, Any]:
    """The content of `bundle.json` without `files`."""
    c, d = parts.captioner.config, parts.decoding
    calibration: dict[str, Any] = {"confidence": parts.confidence.to_json()}
    if parts.match_probability is not None:
        calibration["matchProbability"] = parts.match_probability.to_json()
    decoding: dict[str, Any] = {
        "beamSize": d.beam_size,
        "maxLength": d.max_length,
        "lengthPenalty": d.length_penalty,
        "noRepeatNgram": d.no_repeat_ngram,
        "rerankWeight": d.rerank_weight,
        "blockedWords": list(d.blocked_words),
    }
    if d.repetition is not None:
        decoding["repetition"] = {"stems": STEMS, "penalty": d.repetition.penalty}
    concepts: dict[str, Any] = {
        "words": "concepts.json",
        "embeddings": "concepts.f32",
        "prompts": list(parts.prompts),
        "k": c.k,
    }
    if d.named_concepts is not None:
        concepts["named"] = {"minCosine": d.named_concepts.min_cosine, "bias": d.named_concepts.bias}
    calibration["imageCentroids"] = {"file": "image-centroids.f32", "rows": len(parts.centroids)}
    return {
        "formatVersion": FORMAT_VERSION,
        "id": parts.id,
        "version": parts.version,
        "licence": parts.licence,
        "description": parts.description,
        "sources": list(parts.sources),
        "image": {"width": parts.side, "height": parts.side, "resize": parts.resize, "kernel": parts.kernel},
        "grid": {"rows": parts.encoder.rows, "columns": parts.encoder.columns},
        "dimensions": {
            "grid": c.grid_width,
            "embedding": c.embedding,
            "memory": c.width,
            "memoryLength": memory_length(c),
            "vocabulary": c.vocabulary,
        },
        "decoding": decoding,
        "concepts": concepts,
        "vocabulary": "vocabulary.txt",
        "tokenizer": {"file": "tokenizer.json", "maxTokens": parts.text_encoder.max_tokens},
        "calibration": calibration,
        "precisions": {precision: graph_files(precision) for precision in precisions},
        "quality": dict(parts.quality),
    }
