"""`pcmnet export`: trained pieces become a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


def stored_graphs(pieces: Pieces, precisions: Sequence[str], examples: Examples | None = None) -> Iterator[tuple[str, Graphs]]:
    """Each precision, and its graphs by manifest key: one after the other, as large towers in all of them take gigabytes at once.

    `int8` is calibrated on the examples; `w8` rounds convolutions by them too.
    """
    if unknown := set(precisions) - set(PRECISIONS):
        raise ValueError(f"unknown precisions {sorted(unknown)}: known are {', '.join(PRECISIONS)}")
    if examples is None and "int8" in precisions:
        raise ValueError("int8 needs examples to be calibrated on")
    flat = trace(pieces)
    traced = _joined(flat)
    seen = None if examples is None else observe_encoder(flat["encoder"], examples)
    rounded = {"encoder": round_convolutions(flat["encoder"], seen)} if seen is not None and seen.moments else None
    # int8 last, as the manifest lists it.
    for precision in sorted(dict.fromkeys(precisions), key=lambda precision: precision == "int8"):
        if examples is not None and seen is not None and precision == "int8":
            # What is left in floating point, above all the tables of words, is stored small.
            yield precision, _stored(_joined(int8_graphs(flat, pieces, seen, examples)), "w8")
        else:
            yield precision, _stored(traced, precision, rounded)


def _stored(graphs: Mapping[str, onnx.ModelProto], precision: str, rounded: Mapping[str, Any] | None = None) -> Graphs:
    return {key: store(graph, precision, (rounded or {}).get(key)) for key, graph in graphs.items()}


def export_bundle(
    pieces: Pieces, folder: Path, precisions: Sequence[str] = ("w8",), examples: Examples | None = None
) -> dict[str, Any]:
    """Writes the bundle, one precision after the other, and returns its manifest."""
    return write_bundle(pieces, stored_graphs(pieces, precisions, examples), folder)
