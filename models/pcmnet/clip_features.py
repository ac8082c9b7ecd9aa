"""Features of CLIP in the released layout: one `.npz` an image, with `features` [N, D] and `g_feature` [1, G], both as they
come out of the tower."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from .clip import ClipImageEncoder
from .data import batches, decode_photo, photos_in

SPLITS = "_sp*"


def image_folders(images: Path, features: Path) -> list[tuple[Path, Path]]:
    """A folder and its splits that there are, each with the folder of its features."""
    found = [images, *sorted(images.parent.glob(images.name + SPLITS))]
    return [(path, features.with_name(features.name + path.name.removeprefix(images.name))) for path in found if path.is_dir()]


def _save(path: Path, grid: NDArray[np.float32], image: NDArray[np.float32]) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, features=grid, g_feature=image)
    partial.rename(path)


@torch.inference_mode()
def write_features(encoder: ClipImageEncoder, images: Path, features: Path, device: torch.device, batch_size: int = 64) -> int:
    """Writes the features that are missing, and returns how many; a run that was stopped goes on where it was."""
    features.mkdir(parents=True, exist_ok=True)
    missing = [path for path in photos_in(images) if not (features / f"{path.stem}.npz").exists()]
    encoder = encoder.to(device)
    with ThreadPoolExecutor() as pool, tqdm(total=len(missing), desc=features.name, mininterval=10, disable=None) as bar:
        for chosen in batches(range(len(missing)), batch_size):
            paths = [missing[i] for i in chosen]
            pixels = np.stack(list(pool.map(lambda path: decode_photo(path, encoder.side, "crop"), paths)))
            grid, image = encoder.features(torch.from_numpy(pixels).to(device))
            files = [features / f"{path.stem}.npz" for path in paths]
            list(pool.map(_save, files, grid.float().cpu().numpy(), image.float().cpu().numpy()[:, None]))
            bar.update(len(paths))
    return len(missing)


def _unit(image: NDArray[np.generic]) -> NDArray[np.float32]:
    flat = image.astype(np.float32).reshape(-1)
    return flat / (np.linalg.norm(flat) + 1e-9)


def read_image(file: Path) -> NDArray[np.float32]:
    """The global embedding, unit length  # [E]"""
    with np.load(file) as held:
        return _unit(held["g_feature"])


class FeatureFiles:
    """Stored features, an image a row; local embeddings are made of the grid by CLIP's own LayerNorm and projection."""

    def __init__(self, files: Sequence[Path], norm: nn.LayerNorm, projection: Tensor) -> None:
        """`projection` [D, E]"""
        self.files, self.norm, self.projection = files, norm, projection
        self._pool = ThreadPoolExecutor()

    @torch.no_grad()
    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """See `train_captioner.Features`; on the projection's device"""
        read: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        # Only the disk is read by threads: numpy parses headers with `ast`, which Python 3.11 cannot do in several at once.
        for content in self._pool.map(lambda row: self.files[row].read_bytes(), rows.tolist()):
            with np.load(io.BytesIO(content)) as held:
                read.append((held["features"].astype(np.float32), _unit(held["g_feature"])))
        grid, image = (torch.from_numpy(np.stack(part)).to(self.projection.device) for part in zip(*read, strict=True))
        return grid, self.norm(grid) @ self.projection, image
