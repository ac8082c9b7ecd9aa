"""Choice of the range of floats that the 256 integers of an activation represent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper

from ..export.pipeline import Arrays

VALUES = 2048
"""Values sampled of each tensor in each run."""
MAX_VALUES = 200_000
"""Largest number of values that a range is chosen by."""
SHRINKS = np.linspace(1, 0.3, 15)
"""Candidate ranges, relative to the whole range: clipping rare values gives all others smaller steps."""


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
    """Sampled values of named tensors over many runs."""

    def __init__(self) -> None:
        self._values: dict[str, list[NDArray[np.float32]]] = {}
        self._rng = np.random.default_rng(0)

    def _some(self, values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        # Drawn with replacement, because drawing without would permute the whole tensor.
        return values if values.size <= count else values[self._rng.integers(0, values.size, count)]

    def add(self, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        for name, tensor in tensors.items():
            self._values.setdefault(name, []).append(self._some(tensor.ravel(), VALUES))

    def ranges(self) -> dict[str, Range]:
        """The range of each tensor with the least squared error. Zero is represented exactly, because it pads."""
        chosen: dict[str, Range] = {}
        for name, parts in self._values.items():
            values = self._some(np.concatenate(parts), MAX_VALUES)
            low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
            candidates = [_range(low * shrink, high * shrink) for shrink in SHRINKS]
            chosen[name] = min(candidates, key=lambda candidate: _error(values, candidate))
        return chosen


def exposing(model: ModelProto, names: list[str]) -> bytes:
    """The serialized graph with the named inner tensors as additional outputs."""
    shown = ModelProto()
    shown.CopyFrom(model)
    present = {value.name for value in (*model.graph.input, *model.graph.output)}
    shown.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in present)
    return shown.SerializeToString()


def named(names: list[str], inputs: Arrays, outputs: Arrays) -> Arrays:
    """The named tensors of one run, from its outputs or inputs."""
    return {name: outputs[name] if name in outputs else inputs[name] for name in names}
