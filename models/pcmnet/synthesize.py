"""`pcmnet synthesize`: images of captions, by a text-to-image pipeline of `diffusers`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from .config import SynthesisConfig
from .data import batches
from .records import Row, image_id_of

SUFFIX = ".jpg"
SEEDS = "seeds.jsonl"
"""Beside the images: what each was made of, an object a line."""


def seed_of(seed: int, image_id: str) -> int:
    """Of an image by itself, so that neither the order nor a pause changes it."""
    return int.from_bytes(hashlib.sha256(f"{seed} {image_id}".encode()).digest()[:4])


def read_pipeline(folder: str, device: torch.device) -> Any:
    """Any text-to-image model that `diffusers` saved to a folder; in half precision on a GPU."""
    try:
        from diffusers import DiffusionPipeline
    except ImportError:
        raise SystemExit("pcmnet synthesize needs diffusers: pip install './models[synthesis]'") from None
    kind = torch.float32 if device.type == "cpu" else torch.float16
    pipeline = DiffusionPipeline.from_pretrained(folder, torch_dtype=kind).to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def synthesize(
    pipeline: Any, rows: Sequence[Row], images: Path, settings: SynthesisConfig, seed: int, device: torch.device
) -> int:
    """Makes the images that are missing, one of each row's single caption, and returns how many."""
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
