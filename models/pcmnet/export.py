"""`pcmnet export`: trained pieces become a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from .bundle import Pieces, write_bundle
from .export_graphs import encoder_graph, mixup_graph, start_graph, step_graph, text_encoder_graph
from .int8 import Examples, Graphs, int8_graphs, observe_encoder
from .onnx_loop import loop_over
from .onnx_rounding import round_convolutions
from .onnx_weights import store

STORAGES = ("w8", "fp16", "fp32")
PRECISIONS = (*STORAGES, "int8")


def trace(pieces: Pieces) -> Graphs:
    """Flat graphs in float32: the decoder's as `start` and `step`, the others by manifest key."""
    return {
        "encoder": encoder_graph(pieces.encoder, pieces.side),
        "mixup": mixup_graph(pieces.captioner),
        "start": start_graph(pieces.captioner),
        "step": step_graph(pieces.captioner),
        "textEncoder": text_encoder_graph(pieces.text_encoder),
    }


def _joined(flat: Graphs) -> Graphs:
    """By manifest key: `start` and `step` become the decoder."""
    others = {key: graph for key, graph in flat.items() if key not in ("start", "step")}
    return others | {"decoder": loop_over(flat["start"], flat["step"])}


def graphs_of(pieces: Pieces, precisions: Sequence[str], examples: Examples | None = None) -> dict[str, Graphs]:
    """Precision → manifest key → graph. `int8` is calibrated on the examples; `w8` rounds convolutions by them too."""
    if unknown := set(precisions) - set(PRECISIONS):
        raise ValueError(f"unknown precisions {sorted(unknown)}: known are {', '.join(PRECISIONS)}")
    if examples is None and "int8" in precisions:
        raise ValueError("int8 needs examples to be calibrated on")
    flat = trace(pieces)
    traced = _joined(flat)
    seen = None if examples is None else observe_encoder(flat["encoder"], examples)
    rounded = None if seen is None or not seen.moments else {"encoder": round_convolutions(flat["encoder"], seen)}
    graphs = {p: _stored(traced, p, rounded) for p in precisions if p in STORAGES}
    if examples is not None and seen is not None and "int8" in precisions:
        # What is left in floating point, above all the tables of words, is stored small.
        graphs["int8"] = _stored(_joined(int8_graphs(flat, pieces, seen, examples)), "w8")
    return graphs


def _stored(graphs: Mapping[str, onnx.ModelProto], precision: str, rounded: Mapping[str, Any] | None = None) -> Graphs:
    return {key: store(graph, precision, (rounded or {}).get(key)) for key, graph in graphs.items()}


def export_bundle(
    pieces: Pieces, folder: Path, precisions: Sequence[str] = ("w8",), examples: Examples | None = None
) -> dict[str, Any]:
    """Writes the bundle with its graphs in the given precisions, and returns its manifest."""
    return write_bundle(pieces, graphs_of(pieces, precisions, examples), folder)
