"""The training stages of the embedded model. Each resumes and writes its result to the run's folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..config import Config
from ..data.captions import Captions, Texts
from ..data.features import View
from ..data.photos import HELD_OUT, Photo, trained_on
from ..evaluate.captioning import caption_rows
from ..evaluate.metrics import quick_cider
from ..model.pcm_net import PCMNet
from ..train.captioner import train_captioner
from ..train.concept_map import precision, train_concept_map
from ..train.dual_encoder import CaptionBank, evaluate, train_head, train_tower
from ..train.loop import Checkpoint, Log
from ..train.self_critical import train_self_critical
from ..train.sources import served, start_tokens, with_share
from ..train.tower_targets import with_teacher
from .checkpoints import CAPTIONERS
from .tune_stage import run_tune_stage
from .workspace import Workspace


def _of(features: Tensor, bank: CaptionBank) -> Tensor:
    return features[[photo.row for photo in bank.photos]]


def tune_tower(work: Workspace) -> None:
    """Trains the projections on the pretrained tower's grids, then the tower with them → tower.pt

    With epochs of `tune`, trains both at once and for longer instead.
    """
    if work.config.tune.epochs > 0:
        return run_tune_stage(work)
    train, dev = work.bank("train"), work.bank("dev")
    features = work.pooled(tuned=False)
    encoder = train_head(work.config, _of(features, train), train, _of(features, dev), dev, Log(work.run / "head.jsonl"))
    tower = work.tower(tuned=False)
    checkpoint, log = Checkpoint(work.run / "tower.ckpt"), Log(work.run / "tower.jsonl")
    train_tower(work.config, tower, encoder, work.pixels, train, dev, checkpoint, log)
    torch.save(tower.state_dict(), work.run / "tower.pt")


def fit_dual_encoder(work: Workspace) -> dict[str, float]:
    """Trains the projections anew on the tuned tower's grids, in large batches → dual-encoder.pt, recalls on `dev`"""
    train, dev = work.bank("train"), work.bank("dev")
    features = work.pooled(tuned=True)
    encoder = train_head(work.config, _of(features, train), train, _of(features, dev), dev, Log(work.run / "dual-encoder.jsonl"))
    torch.save(encoder.state_dict(), work.run / "dual-encoder.pt")
    return evaluate(encoder, _of(features, dev), dev)


def fit_concepts(work: Workspace) -> dict[str, float]:
    """Trains the concept map, if the configuration has one → concepts.pt, precision of the top five concepts on `dev`"""
    if not work.config.model.adapt_concepts:
        return {}
    words, embeddings = work.concepts
    dual = work.dual_encoder()
    with torch.inference_mode():
        images = dual.embed_image(work.pooled(tuned=True)[:, None])
    train, dev = work.split("train"), work.split("dev")
    own, theirs = images[[photo.row for photo in train]].clone(), images[[photo.row for photo in dev]].clone()
    log = Log(work.run / "concepts.jsonl")
    moved = train_concept_map(work.config, own, train, theirs, dev, words, embeddings.clone(), log)
    torch.save(moved.state_dict(), work.run / "concepts.pt")
    with torch.inference_mode():
        return {"dev_precision": precision(theirs, moved(embeddings), words, dev)}


def _dev_cider(work: Workspace, view: View) -> Callable[[PCMNet], dict[str, float]]:
    """Of every development set, the sentences written as those of the served source."""
    _, concepts = work.concepts
    sets = {name: photos for name in HELD_OUT if name != "val" and (photos := work.split(name))}

    def evaluate_captions(current: PCMNet) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, photos in sets.items():
            captions = caption_rows(served(current), view, [photo.row for photo in photos], concepts, work.vocabulary)
            found[f"{name}_cider"] = quick_cider(captions, [photo.captions for photo in photos])
        return found

    return evaluate_captions


def captioner_photos(photos: Sequence[Photo], config: Config) -> list[Photo]:
    """What the captioner learns from by cross-entropy, as the configuration says."""
    settings = config.captioner
    chosen = trained_on(photos, settings.rebuilt)
    if settings.teacher:
        chosen = [with_teacher(photo) for photo in chosen]
    return with_share(chosen, "flickr", settings.flickr_share, config.seed) if settings.flickr_share > 0 else chosen


def _cross_entropy(work: Workspace, config: Config, model: PCMNet, name: str, texts: Texts | None = None) -> dict[str, float]:
    """Trains the model on the tuned tower's grids of all training photos → NAME.pt, CIDEr on `dev`"""
    _, concepts = work.concepts
    train = captioner_photos(work.photos, config)
    views = work.views()
    evaluate_captions = _dev_cider(work, views[0])
    captions = Captions(train, work.vocabulary, config.model.max_words, start_tokens(train, config.model))
    checkpoint, log = Checkpoint(work.run / f"{name}.ckpt"), Log(work.run / f"{name}.jsonl")
    train_captioner(config, model, views, concepts, train, captions, checkpoint, log, evaluate_captions, texts=texts)
    torch.save(model.state_dict(), work.run / f"{name}.pt")
    return evaluate_captions(model)


def fit_captioner(work: Workspace) -> dict[str, float]:
    """Trains PCM-Net on the photos → captioner.pt, CIDEr on `dev`"""
    return _cross_entropy(work, work.config, work.captioner(trained=()), "captioner")


def refine_captioner(work: Workspace) -> dict[str, float]:
    """Continues with captions without photos, if the configuration has epochs of it → captioner-refined.pt, CIDEr on `dev`"""
    refine = work.config.refine
    if refine.epochs == 0:
        return {}
    settings = replace(
        work.config.captioner, epochs=refine.epochs, learning_rate=refine.learning_rate, warmup_steps=refine.warmup_steps
    )
    config = replace(work.config, captioner=settings)
    return _cross_entropy(work, config, work.captioner(CAPTIONERS[2:]), "captioner-refined", work.texts())


def reward_captioner(work: Workspace) -> dict[str, float]:
    """Trains PCM-Net on the reward of its own captions, if the configuration has steps → captioner-rewarded.pt, CIDEr on `dev`"""
    settings = work.config.self_critical
    if settings.steps == 0:
        return {}
    train = [
        photo
        for photo in work.split("train")
        if (not settings.sources or photo.source in settings.sources) and len(photo.captions) >= settings.min_captions
    ]
    if not train:
        raise ValueError(f"no training photo is of the sources {', '.join(settings.sources)}")
    model = work.captioner(CAPTIONERS[1:])
    _, concepts = work.concepts
    views = work.views()
    evaluate_captions = _dev_cider(work, views[0])
    checkpoint, log = Checkpoint(work.run / "self-critical.ckpt"), Log(work.run / "self-critical.jsonl")
    train_self_critical(work.config, model, views, concepts, train, work.vocabulary, checkpoint, log, evaluate_captions)
    torch.save(model.state_dict(), work.run / "captioner-rewarded.pt")
    return evaluate_captions(model)


STAGES = {
    "tower": tune_tower,
    "dual-encoder": fit_dual_encoder,
    "concepts": fit_concepts,
    "captioner": fit_captioner,
    "refine": refine_captioner,
    "self-critical": reward_captioner,
}
