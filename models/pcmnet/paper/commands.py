"""`pcmnet paper …`: the released configurations, from captions to the paper's tables."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import Commands, Execute, add_command, add_config_arguments
from ..config import read_config

if TYPE_CHECKING:
    from .run import PaperRun


def add_paper_commands(commands: Commands) -> None:
    def command(name: str, text: str, execute: Execute) -> argparse.ArgumentParser:
        added = add_command(commands, name, text, execute)
        add_config_arguments(added)
        return added

    prepare = command("prepare", "captions → vocabulary and token records", _prepare)
    prepare.add_argument("--synthetic", action="store_true", help="each caption is a pair of its own: an image is made of it")

    concepts = command("concepts", "write the concept vocabulary, embedded by CLIP", _concepts)
    concepts.add_argument(
        "--words",
        type=Path,
        help="the concepts, one a line, or a concept file whose words are used; default: frequent nouns of the captions",
    )

    synthesize = command("synthesize", "make an image of every training caption; resumes", _synthesize)
    synthesize.add_argument("--pipeline", required=True, help="folder of a text-to-image model of diffusers")

    command("features", "compute CLIP features of all images that have none", _features)
    command("clipscore", "add the CLIPScore of every training pair to its record", _clipscore)

    train = command("train", "train. On several GPUs: `torchrun … -m -- pcmnet paper train …`", _train)
    train.add_argument("--run", type=Path, required=True, help="folder of this run alone: its checkpoints, results and logs")
    train.add_argument("--resume", action="store_true", help="continue the run of the folder")

    evaluate = command("evaluate", "caption the test images and print the metrics", _evaluate)
    evaluate.add_argument("--run", type=Path, help="folder of checkpoints, under our names or the released ones")
    evaluate.add_argument("--epoch", type=int, help="weights after this epoch; default: the last")
    evaluate.add_argument("--checkpoint", type=Path, help="these weights instead of the run's, or their folder")
    evaluate.add_argument("--target", type=Path, help="another configuration, whose test images are used")
    evaluate.add_argument("--url", help="caption through a running service, such as http://127.0.0.1:8080")
    evaluate.add_argument("--bundle", type=Path, help="caption through a bundle; with --url, how many captions are the same")
    evaluate.add_argument("--precision", default="w8", help="of the bundle")
    evaluate.add_argument("--captions", type=Path, help="write the captions to this .jsonl, .pkl or .json")
    evaluate.add_argument("--metrics", type=Path, help="write each metric to this .json as it is done")

    text = "the paper's eight rows, and NoCaps, of all checkpoints and metrics that are there"
    table = add_command(commands, "table", text, _table)
    table.add_argument("configs", type=Path, help="folder of the released configurations, such as models/configs")
    table.add_argument("--data", type=Path, required=True, help="folder that holds what the configurations read")
    table.add_argument("--run", type=Path, required=True, help="folder with a folder for each run, or `release_models`")


def _run_of(options: argparse.Namespace) -> PaperRun:
    from .run import PaperRun

    return PaperRun(read_config(options.config, options.set), options.data, getattr(options, "run", None), options.set)


def _prepare(options: argparse.Namespace) -> None:
    print(_run_of(options).prepare(options.synthetic))


def _concepts(options: argparse.Namespace) -> None:
    run = _run_of(options)
    if options.words is not None and options.words.suffix in (".pkl", ".pickle"):
        from ..data.concepts import read_concepts

        words = read_concepts(options.words)[0]
    elif options.words is not None:
        words = [line.strip() for line in options.words.read_text(encoding="utf-8").splitlines() if line.strip()]
    else:
        try:
            from ..data.lexicon import probable_nouns_of
        except ModuleNotFoundError as error:
            raise ValueError(f"{error}; pip install './models[lexicon]', or name a list of concepts by --words") from None
        words = run.frequent_nouns(probable_nouns_of)
    print(run.write_concepts(words))


def _synthesize(options: argparse.Namespace) -> None:
    print(_run_of(options).synthesize(options.pipeline))


def _features(options: argparse.Namespace) -> None:
    written = _run_of(options).write_features()
    print(f"features of {written.images} images written")
    if written.unreadable:
        listed = "\n".join(f"{path}: {why}" for path, why in written.unreadable)
        raise ValueError(f"{len(written.unreadable)} files are no whole images and have no features:\n{listed}")


def _clipscore(options: argparse.Namespace) -> None:
    print(_run_of(options).score_pairs())


def _train(options: argparse.Namespace) -> None:
    from .training import train

    print(json.dumps(train(_run_of(options), options.resume)))


def _evaluate(options: argparse.Namespace) -> None:
    from ..model.checkpoint import find_checkpoint
    from .evaluate import evaluate_checkpoint, evaluate_served
    from .run import PaperRun

    run = _run_of(options)
    target = run if options.target is None else PaperRun(read_config(options.target), options.data)
    if options.url is not None or options.bundle is not None:
        found = evaluate_served(target, options.url, options.bundle, options.precision, options.captions, options.metrics)
    else:
        chosen = (
            run.checkpoint(options.epoch) if options.checkpoint is None else find_checkpoint(options.checkpoint, options.epoch)
        )
        found = evaluate_checkpoint(run, chosen, target, options.captions, options.metrics)
    print(json.dumps(found, indent=2))


def _table(options: argparse.Namespace) -> None:
    from .table import evaluate_paper

    print(evaluate_paper(options.configs, options.data, options.run))
