"""`pcmnet paper synthesize`: makes images of captions with a text-to-image pipeline of `diffusers`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..config import SynthesisConfig
from ..data.photos import batches
from ..data.records import Row, image_id_of

SUFFIX = ".jpg"
SEEDS = "seeds.jsonl"
"""File beside the images that records the seed, caption and settings of each, one object a line."""


def seed_of(seed: int, image_id: str) -> int:
    """The seed of one image. It depends on nothing else, so that neither order nor interruption changes an image."""
    return int.from_bytes(hashlib.sha256(f"{seed} {image_id}".encode()).digest()[:4])


def read_pipeline(folder: str, device: torch.device) -> Any:
    """Reads any text-to-image model that `diffusers` saved to a folder, on a GPU in half precision. Raises ValueError if
    diffusers is not installed."""
    try:
        from diffusers import DiffusionPipeline
    except ImportError:
        raise ValueError("diffusers is not installed: pip install './models[synthesis]'") from None
    kind = torch.float32 if device.type == "cpu" else torch.float16
    pipeline = DiffusionPipeline.from_pretrained(folder, torch_dtype=kind).to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def synthesize(
    pipeline: Any, rows: Sequence[Row], images: Path, settings: SynthesisConfig, seed: int, device: torch.device
) -> int:
    """Makes the missing images, one for each record's single caption, and returns their number. Raises ValueError for a record
    with several captions."""
    if any(len(row["captions"]) != 1 for row in rows):
        raise ValueError("a record has several captions, but an image is made of one: prepare the captions with --synthetic")
    images.mkdir(parents=True, exist_ok=True)
    missing = [row for row in rows if not (images / f"{image_id_of(row)}{SUFFIX}").exists()]
    options = {
        "num_inference_steps": settings.steps,
        "guidance_scale": settings.guidance,
        "height": settings.side,
        "width": settings.side,
    }
    with (images / SEEDS).open("a", encoding="utf-8") as log, tqdm(total=len(missing), desc="images", disable=None) as bar:
        for chosen in batches(range(len(missing)), settings.batch_size):
            some = [missing[i] for i in chosen]
            seeds = [seed_of(seed, image_id_of(row)) for row in some]
            generators = [torch.Generator(device).manual_seed(number) for number in seeds]
            prompts = [row["captions"][0] for row in some]
            for row, number, image in zip(some, seeds, pipeline(prompts, generator=generators, **options).images, strict=True):
                name = image_id_of(row)
                made = {"image_id": name, "seed": number, "caption": row["captions"][0], **asdict(settings)}
                log.write(json.dumps(made) + "\n")
                log.flush()
                partial = images / f"{name}.partial"
                image.save(partial, "JPEG", quality=95)
                partial.rename(images / f"{name}{SUFFIX}")
            bar.update(len(some))
    return len(missing)
