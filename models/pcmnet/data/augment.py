"""Random variants of photos: crops, light, colour, and what cameras and websites do to pictures."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..config import AugmentConfig

_LUMA = np.array([[0.299], [0.587], [0.114]], np.float32).repeat(3, 1)
"""The same gray in every channel  # [3, 3]"""


@dataclass(frozen=True)
class Crop:
    """A box in parts of the photo's sides."""

    top: float
    left: float
    height: float
    width: float
    mirrored: bool


def draw_crop(settings: AugmentConfig, rng: np.random.Generator) -> Crop:
    area = rng.uniform(settings.min_crop_area, 1)
    aspect = math.exp(rng.uniform(-1, 1) * math.log(settings.max_aspect))
    height, width = min(1.0, math.sqrt(area / aspect)), min(1.0, math.sqrt(area * aspect))
    return Crop(rng.uniform(0, 1 - height), rng.uniform(0, 1 - width), height, width, bool(rng.random() < 0.5))


def augmented(
    pixels: NDArray[np.uint8], side: int, settings: AugmentConfig, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], list[Crop]]:
    """[B, H, W, 3] → [B, side, side, 3], and what was cut out"""
    crops = [draw_crop(settings, rng) for _ in pixels]
    return np.stack([_variant(photo, crop, side, settings, rng) for photo, crop in zip(pixels, crops, strict=True)]), crops


def _variant(
    photo: NDArray[np.uint8], crop: Crop, side: int, settings: AugmentConfig, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """[H, W, 3] → [side, side, 3]"""
    if rng.random() < settings.jpeg_chance:
        photo = through_jpeg(photo, int(rng.integers(settings.jpeg_quality, 96)))
    height, width = photo.shape[:2]
    left, top = crop.left * width, crop.top * height
    box = (left, top, left + crop.width * width, top + crop.height * height)
    image = Image.fromarray(photo)
    if rng.random() < settings.resample_chance:
        small = round(side * rng.uniform(settings.resample_factor, 1))
        image = image.resize((small, small), Image.Resampling.BICUBIC, box).resize((side, side), Image.Resampling.BICUBIC)
    else:
        image = image.resize((side, side), Image.Resampling.BICUBIC, box)
    if crop.mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return coloured(np.asarray(image), settings, rng)


def coloured(pixels: NDArray[np.uint8], settings: AugmentConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Another brightness, contrast and saturation  # [H, W, 3]"""
    bright, contrast, saturation = (
        rng.uniform(1 - most, 1 + most) for most in (settings.brightness, settings.contrast, settings.saturation)
    )
    mixed = saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * _LUMA  # [3 in, 3 out]
    mean = float(pixels.mean((0, 1)) @ _LUMA[:, 0])
    changed = pixels.astype(np.float32) @ (bright * contrast * mixed).astype(np.float32)
    changed += bright * (1 - contrast) * mean
    return changed.clip(0, 255).astype(np.uint8)


def through_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """[H, W, 3]"""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))
