"""`pcmnet`: train, evaluate and export PCM-Net, in the paper's configurations or as the service's embedded model.

Commands import what they need when they run: PyTorch alone takes seconds, and `--help` should not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from . import __version__
from .arguments import add_command, add_set_argument
from .config import PRECISIONS, STORAGES, read_config
from .embedded.commands import add_embedded_commands
from .paper.commands import add_paper_commands


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pcmnet", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    text = "the paper's path: released configurations on stored CLIP features"
    paper = commands.add_parser("paper", help=text, description=text)
    add_paper_commands(paper.add_subparsers(required=True, metavar="COMMAND"))

    text = "the embedded model's path: from captioned photos to the bundle that ships with the service"
    embedded = commands.add_parser("embedded", help=text, description=text)
    add_embedded_commands(embedded.add_subparsers(required=True, metavar="COMMAND"))

    convert = add_command(commands, "convert", "make a bundle of a released checkpoint of PCM-Net and OpenAI's CLIP", _convert)
    convert.add_argument("checkpoint", type=Path, help="a checkpoint, or a folder whose last epoch is taken")
    convert.add_argument("--config", type=Path, help="configuration of a checkpoint that records none, such as a released one")
    add_set_argument(convert)
    convert.add_argument("--clip", type=Path, required=True, help="CLIP as OpenAI released it, or its state dict")
    convert.add_argument("--concepts", type=Path, required=True, help="a pickle of (words, embeddings)")
    convert.add_argument("--vocabulary", type=Path, required=True, help="the decoder's words, one a line")
    convert.add_argument("--merges", type=Path, help="bpe_simple_vocab_16e6.txt.gz; default: that of an installed package")
    convert.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    convert.add_argument("--id", default="", help="the bundle's id; default: the checkpoint's name")
    convert.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(STORAGES))
    convert.add_argument("--photos", type=Path, help="folder of photos that int8 is calibrated on")

    tags = add_command(commands, "tags", "fit tags to a bundle, and write them into it", _tags)
    tags.add_argument("bundle", type=Path)
    tags.add_argument("--data", type=Path, required=True, help="folder of images/ and captions.jsonl")
    tags.add_argument("--precision", default="int8")

    picture = add_command(commands, "picture", "draw the salient patches of a photo and their concepts over it", _picture)
    picture.add_argument("bundle", type=Path)
    picture.add_argument("photo", type=Path)
    picture.add_argument("--out", type=Path, required=True, help="an image file")
    picture.add_argument("--precision", default="w8")
    return parser


def _convert(options: argparse.Namespace) -> None:
    from .export.convert import convert, released_parts

    config = None if options.config is None else read_config(options.config, options.set)
    files = (options.checkpoint, options.clip, options.concepts, options.vocabulary, options.merges)
    found = released_parts(*files, options.id, config, options.set)
    manifest = convert(found, options.out, options.precisions, options.photos)
    print("not used: " + (", ".join(found.unused) or "nothing"))
    for precision in manifest["precisions"]:
        size = sum(manifest["files"][file]["bytes"] for file in manifest["precisions"][precision].values())
        print(f"{precision}: {size / 1e6:.1f} MB")


def _tags(options: argparse.Namespace) -> None:
    from .evaluate.tags import add_tags

    print(json.dumps(add_tags(options.bundle, options.data, options.precision), indent=2))


def _picture(options: argparse.Namespace) -> None:
    from .evaluate.picture import write_picture

    write_picture(options.bundle, options.precision, options.photo, options.out)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command. What a user can mend (ValueError, OSError) ends the program with one line instead of a traceback."""
    options = _parser().parse_args(arguments)
    try:
        options.execute(options)
    except (ValueError, OSError) as error:
        raise SystemExit(f"{options.command}: {error}") from None
