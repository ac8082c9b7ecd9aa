"""Runs a bundle's four graphs in ONNX Runtime, from images to captions, as the service does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ..data.text import Vocabulary
from .bundle import read_bundle, read_rows

Arrays = dict[str, NDArray[Any]]
FORBIDDEN = -1e4
"""Logit bias of a word that must not be written."""


def open_session(graph: Path | bytes, threads: int = 0) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # On shared cores, threads that spin while they wait take time from those that work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


@dataclass(frozen=True)
class Captions:
    """The beams of P photos, best first."""

    words: list[list[list[str]]]
    """[P][K] captions"""
    log_probs: NDArray[np.float32]
    """[P, K]"""
    lengths: NDArray[np.int64]
    """[P, K]"""
    image_embedding: NDArray[np.float32]
    """[P, E]"""


class OnnxPipeline:
    """The sessions of one precision of a bundle, whose hashes are checked."""

    def __init__(self, folder: Path, precision: str, threads: int = 0) -> None:
        self.manifest = read_bundle(folder)
        self.vocabulary = Vocabulary.read(folder / self.manifest["vocabulary"])
        self.concepts = read_rows(folder / self.manifest["concepts"]["embeddings"], self.manifest["dimensions"]["embedding"])
        self.concept_words: list[str] = json.loads((folder / self.manifest["concepts"]["words"]).read_text(encoding="utf-8"))
        files = self.manifest["precisions"][precision]
        self.sessions = {key: open_session(folder / file, threads) for key, file in files.items()}

    def encode(self, pixels: NDArray[np.uint8]) -> Arrays:
        """[B, H, W, 3] → grid, local, image_embedding, and what `mix` adds"""
        return self.mix(run(self.sessions["encoder"], {"pixels": pixels}))

    def mix(self, encoded: Arrays) -> Arrays:
        """The encoder's outputs, and mixup's memory, memory_mask, concepts, patch_scores"""
        return encoded | run(self.sessions["mixup"], {**encoded, "concepts": self.concepts})

    def decode(
        self,
        encoded: Arrays,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        no_repeat_ngram: int | None = None,
    ) -> Arrays:
        """Memory of B images → tokens [B, K, L], log_probs [B, K], lengths [B, K]; options that are None are the bundle's."""
        d = self.manifest["decoding"]
        batch = len(encoded["memory"])
        bias = np.zeros((batch, len(self.vocabulary)), np.float32)
        bias[:, [self.vocabulary.ids[word] for word in d["blockedWords"]]] = FORBIDDEN
        penalty = d["lengthPenalty"] if length_penalty is None else length_penalty
        return run(
            self.sessions["decoder"],
            {
                "memory": encoded["memory"],
                "memory_mask": encoded["memory_mask"],
                "beam_size": np.array(beam_size or d["beamSize"], np.int64),
                "max_length": np.full(batch, d["maxLength"], np.int64),
                "length_penalty": np.full(batch, penalty, np.float32),
                "no_repeat_ngram": np.array(d["noRepeatNgram"] if no_repeat_ngram is None else no_repeat_ngram, np.int64),
                "word_bias": bias,
            },
        )

    def caption(self, pixels: NDArray[np.uint8], batch_size: int = 8, **options: float | int | None) -> Captions:
        """Captions photos [P, H, W, 3] without re-ranking; `options` are those of `decode`."""
        words: list[list[list[str]]] = []
        parts: list[tuple[NDArray[Any], ...]] = []
        for start in range(0, len(pixels), batch_size):
            encoded = self.encode(pixels[start : start + batch_size])
            decoded = self.decode(encoded, **options)  # type: ignore[arg-type]
            words += [[self.vocabulary.decode(beam) for beam in image] for image in decoded["tokens"].tolist()]
            parts.append((decoded["log_probs"], decoded["lengths"], encoded["image_embedding"]))
        return Captions(words, *(np.concatenate(part) for part in zip(*parts, strict=True)))

    def embed_texts(self, input_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Token ids of X texts, padded here → unit vectors [X, E]"""
        longest = max(len(ids) for ids in input_ids)
        mask = np.array([[1] * len(ids) + [0] * (longest - len(ids)) for ids in input_ids], np.int64)
        padded = np.array([[*ids, *[0] * (longest - len(ids))] for ids in input_ids], np.int64)
        return run(self.sessions["textEncoder"], {"input_ids": padded, "attention_mask": mask})["text_embedding"]
