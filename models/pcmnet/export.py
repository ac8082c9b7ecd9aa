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


class _Stored(Mapping[str, Graphs]):
    """Precision → manifest key → graph, made when it is asked for: large towers in all precisions take gigabytes at once."""

    def __init__(self, pieces: Pieces, precisions: Sequence[str], examples: Examples | None) -> None:
        if unknown := set(precisions) - set(PRECISIONS):
            raise ValueError(f"unknown precisions {sorted(unknown)}: known are {', '.join(PRECISIONS)}")
        if examples is None and "int8" in precisions:
            raise ValueError("int8 needs examples to be calibrated on")
        self.pieces, self.examples = pieces, examples
        # int8 last, as the manifest lists it.
        self.precisions = sorted(dict.fromkeys(precisions), key=lambda precision: precision == "int8")
        self.flat = trace(pieces)
        self.traced = _joined(self.flat)
        self.seen = None if examples is None else observe_encoder(self.flat["encoder"], examples)
        self.rounded = None
        if self.seen is not None and self.seen.moments:
            self.rounded = {"encoder": round_convolutions(self.flat["encoder"], self.seen)}

    def __getitem__(self, precision: str) -> Graphs:
        if precision in STORAGES:
            return _stored(self.traced, precision, self.rounded)
        if precision not in self.precisions or self.examples is None or self.seen is None:
            raise KeyError(precision)
        # What is left in floating point, above all the tables of words, is stored small.
        return _stored(_joined(int8_graphs(self.flat, self.pieces, self.seen, self.examples)), "w8")

    def __iter__(self) -> Iterator[str]:
        return iter(self.precisions)

    def __len__(self) -> int:
        return len(self.precisions)


def graphs_of(pieces: Pieces, precisions: Sequence[str], examples: Examples | None = None) -> dict[str, Graphs]:
    """Precision → manifest key → graph. `int8` is calibrated on the examples; `w8` rounds convolutions by them too."""
    return dict(_Stored(pieces, precisions, examples))


def _stored(graphs: Mapping[str, onnx.ModelProto], precision: str, rounded: Mapping[str, Any] | None = None) -> Graphs:
    return {key: store(graph, precision, (rounded or {}).get(key)) for key, graph in graphs.items()}


def export_bundle(
    pieces: Pieces, folder: Path, precisions: Sequence[str] = ("w8",), examples: Examples | None = None
) -> dict[str, Any]:
    """Writes the bundle, one precision after the other, and returns its manifest."""
    return write_bundle(pieces, _Stored(pieces, precisions, examples), folder)
