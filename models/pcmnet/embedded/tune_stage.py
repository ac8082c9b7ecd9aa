"""The stage that tunes the tower for many epochs, from what a run's folder holds."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data.concepts import concept_words
from ..data.detector import open_class_maps
from ..data.lexicon import nouns_of
from ..data.photos import HELD_OUT, Photo, trained_on
from ..data.text import words_of
from ..model.lite_tower import LiteTower
from ..train.dual_encoder import new_dual_encoder
from ..train.loop import Checkpoint, Log
from ..train.tower_targets import TowerTargets, caption_bank, tower_targets
from ..train.tune_tower import TowerHeads, TunedTower, tune_tower
from .workspace import Workspace

CHECKPOINT = "tune.ckpt"


def run_tune_stage(work: Workspace) -> None:
    """Tunes the tower from its ImageNet weights → tower.pt and dual-encoder.pt, the running averages."""
    config = work.config
    targets = _targets(work)
    model = new_tuned_tower(work, targets)
    dev = {name: work.bank(name) for name in HELD_OUT if name != "val" and work.split(name)}
    tune_tower(config, model, work.pixels, targets, dev, Checkpoint(work.run / CHECKPOINT), Log(work.run / "tune.jsonl"))
    torch.save(model.tower.state_dict(), work.run / "tower.pt")
    torch.save(model.encoder.state_dict(), work.run / "dual-encoder.pt")


def new_tuned_tower(work: Workspace, targets: TowerTargets) -> TunedTower:
    config = work.config
    torch.manual_seed(config.seed)
    tower = LiteTower(config.vision.tower, config.vision.side)
    encoder = new_dual_encoder(config, tower.width, targets.bank.embeddings.shape[1])
    heads = TowerHeads(tower.width, targets.words, targets.concepts, targets.classes())
    return TunedTower(tower, encoder, heads, config.tune.frozen_blocks)


def _targets(work: Workspace) -> TowerTargets:
    config = work.config
    photos = trained_on(work.photos, config.tune.rebuilt)
    told = [photo for photo in work.photos if photo.teacher]
    teacher = _teacher_sentences(work, told)
    place = {photo.row: n for n, photo in enumerate(told)}
    first = work.first_caption

    def embed(photo: Photo) -> Tensor:
        own = work.sentences[first[photo.row] : first[photo.row + 1]]
        return torch.cat([own, teacher[[place[photo.row]]]]) if photo.teacher else own

    captions = [caption for photo in work.split("train") for caption in photo.captions]
    nouns = concept_words(captions, nouns_of, config.concepts.min_captions, config.concepts.max_words)
    prompts = work.sentence_encoder.encode([prompt.format(noun) for noun in nouns for prompt in config.concepts.prompts])
    maps = None
    if config.tune.detector:
        detector = work.data / config.tune.detector
        maps = open_class_maps(work.run / f"class-maps-{detector.stem}.npy", detector, work.photos, work.data / "images")
    return tower_targets(caption_bank(photos, embed), nouns, prompts.view(len(nouns), -1, prompts.shape[1]).clone(), maps)


def _teacher_sentences(work: Workspace, told: list[Photo]) -> Tensor:
    """Of these photos' teacher  # [P, S]"""
    path = work.run / "teacher-sentences.pt"
    if not path.exists():
        torch.save(work.sentence_encoder.encode([" ".join(words_of(photo.teacher)) for photo in told]), path)
    sentences: Tensor = torch.load(path, weights_only=True)
    return sentences
