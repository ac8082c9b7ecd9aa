"""Captions through a running service, of image files as its users send them."""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

JPEG_QUALITY = 90
"""Of enlarged photos, about what phones write."""


@dataclass(frozen=True)
class Upload:
    """How photos are sent: as the files they are, unless one of these is given."""

    megapixels: float | None = None
    """Enlarged to this size."""
    webp_quality: int | None = None
    """Written as WebP of this quality."""

    def file_of(self, path: Path) -> bytes:
        if self == AS_THEY_ARE:
            return path.read_bytes()
        with Image.open(path) as photo:
            image = photo.convert("RGB")
        if self.megapixels is not None:
            factor = (self.megapixels * 1e6 / (image.width * image.height)) ** 0.5
            image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        if self.webp_quality is None:
            image.save(buffer, "JPEG", quality=JPEG_QUALITY)
        else:
            image.save(buffer, "WEBP", quality=self.webp_quality)
        return buffer.getvalue()


AS_THEY_ARE = Upload()


def _caption_by_service(url: str, image: bytes) -> str:
    request = urllib.request.Request(f"{url}/v1/captions", image, {"Content-Type": "application/octet-stream"})
    with urllib.request.urlopen(request, timeout=60) as response:
        caption: str = json.load(response)["caption"]
    return caption


def captions_by_service(url: str, images: Sequence[Path], upload: Upload = AS_THEY_ARE) -> list[str]:
    """Captions images through a running service, eight at a time. Raises urllib.error.URLError where the service does not
    answer."""

    def caption(image: Path) -> str:
        return _caption_by_service(url, upload.file_of(image))

    with ThreadPoolExecutor(8) as pool:
        return list(tqdm(pool.map(caption, images), total=len(images), desc="captions", mininterval=10))
