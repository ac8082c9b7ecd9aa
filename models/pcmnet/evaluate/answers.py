"""The service's answer to an image, computed from a bundle's graphs: the caption and the features of its confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ..data.text import END
from ..export.bundle import read_rows
from ..export.pipeline import FORBIDDEN, Arrays, OnnxPipeline


@dataclass(frozen=True)
class Answer:
    caption: str
    """Lower case."""
    features: dict[str, float]
    """Features of the confidence, by their names in the bundle's calibration."""
    concepts: list[int]
    """Rows of the concept vocabulary, most probable first."""


@dataclass(frozen=True)
class Answers:
    answers: list[Answer]
    image_embeddings: NDArray[np.float32]
    """[P, E]"""
    familiarity: NDArray[np.float32]
    """Largest cosine of each image to a centroid of the training photos  # [P]"""


def ranks_of(decoded: Arrays, cosines: NDArray[np.float32], length_penalty: float, rerank_weight: float) -> NDArray[np.float64]:
    """Scores that rank the candidates: the score of the search plus the weighted cosine of sentence and image  # [B, K]

    `decoded` are the decoder's outputs, `cosines` [B, K]. Empty sentences, dead beams and beams with a blocked word get -inf.
    """
    log_probs = decoded["log_probs"]
    sentences = (decoded["tokens"][:, :, 0] != END) & (log_probs > FORBIDDEN / 2)
    return np.where(sentences, log_probs / decoded["lengths"] ** length_penalty + rerank_weight * cosines, -np.inf)


class Answering:
    """Answers with a bundle in one precision as the service does: decode, re-rank by cosine, take the best sentence."""

    def __init__(self, folder: Path, precision: str) -> None:
        self.pipeline = OnnxPipeline(folder, precision)
        manifest = self.pipeline.manifest
        self.tokenizer = Tokenizer.from_file(str(folder / manifest["tokenizer"]["file"]))
        self.tokenizer.no_padding()
        self.centroids = read_rows(
            folder / manifest["calibration"]["imageCentroids"]["file"], manifest["dimensions"]["embedding"]
        )
        self.decoding = manifest["decoding"]

    def embed(self, texts: Sequence[str], batch_size: int = 64) -> NDArray[np.float32]:
        """Embeds texts as unit vectors  # [T, E]. Raises ValueError if there are none."""
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        out: NDArray[np.float32] | None = None
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            embedded = self.pipeline.embed_texts([ids[i] for i in chosen])
            if out is None:
                out = np.empty((len(ids), embedded.shape[1]), np.float32)
            out[chosen] = embedded
        if out is None:
            raise ValueError("no texts to embed")
        return out

    def answer(self, pixels: NDArray[np.uint8], batch_size: int = 8) -> Answers:
        """Answers images [P, H, W, 3] uint8."""
        answers: list[Answer] = []
        embeddings: list[NDArray[np.float32]] = []
        for start in range(0, len(pixels), batch_size):
            encoded = self.pipeline.encode(np.ascontiguousarray(pixels[start : start + batch_size]))
            decoded = self.pipeline.decode(encoded)
            images = encoded["image_embedding"]
            embeddings.append(images)
            words = [[self.pipeline.vocabulary.decode(beam) for beam in beams] for beams in decoded["tokens"].tolist()]
            texts = self.embed([" ".join(beam) for beams in words for beam in beams]).reshape(*decoded["log_probs"].shape, -1)
            cosines = np.einsum("be,bke->bk", images, texts)
            means = decoded["log_probs"] / decoded["lengths"]
            ranks = ranks_of(decoded, cosines, self.decoding["lengthPenalty"], self.decoding["rerankWeight"])
            for row in range(len(images)):
                best = int(ranks[row].argmax())
                answers.append(
                    Answer(
                        " ".join(words[row][best]),
                        {
                            "cosine": float(cosines[row, best]),
                            "meanLogProb": float(means[row, best]),
                            "logProb": float(decoded["log_probs"][row, best]),
                            "length": float(decoded["lengths"][row, best]),
                            "familiarity": float((images[row] @ self.centroids.T).max()),
                            "conceptScore": float(encoded["concept_scores"][row, 0]),
                            "candidateMargin": 0.0,
                        },
                        encoded["concept_ids"][row].tolist(),
                    )
                )
        familiarity = np.array([answer.features["familiarity"] for answer in answers], np.float32)
        return Answers(answers, np.concatenate(embeddings), familiarity)
