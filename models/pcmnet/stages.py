"""The training stages of the embedded model, each resumable, each leaving its result in the run's folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .captioning import caption_rows
from .checkpoints import CAPTIONERS
from .config import Config
from .metrics import quick_cider
from .model import PCMNet
from .self_critical import train_self_critical
from .train_captioner import Captions, Texts, View, train_captioner
from .train_concepts import precision, train_concept_map
from .train_dual_encoder import CaptionBank, evaluate, train_head, train_tower
from .training import Checkpoint, Log
from .workspace import Workspace


def _of(features: Tensor, bank: CaptionBank) -> Tensor:
    return features[[photo.row for photo in bank.photos]]


def tune_tower(work: Workspace) -> None:
    """Trains the projections on the pretrained tower's grids, then the tower with them → tower.pt"""
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
    """Trains the map of concept embeddings → concepts.pt, precision of the top five on `dev`, if the configuration has one"""
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
    dev, (_, concepts) = work.split("dev"), work.concepts
    references = [photo.captions for photo in dev]

    def evaluate_captions(current: PCMNet) -> dict[str, float]:
        captions = caption_rows(current, view, [photo.row for photo in dev], concepts, work.vocabulary)
        return {"dev_cider": quick_cider(captions, references)}

    return evaluate_captions


def _cross_entropy(work: Workspace, config: Config, model: PCMNet, name: str, texts: Texts | None = None) -> dict[str, float]:
    """Trains the model on the tuned tower's grids of all training photos → NAME.pt, CIDEr on `dev`"""
    _, concepts = work.concepts
    train = work.split("train")
    views = work.views()
    evaluate_captions = _dev_cider(work, views[0])
    captions = Captions(train, work.vocabulary, config.model.max_words)
    checkpoint, log = Checkpoint(work.run / f"{name}.ckpt"), Log(work.run / f"{name}.jsonl")
    train_captioner(config, model, views, concepts, train, captions, checkpoint, log, evaluate_captions, texts=texts)
    torch.save(model.state_dict(), work.run / f"{name}.pt")
    return evaluate_captions(model)


def fit_captioner(work: Workspace) -> dict[str, float]:
    """Trains PCM-Net on the photos → captioner.pt, CIDEr on `dev`"""
    return _cross_entropy(work, work.config, work.captioner(trained=()), "captioner")


def refine_captioner(work: Workspace) -> dict[str, float]:
    """Goes on with captions that have no photo → captioner-refined.pt, CIDEr on `dev`, if the configuration has epochs of it"""
    refine = work.config.refine
    if refine.epochs == 0:
        return {}
    settings = replace(
        work.config.captioner, epochs=refine.epochs, learning_rate=refine.learning_rate, warmup_steps=refine.warmup_steps
    )
    config = replace(work.config, captioner=settings)
    return _cross_entropy(work, config, work.captioner(CAPTIONERS[2:]), "captioner-refined", work.texts())


def reward_captioner(work: Workspace) -> dict[str, float]:
    """Trains PCM-Net on the reward of its own captions → captioner-rewarded.pt, CIDEr on `dev`, if the configuration has steps"""
    settings = work.config.self_critical
    if settings.steps == 0:
        return {}
    train = [photo for photo in work.split("train") if not settings.sources or photo.source in settings.sources]
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
