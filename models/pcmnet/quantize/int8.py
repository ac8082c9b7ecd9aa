"""The graphs of a bundle in integer arithmetic, calibrated on photos and their captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from ..export.bundle import BundleParts
from ..export.pipeline import Arrays, open_session, run
from .convolutions import activations, is_convolutional, quantise_convolutions
from .linears import Watched, linear_inputs, quantise_linears
from .observe import Observation, observe

Graphs = dict[str, ModelProto]
BATCH = 4
"""Photos of one run. The search of a batch ends with its longest caption, so large batches over-represent finished beams."""


@dataclass(frozen=True)
class Examples:
    """Photos and captions that graphs are calibrated on."""

    pixels: NDArray[np.uint8]
    """[P, H, W, 3]"""
    texts: Sequence[str]


def observe_encoder(encoder: ModelProto, examples: Examples) -> Observation:
    feeds = ({"pixels": np.ascontiguousarray(photo[None])} for photo in examples.pixels)
    held = activations(encoder) if is_convolutional(encoder) else []
    return observe(encoder, feeds, [*held, *linear_inputs(encoder)], moments=bool(held))


def _search(start: Watched, step: Watched, mixed: Arrays, parts: BundleParts) -> None:
    """Runs the beam search step by step as the loop does, so that the watched graphs sample their inputs."""
    batch, d = len(mixed["memory"]), parts.decoding
    tensors = mixed | {
        "beam_size": np.array(d.beam_size, np.int64),
        "max_length": np.full(batch, d.max_length, np.int64),
        "length_penalty": np.full(batch, d.length_penalty, np.float32),
        "no_repeat_ngram": np.array(d.no_repeat_ngram, np.int64),
        "word_bias": np.zeros((batch, len(parts.vocabulary)), np.float32),
    }
    tensors |= start(tensors)
    for iteration in range(d.max_length):
        found = step(tensors | {"iteration": np.array(iteration, np.int64)})
        tensors |= {name.removeprefix("next_"): value for name, value in found.items() if name.startswith("next_")}
        if not found["living"]:
            break


def int8_graphs(flat: Graphs, parts: BundleParts, seen: Observation, examples: Examples) -> Graphs:
    """Quantises `flat`, graphs in float32 by the names of `export.precisions.trace`; `seen` is the result of
    `observe_encoder`."""
    encoder = open_session(flat["encoder"].SerializeToString())
    watched = {name: Watched(graph) for name, graph in flat.items() if name != "encoder"}
    concepts = parts.concept_embeddings.numpy()
    for first in range(0, len(examples.pixels), BATCH):
        encoded = run(encoder, {"pixels": np.ascontiguousarray(examples.pixels[first : first + BATCH])})
        mixed = watched["mixup"](encoded | {"concepts": concepts})
        _search(watched["start"], watched["step"], mixed, parts)
    text_encoder = parts.text_encoder
    for text in examples.texts:
        tokens = text_encoder.tokenizer([text], truncation=True, max_length=text_encoder.max_tokens, return_tensors="np")
        watched["textEncoder"]({name: tokens[name] for name in ("input_ids", "attention_mask")})
    convolved = quantise_convolutions(flat["encoder"], seen) if is_convolutional(flat["encoder"]) else flat["encoder"]
    quantised = {name: quantise_linears(flat[name], graph.ranges()) for name, graph in watched.items()}
    return {"encoder": quantise_linears(convolved, seen.ranges), **quantised}
