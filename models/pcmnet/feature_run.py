"""A run on stored features of CLIP: the released configurations of PCM-Net, from captions to metrics."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import processes
from .captioning import caption_rows
from .clip import Clip, read_clip, read_openai
from .clip_features import FeatureFiles, image_folders, write_features
from .clip_score import clip_scores
from .concepts import concept_words, prompt_ensemble
from .config import Config
from .convert import read_concepts
from .metrics import quick_cider
from .model import PCMNet
from .prepare import prepare
from .records import (
    CLIPSCORE,
    Described,
    Pair,
    PairCaptions,
    Row,
    image_id_of,
    of_split,
    read_pairs,
    read_rows,
    read_test,
    select,
    split_folder,
    split_of,
    texts_of,
    write_rows,
)
from .synthesize import read_pipeline, synthesize
from .text import Vocabulary
from .train_captioner import train_captioner
from .training import Checkpoint, Log
from .unpickling import state_dict_in


class FeatureRun:
    """`data` holds what `config.data` names; `run` is for the checkpoints and the log of training."""

    def __init__(self, config: Config, data: Path, run: Path | None = None) -> None:
        if not config.data.train:
            raise ValueError(f"{config.id} trains on photos, not on stored features: its configuration has no data.train")
        self.config, self.data, self.run = config, data, run

    def path(self, name: str) -> Path:
        """Of a file or folder by its name in `config.data`."""
        return self.data / getattr(self.config.data, name)

    @cached_property
    def clip(self) -> Clip:
        return read_clip(self.path("clip"), self.path("merges") if self.config.data.merges else None)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.read(self.path("vocabulary"))

    @cached_property
    def concepts(self) -> tuple[list[str], Tensor]:
        """C words, unit vectors [C, E]"""
        return read_concepts(self.path("concepts"))

    @cached_property
    def pairs(self) -> list[Pair]:
        return read_pairs(self.path("train"), self.vocabulary, self.config.model.max_words)

    @cached_property
    def test(self) -> list[Described]:
        return read_test(self.path("test"))

    @property
    def test_files(self) -> list[Path]:
        return [self.path("test_features") / f"{image.image_id}.npz" for image in self.test]

    # From captions and images to what training reads

    def prepare(self, synthetic: bool) -> str:
        """Captions → vocabulary, training records, test records; see `prepare.prepare`."""
        settings = self.config
        rows = read_rows(self.path("captions"))
        vocabulary, train, test = prepare(rows, synthetic, settings.captioner.min_word_count, settings.model.max_words)
        self.path("vocabulary").parent.mkdir(parents=True, exist_ok=True)
        vocabulary.write(self.path("vocabulary"))
        write_rows(self.path("train"), train)
        if test and settings.data.test:
            write_rows(self.path("test"), test)
        return f"{len(vocabulary.words)} words, {len(train)} training pairs, {len(test)} test images"

    def write_concepts(self) -> str:
        """Nouns of the training captions → the concept vocabulary, in the released layout."""
        settings = self.config.concepts
        rows = of_split(read_rows(self.path("train")), "train")
        captions = [text for row in rows for text in texts_of(row, self.vocabulary)]
        words = concept_words(captions, settings.min_captions, settings.max_words)
        if len(words) < self.config.model.k:
            raise ValueError(
                f"{len(words)} nouns are in {settings.min_captions} captions; the network needs {self.config.model.k}"
            )
        path = self.path("concepts")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps((words, prompt_ensemble(words, settings.prompts, self.clip.texts.encode))))
        return f"{len(words)} concepts"

    def synthesize(self, pipeline: str) -> str:
        device = processes.start()
        made = 0
        by_split: dict[str, list[Row]] = {}
        for row in of_split(read_rows(self.path("train")), "train"):
            texts = texts_of(row, self.vocabulary)
            by_split.setdefault(split_of(row), []).append({"image_id": image_id_of(row), "captions": texts})
        loaded = read_pipeline(pipeline, device)
        for split, rows in by_split.items():
            folder = split_folder(self.path("train_images"), split)
            made += synthesize(loaded, rows, folder, self.config.synthesis, self.config.seed, device)
        return f"{made} images made"

    def write_features(self) -> str:
        device = processes.start()
        written = 0
        for kind in ("train", "test"):
            for images, features in image_folders(self.path(f"{kind}_images"), self.path(f"{kind}_features")):
                written += write_features(self.clip.images, images, features, device)
        return f"features of {written} images written"

    def score_pairs(self) -> str:
        """Adds the CLIPScore of every caption to the training records."""
        rows = list(of_split(read_rows(self.path("train")), "train"))
        texts = [texts_of(row, self.vocabulary) for row in rows]
        files = [pair.file(self.path("train_features"), ".npz") for pair in self.pairs]
        present(files)
        owners = [file for file, captions in zip(files, texts, strict=True) for _ in captions]
        device = processes.start()
        scores = clip_scores(self.clip.texts.to(device), [text for captions in texts for text in captions], owners).tolist()
        ends = np.cumsum([len(captions) for captions in texts]).tolist()
        scored = [row | {"clipscore": scores[end - len(t) : end]} for row, t, end in zip(rows, texts, ends, strict=True)]
        write_rows(self.path("train"), scored)
        return f"{len(scores)} pairs scored, {np.mean(scores):.4f} on average"

    # Training

    def model(self, checkpoint: Path | None = None) -> PCMNet:
        """In evaluation mode: untrained on this CLIP, or from a checkpoint."""
        settings = self.config.model
        settings.vocabulary = len(self.vocabulary)
        torch.manual_seed(self.config.seed)
        model = PCMNet(settings, own_projection=True)
        if checkpoint is not None:
            model.load_state_dict(state_dict_in(checkpoint))
            return model.eval()
        clip = read_openai(self.path("clip"))
        embed = model.visual_embed
        with torch.no_grad():
            embed.ln_post.weight.copy_(clip["visual.ln_post.weight"])
            embed.ln_post.bias.copy_(clip["visual.ln_post.bias"])
            embed.proj.copy_(clip["visual.proj"])
        return model.eval()

    @property
    def folder(self) -> Path:
        if self.run is None:
            raise ValueError("this needs the run's folder: name it by --run")
        return self.run

    def checkpoint(self, epoch: int) -> Path:
        """The weights after an epoch, in the released layout."""
        return self.folder / f"epoch-{epoch}.pt"

    def train(self) -> dict[str, float]:
        """Trains, keeps the weights of every epoch and returns the last step. Resumes."""
        config, settings = self.config, self.config.data
        device = processes.start()
        model = self.model().to(device)
        pairs = select(self.pairs, settings.share, settings.min_clipscore, config.seed)
        files = [pair.file(self.path("train_features"), ".npz") for pair in self.pairs]
        present([files[pair.row] for pair in pairs])
        checkpoint, log = Checkpoint(self.folder / "captioner.ckpt"), Log(self.folder / "captioner.jsonl")

        def keep(epoch: int) -> None:
            torch.save({"model": model.state_dict()}, self.checkpoint(epoch))

        train_captioner(
            config,
            model,
            [_features(model, files)],
            self.concepts[1].to(device),
            pairs,
            PairCaptions(pairs),
            checkpoint,
            log,
            self._quick_evaluation(),
            [torch.from_numpy(pair.clipscore / CLIPSCORE) for pair in pairs],
            keep=keep,
        )
        return {"pairs": len(pairs), "epochs": config.captioner.epochs}

    def _quick_evaluation(self) -> Callable[[PCMNet], dict[str, float]]:
        if not self.config.data.test:
            return lambda model: {}
        present(self.test_files)
        references = [image.captions for image in self.test]
        return lambda model: {"test_cider": quick_cider(captions_of_test(model, self.vocabulary, self), references)}


def present(files: Sequence[Path]) -> None:
    """Raises FileNotFoundError where features are missing."""
    missing = [file for file in files if not file.exists()]
    if missing:
        raise FileNotFoundError(f"{len(missing)} of {len(files)} images have no features (run pcmnet features): {missing[0]}")


def _features(model: PCMNet, files: Sequence[Path]) -> FeatureFiles:
    return FeatureFiles(files, model.visual_embed.ln_post, model.visual_embed.proj)


def captions_of_test(model: PCMNet, vocabulary: Vocabulary, target: FeatureRun) -> list[str]:
    """Of the target's test images, detecting the target's concepts, as the paper decodes: UNK is not forbidden."""
    features = _features(model, target.test_files)
    concepts = target.concepts[1].to(features.projection.device)
    return caption_rows(model, features, range(len(target.test)), concepts, vocabulary, blocked=())
