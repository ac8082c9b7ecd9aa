"""A tuning of the tower that has not ended, as one small file that another machine goes on from.

The optimizer's moments are left out: they would take twice the room of the weights, and a short warm-up makes them anew.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from ..train.loop import Checkpoint
from .tune_stage import CHECKPOINT

FILE = "tower-progress.safetensors"
_STEP = "step"


def pack_progress(run: Path, folder: Path) -> int:
    """Writes the state of the run's tuning to `folder` in float16, and returns its size in bytes."""
    state = Checkpoint(run / CHECKPOINT).load()
    if state is None:
        raise FileNotFoundError(f"{run} has no {CHECKPOINT}")
    tensors = {_STEP: torch.tensor(state["step"])}
    for part in ("model", "average"):
        for name, value in state[part].items():
            # What is frozen is in both.
            if part == "model" or not torch.equal(value, state["model"][name]):
                tensors[f"{part}.{name}"] = (value.half() if value.is_floating_point() else value).contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    content = save(tensors)
    (folder / FILE).write_bytes(content)
    return len(content)


def unpack_progress(folder: Path, run: Path) -> None:
    """Puts the packed state, if there is one, where the stage `tower` finds it, unless the run has its own."""
    if not (folder / FILE).exists() or (run / CHECKPOINT).exists():
        return
    held = load_file(folder / FILE)
    full = {name: value.float() if value.is_floating_point() else value for name, value in held.items()}

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in full.items() if name.startswith(prefix)}

    model = part("model.")
    average = {name: value.clone() for name, value in model.items()} | part("average.")
    Checkpoint(run / CHECKPOINT).save({"model": model, "average": average, "step": int(full[_STEP])})
