"""Comparison of exported graphs with the PyTorch modules they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.text import sentence_of
from ..model.beam_search import Beams, beam_search
from ..model.pcm_net import Memory
from .bundle import BundleParts
from .graphs import Mixup
from .pipeline import FORBIDDEN, Arrays, OnnxPipeline, run


@dataclass(frozen=True)
class Comparison:
    """Differences between the graphs and PyTorch."""

    differences: dict[str, float]
    """Largest absolute difference of each output, by `graph.output`; each graph gets PyTorch's inputs. For concept ids and
    tokens it is the share of images or beams that differ; log_probs are compared where tokens are equal."""
    equal_captions: float
    """Share of photos whose best caption is the same from pixels to words."""
    photos: int
    examples: list[tuple[str, str]]
    """Pairs of captions that differ: PyTorch's and the graphs'."""

    @property
    def largest(self) -> float:
        """Largest difference of all real-valued outputs."""
        return max(value for name, value in self.differences.items() if not name.endswith(("_ids", "tokens", "lengths")))


def torch_decode(parts: BundleParts, memory: Memory) -> Beams:
    """The bundle's default decoding, in PyTorch."""
    d = parts.decoding
    bias = torch.zeros(len(memory.states), len(parts.vocabulary))
    bias[:, [parts.vocabulary.ids[word] for word in d.blocked_words]] = FORBIDDEN
    return beam_search(parts.captioner, memory, d.beam_size, d.max_length, d.length_penalty, d.no_repeat_ngram, bias)


def _numpy(tensors: Sequence[Tensor], names: Sequence[str]) -> Arrays:
    return {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}


def _pad(tokens: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    return np.pad(tokens, ((0, 0), (0, 0), (0, length - tokens.shape[2])))


class _Differences(dict[str, float]):
    def note(self, graph: str, expected: Arrays, found: Arrays) -> None:
        for name, value in expected.items():
            if value.shape != found[name].shape:
                raise ValueError(f"{graph}'s {name} has shape {found[name].shape}, not {value.shape}")
            if name == "concept_ids":
                worst = float((value != found[name]).any(-1).mean())
            else:
                worst = float(np.abs(value.astype(np.float64) - found[name]).max())
            self[f"{graph}.{name}"] = max(self.get(f"{graph}.{name}", 0.0), worst)


@torch.inference_mode()
def compare_graphs(
    parts: BundleParts, folder: Path, precision: str, pixels: NDArray[np.uint8], texts: Sequence[str], batch_size: int = 8
) -> Comparison:
    """`pixels` [P, H, W, 3] of P photos, and texts for the text encoder, through the bundle's graphs and through PyTorch."""
    pipeline = OnnxPipeline(folder, precision)
    sessions = pipeline.sessions
    encoder, text_encoder, mixup = parts.encoder, parts.text_encoder, Mixup(parts.captioner)
    differences = _Differences()
    equal, beams, unlike = 0, 0, 0
    examples: list[tuple[str, str]] = []
    for start in range(0, len(pixels), batch_size):
        batch = np.array(pixels[start : start + batch_size])  # torch.from_numpy needs a writable array
        grid, local, image = encoder(torch.from_numpy(batch))
        encoded = _numpy((grid, local, image), ["grid", "local", "image_embedding"])
        seen = run(sessions["encoder"], {"pixels": batch})
        differences.note("encoder", encoded, seen)

        mixed = mixup(grid, local, image, parts.concept_embeddings)
        expected = _numpy(mixed, [output.name for output in sessions["mixup"].get_outputs()])
        concepts = parts.concept_embeddings.numpy()
        differences.note("mixup", expected, run(sessions["mixup"], {**encoded, "concepts": concepts}))

        reference = torch_decode(parts, parts.captioner.encode(grid, local, image, parts.concept_embeddings))
        decoded = pipeline.decode(expected)
        length = max(reference.tokens.shape[2], decoded["tokens"].shape[2])
        same = (_pad(reference.tokens.numpy(), length) == _pad(decoded["tokens"], length)).all(-1)  # [B, K]
        beams += same.size
        unlike += int((~same).sum())
        for name, value in (("log_probs", reference.log_probs), ("lengths", reference.lengths)):
            worst = np.abs(value.numpy() - decoded[name])[same].max(initial=0)
            differences[f"decoder.{name}"] = max(differences.get(f"decoder.{name}", 0.0), float(worst))

        found = pipeline.decode(pipeline.mix(seen))["tokens"]
        for one, other in zip(reference.tokens[:, 0].tolist(), found[:, 0].tolist(), strict=True):
            pair = (parts.vocabulary.decode(one), parts.vocabulary.decode(other))
            equal += pair[0] == pair[1]
            if pair[0] != pair[1]:
                examples.append((sentence_of(pair[0]), sentence_of(pair[1])))
    differences["decoder.tokens"] = unlike / beams

    tokens = text_encoder.tokenizer(
        list(texts), padding=True, truncation=True, max_length=text_encoder.max_tokens, return_tensors="pt"
    )
    expected_text = text_encoder(tokens["input_ids"], tokens["attention_mask"])
    inputs = {name: tokens[name].numpy() for name in ("input_ids", "attention_mask")}
    differences.note("textEncoder", {"text_embedding": expected_text.numpy()}, run(sessions["textEncoder"], inputs))
    return Comparison(dict(differences), equal / len(pixels), len(pixels), examples)
