"""`pcmnet paper train`: cross-entropy on the training pairs, then self-critical training, if the configuration has steps of it.

A run's folder belongs to one configuration, which `config.json` records. It keeps the weights after every epoch, `epoch-N.pt`,
captions and metrics of the test images in `results/`, the log, and the state from which training resumes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import torch

from ..config import config_of, differences
from ..data.photos import Photo
from ..data.records import CLIPSCORE, Pair, PairCaptions, select
from ..data.text import END
from ..evaluate.metrics import quick_cider
from ..model.checkpoint import write_checkpoint
from ..model.pcm_net import PCMNet
from ..train import distributed
from ..train.captioner import train_captioner
from ..train.loop import Checkpoint, Log
from ..train.self_critical import train_self_critical
from .evaluate import captions_of_test, measure, write_captions
from .run import PaperRun, present

CONFIG = "config.json"
REWARDED = "rewarded.pt"
"""Weights after self-critical training."""
HARMLESS = ("captioner.workers",)
"""Settings that change no result, in which a resumed run may differ."""


def train(run: PaperRun, resume: bool = False) -> dict[str, float]:
    """Trains, and keeps the weights, captions and metrics of every epoch. Raises FileExistsError if the folder holds a run and
    `resume` is not set, ValueError if it holds one of another configuration, FileNotFoundError if features are missing."""
    config, settings = run.config, run.config.data
    device = distributed.start()
    model = run.model().to(device)
    _claim(run, resume)
    pairs = select(run.pairs, settings.share, settings.min_clipscore, config.seed)
    present([run.train_files[pair.row] for pair in pairs])
    evaluate = _evaluation(run, model)

    def keep(epoch: int) -> dict[str, float]:
        write_checkpoint(run.folder / f"epoch-{epoch}.pt", model, config)
        return evaluate(f"epoch-{epoch}")

    train_captioner(
        config,
        model,
        [run.features(model, run.train_files)],
        run.concepts[1].to(device),
        pairs,
        PairCaptions(pairs),
        Checkpoint(run.folder / "captioner.ckpt"),
        Log(run.folder / "captioner.jsonl", run.folder / "tensorboard"),
        lambda _: {},
        [torch.from_numpy(pair.clipscore / CLIPSCORE) for pair in pairs],
        keep=keep,
    )
    if config.self_critical.steps > 0:
        _reward(run, model, pairs)
    return {"pairs": len(pairs), "epochs": config.captioner.epochs, "rewarded_steps": config.self_critical.steps}


def _claim(run: PaperRun, resume: bool) -> None:
    """Records the configuration of a new run, or compares it with that of the one to resume."""
    file, started = run.folder / CONFIG, (run.folder / "captioner.ckpt").exists()
    if file.exists():
        theirs = config_of(json.loads(file.read_text(encoding="utf-8")))
        found = [text for text in differences(run.config, theirs) if not text.startswith(HARMLESS)]
        if found:
            raise ValueError(
                f"{run.folder} holds a run of another configuration: {'; '.join(found)}. Name another folder by --run"
            )
        if started and not resume:
            raise FileExistsError(f"{run.folder} holds a run of this configuration: continue it by --resume")
    elif started:
        raise ValueError(f"{run.folder} holds a run that does not say of which configuration it is. Name another folder by --run")
    distributed.wait()  # no process may look after the first one has written
    if distributed.rank() == 0:
        run.folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(run.config), indent=2) + "\n", encoding="utf-8")


def _evaluation(run: PaperRun, model: PCMNet) -> Callable[[str], dict[str, float]]:
    """Captions the test images, if there are any, and writes captions and metrics under a name."""
    if not run.config.data.test:
        return lambda name: {}
    present(run.test_files)
    results = run.folder / "results"

    def evaluate(name: str) -> dict[str, float]:
        captions = captions_of_test(model, run, run)
        write_captions(results / f"{name}-captions.json", captions, run)
        metrics = measure(captions, run, results / f"{name}-metrics.json")
        numbers = {f"test_{metric}": value for metric, value in metrics.items() if isinstance(value, float)}
        return {"test_cider": quick_cider(captions, [image.captions for image in run.test]), **numbers}

    return evaluate


def _reward(run: PaperRun, model: PCMNet, pairs: list[Pair]) -> None:
    """Trains the model of the last epoch on the reward (CIDEr-D) of the captions it samples → rewarded.pt"""
    if distributed.world_size() > 1:
        raise ValueError("self-critical training is for one process")
    settings, vocabulary = run.config.self_critical, run.vocabulary
    chosen = [pair for pair in pairs if len(pair.targets) >= settings.min_captions]
    photos = [
        Photo(pair.row, pair.image_id, "", "train", tuple(" ".join(vocabulary.decode(ids)) for ids in pair.targets.clip(END)))
        for pair in chosen
    ]
    evaluate = _evaluation(run, model)
    train_self_critical(
        run.config,
        model,
        [run.features(model, run.train_files)],
        run.concepts[1].to(next(model.parameters()).device),
        photos,
        vocabulary,
        Checkpoint(run.folder / "self-critical.ckpt"),
        Log(run.folder / "self-critical.jsonl", run.folder / "tensorboard"),
        lambda _: evaluate("rewarded"),
        captions=PairCaptions(chosen),
    )
    write_checkpoint(run.folder / REWARDED, model, run.config)
    if settings.steps % settings.evaluate_every:
        evaluate("rewarded")
