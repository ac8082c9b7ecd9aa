"""What every training loop shares: learning-rate schedules, a seed for each step, checkpoints and the log."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm


def bf16_autocast(enabled: bool = True, device: str = "cpu") -> torch.autocast:
    """Autocast to bfloat16, if enabled and native to the device. Where it is not, PyTorch emulates it, over a hundred times
    slower."""
    if device == "cpu":
        native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    else:
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device, torch.bfloat16, enabled=enabled and native)


def cosine(step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate: linear warm-up to 1, then half a cosine to 0. `step` from 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def noam(step: int, width: int, warmup: int) -> float:
    """Learning rate of Vaswani et al. (2017), section 5.3; `step` from 1."""
    return width**-0.5 * min(step**-0.5, step * warmup**-1.5)


def epoch_order(rows: Sequence[int], seed: int, epoch: int) -> NDArray[np.int64]:
    """The rows of an epoch in an order that depends only on seed and epoch, so that a resumed run repeats it."""
    return np.random.default_rng([seed, epoch]).permutation(np.asarray(rows))


def seed_step(seed: int, step: int, process: int = 0) -> np.random.Generator:
    """Seeds the dropout and noise of a step and returns its generator, so that a resumed run draws the same numbers."""
    torch.manual_seed((seed + 7919 * process) * 1_000_003 + step)
    return np.random.default_rng([seed + 7919 * process, step, 1])


class Checkpoint:
    """The latest state of a training loop in one file, which is replaced atomically."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> dict[str, Any] | None:
        return torch.load(self.path, map_location="cpu", weights_only=True) if self.path.exists() else None

    def save(self, state: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.path)


class Log:
    """Writes one JSON object a line to a file and to standard output, and its numbers to TensorBoard, if a folder is named for it
    and it is installed."""

    def __init__(self, path: Path, board: Path | None = None) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.start = time.monotonic()
        self.board = None if board is None else _summary_writer(board)

    def write(self, **values: float | int | str) -> None:
        row = {"seconds": round(time.monotonic() - self.start, 1), **values}
        text = json.dumps({k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        tqdm.write(text)  # above a progress bar, if there is one
        if self.board is not None:
            axis = "epoch" if "epoch" in values else "step"
            for name, value in values.items():
                if isinstance(value, float):
                    self.board.add_scalar(f"{axis}/{name}", value, int(values[axis]))
            self.board.flush()


def _summary_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
