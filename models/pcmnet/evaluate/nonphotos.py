"""Generated images that are not photos, on which the confidence has to be low."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
Drawing = Callable[[int, np.random.Generator], Pixels]


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    r, g, b = rng.integers(0, 256, 3).tolist()
    return r, g, b


def blank(side: int, rng: np.random.Generator) -> Pixels:
    return np.full((side, side, 3), _colour(rng), np.uint8)


def noise(side: int, rng: np.random.Generator) -> Pixels:
    """White noise, grey or coloured, of random grain and contrast."""
    grain = int(rng.choice([1, 2, 4, 8, 16, 32]))
    cells = -(-side // grain)
    values = rng.normal(128, rng.uniform(10, 90), (cells, cells, 3 if rng.random() < 0.6 else 1))
    coarse = np.clip(np.broadcast_to(values, (cells, cells, 3)), 0, 255).astype(np.uint8)
    return coarse.repeat(grain, 0).repeat(grain, 1)[:side, :side]


def gradient(side: int, rng: np.random.Generator) -> Pixels:
    start, end = np.array(_colour(rng)), np.array(_colour(rng))
    ramp = np.linspace(0, 1, side)
    share = ramp[:, None] * rng.random() + ramp[None] * rng.random()
    share = (share / share.max())[..., None]
    return (start * (1 - share) + end * share).astype(np.uint8)


def chart(side: int, rng: np.random.Generator) -> Pixels:
    """Bars, a line or a pie, with axes and labels."""
    image = Image.new("RGB", (side, side), "white" if rng.random() < 0.8 else _colour(rng))
    draw = ImageDraw.Draw(image)
    low, high = side // 8, side - side // 8
    kind = rng.integers(0, 3)
    if kind == 2:
        edges = np.cumsum(rng.dirichlet(np.ones(int(rng.integers(3, 8))))) * 360
        for begin, end in zip([0, *edges[:-1]], edges, strict=True):
            draw.pieslice((low, low, high, high), begin, end, fill=_colour(rng))
    else:
        draw.line((low, low, low, high, high, high), fill="black", width=2)
        count = int(rng.integers(4, 12))
        heights = rng.uniform(low, high, count)
        step = (high - low) / count
        if kind == 0:
            colour = _colour(rng)
            for i, top in enumerate(heights):
                draw.rectangle((low + i * step + 3, top, low + (i + 1) * step - 3, high), fill=colour)
        else:
            draw.line([(low + (i + 0.5) * step, y) for i, y in enumerate(heights)], fill=_colour(rng), width=3)
        for i in range(count):
            draw.text((low + i * step, high + 4), str(int(rng.integers(0, 100))), fill="black")
    draw.text((low, low // 3), "Figure of the quarter", fill="black", font=ImageFont.load_default(side // 18))
    return np.asarray(image)


def screenshot(side: int, rng: np.random.Generator) -> Pixels:
    """Lines of text, boxes and buttons."""
    dark = rng.random() < 0.4
    image = Image.new("RGB", (side, side), (30, 30, 36) if dark else "white")
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.7:
        draw.rectangle((0, 0, side, side // 10), fill=_colour(rng))
    size = int(rng.integers(side // 26, side // 12))
    font = ImageFont.load_default(size)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz0123456789       "))
    for top in range(side // 8, side - size, int(size * 1.6)):
        if rng.random() < 0.12:
            draw.rounded_rectangle((side // 16, top, side // 2, top + size * 1.3), 4, fill=_colour(rng))
        else:
            text = "".join(rng.choice(letters, int(rng.integers(6, 60))))
            draw.text((side // 16, top), text, fill="white" if dark else "black", font=font)
    return np.asarray(image)


def pattern(side: int, rng: np.random.Generator) -> Pixels:
    """Stripes or a chequerboard."""
    cell = int(rng.integers(4, side // 4))
    across, down = np.arange(side) // cell, np.arange(side) // cell
    which = (across[None] + (down[:, None] if rng.random() < 0.5 else np.zeros((side, 1), np.int64))) % 2
    return np.where(which[..., None] == 1, np.array(_colour(rng)), np.array(_colour(rng))).astype(np.uint8)


KINDS: dict[str, Drawing] = {
    "blank": blank,
    "noise": noise,
    "gradient": gradient,
    "chart": chart,
    "screenshot": screenshot,
    "pattern": pattern,
}


def draw_nonphotos(each: int, side: int, seed: int) -> tuple[list[str], Pixels]:
    """Draws `each` images of every kind → the kind of each, and the pixels  # P names, [P, side, side, 3]"""
    rng = np.random.default_rng(seed)
    kinds = [kind for kind in KINDS for _ in range(each)]
    return kinds, np.stack([KINDS[kind](side, rng) for kind in kinds])
