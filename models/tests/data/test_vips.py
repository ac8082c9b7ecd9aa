"""Photos reach training as they reach the service: the pixels are sharp's."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from random_clip import SMALL, random_openai_state, write_merges
from tiny_run import sample_photos

from pcmnet.data.clip_pixels import decode_for_clip
from pcmnet.data.photos import decode_photo
from pcmnet.data.vips import jpeg_shrink
from pcmnet.model.clip import read_clip

ROOT = Path(__file__).parents[3]
SIDE = 96
BY_SHARP = """
const sharp = require('sharp');
(async () => {
  for (const file of JSON.parse(process.argv[1])) {
    const pixels = await sharp(file, { autoOrient: true }).flatten({ background: '#ffffff' })
      .resize(SIDE, SIDE, { fit: 'fill', kernel: 'cubic' }).toColourspace('srgb').raw({ depth: 'uchar' }).toBuffer();
    process.stdout.write(pixels);
  }
})();
""".replace("SIDE", str(SIDE))


def scene(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Soft shapes with noise; another in every corner."""
    rng = np.random.default_rng(5)
    channels = len(Image.new(mode, (1, 1)).getbands())
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, channels), dtype=np.uint8).squeeze(), mode)
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.float32)
    noisy = smooth + rng.normal(0, 4, smooth.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8), mode)


def write_cases(folder: Path) -> list[Path]:
    """Small and large, of each format, with alpha, gray, and in all eight orientations."""
    for size in ((130, 87), (341, 256), (900, 640), (1601, 1200)):
        scene(*size).save(folder / f"{size[0]}.jpg", quality=92)
        scene(*size).save(folder / f"{size[0]}.webp", quality=92)
    scene(300, 200).save(folder / "plain.png")
    scene(300, 200, "RGBA").save(folder / "alpha.png")
    scene(300, 200, "L").save(folder / "gray.jpg", quality=92)
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        scene(500, 300).save(folder / f"turned-{orientation}.jpg", quality=92, exif=exif)
    return sorted(folder.iterdir())


@pytest.mark.skipif(
    not (ROOT / "node_modules" / "sharp").exists() or shutil.which("node") is None, reason="sharp is not installed here"
)
def test_pixels_are_those_of_sharp(tmp_path: Path) -> None:
    files = write_cases(tmp_path)
    command = ["node", "-e", BY_SHARP, json.dumps([str(file) for file in files])]
    raw = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    expected = np.frombuffer(raw, np.uint8).reshape(-1, SIDE, SIDE, 3).astype(np.int16)
    for file, theirs in zip(files, expected, strict=True):
        assert np.abs(decode_photo(file, SIDE) - theirs).mean() < 0.1, file.name


def test_a_turned_photo_is_set_upright(tmp_path: Path) -> None:
    files = {file.stem: file for file in write_cases(tmp_path)}
    exif_free = Image.open(files["turned-6"]).transpose(Image.Transpose.ROTATE_270)
    exif_free.save(tmp_path / "upright.png")
    difference = np.abs(decode_photo(files["turned-6"], SIDE).astype(np.int16) - decode_photo(tmp_path / "upright.png", SIDE))
    assert difference.mean() < 1


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    Image.new("RGBA", (40, 30), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    assert (decode_photo(tmp_path / "clear.png", 8) == 255).all()


def test_a_jpeg_is_decoded_at_a_fraction_that_leaves_enough() -> None:
    assert [jpeg_shrink(factor) for factor in (0.5, 1.9, 2.0, 2.9, 3.0, 4.5, 5.1, 8.2, 9.0, 40)] == [1, 1, 1, 1, 2, 2, 4, 4, 8, 8]


def test_crop_gives_the_embedding_of_clips_own_preprocessing(tmp_path: Path) -> None:
    sizes = replace(SMALL, side=224, patch=32, pool=1)
    torch.save(random_openai_state(sizes), tmp_path / "clip.pt")
    write_merges(tmp_path / "merges.txt", sizes)
    clip = read_clip(tmp_path / "clip.pt", tmp_path / "merges.txt").images
    files = [tmp_path / f"{n:02}.png" for n in range(16)]
    for file, (image, _) in zip(files, sample_photos(16), strict=True):
        image.save(file)
    service, clips = (
        torch.from_numpy(np.stack(pixels))
        for pixels in ([decode_photo(file, 224, "crop") for file in files], [decode_for_clip(file, 224) for file in files])
    )
    with torch.inference_mode():
        cosines = F.cosine_similarity(clip(service)[2], clip(clips)[2])
    assert (1 - cosines).max() < 0.002


@pytest.mark.parametrize("size", [(640, 427), (427, 640), (500, 495), (203, 200), (225, 224), (224, 224), (3000, 20)])
def test_crop_takes_the_middle_that_clip_takes(size: tuple[int, int], tmp_path: Path) -> None:
    scene(*size).save(tmp_path / "photo.png")
    pixels = decode_photo(tmp_path / "photo.png", 224, "crop")
    assert np.abs(pixels.astype(np.int16) - decode_for_clip(tmp_path / "photo.png", 224)).mean() < 0.5
