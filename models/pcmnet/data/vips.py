"""Photos by libvips, in the steps and the order of sharp, so that training sees the pixels that the service sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyvips
from numpy.typing import NDArray

Resize = Callable[[pyvips.Image, int, int], pyvips.Image]

_WHITE = [255, 255, 255]
_UPRIGHT = {
    2: ("fliphor",),
    3: ("rot180",),
    4: ("flipver",),
    5: ("rot90", "fliphor"),
    6: ("rot90",),
    7: ("rot270", "fliphor"),
    8: ("rot270",),
}
"""What sets a picture upright, by its EXIF orientation."""
_FIRST_TURNED = 5
"""Orientations from this one on exchange width and height."""


def read_stretched(file: Path | BinaryIO, side: int) -> NDArray[np.uint8]:
    """The whole picture, whatever its aspect ratio  # [side, side, 3] uint8 sRGB"""
    return _pixels(_fitted(_bytes_of(file), side, side))


def read_cropped(file: Path | BinaryIO, side: int) -> NDArray[np.uint8]:
    """The middle of the picture, its short side fitted  # [side, side, 3] uint8 sRGB

    With CLIP's roundings: the long side down, the margins half to even.
    """
    content = _bytes_of(file)
    image = _opened(content)
    size = (image.height, image.width) if _orientation(image) >= _FIRST_TURNED else (image.width, image.height)
    short = min(size)
    width, height = (side if length == short else side * length // short for length in size)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return _pixels(_fitted(content, width, height, _centred).crop(left, top, side, side))


def jpeg_shrink(factor: float) -> int:
    """The divisor at which a JPEG is decoded whose sides are to be shrunk by `factor` or more, as sharp chooses it.

    A divisor that equals the whole part of the factor is halved, because libjpeg rounds such sizes up.
    """
    shrink = next((part for part in (8, 4, 2) if factor >= part), 1)
    return shrink // 2 if shrink > 1 and int(factor) == shrink else shrink


def _bytes_of(file: Path | BinaryIO) -> bytes:
    return file.read_bytes() if isinstance(file, Path) else file.read()


def _opened(content: bytes, **options: float) -> pyvips.Image:
    return pyvips.Image.new_from_buffer(content, "", access="sequential", **options)


def _orientation(image: pyvips.Image) -> int:
    return int(image.get("orientation")) if image.get_typeof("orientation") else 1


def _resized(image: pyvips.Image, width: int, height: int) -> pyvips.Image:
    """What it enlarges lies half a pixel further right and further down than Pillow's."""
    return image.resize(width / image.width, vscale=height / image.height, kernel="cubic")


def _centred(image: pyvips.Image, width: int, height: int) -> pyvips.Image:
    """As CLIP's pre-processing, whose embedding half a pixel changes."""
    if width <= image.width or height <= image.height:
        return _resized(image, width, height)
    matrix = (width / image.width, 0, 0, height / image.height)
    bicubic = pyvips.Interpolate.new("bicubic")
    return image.affine(
        matrix, interpolate=bicubic, idx=0.5, idy=0.5, odx=-0.5, ody=-0.5, oarea=[0, 0, width, height], extend="copy"
    )


def _fitted(content: bytes, width: int, height: int, resize: Resize = _resized) -> pyvips.Image:
    """Upright, on white, in sRGB, at this size; a JPEG or WebP is decoded at a fraction of its size where that is enough."""
    image = _opened(content)
    orientation = _orientation(image)
    if orientation >= _FIRST_TURNED:
        width, height = height, width
    loader = str(image.get("vips-loader"))
    factor = min(image.width / width, image.height / height)
    if loader.startswith("jpegload") and (shrink := jpeg_shrink(factor)) > 1:
        image = _opened(content, shrink=shrink)
    elif loader.startswith("webpload") and factor > 1:
        image = _opened(content, scale=1 / factor)
    image = _in_srgb(image)
    if image.hasalpha():
        image = image.flatten(background=_WHITE)
    image = resize(image, width, height)
    if orientation in _UPRIGHT:
        image = image.copy_memory()
    for step in _UPRIGHT.get(orientation, ()):
        image = getattr(image, step)()
    return image


def _in_srgb(image: pyvips.Image) -> pyvips.Image:
    """8 bits a channel; an embedded profile counts."""
    if image.get_typeof("icc-profile-data"):
        image = image.icc_transform("srgb", embedded=True, depth=8, intent="perceptual")
    return image.colourspace("srgb")


def _pixels(image: pyvips.Image) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = image.cast("uchar").numpy()
    return pixels
