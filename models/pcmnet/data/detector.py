"""What an object detector sees in the photos: the maps of class scores that a tower learns to predict from its own cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from tqdm import tqdm

from .photos import Photo, decode_photo

SIDE = 320
MAP_SIDE = 20
"""Cells of a stored map, row by column."""
_MEAN = np.array([103.53, 116.28, 123.675], np.float32)
_DEVIATION = np.array([57.375, 57.12, 58.395], np.float32)
"""Of the channels in the order blue, green, red."""


class Detector:
    """PicoDet by ONNX Runtime."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        model = onnx.load(path)
        # A weight that is a graph input, too, could be overridden, so the runtime would not fold it.
        weights = {tensor.name for tensor in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in weights]
        del model.graph.input[:]
        model.graph.input.extend(inputs)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        self.input = inputs[0].name
        outputs = self.session.get_outputs()
        self.classes = int(outputs[0].shape[2])
        self.maps = [output.name for output in outputs if output.shape[2] == self.classes]

    def class_map(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The highest score of each class over all strides  # [320, 320, 3] uint8 RGB → [MAP_SIDE, MAP_SIDE, classes]"""
        x = ((pixels[..., ::-1].astype(np.float32) - _MEAN) / _DEVIATION).transpose(2, 0, 1)[None]
        found = np.zeros((MAP_SIDE, MAP_SIDE, self.classes), np.float32)
        for scores in self.session.run(self.maps, {self.input: x}):
            side = round(scores.shape[1] ** 0.5)
            grid = scores.reshape(side, side, self.classes)
            found = np.maximum(found, at_side(grid, MAP_SIDE))
        return found


def at_side(grid: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """The maximum where cells merge, a copy where they are split: [S, S, C] → [side, side, C], S a multiple or a divisor"""
    given = len(grid)
    if given >= side:
        part = given // side
        return grid.reshape(side, part, side, part, -1).max((1, 3))
    return grid.repeat(side // given, 0).repeat(side // given, 1)


def open_class_maps(path: Path, detector: Path, photos: list[Photo], images: Path, save_every: int = 512) -> NDArray[np.uint8]:
    """Scores of all photos in 255ths, written on first use; goes on where it was stopped  # [P, MAP_SIDE, MAP_SIDE, classes]"""
    if not path.exists():
        found = Detector(detector)
        partial, progress = path.with_suffix(".partial"), path.with_suffix(".progress")
        done = int(progress.read_text()) if progress.exists() else 0
        shape = (len(photos), MAP_SIDE, MAP_SIDE, found.classes)
        mode = "r+" if done else "w+"
        store = np.lib.format.open_memmap(partial, mode=mode, dtype=np.uint8, shape=shape)
        for row in tqdm(range(done, len(photos)), initial=done, total=len(photos), desc="class maps", mininterval=10):
            store[row] = (found.class_map(decode_photo(images / photos[row].image, SIDE)) * 255).round().astype(np.uint8)
            if (row + 1) % save_every == 0:
                store.flush()
                progress.write_text(str(row + 1))
        store.flush()
        partial.rename(path)
        progress.unlink(missing_ok=True)
    maps: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return maps


def cropped_map(scores: NDArray[np.uint8], top: float, left: float, height: float, width: float, side: int) -> NDArray[np.uint8]:
    """The highest score in each cell of a crop, whose box is in parts of the photo: [M, M, C] → [side, side, C]"""
    rows = _spans(top, height, len(scores), side)
    columns = _spans(left, width, scores.shape[1], side)
    by_row = np.stack([scores[first:end].max(0) for first, end in rows])  # [side, M, C]
    return np.stack([by_row[:, first:end].max(1) for first, end in columns], 1)


def _spans(start: float, length: float, cells: int, side: int) -> list[tuple[int, int]]:
    """For each of `side` equal parts of a stretch, the cells whose centres lie in it, or else the one that its centre lies in."""
    edges = (start + length * np.arange(side + 1) / side) * cells
    bounds = np.ceil(edges - 0.5).astype(int)
    nearest = np.clip(((edges[:-1] + edges[1:]) / 2).astype(int), 0, cells - 1)
    first = np.where(bounds[1:] > bounds[:-1], bounds[:-1], nearest)
    end = np.where(bounds[1:] > bounds[:-1], bounds[1:], nearest + 1)
    return list(zip(first.tolist(), end.tolist(), strict=True))
