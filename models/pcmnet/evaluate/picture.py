"""`pcmnet picture`: draws the salient patches of an image and their concepts, as a bundle detects them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ..data.photos import decode_photo
from ..data.text import sentence_of
from ..export.pipeline import OnnxPipeline

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")
"""Paul Tol's bright palette, which colour-blind readers can distinguish."""


def salient_concepts(patch_scores: NDArray[np.float32], cells: int) -> dict[int, int]:
    """The patches that hold one of the `cells` largest cosines [N, k] → the index of the best concept of each."""
    places = np.argsort(-patch_scores, axis=None, kind="stable")[:cells]
    return {int(patch): int(patch_scores[patch].argmax()) for patch in places // patch_scores.shape[1]}


def draw(
    manifest: Mapping[str, Any], pixels: NDArray[np.uint8], words: list[str], salient: Mapping[int, int], title: str
) -> Figure:
    """`pixels` [H, W, 3]; `words`: the k concepts, most probable first; `salient`: see `salient_concepts`."""
    rows, columns = manifest["grid"]["rows"], manifest["grid"]["columns"]
    side, high, wide = pixels.shape[0], pixels.shape[0] / rows, pixels.shape[1] / columns
    figure = Figure(figsize=(6, 6.6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(pixels)
    for patch, place in salient.items():
        corner = (patch % columns * wide - 0.5, patch // columns * high - 0.5)
        colour = COLOURS[place % len(COLOURS)]
        axes.add_patch(Rectangle(corner, wide, high, fill=True, facecolor=f"{colour}55", edgecolor=colour, linewidth=2))
        centre = (corner[0] + wide / 2, corner[1] + high / 2)
        axes.annotate(words[place], centre, ha="center", va="center", color="white", bbox={"color": colour, "pad": 1}, fontsize=9)
    axes.set_title(title, wrap=True)
    axes.set_xlabel("concepts: " + ", ".join(words), wrap=True)
    axes.set(xticks=[], yticks=[], xlim=(-0.5, pixels.shape[1] - 0.5), ylim=(side - 0.5, -0.5))
    return figure


def write_picture(bundle: Path, precision: str, photo: Path, out: Path) -> None:
    """Writes the photo as the network sees it, with its salient patches, their concepts, and the caption as title."""
    pipeline = OnnxPipeline(bundle, precision)
    manifest = pipeline.manifest
    pixels = decode_photo(photo, manifest["image"]["height"], manifest["image"]["resize"])
    encoded = pipeline.encode(pixels[None])
    caption = pipeline.vocabulary.decode(pipeline.decode(encoded)["tokens"][0, 0].tolist())
    words = [pipeline.concept_words[i] for i in encoded["concept_ids"][0]]
    # After the image and its patches, the memory has as many places as there are replaced cells.
    cells = manifest["dimensions"]["memoryLength"] - 1 - manifest["grid"]["rows"] * manifest["grid"]["columns"]
    salient = salient_concepts(encoded["patch_scores"][0], cells)
    draw(manifest, pixels, words, salient, sentence_of(caption)).savefig(out, dpi=120)
