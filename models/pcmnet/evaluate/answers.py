"""The service's answer to an image, computed from a bundle's graphs: the caption and the features of its confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Ranking:
    """The weights of the rank score, as a bundle's manifest names them."""

    length_penalty: float
    rerank_weight: float
    repeat_penalty: float = 0.0


@dataclass(frozen=True)
class Candidates:
    """The beams of B images, K each."""

    decoded: Arrays
    """The decoder's outputs."""
    words: list[list[list[str]]]
    """[B][K] sentences"""
    cosines: NDArray[np.float32]
    """Of sentence and image  # [B, K]"""
    repeated: NDArray[np.int64]
    """Words that are said again  # [B, K]"""

    def ranks(self, ranking: Ranking) -> NDArray[np.float64]:
        """Scores that rank the candidates: the score of the search, plus the weighted cosine, less the penalty of words said
        again  # [B, K]

        Empty sentences, dead beams and beams with a blocked word get -inf.
        """
        log_probs = self.decoded["log_probs"]
        sentences = (self.decoded["tokens"][:, :, 0] != END) & (log_probs > FORBIDDEN / 2)
        scores = log_probs / self.decoded["lengths"] ** ranking.length_penalty + ranking.rerank_weight * self.cosines
        return np.where(sentences, scores - ranking.repeat_penalty * self.repeated, -np.inf)


@dataclass(frozen=True)
class ImageBeams:
    """What the graphs say of B images."""

    image_embeddings: NDArray[np.float32]
    """[B, E]"""
    concept_ids: NDArray[np.int64]
    """[B, k]"""
    concept_scores: NDArray[np.float32]
    """[B, k]"""
    candidates: Candidates


def count_repeated(words: Sequence[str], stems: Mapping[str, str]) -> int:
    """How many words repeat an earlier one, or another form of it; words without a stem may."""
    said = [stems[word] for word in words if stems.get(word)]
    return len(said) - len(set(said))


def read_stems(folder: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """The stem of each word that has one; none where the bundle does not mind words that are said twice."""
    repetition = manifest["decoding"].get("repetition")
    if repetition is None:
        return {}
    words, stems = (
        (folder / name).read_text(encoding="utf-8").splitlines() for name in (manifest["vocabulary"], repetition["stems"])
    )
    return {word: stem for word, stem in zip(words, stems, strict=True) if stem}


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
        decoding = manifest["decoding"]
        penalty = decoding.get("repetition", {}).get("penalty", 0.0)
        self.ranking = Ranking(decoding["lengthPenalty"], decoding["rerankWeight"], penalty)
        self.stems = read_stems(folder, manifest)

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

    def candidates(self, encoded: Arrays, **options: float | int | None) -> Candidates:
        """Of images that `OnnxPipeline.encode` encoded; `options` are those of `OnnxPipeline.decode`."""
        decoded = self.pipeline.decode(encoded, **options)  # type: ignore[arg-type]
        words = [[self.pipeline.vocabulary.decode(beam) for beam in beams] for beams in decoded["tokens"].tolist()]
        texts = self.embed([" ".join(beam) for beams in words for beam in beams]).reshape(*decoded["log_probs"].shape, -1)
        cosines = np.einsum("be,bke->bk", encoded["image_embedding"], texts)
        return Candidates(
            decoded, words, cosines, np.array([[count_repeated(beam, self.stems) for beam in beams] for beams in words])
        )

    def beams(self, pixels: NDArray[np.uint8], batch_size: int = 8) -> list[ImageBeams]:
        """Runs the graphs on images [P, H, W, 3] uint8, batch by batch."""
        parts: list[ImageBeams] = []
        for start in range(0, len(pixels), batch_size):
            encoded = self.pipeline.encode(np.ascontiguousarray(pixels[start : start + batch_size]))
            kept = (encoded["image_embedding"], encoded["concept_ids"], encoded["concept_scores"])
            parts.append(ImageBeams(*kept, self.candidates(encoded)))
        return parts

    def answer(self, pixels: NDArray[np.uint8], batch_size: int = 8) -> Answers:
        """Answers images [P, H, W, 3] uint8."""
        return self.answer_beams(self.beams(pixels, batch_size), self.ranking)

    def answer_beams(self, parts: Sequence[ImageBeams], ranking: Ranking) -> Answers:
        """Takes the best sentence of each image."""
        answers: list[Answer] = []
        for part in parts:
            decoded, cosines, ranks = part.candidates.decoded, part.candidates.cosines, part.candidates.ranks(ranking)
            means = decoded["log_probs"] / decoded["lengths"]
            for row, best in enumerate(ranks.argmax(1).tolist()):
                answers.append(
                    Answer(
                        " ".join(part.candidates.words[row][best]),
                        {
                            "cosine": float(cosines[row, best]),
                            "meanLogProb": float(means[row, best]),
                            "logProb": float(decoded["log_probs"][row, best]),
                            "length": float(decoded["lengths"][row, best]),
                            "familiarity": float((part.image_embeddings[row] @ self.centroids.T).max()),
                            "conceptScore": float(part.concept_scores[row, 0]),
                            "rankScore": float(ranks[row, best]),
                            "candidateMargin": 0.0,
                        },
                        part.concept_ids[row].tolist(),
                    )
                )
        familiarity = np.array([answer.features["familiarity"] for answer in answers], np.float32)
        return Answers(answers, np.concatenate([part.image_embeddings for part in parts]), familiarity)
