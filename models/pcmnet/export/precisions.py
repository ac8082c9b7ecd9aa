"""The graphs of a bundle in each precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from ..config import PRECISIONS
from ..quantize.int8 import Examples, Graphs, int8_graphs, observe_encoder
from ..quantize.rounding import round_convolutions
from ..quantize.storage import store
from .bundle import BundleParts, write_bundle
from .graphs import encoder_graph, mixup_graph, start_graph, step_graph, text_encoder_graph
from .search_loop import loop_over


def trace(parts: BundleParts) -> Graphs:
    """Exports flat graphs in float32: the decoder as `start` and `step`, the others by manifest key."""
    return {
        "encoder": encoder_graph(parts.encoder, parts.side),
        "mixup": mixup_graph(parts.captioner),
        "start": start_graph(parts.captioner),
        "step": step_graph(parts.captioner),
        "textEncoder": text_encoder_graph(parts.text_encoder),
    }


def _joined(flat: Graphs) -> Graphs:
    """Graphs by manifest key: `start` and `step` are joined to the decoder."""
    others = {key: graph for key, graph in flat.items() if key not in ("start", "step")}
    return others | {"decoder": loop_over(flat["start"], flat["step"])}


def stored_graphs(
    parts: BundleParts, precisions: Sequence[str], examples: Examples | None = None
) -> Iterator[tuple[str, Graphs]]:
    """Yields each precision and its graphs by manifest key, one at a time: large towers in all precisions take gigabytes.

    `int8` is calibrated on the examples, and `w8` rounds convolutions by them if there are any. Raises ValueError for an unknown
    precision, and for `int8` without examples.
    """
    if unknown := set(precisions) - set(PRECISIONS):
        raise ValueError(f"unknown precisions {sorted(unknown)}: known are {', '.join(PRECISIONS)}")
    if examples is None and "int8" in precisions:
        raise ValueError("int8 needs examples to be calibrated on")
    flat = trace(parts)
    traced = _joined(flat)
    seen = None if examples is None else observe_encoder(flat["encoder"], examples)
    rounded = {"encoder": round_convolutions(flat["encoder"], seen)} if seen is not None and seen.moments else None
    # int8 last, as the manifest lists it.
    for precision in sorted(dict.fromkeys(precisions), key=lambda precision: precision == "int8"):
        if examples is not None and seen is not None and precision == "int8":
            # Weights that stay in floating point, above all the word tables, are stored as w8.
            yield precision, _stored(_joined(int8_graphs(flat, parts, seen, examples)), "w8")
        else:
            yield precision, _stored(traced, precision, rounded)


def _stored(graphs: Mapping[str, onnx.ModelProto], precision: str, rounded: Mapping[str, Any] | None = None) -> Graphs:
    return {key: store(graph, precision, (rounded or {}).get(key)) for key, graph in graphs.items()}


def export_bundle(
    parts: BundleParts, folder: Path, precisions: Sequence[str] = ("w8",), examples: Examples | None = None
) -> dict[str, Any]:
    """Writes the bundle, one precision after the other, and returns its manifest."""
    return write_bundle(parts, stored_graphs(parts, precisions, examples), folder)
