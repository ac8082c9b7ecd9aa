"""Which range of floats the 256 integers of an activation stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper

from .onnx_pipeline import Arrays

VALUES = 2048
"""Kept of each tensor in each run."""
MOST_VALUES = 200_000
"""A range is chosen by, at most."""
SHRINKS = np.linspace(1, 0.3, 15)
"""Of the whole range: cutting off rare values leaves smaller steps for all others."""


@dataclass(frozen=True)
class Range:
    """float ≈ (uint8 - zero) · scale"""

    scale: np.float32
    zero: np.uint8


def _range(low: float, high: float) -> Range:
    scale = np.float32((high - low) / 255 or 1)
    return Range(scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255)))


def _error(values: NDArray[np.float32], candidate: Range) -> float:
    zero = np.float32(candidate.zero)
    integers = np.clip(np.rint(values / candidate.scale) + zero, 0, 255)
    return float(np.square((integers - zero) * candidate.scale - values).mean())


class Samples:
    """Values of named tensors, of many runs."""

    def __init__(self) -> None:
        self._values: dict[str, list[NDArray[np.float32]]] = {}
        self._rng = np.random.default_rng(0)

    def _some(self, values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        # Indices may repeat; drawing without would permute the whole tensor.
        return values if values.size <= count else values[self._rng.integers(0, values.size, count)]

    def add(self, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        for name, tensor in tensors.items():
            self._values.setdefault(name, []).append(self._some(tensor.ravel(), VALUES))

    def ranges(self) -> dict[str, Range]:
        """Of each tensor the range with the least squared error. Zero is exact in all: it pads."""
        chosen: dict[str, Range] = {}
        for name, parts in self._values.items():
            values = self._some(np.concatenate(parts), MOST_VALUES)
            low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
            candidates = [_range(low * shrink, high * shrink) for shrink in SHRINKS]
            chosen[name] = min(candidates, key=lambda candidate: _error(values, candidate))
        return chosen


def exposing(model: ModelProto, names: list[str]) -> bytes:
    """The graph with inner tensors among its outputs."""
    shown = ModelProto()
    shown.CopyFrom(model)
    present = {value.name for value in (*model.graph.input, *model.graph.output)}
    shown.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in present)
    return shown.SerializeToString()


def named(names: list[str], inputs: Arrays, outputs: Arrays) -> Arrays:
    """Those tensors of one run."""
    return {name: outputs[name] if name in outputs else inputs[name] for name in names}
