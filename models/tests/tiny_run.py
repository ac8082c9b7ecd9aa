"""A run on stored features small enough for a test: 64 captioned photos and a random CLIP of 56 pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from random_clip import SMALL, random_openai_state, write_merges

from pcmnet.config import read_config
from pcmnet.paper.run import PaperRun

DATA = Path(__file__).parents[2].parent / "shared" / "data"
"""Real photos, where they lie beside the repository."""
TRAIN, TEST = 64, 12
CONFIG = """
base = "released.toml"
id = "tiny"

[data]
train = "train.jsonl"
train_images = "images"
train_features = "features"
test = "test.jsonl"
test_images = "images"
test_features = "features"
clip = "clip.pt"
merges = "merges.txt"

[concepts]
min_captions = 2

[model]
grid_width = 128
embedding = 32
patches = 4
width = 128
heads = 2
ffn = 256
encoder_layers = 2
decoder_layers = 2
dropout = 0.0
attention_dropout = 0.0
embedding_dropout = 0.0
token_dropout = 0.0
output_dropout = 0.0

[captioner]
min_word_count = 1
batch_size = 16
epochs = 60
optimizer = "adamw" # the paper's schedule warms up for 10,000 steps
learning_rate = 2e-3
warmup_steps = 100
weight_decay = 0.01
clip_weight_alpha = 4.0
bf16 = false
"""


SHORT = (
    *("captioner.epochs=2", "captioner.batch_size=8", "model.dropout=0.1"),
    *("captioner.optimizer='adam'", "captioner.learning_rate=3e-4"),
)
"""Changes with which the run takes seconds, by the paper's schedule."""


def _drawn(count: int) -> list[tuple[Image.Image, str]]:
    """Bands on a ground: its colour is the thing and the band's place is the place, so that captions can be learned."""
    rng = np.random.default_rng(3)
    things, places = ["cat", "dog", "horse", "bird", "car", "boat"], ["table", "street", "field", "river", "house"]
    grounds = rng.integers(0, 256, (len(things), 3))
    photos = []
    for n in range(count):
        thing, place, width = n % len(things), n % len(places), 90 + n % 7
        pixels = np.broadcast_to(grounds[thing], (70, width, 3)) + rng.normal(0, 8, (70, width, 3))
        band = slice(place * width // len(places), (place + 1) * width // len(places))
        pixels[:, band] = 255 - pixels[:, band]
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        photos.append((image, f"A {things[thing]} near the {places[place]}."))
    return photos


def _photographed(count: int) -> list[tuple[Image.Image, str]]:
    with (DATA / "captions.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(next(lines)) for _ in range(count)]
    return [(Image.open(DATA / "images" / row["image"]).convert("RGB"), row["captions"][0]) for row in rows]


def sample_photos(count: int) -> list[tuple[Image.Image, str]]:
    """Captioned photos: real ones where they are."""
    return (_photographed if DATA.exists() else _drawn)(count)


def write_tiny_run(folder: Path) -> Path:
    """Photos, captions and CLIP; returns the configuration's file."""
    images = folder / "data" / "images"
    images.mkdir(parents=True)
    rows = []
    for n, (image, caption) in enumerate(sample_photos(TRAIN + TEST)):
        # Of the model's size: random weights make another sentence of pixels that Pillow and libvips resize by other roundings.
        ImageOps.fit(image, (SMALL.side, SMALL.side)).save(images / f"{n:03}.png")
        rows.append({"image": f"{n:03}.png", "captions": [caption], "split": "train" if n < TRAIN else "test"})
    (folder / "data" / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    torch.save(random_openai_state(SMALL), folder / "data" / "clip.pt")
    write_merges(folder / "data" / "merges.txt", SMALL)
    base = Path(__file__).parents[1] / "configs" / "released.toml"
    (folder / "released.toml").write_bytes(base.read_bytes())
    (folder / "tiny.toml").write_text(CONFIG)
    return folder / "tiny.toml"


def run_of(prepared: Path, out: Path, *changes: str) -> PaperRun:
    """The tiny run with `SHORT` and other changes; `prepared` is what `write_tiny_run` wrote, `out` the run's folder."""
    return PaperRun(read_config(prepared / "tiny.toml", [*SHORT, *changes]), prepared / "data", out)
