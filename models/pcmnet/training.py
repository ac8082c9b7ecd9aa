"""What every training stage shares: the schedule, checkpoints that resume, and a seed for each step."""

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


def bf16_autocast(enabled: bool = True, device: str = "cpu") -> torch.autocast:
    """bfloat16 where the processor multiplies it; where it does not, PyTorch emulates it more than a hundred times slower."""
    if device == "cpu":
        native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    else:
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device, torch.bfloat16, enabled=enabled and native)


def cosine(step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate: linear to 1, then half a cosine to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def noam(step: int, width: int, warmup: int = 10_000) -> float:
    """Learning rate of Vaswani et al. (2017), 5.3; `step` from 1."""
    return width**-0.5 * min(step**-0.5, step * warmup**-1.5)


def epoch_order(rows: Sequence[int], seed: int, epoch: int) -> NDArray[np.int64]:
    """The photos of an epoch, in an order that only the seed and the epoch decide, so that a resumed run repeats it."""
    return np.random.default_rng([seed, epoch]).permutation(np.asarray(rows))


def seed_step(seed: int, step: int, process: int = 0) -> np.random.Generator:
    """Seeds dropout and noise of one step; a resumed run draws what an uninterrupted one would have drawn."""
    torch.manual_seed((seed + 7919 * process) * 1_000_003 + step)
    return np.random.default_rng([seed + 7919 * process, step, 1])


class Checkpoint:
    """The latest state of a stage in one file, replaced atomically."""

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
    """One JSON object a line: what a curve is drawn from later."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.start = time.monotonic()

    def write(self, **values: float | int | str) -> None:
        row = {"seconds": round(time.monotonic() - self.start, 1), **values}
        text = json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        print(text, flush=True)
