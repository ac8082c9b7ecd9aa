"""The paper's tables: every released run on its own test set, and on the other's with the other's concepts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .config import read_config
from .evaluation import evaluate_checkpoint
from .feature_run import FeatureRun

ROWS = (
    # trained on, tested on, epoch of the paper's row
    ("coco-b32", "coco-b32", 10),
    ("coco-l14", "coco-l14", 6),
    ("flickr30k-b32", "flickr30k-b32", 11),
    ("flickr30k-l14", "flickr30k-l14", 9),
    ("coco-b32", "flickr30k-b32", 7),
    ("coco-l14", "flickr30k-l14", 6),
    ("flickr30k-b32", "coco-b32", 10),
    ("flickr30k-l14", "coco-l14", 9),
)
COLUMNS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "SPICE", "CLIPScore")


def table_row(cells: Mapping[str, float]) -> str:
    return " | ".join(f"{100 * cells[name]:.1f}" if name in cells else "–" for name in COLUMNS)


def evaluate_paper(configs: Path, data: Path, runs: Path) -> str:
    """A table in Markdown, metrics times 100. `runs` holds a folder for each run, by its configuration's name. A row whose files
    are not there says which; raises FileNotFoundError if that is every row."""
    lines = ["| trained on | tested on | epoch | " + " | ".join(COLUMNS) + " |", "|" + " --- |" * (3 + len(COLUMNS))]
    missing: list[str] = []
    for trained, tested, epoch in ROWS:
        run = FeatureRun(read_config(configs / f"{trained}.toml"), data, runs / trained)
        target = run if tested == trained else FeatureRun(read_config(configs / f"{tested}.toml"), data)
        try:
            cells = table_row(evaluate_checkpoint(run, run.checkpoint(epoch), target))
        except FileNotFoundError as error:
            missing.append(f"{trained} on {tested}: {error.filename or error}")
            cells = " | ".join("–" for _ in COLUMNS)
        lines.append(f"| {trained} | {tested} | {epoch} | {cells} |")
    if len(missing) == len(ROWS):
        raise FileNotFoundError("no row of the paper has its files. Missing:\n" + "\n".join(missing))
    return "\n".join([*lines, *(["", "missing:", *missing] if missing else [])])
