"""CLIP's own pre-processing, which the released features were computed with: Pillow's bytes matter there.

The EXIF orientation is ignored, as the released extractor does. The service applies it, so a photo that is stored turned has
other features there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def decode_for_clip(file: Path, side: int) -> NDArray[np.uint8]:
    """The short side fitted by bicubic, the middle cut out  # [side, side, 3] uint8 RGB

    Raises OSError for a file that is no whole image.
    """
    with Image.open(file) as image:
        return np.asarray(fit_and_crop(image.convert("RGB"), side))


def fit_and_crop(image: Image.Image, side: int) -> Image.Image:
    """With CLIP's roundings: the long side down, the margins half to even."""
    short = min(image.size)
    width, height = (side if length == short else int(side * length / short) for length in image.size)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))
