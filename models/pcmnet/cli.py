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
from .evaluation import evaluate_checkpoint, evaluate_served
from .export import PRECISIONS, STORAGES
from .feature_run import FeatureRun
from .paper import evaluate_paper
from .picture import write_picture
from .stages import STAGES
from .workspace import Workspace


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pcmnet", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str, run: bool | None = True) -> argparse.ArgumentParser:
        """`run`: whether it takes a run's folder, or None where only some configurations ask for one."""
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("config", type=Path, help="a configuration, such as configs/embedded.toml")
        sub.add_argument("--data", type=Path, required=True, help="folder of photos and captions, or of what [data] names")
        if run is not False:
            sub.add_argument("--run", type=Path, required=bool(run), help="folder of this run's checkpoints and logs")
        sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="over the configuration: model.k=3")
        return sub

    prepare = command("prepare", "captions → cleaned token files and vocabulary", run=False)
    prepare.add_argument("--synthetic", action="store_true", help="each caption is a pair of its own: an image is made of it")
    command("concepts", "nouns of the training captions → concept vocabulary, embedded by CLIP", run=False)
    synthesizing = command("synthesize", "make an image of every training caption; goes on where it stopped", run=False)
    synthesizing.add_argument("--pipeline", required=True, help="folder of a text-to-image model of diffusers")
    features = command("features", "compute the features of all images that have none", run=None)
    features.add_argument("--tuned", action="store_true", help="embedded model: with the fine-tuned tower, photos mirrored too")
    command("clipscore", "add the CLIPScore of every training pair to its record", run=False)

    train = command("train", "train, going on from the checkpoints; on several GPUs by `torchrun … -m -- pcmnet.cli train …`")
    train.add_argument("--stage", choices=[*STAGES, "all"], default="all", help="of the embedded model")

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

    text = "draw the salient patches of a photo and their concepts over it"
    picture = commands.add_parser("picture", help=text, description=text)
    picture.add_argument("bundle", type=Path)
    picture.add_argument("photo", type=Path)
    picture.add_argument("--out", type=Path, required=True, help="an image file")
    picture.add_argument("--precision", default="w8")

    evaluate = command("evaluate", "caption the validation photos, or the test images, and print the metrics", run=None)
    evaluate.add_argument("--epoch", type=int, help="on features: the weights after this epoch; else the last")
    evaluate.add_argument("--checkpoint", type=Path, help="on features: these weights")
    evaluate.add_argument("--target", type=Path, help="on features: test images and concepts of another configuration")
    evaluate.add_argument("--paper", action="store_true", help="the paper's eight rows; CONFIG and --run are folders of all runs")
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


def _on_features(run: FeatureRun, options: argparse.Namespace) -> None:
    """A command on a configuration that names stored features."""
    match options.command:
        case "prepare":
            print(run.prepare(options.synthetic))
        case "concepts":
            print(run.write_concepts())
        case "synthesize":
            print(run.synthesize(options.pipeline))
        case "features":
            print(run.write_features())
        case "clipscore":
            print(run.score_pairs())
        case "train":
            print(json.dumps(run.train()))
        case "evaluate":
            target = run if options.target is None else FeatureRun(read_config(options.target), options.data)
            if options.url is not None or options.bundle is not None:
                found = evaluate_served(target, options.url, options.bundle, options.precision, options.captions)
            else:
                checkpoint = options.checkpoint or run.checkpoint(options.epoch or run.config.captioner.epochs)
                found = evaluate_checkpoint(run, checkpoint, target, options.captions)
            print(json.dumps(found, indent=2))
        case other:
            raise ValueError(f"{other} is of the embedded model; a run on features becomes a bundle by pcmnet convert")


def _on_photos(work: Workspace, options: argparse.Namespace) -> None:
    """A command on the embedded model's configuration."""
    match options.command:
        case "features":
            for mirrored in (False, True) if options.tuned else (False,):
                work.grids(options.tuned, mirrored)
        case "train":
            for name, stage in STAGES.items():
                if options.stage in (name, "all"):
                    print(json.dumps({"stage": name, **(stage(work) or {})}), flush=True)
        case "export":
            export_embedded(work, options.out, options.precisions)
        case "batches":
            invariance = bundle_invariance(work, options.bundle, options.precision, options.photos)
            print(json.dumps(invariance.to_json(), indent=2))
            if not invariance.holds:
                raise SystemExit(1)
        case "evaluate":
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
        case other:
            raise ValueError(f"{other} is for runs on stored features, and {options.config} has no data.train")


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    match options.command:
        case "pack":
            print(f"{pack(options.run, options.checkpoints) / 1e6:.1f} MB")
        case "unpack":
            unpack(options.checkpoints, options.run)
        case "convert":
            _convert(options)
        case "picture":
            try:
                write_picture(options.bundle, options.precision, options.photo, options.out)
            except (ValueError, OSError) as error:
                raise SystemExit(f"pcmnet picture: {error}") from None
        case _:
            _configured(options)


def _configured(options: argparse.Namespace) -> None:
    run = getattr(options, "run", None)
    try:
        if getattr(options, "paper", False):
            if run is None:
                raise ValueError("--paper needs --run, the folder that holds every run's own")
            print(evaluate_paper(options.config, options.data, run))
            return
        config = read_config(options.config, options.set)
        if config.data.train:
            _on_features(FeatureRun(config, options.data, run), options)
            return
    except (ValueError, OSError) as error:
        raise SystemExit(f"pcmnet {options.command}: {error}") from None
    if run is None:
        raise SystemExit(f"pcmnet {options.command}: {options.config} needs --run")
    _on_photos(Workspace(config, options.data, run), options)


if __name__ == "__main__":
    main()
