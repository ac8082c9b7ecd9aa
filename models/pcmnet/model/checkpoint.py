"""Checkpoints of PCM-Net: ours, which record their configuration, and the released ones, which hold weights only."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import Config, config_of
from ..data.unpickling import load_tensors, state_dict_of
from .pcm_net import PCMNet

_NAMES = (re.compile(r"epoch-(\d+)\.pt"), re.compile(r"model_Epoch_(\d+)_Iter_\d+\.pth"))
"""Of the checkpoint after an epoch: ours, and the released one."""


def write_checkpoint(path: Path, model: PCMNet, config: Config) -> None:
    """Writes the weights, under `model` as released checkpoints have them, and the whole configuration under `config`."""
    torch.save({"model": model.state_dict(), "config": dataclasses.asdict(config)}, path)


def checkpoints_in(folder: Path) -> dict[int, Path]:
    """The checkpoints of a folder by their epochs, under our names or the released ones."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        for pattern in _NAMES:
            if named := pattern.fullmatch(path.name):
                found[int(named[1])] = path
    return dict(sorted(found.items()))


def find_checkpoint(path: Path, epoch: int | None = None) -> Path:
    """A checkpoint's file: `path` itself, or in a folder the one of an epoch, the last if it is not named. Raises
    FileNotFoundError if there is none."""
    if not path.is_dir():
        return path
    found = checkpoints_in(path)
    chosen = max(found, default=0) if epoch is None else epoch
    if chosen not in found:
        held = ", ".join(map(str, found)) or "none"
        raise FileNotFoundError(f"{path} has no checkpoint of epoch {chosen}; it has epochs: {held}")
    return found[chosen]


def recorded_config(path: Path) -> Config | None:
    """The configuration that a checkpoint records. Raises as `read_config`."""
    return _recorded(load_tensors(path))


def _recorded(held: Mapping[str, Any], changes: Sequence[str] = ()) -> Config | None:
    values = held.get("config")
    return config_of(values, changes) if isinstance(values, dict) else None


def read_captioner(path: Path, config: Config | None = None, changes: Sequence[str] = ()) -> tuple[PCMNet, tuple[str, ...]]:
    """Reads a network in evaluation mode, and the names of weights that it does not use.

    Its configuration is the one that the checkpoint records, overridden by `changes`; for one that records none, such as a
    released one, it is `config`. Raises ValueError if there is neither, or if the weights do not fit.
    """
    held = load_tensors(path)
    state = state_dict_of(held, path)
    sizes = sizes_in(state)
    known = _recorded(held, changes) or config
    if known is None:
        raise ValueError(f"{path} records no configuration, and its weights do not show all of it: name one by --config")
    settings = dataclasses.replace(known.model, vocabulary=sizes["vocabulary"])
    for name, size in sizes.items():
        if (named := getattr(settings, name)) != size:
            raise ValueError(f"{path} does not fit its configuration: model.{name} is {named} there, {size} in the weights")
    model = PCMNet(settings, own_projection=True)
    found = model.load_state_dict(state, strict=False)
    if found.missing_keys:
        raise ValueError(f"{path} lacks {', '.join(found.missing_keys)}")
    return model.eval(), tuple(found.unexpected_keys)


def sizes_in(state: Mapping[str, Tensor]) -> dict[str, int]:
    """The settings of `ModelConfig` that weights show. Raises ValueError for other checkpoints."""
    try:
        width, grid_width = state["visual_embed.embeddings.weight"].shape
        return {
            "grid_width": grid_width,
            "embedding": state["visual_embed.g_embeddings.weight"].shape[1],
            "patches": state["visual_embed.embeddings_pos"].shape[1] - 1,
            "vocabulary": len(state["predictor.logits.weight"]),
            "width": width,
            "ffn": len(state["encoder.layers.0.intermediate.dense.weight"]),
            "encoder_layers": _layers(state, "encoder.layers"),
            "decoder_layers": _layers(state, "decoder.g_layers"),
        }
    except KeyError as error:
        raise ValueError(f"no checkpoint of PCM-Net: it has no {error}") from None


def _layers(state: Mapping[str, Tensor], prefix: str) -> int:
    return sum(name.startswith(f"{prefix}.") and name.endswith(".intermediate.dense.weight") for name in state)
