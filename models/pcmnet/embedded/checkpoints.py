"""Packs the trained parts as float16 safetensors, small enough to keep with the code, from which training can continue."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

CAPTIONERS = ("captioner-rewarded", "captioner-refined", "captioner")
"""States after the stages `self-critical`, `refine` and `captioner`."""
PARTS = {"tower": ("tower",), "dual-encoder": ("dual-encoder",), "captioner": CAPTIONERS}
"""Each part and the names of its file in a run's folder, the furthest trained first. The concept map is part of the captioner."""
CONCEPT_MAP = "visual_embed.concept_map."
VOCABULARY = "vocabulary.txt"
SHARD_BYTES = 40_000_000


def pack(run: Path, folder: Path) -> int:
    """Writes the trained parts of a run to `folder`, in files of bounded size, and returns their size in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.safetensors"):
        stale.unlink()
    for part, names in PARTS.items():
        shards: list[dict[str, Tensor]] = [{}]
        size = 0
        path = next((run / f"{name}.pt" for name in names if (run / f"{name}.pt").exists()), run / f"{part}.pt")
        for name, value in torch.load(path, weights_only=True).items():
            half = (value.half() if value.is_floating_point() else value).contiguous()
            if size + half.nbytes > SHARD_BYTES:
                shards.append({})
                size = 0
            shards[-1][name] = half
            size += half.nbytes
        for number, shard in enumerate(shards, start=1):
            # save_file would write files that only their owner can read.
            (folder / f"{part}-{number}.safetensors").write_bytes(save(shard))
    (folder / VOCABULARY).write_bytes((run / VOCABULARY).read_bytes())
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def concept_map_of(captioner: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of the captioner's concept map, empty if it has none."""
    return {name.removeprefix(CONCEPT_MAP): value for name, value in captioner.items() if name.startswith(CONCEPT_MAP)}


def unpack(folder: Path, run: Path) -> None:
    """Writes packed parts to a run's folder, where stages find them as if they had just been trained. Raises
    FileNotFoundError if a part is missing."""
    run.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        state: dict[str, Tensor] = {}
        for shard in sorted(folder.glob(f"{part}-*.safetensors")):
            state |= load_file(shard)
        if not state:
            raise FileNotFoundError(f"{folder} has no {part}-1.safetensors")
        full = {n: v.float() if v.is_floating_point() else v for n, v in state.items()}
        torch.save(full, run / f"{part}.pt")
        if part == "captioner" and (moved := concept_map_of(full)):
            torch.save(moved, run / "concepts.pt")
    (run / VOCABULARY).write_bytes((folder / VOCABULARY).read_bytes())
