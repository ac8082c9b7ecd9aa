"""The training stages of the embedded model, each resumable, each leaving its result in the run's folder."""

from __future__ import annotations

import torch
from torch import Tensor

from .captioning import caption_rows
from .metrics import quick_cider
from .model import PCMNet
from .train_captioner import Captions, train_captioner
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


def fit_captioner(work: Workspace) -> dict[str, float]:
    """Trains PCM-Net on the tuned tower's grids → captioner.pt, CIDEr on `dev`"""
    config = work.config
    model = work.captioner(trained=False)
    _, concepts = work.concepts
    views = work.views()
    train, dev = work.split("train"), work.split("dev")
    references = [photo.captions for photo in dev]

    def evaluate_captions(current: PCMNet) -> dict[str, float]:
        captions = caption_rows(current, views[0], [photo.row for photo in dev], concepts, work.vocabulary)
        return {"dev_cider": quick_cider(captions, references)}

    captions = Captions(train, work.vocabulary, config.model.max_words)
    checkpoint, log = Checkpoint(work.run / "captioner.ckpt"), Log(work.run / "captioner.jsonl")
    train_captioner(config, model, views, concepts, train, captions, checkpoint, log, evaluate_captions)
    torch.save(model.state_dict(), work.run / "captioner.pt")
    return evaluate_captions(model)


STAGES = {"tower": tune_tower, "dual-encoder": fit_dual_encoder, "captioner": fit_captioner}
