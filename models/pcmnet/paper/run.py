"""A run of the paper's path: a configuration on stored CLIP features, its files, and its network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..config import Config, settings_of
from ..data.clip_features import FeatureFiles, Written, image_folders, write_features
from ..data.concepts import concept_words, prompt_ensemble, read_concepts, write_concepts
from ..data.records import (
    Described,
    Pair,
    Row,
    image_id_of,
    of_split,
    read_image_list,
    read_pairs,
    read_rows,
    read_test,
    split_folder,
    split_of,
    texts_of,
    write_rows,
)
from ..data.text import Vocabulary
from ..evaluate.clip_score import clip_scores
from ..model.checkpoint import find_checkpoint, read_captioner
from ..model.clip import Clip, read_clip, read_openai
from ..model.pcm_net import PCMNet
from ..train import distributed
from .prepare import prepare
from .synthesize import read_pipeline, synthesize

EMBEDDED_ONLY = (
    *("version", "vision.", "head.", "tower.", "tune.", "refine.", "self_critical.sources", "self_critical.worlds"),
    *("concepts.epochs", "concepts.batch_size", "concepts.learning_rate", "concepts.image_noise"),
    *("model.adapt_concepts", "model.sources", "model.served_source"),
    *("captioner.min_text_count", "captioner.teacher", "captioner.rebuilt", "captioner.flickr_share"),
)
"""Settings, and beginnings of settings, that only the embedded model's path reads."""


class PaperRun:
    """`data` is the folder that `config.data` is relative to; `run` is the folder of the checkpoints and the log. `changes` are
    the command line's, which override a checkpoint's own configuration too. Raises ValueError for a configuration without
    `data.train`, and for settings that this path does not read."""

    def __init__(self, config: Config, data: Path, run: Path | None = None, changes: Sequence[str] = ()) -> None:
        if not config.data.train:
            raise ValueError(f"{config.id} trains on photos, not on stored features: its configuration has no data.train")
        defaults = settings_of(Config())
        for name, value in settings_of(config).items():
            if name.startswith(EMBEDDED_ONLY) and value != defaults[name]:
                raise ValueError(f"{name} has no effect here: only the embedded model's path reads it")
        self.config, self.data, self.run, self.changes = config, data, run, changes

    def path(self, name: str) -> Path:
        """Path of a file or folder by its name in `config.data`; if only one of the released name is there, that."""
        own, released = self.own_path(name), getattr(self.config.released, name, "")
        return self.data / released if released and not _is_there(own) and _is_there(self.data / released) else own

    def own_path(self, name: str) -> Path:
        """Path that this run writes to."""
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

    @property
    def train_files(self) -> list[Path]:
        """Features of `pairs`, in their order."""
        return [pair.file(self.path("train_features"), ".npz") for pair in self.pairs]

    @property
    def test_ids(self) -> dict[str, str] | None:
        """Ids of the test images by their files' names, where a list names them."""
        return read_image_list(self.path("test_list")) if self.config.data.test_list else None

    # Steps before training: records, concepts, images, features, scores

    def prepare(self, synthetic: bool) -> str:
        """Writes the vocabulary, the training records and the test records; see `prepare.prepare`."""
        settings = self.config
        rows = read_rows(self.path("captions"))
        vocabulary, train, test = prepare(rows, synthetic, settings.captioner.min_word_count, settings.model.max_words)
        self.own_path("vocabulary").parent.mkdir(parents=True, exist_ok=True)
        vocabulary.write(self.own_path("vocabulary"))
        write_rows(self.own_path("train"), train)
        if test and settings.data.test:
            write_rows(self.own_path("test"), test)
        return f"{len(vocabulary.words)} words, {len(train)} training pairs, {len(test)} test images"

    def frequent_nouns(self, nouns_of: Callable[[str], set[str]]) -> list[str]:
        """The most frequent nouns of the training captions, as many as the configuration asks for; `nouns_of` finds those of a
        caption."""
        settings = self.config.concepts
        rows = of_split(read_rows(self.path("train")), "train")
        captions = [text for row in rows for text in texts_of(row, self.vocabulary)]
        return concept_words(captions, nouns_of, settings.min_captions, settings.max_words)

    def write_concepts(self, words: Sequence[str]) -> str:
        """Embeds the words by CLIP and writes the concept vocabulary in the released layout. Raises ValueError if they are fewer
        than the network detects in an image."""
        if len(words) < self.config.model.k:
            raise ValueError(f"{len(words)} concepts are too few; the network detects {self.config.model.k} in each image")
        embeddings = prompt_ensemble(words, self.config.concepts.prompts, self.clip.texts.encode)
        write_concepts(self.own_path("concepts"), words, embeddings)
        return f"{len(words)} concepts"

    def synthesize(self, pipeline: str) -> str:
        device = distributed.start()
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

    def write_features(self) -> Written:
        """Writes the features of all images that have none, and lists the files that are no whole image."""
        device = distributed.start()
        total = Written()
        for kind, ids in (("train", None), ("test", self.test_ids)):
            for images, features in image_folders(self.path(f"{kind}_images"), self.own_path(f"{kind}_features")):
                written = write_features(self.clip.images, images, features, device, ids)
                total.images += written.images
                total.unreadable += [found for found in written.unreadable if found not in total.unreadable]
        return total

    def score_pairs(self) -> str:
        """Adds the CLIPScore of every caption to the training records. Raises FileNotFoundError if features are missing."""
        rows = list(of_split(read_rows(self.path("train")), "train"))
        texts = [texts_of(row, self.vocabulary) for row in rows]
        files = self.train_files
        present(files)
        owners = [file for file, captions in zip(files, texts, strict=True) for _ in captions]
        device = distributed.start()
        scores = clip_scores(self.clip.texts.to(device), [text for captions in texts for text in captions], owners).tolist()
        ends = np.cumsum([len(captions) for captions in texts]).tolist()
        scored = [row | {"clipscore": scores[end - len(t) : end]} for row, t, end in zip(rows, texts, ends, strict=True)]
        write_rows(self.own_path("train"), scored)
        return f"{len(scores)} pairs scored, {np.mean(scores):.4f} on average"

    # The network

    def model(self, checkpoint: Path | None = None) -> PCMNet:
        """The network in evaluation mode, from a checkpoint (see `read_captioner`) or, without one, untrained on this CLIP."""
        settings = self.config.model
        settings.vocabulary = len(self.vocabulary)
        if checkpoint is not None:
            return self._trained(checkpoint)
        torch.manual_seed(self.config.seed)
        model = PCMNet(settings, own_projection=True)
        clip = read_openai(self.path("clip"))
        embed = model.visual_embed
        with torch.no_grad():
            embed.ln_post.weight.copy_(clip["visual.ln_post.weight"])
            embed.ln_post.bias.copy_(clip["visual.ln_post.bias"])
            embed.proj.copy_(clip["visual.proj"])
        return model.eval()

    def _trained(self, checkpoint: Path) -> PCMNet:
        model, _ = read_captioner(checkpoint, self.config, self.changes)
        if model.config.vocabulary != len(self.vocabulary):
            words = f"{model.config.vocabulary} ids, {self.path('vocabulary')} has {len(self.vocabulary)}"
            raise ValueError(f"{checkpoint} was trained on another vocabulary: it has {words}")
        return model

    @property
    def folder(self) -> Path:
        if self.run is None:
            raise ValueError("this needs the run's folder: name it by --run")
        return self.run

    def checkpoint(self, epoch: int | None = None) -> Path:
        """Path of the weights after an epoch, the last if it is not named, under our name or the released one. Raises
        FileNotFoundError."""
        if not self.folder.is_dir():
            raise FileNotFoundError(f"there is no folder {self.folder}")
        return find_checkpoint(self.folder, epoch)

    def features(self, model: PCMNet, files: Sequence[Path]) -> FeatureFiles:
        return FeatureFiles(files, model.visual_embed.ln_post, model.visual_embed.proj)


def _is_there(path: Path) -> bool:
    """Whether the file or folder exists, or splits of the folder do."""
    return path.exists() or any(path.parent.glob(f"{path.name}_sp*"))


def present(files: Sequence[Path]) -> None:
    """Raises FileNotFoundError, naming the first, if any of the feature files is missing."""
    missing = [file for file in files if not file.exists()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(files)} images have no features (run pcmnet paper features): {missing[0]}"
        )
