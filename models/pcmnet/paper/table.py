"""`pcmnet paper table`: every released run on its own test set, on the other data set's, and on NoCaps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import read_config
from ..model.checkpoint import find_checkpoint
from .evaluate import evaluate_checkpoint
from .run import PaperRun

ROWS = (
    # trained on, tested on, epoch of the paper's row, folder of the released checkpoint
    ("coco-b32", "coco-b32", 10, "in_domain/mscoco/vit_b32"),
    ("coco-l14", "coco-l14", 6, "in_domain/mscoco/vit_l14"),
    ("flickr30k-b32", "flickr30k-b32", 11, "in_domain/flickr/vit_b32"),
    ("flickr30k-l14", "flickr30k-l14", 9, "in_domain/flickr/vit_l14"),
    ("coco-b32", "flickr30k-b32", 7, "cross_domain/coco_to_flickr/vit_b32"),
    ("coco-l14", "flickr30k-l14", 6, "cross_domain/coco_to_flickr/vit_l14"),
    ("flickr30k-b32", "coco-b32", 10, "cross_domain/flickr_to_coco/vit_b32"),
    ("flickr30k-l14", "coco-l14", 9, "cross_domain/flickr_to_coco/vit_l14"),
    # not in the paper
    ("coco-b32", "nocaps-b32", 10, "in_domain/mscoco/vit_b32"),
    ("coco-l14", "nocaps-l14", 6, "in_domain/mscoco/vit_l14"),
)
COLUMNS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "SPICE", "CLIPScore")


def table_row(cells: Mapping[str, Any]) -> str:
    return " | ".join(f"{100 * cells[name]:.1f}" if name in cells else "–" for name in COLUMNS)


def evaluate_paper(configs: Path, data: Path, runs: Path) -> str:
    """The table in Markdown, metrics times 100. `runs` has a folder for each run, named as its configuration, or the folders of
    the released checkpoints. Cells without their files are listed with what is missing. Raises FileNotFoundError if no row has
    its files."""
    lines = ["| trained on | tested on | epoch | " + " | ".join(COLUMNS) + " |", "|" + " --- |" * (3 + len(COLUMNS))]
    missing: list[str] = []
    rows = 0
    for trained, tested, epoch, released in ROWS:
        cells: dict[str, Any] = {}
        try:
            run = PaperRun(read_config(configs / f"{trained}.toml"), data, runs / trained)
            target = run if tested == trained else PaperRun(read_config(configs / f"{tested}.toml"), data)
            cells = evaluate_checkpoint(run, _checkpoint_of(run, epoch, runs / released), target)
            rows += 1
            missing += [f"{trained} on {tested}, {metric}: {why}" for metric, why in cells.get("missing", {}).items()]
        except FileNotFoundError as error:
            missing.append(f"{trained} on {tested}: {error.filename or error}")
        lines.append(f"| {trained} | {tested} | {epoch} | {table_row(cells)} |")
        for domain, part in cells.get("domains", {}).items():
            lines.append(f"| {trained} | {tested}, {domain} | {epoch} | {table_row(part)} |")
    if rows == 0:
        raise FileNotFoundError("no row of the paper has its files. Missing:\n" + "\n".join(missing))
    return "\n".join([*lines, *(["", "missing:", *missing] if missing else [])])


def _checkpoint_of(run: PaperRun, epoch: int, released: Path) -> Path:
    """Of the run's own folder if it is there, else of the released one."""
    return find_checkpoint(released, epoch) if released.is_dir() and not run.folder.is_dir() else run.checkpoint(epoch)
