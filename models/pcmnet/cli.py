"""`pcmnet`: from captioned photos to a bundle that the service runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from .checkpoints import pack, unpack
from .config import read_config
from .convert import convert, released_pieces
from .embedded import INVARIANCE_PHOTOS, SHIPPED, bundle_invariance, evaluate_captions, export_embedded
from .export import PRECISIONS, STORAGES
from .stages import STAGES
from .workspace import Workspace


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pcmnet", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("config", type=Path, help="a configuration, such as configs/embedded.toml")
        sub.add_argument("--data", type=Path, required=True, help="folder with images/, captions.jsonl and text.txt.gz")
        sub.add_argument("--run", type=Path, required=True, help="folder of this run's features, checkpoints and logs")
        return sub

    features = command("features", "compute the grid features of all photos, and keep them in the run's folder")
    features.add_argument("--tuned", action="store_true", help="with the fine-tuned tower, photos mirrored too")

    train = command("train", "train one stage, or all that are missing, going on from their checkpoints")
    train.add_argument("--stage", choices=[*STAGES, "all"], default="all")

    export = command("export", "write the bundle, compare its graphs with PyTorch and calibrate its confidence")
    export.add_argument("--out", type=Path, required=True, help="folder of the bundle, such as models/default")
    export.add_argument(
        "--precisions",
        nargs="+",
        choices=PRECISIONS,
        default=SHIPPED,
        help="the first is what a CPU runs, and what decoding and confidence are fitted to",
    )

    for name, text in (("pack", "write the trained parts as float16"), ("unpack", "start a run's folder from packed parts")):
        packing = commands.add_parser(name, help=text, description=text)
        packing.add_argument("--run", type=Path, required=True)
        packing.add_argument("--checkpoints", type=Path, required=True, help="a folder, such as models/checkpoints")

    text = "make a bundle of a released checkpoint of PCM-Net and OpenAI's CLIP"
    converting = commands.add_parser("convert", help=text, description=text)
    converting.add_argument("checkpoint", type=Path, help="PCM-Net's weights, a file of torch.save")
    converting.add_argument("--clip", type=Path, required=True, help="CLIP as OpenAI released it, or its state dict")
    converting.add_argument("--concepts", type=Path, required=True, help="a pickle of (words, embeddings)")
    converting.add_argument("--vocabulary", type=Path, required=True, help="the decoder's words, one a line")
    converting.add_argument("--merges", type=Path, help="bpe_simple_vocab_16e6.txt.gz; else an installed package's")
    converting.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    converting.add_argument("--id", default="", help="the bundle's name; else the checkpoint's")
    converting.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(STORAGES))
    converting.add_argument("--photos", type=Path, help="a folder of photos that int8 is calibrated on")

    evaluate = command("evaluate", "caption the validation photos and print the metrics")
    evaluate.add_argument("--url", help="through a running service, such as http://127.0.0.1:8080")
    evaluate.add_argument("--bundle", type=Path, help="through a bundle's graphs; with --url, how many captions are the same")
    evaluate.add_argument("--precision", default="w8")
    evaluate.add_argument("--split", default="val", choices=["val", "dev"])
    evaluate.add_argument("--captions", type=Path, help="write the captions here, a JSON object a line")
    evaluate.add_argument("--first", type=int, help="only so many photos")
    evaluate.add_argument("--megapixels", type=float, help="enlarge the photos to this size before they are sent")

    batches = command("batches", "caption photos alone and in batches of 2 to 32; fails when a caption depends on its neighbours")
    batches.add_argument("--bundle", type=Path, required=True)
    batches.add_argument("--precision", default="int8")
    batches.add_argument("--photos", type=int, default=INVARIANCE_PHOTOS, help="validation photos")
    return parser


def _convert(options: argparse.Namespace) -> None:
    try:
        found = released_pieces(
            options.checkpoint, options.clip, options.concepts, options.vocabulary, options.merges, options.id
        )
        manifest = convert(found, options.out, options.precisions, options.photos)
    except (ValueError, OSError) as error:
        raise SystemExit(f"pcmnet convert: {error}") from None
    print("not used: " + (", ".join(found.unused) or "nothing"))
    for precision in manifest["precisions"]:
        size = sum(manifest["files"][file]["bytes"] for file in manifest["precisions"][precision].values())
        print(f"{precision}: {size / 1e6:.1f} MB")


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    if options.command == "pack":
        print(f"{pack(options.run, options.checkpoints) / 1e6:.1f} MB")
        return
    if options.command == "unpack":
        unpack(options.checkpoints, options.run)
        return
    if options.command == "convert":
        _convert(options)
        return
    work = Workspace(read_config(options.config), options.data, options.run)
    if options.command == "features":
        work.grids(options.tuned)
        if options.tuned:
            work.mirrored_grids()
    elif options.command == "train":
        for name, stage in STAGES.items():
            if options.stage in (name, "all"):
                print(json.dumps({"stage": name, **(stage(work) or {})}), flush=True)
    elif options.command == "export":
        export_embedded(work, options.out, options.precisions)
    elif options.command == "batches":
        found = bundle_invariance(work, options.bundle, options.precision, options.photos)
        print(json.dumps(found.to_json(), indent=2))
        if not found.holds:
            raise SystemExit(1)
    else:
        result = evaluate_captions(
            work,
            work.split(options.split)[: options.first],
            options.captions,
            bundle=options.bundle,
            precision=options.precision,
            url=options.url,
            megapixels=options.megapixels,
        )
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
