"""How near the service's `crop` comes to CLIP's own pre-processing, through a CLIP with random weights.

`python bench/clip_crop.py PHOTOS`, with the package `pcmnet` installed and the service built (`npm run build`). Takes 200
photos: a third as they are, a third with a short side below the model's, a third above it by little. Prints the largest
cosine distance of two embeddings of one photo.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from pcmnet.data.clip_pixels import decode_for_clip
from pcmnet.data.vips import read_cropped
from pcmnet.model.clip import ClipImageEncoder, ClipSizes, new_clip

ROOT = Path(__file__).parents[2]
PHOTOS = 200
SIDE = 224
SIZES = ClipSizes(
    patch=32,
    pool=1,
    vision_width=256,
    vision_layers=4,
    text_width=64,
    text_layers=1,
    embedding=128,
    side=SIDE,
    text_vocabulary=600,
)
BY_SERVICE = """
import { readFileSync } from 'node:fs';
import { decodeImage } from './dist/src/images/decode.js';
const target = { width: SIDE, height: SIDE, resize: 'crop', kernel: 'cubic' };
for (const file of JSON.parse(readFileSync(0, 'utf8'))) {
  const { pixels } = await decodeImage(readFileSync(file), target, { maxPixels: 5e7, maxSide: 65535, heic: true });
  process.stdout.write(pixels);
}
""".replace("SIDE", str(SIDE))


def random_encoder() -> ClipImageEncoder:
    """With weights of unit gain: those that training begins with hardly tell photos apart."""
    torch.manual_seed(1)
    encoder = ClipImageEncoder(new_clip(SIZES, end=599), SIZES).eval()
    for weight in encoder.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
    return encoder


def write_photos(photos: Path, folder: Path) -> Iterator[Path]:
    """Lossless, because decoders of JPEG round differently too."""
    for n, source in enumerate(sorted(photos.glob("*.jpg"))[:PHOTOS]):
        image = Image.open(source).convert("RGB")
        short = [min(image.size), 40 + n % 180, 225 + n % 150][n % 3]
        width, height = (max(1, side * short // min(image.size)) for side in image.size)
        file = folder / f"{n:03}.png"
        image.resize((width, height), Image.Resampling.LANCZOS).save(file)
        yield file


def service_pixels(files: list[Path]) -> NDArray[np.uint8]:
    """Of the built service  # [N, side, side, 3]"""
    command = ["node", "--input-type=module", "-e", BY_SERVICE]
    names = json.dumps([str(file) for file in files]).encode()
    run = subprocess.run(command, cwd=ROOT, input=names, check=True, capture_output=True)
    return np.frombuffer(run.stdout, np.uint8).reshape(-1, SIDE, SIDE, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    photos: Path = parser.parse_args().photos
    encoder = random_encoder()
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        files = list(write_photos(photos, Path(folder)))

        def embed(pixels: NDArray[np.uint8]) -> torch.Tensor:
            return torch.cat([encoder(part)[2] for part in torch.from_numpy(pixels.copy()).split(20)])

        clips = embed(np.stack([decode_for_clip(file, SIDE) for file in files]))
        for name, pixels in (
            ("service", service_pixels(files)),
            ("training", np.stack([read_cropped(file, SIDE) for file in files])),
            ("moved by one pixel, for comparison", np.roll(np.stack([decode_for_clip(file, SIDE) for file in files]), 1, axis=2)),
        ):
            distances = 1 - F.cosine_similarity(embed(pixels), clips)
            print(f"{name}: largest cosine distance over {len(files)} photos {distances.max():.6f}, mean {distances.mean():.6f}")


if __name__ == "__main__":
    main()
