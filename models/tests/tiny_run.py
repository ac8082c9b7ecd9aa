"""A run on stored features small enough for a test: 64 captioned photos and a random CLIP of 56 pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from random_clip import SMALL, random_openai_state, write_merges

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
clip_weight_alpha = 4.0
bf16 = false
"""


def _drawn(count: int) -> list[tuple[Image.Image, str]]:
    rng = np.random.default_rng(3)
    things, places = ["cat", "dog", "horse", "bird", "car", "boat"], ["table", "street", "field", "river", "house"]
    photos = []
    for n in range(count):
        colours = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        image = Image.fromarray(colours).resize((90 + n % 7, 70), Image.Resampling.NEAREST)
        photos.append((image, f"A {things[n % 6]} near the {places[n % 5]} number {n}."))
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
        image.save(images / f"{n:03}.png")
        rows.append({"image": f"{n:03}.png", "captions": [caption], "split": "train" if n < TRAIN else "test"})
    (folder / "data" / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    torch.save(random_openai_state(SMALL), folder / "data" / "clip.pt")
    write_merges(folder / "data" / "merges.txt", SMALL)
    base = Path(__file__).parents[1] / "configs" / "released.toml"
    (folder / "released.toml").write_bytes(base.read_bytes())
    (folder / "tiny.toml").write_text(CONFIG)
    return folder / "tiny.toml"
