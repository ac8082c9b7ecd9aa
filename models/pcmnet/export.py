"""`pcmnet export`: trained pieces become a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from .bundle import Pieces, write_bundle
from .export_graphs import decoder_graph, encoder_graph, mixup_graph, text_encoder_graph
from .onnx_weights import store

STORAGES = ("w8", "fp16", "fp32")


def trace(pieces: Pieces) -> dict[str, onnx.ModelProto]:
    """The four graphs in float32, by manifest key."""
    return {
        "encoder": encoder_graph(pieces.tower, pieces.dual, pieces.side),
        "mixup": mixup_graph(pieces.captioner),
        "decoder": decoder_graph(pieces.captioner),
        "textEncoder": text_encoder_graph(pieces.sentences, pieces.dual),
    }


def export_bundle(pieces: Pieces, folder: Path, precisions: Sequence[str] = ("w8",)) -> dict[str, Any]:
    """Writes the bundle with its graphs in the given precisions, and returns its manifest."""
    if unknown := set(precisions) - set(STORAGES):
        raise ValueError(f"unknown precisions {sorted(unknown)}: known are {', '.join(STORAGES)}")
    traced = trace(pieces)
    graphs = {precision: {key: store(graph, precision) for key, graph in traced.items()} for precision in precisions}
    return write_bundle(pieces, graphs, folder)
