"""`pcmnet embedded …`: the model that ships with the service, from captioned photos to its bundle."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import Commands, Execute, add_command, add_config_arguments
from ..config import INVARIANCE_PHOTOS, PRECISIONS, SHIPPED, STAGE_NAMES, read_config

if TYPE_CHECKING:
    from .workspace import Workspace


def add_embedded_commands(commands: Commands) -> None:
    def command(name: str, text: str, execute: Execute) -> argparse.ArgumentParser:
        added = add_command(commands, name, text, execute)
        add_config_arguments(added)
        added.add_argument("--run", type=Path, required=True, help="folder of this run's features, checkpoints and logs")
        return added

    features = command("features", "compute the tower's grids of all photos", _features)
    features.add_argument("--tuned", action="store_true", help="with the fine-tuned tower, photos mirrored too")

    train = command("train", "train stage by stage; each resumes", _train)
    train.add_argument("--stage", choices=[*STAGE_NAMES, "all"], default="all")

    export = command("export", "write the bundle, compare its graphs with PyTorch and calibrate its confidence", _export)
    export.add_argument("--out", type=Path, required=True, help="folder of the bundle, such as models/default")
    export.add_argument(
        "--precisions",
        nargs="+",
        choices=PRECISIONS,
        default=SHIPPED,
        help="the first is what a CPU runs, and what decoding and confidence are fitted to",
    )

    evaluate = command("evaluate", "caption the validation photos and print the metrics", _evaluate)
    evaluate.add_argument("--url", help="caption through a running service, such as http://127.0.0.1:8080")
    evaluate.add_argument("--bundle", type=Path, help="caption through a bundle; with --url, how many captions are the same")
    evaluate.add_argument("--precision", default="w8", help="of the bundle")
    evaluate.add_argument("--split", default="val", choices=["val", "dev", "dev-coco17", "dev-coconew"])
    evaluate.add_argument("--captions", type=Path, help="write the captions here, a JSON object a line")
    evaluate.add_argument("--first", type=int, help="use only the first photos, this many")
    evaluate.add_argument("--megapixels", type=float, help="enlarge the photos to this size before they are sent")
    evaluate.add_argument("--webp", type=int, metavar="QUALITY", help="send the photos as WebP of this quality")

    batches = command("batches", "caption photos alone and in batches of 2 to 32; fail when a caption differs", _batches)
    batches.add_argument("--bundle", type=Path, required=True)
    batches.add_argument("--precision", default="int8")
    batches.add_argument("--photos", type=int, default=INVARIANCE_PHOTOS, help="number of validation photos")

    for name, text, execute in (
        ("pack", "write the trained parts of a run as float16", _pack),
        ("unpack", "start a run's folder from packed parts", _unpack),
    ):
        packing = add_command(commands, name, text, execute)
        packing.add_argument("--run", type=Path, required=True, help="folder of the run")
        packing.add_argument("--checkpoints", type=Path, required=True, help="folder of packed parts, such as models/checkpoints")
        if name == "pack":
            packing.add_argument("--progress", action="store_true", help="only the state of a tower that is still being tuned")


def _workspace_of(options: argparse.Namespace) -> Workspace:
    from .workspace import Workspace

    config = read_config(options.config, options.set)
    if config.data.train:
        raise ValueError(f"{config.id} trains on stored features, as its data.train says: use pcmnet paper")
    return Workspace(config, options.data, options.run)


def _features(options: argparse.Namespace) -> None:
    work = _workspace_of(options)
    for mirrored in (False, True) if options.tuned else (False,):
        work.grids(options.tuned, mirrored)


def _train(options: argparse.Namespace) -> None:
    from .stages import STAGES

    work = _workspace_of(options)
    for name, stage in STAGES.items():
        if options.stage in (name, "all"):
            print(json.dumps({"stage": name, **(stage(work) or {})}), flush=True)


def _export(options: argparse.Namespace) -> None:
    from .export import export_embedded

    export_embedded(_workspace_of(options), options.out, options.precisions)


def _evaluate(options: argparse.Namespace) -> None:
    from ..evaluate.service import Upload
    from .evaluate import evaluate_captions

    work = _workspace_of(options)
    metrics = evaluate_captions(
        work,
        work.split(options.split)[: options.first],
        options.captions,
        bundle=options.bundle,
        precision=options.precision,
        url=options.url,
        upload=Upload(options.megapixels, options.webp),
    )
    print(json.dumps(metrics, indent=2))


def _batches(options: argparse.Namespace) -> None:
    from .export import bundle_invariance

    invariance = bundle_invariance(_workspace_of(options), options.bundle, options.precision, options.photos)
    print(json.dumps(invariance.to_json(), indent=2))
    if not invariance.holds:
        raise SystemExit(1)


def _pack(options: argparse.Namespace) -> None:
    from .checkpoints import pack
    from .progress import pack_progress

    packed = pack_progress if options.progress else pack
    print(f"{packed(options.run, options.checkpoints) / 1e6:.1f} MB")


def _unpack(options: argparse.Namespace) -> None:
    from .checkpoints import unpack
    from .progress import unpack_progress

    unpack(options.checkpoints, options.run)
    unpack_progress(options.checkpoints, options.run)
