"""CLIP features in the released layout: an `.npz` for each image with `features` [N, D] and `g_feature` [1, G], not
normalised."""

from __future__ import annotations

import zipfile
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..model.clip import ClipImageEncoder
from .clip_pixels import decode_for_clip
from .features import Features
from .photos import batches, photos_in
from .records import id_of_image

SPLITS = "_sp*"


def image_folders(images: Path, features: Path) -> list[tuple[Path, Path]]:
    """The image folder and its splits, as far as they exist, each with the folder of its features."""
    found = [images, *sorted(images.parent.glob(images.name + SPLITS))]
    return [(path, features.with_name(features.name + path.name.removeprefix(images.name))) for path in found if path.is_dir()]


def _save(path: Path, grid: NDArray[np.float32], image: NDArray[np.float32]) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, features=grid, g_feature=image)
    partial.rename(path)


@dataclass
class Written:
    """What a run of `write_features` did."""

    images: int = 0
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    """Files that are no whole image, and why; they have no features."""


@torch.inference_mode()
def write_features(
    encoder: ClipImageEncoder,
    images: Path,
    features: Path,
    device: torch.device,
    ids: Mapping[str, str] | None = None,
    batch_size: int = 64,
) -> Written:
    """Writes the features of images that have none, so that an interrupted run can be repeated. `ids` names the features of a
    file by its name without suffix (see `read_image_list`) and leaves out others; without it, `id_of_image` names them."""
    features.mkdir(parents=True, exist_ok=True)
    named = {path: id_of_image(path) if ids is None else ids.get(path.stem, "") for path in photos_in(images)}
    missing = [path for path, name in named.items() if name and not (features / f"{name}.npz").exists()]
    encoder = encoder.to(device)
    written = Written()

    def decode(path: Path) -> NDArray[np.uint8] | None:
        try:
            return decode_for_clip(path, encoder.side)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # Pillow raises each of them
            written.unreadable.append((path, str(error)))
            return None

    with ThreadPoolExecutor() as pool, tqdm(total=len(missing), desc=features.name, mininterval=10, disable=None) as bar:
        for chosen in batches(range(len(missing)), batch_size):
            paths = [missing[i] for i in chosen]
            decoded = zip(paths, pool.map(decode, paths), strict=True)
            whole = [(path, pixels) for path, pixels in decoded if pixels is not None]
            bar.update(len(paths))
            if not whole:
                continue
            grid, image = encoder.features(torch.from_numpy(np.stack([pixels for _, pixels in whole])).to(device))
            files = [features / f"{named[path]}.npz" for path, _ in whole]
            list(pool.map(_save, files, grid.float().cpu().numpy(), image.float().cpu().numpy()[:, None]))
            written.images += len(whole)
    written.unreadable.sort()
    return written


def _unit(image: NDArray[np.generic]) -> NDArray[np.float32]:
    flat = image.astype(np.float32).reshape(-1)
    return flat / (np.linalg.norm(flat) + 1e-9)


def read_image(file: Path) -> NDArray[np.float32]:
    """Reads the global embedding of a feature file, normalised  # [E]"""
    with np.load(file) as held:
        return _unit(held["g_feature"])


Raw = tuple[NDArray[np.generic], NDArray[np.float32]]
"""A grid as it is stored [N, D], and the unit global embedding [E]."""


class _Reader(Dataset[Raw]):
    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> Raw:
        try:
            with np.load(self.files[row]) as held:
                return held["features"], _unit(held["g_feature"])
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError) as error:
            raise ValueError(f"{self.files[row]} holds no features: {error}") from error


def _stacked(read: Sequence[Raw]) -> tuple[Tensor, Tensor]:
    grids, images = zip(*read, strict=True)
    return torch.from_numpy(np.stack(grids)), torch.from_numpy(np.stack(images))


class FeatureFiles:
    """`Features` read from files, one an image. Local embeddings are the grid after CLIP's own LayerNorm and projection."""

    def __init__(self, files: Sequence[Path], norm: nn.LayerNorm, projection: Tensor) -> None:
        """`projection` [D, E]"""
        self.files, self.norm, self.projection = files, norm, projection
        self._reader = _Reader(files)

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """See `Features.batch`; on the projection's device"""
        return self._embedded(*_stacked([self._reader[row] for row in rows.tolist()]))

    def ahead(self, plan: Iterable[NDArray[np.int64]], workers: int) -> Features:
        """See `Features.ahead`. To read and unpack a batch takes about as long as a training step."""
        return self if workers == 0 else _ReadAhead(self, plan, workers)

    @torch.no_grad()
    def _embedded(self, grid: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        device = self.projection.device
        grid = grid.to(device, non_blocking=True).float()
        return grid, self.norm(grid) @ self.projection, image.to(device, non_blocking=True)


class _ReadAhead:
    """`FeatureFiles` whose batches are those of a plan, in its order."""

    def __init__(self, source: FeatureFiles, plan: Iterable[NDArray[np.int64]], workers: int) -> None:
        self._source, self._planned = source, deque[list[int]]()

        def remembered() -> Iterator[list[int]]:
            for rows in plan:
                self._planned.append(rows.tolist())
                yield self._planned[-1]

        # Workers only run numpy and zlib; forked after CUDA has started they never touch it.
        loader = DataLoader(
            source._reader,
            batch_sampler=remembered(),
            num_workers=workers,
            collate_fn=_stacked,
            pin_memory=source.projection.is_cuda,
        )
        self._batches = iter(loader)

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        read = next(self._batches)
        if self._planned.popleft() != rows.tolist():
            raise ValueError("a batch was asked for that is not the next of the plan")
        return self._source._embedded(*read)

    def ahead(self, plan: Iterable[NDArray[np.int64]], workers: int) -> Features:
        return self._source.ahead(plan, workers)
