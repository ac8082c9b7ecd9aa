"""The folder of an embedded run: stages read the results of earlier ones from it and compute what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..config import Config
from ..data.captions import Texts
from ..data.concepts import concept_words, prompt_ensemble
from ..data.features import View
from ..data.grids import pooled, write_grids
from ..data.lexicon import nouns_of
from ..data.photos import Photo, batches, of_split, open_pixels, read_photos, read_texts
from ..data.text import Vocabulary, words_of
from ..model.dual_encoder import DualEncoder, SentenceEncoder
from ..model.lite_tower import LiteTower
from ..model.pcm_net import PCMNet
from ..train.dual_encoder import CaptionBank, new_dual_encoder, photos_with
from ..train.loop import bf16_autocast
from .checkpoints import CAPTIONERS, CONCEPT_MAP


class Workspace:
    """`data` holds `images/`, `captions.jsonl` and `text.txt.gz`; features, checkpoints and logs are written to `run`."""

    def __init__(self, config: Config, data: Path, run: Path) -> None:
        self.config, self.data, self.run = config, data, run
        run.mkdir(parents=True, exist_ok=True)

    @cached_property
    def photos(self) -> list[Photo]:
        return read_photos(self.data)

    def split(self, name: str) -> list[Photo]:
        return of_split(self.photos, name)

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        side, resize = self.config.vision.side, self.config.vision.resize
        name = f"pixels-{side}.npy" if resize == "stretch" else f"pixels-{side}-{resize}.npy"
        return open_pixels(self.run / name, self.photos, self.data / "images", side, resize)

    def pixels_of(self, photos: Sequence[Photo]) -> NDArray[np.uint8]:
        """[P, side, side, 3] uint8 of these photos, in their order"""
        return self.pixels[[photo.row for photo in photos]]

    @cached_property
    def sentence_encoder(self) -> SentenceEncoder:
        return SentenceEncoder()

    @cached_property
    def sentences(self) -> Tensor:
        """Sentence embeddings of every caption of every photo, in order  # [T, 384]"""
        path = self.run / "sentences.pt"
        if not path.exists():
            texts = [" ".join(words_of(caption)) for photo in self.photos for caption in photo.captions]
            torch.save(self.sentence_encoder.encode(texts), path)
        return torch.load(path, weights_only=True)

    @cached_property
    def first_caption(self) -> NDArray[np.int64]:
        """Row of each photo's first caption in `sentences`, and the number of rows  # [P + 1]"""
        return np.concatenate([[0], np.cumsum([len(photo.captions) for photo in self.photos])])

    def bank(self, split: str) -> CaptionBank:
        return photos_with(self.photos, split, self.sentences, self.first_caption)

    def tower(self, tuned: bool) -> LiteTower:
        vision = self.config.vision
        tower = LiteTower(vision.tower, vision.side, pretrained=not tuned)
        if tuned:
            tower.load_state_dict(torch.load(self.run / "tower.pt", weights_only=True))
        return tower.eval()

    def grids(self, tuned: bool, mirrored: bool = False) -> NDArray[np.float16]:
        """Grids of all photos, memory-mapped  # [P, N, D]"""
        name = ("tuned" if tuned else "pretrained") + ("-mirrored" if mirrored else "")
        path = self.run / f"grids-{name}.npy"
        if not path.exists():
            write_grids(self.tower(tuned), self.pixels, path, mirrored)
        return np.load(path, mmap_mode="r")

    def pooled(self, tuned: bool) -> Tensor:
        path = self.run / f"pooled-{'tuned' if tuned else 'pretrained'}.pt"
        if not path.exists():
            torch.save(pooled(self.grids(tuned)), path)
        return torch.load(path, weights_only=True)

    def dual_encoder(self) -> DualEncoder:
        """The trained dual encoder, which belongs to the tuned tower."""
        encoder = new_dual_encoder(self.config, LiteTower(self.config.vision.tower, self.config.vision.side, False).width)
        encoder.load_state_dict(torch.load(self.run / "dual-encoder.pt", weights_only=True))
        return encoder.eval()

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Words of the training captions, and words of texts without photos that reach a higher count."""
        settings = self.config.captioner
        path = self.run / "vocabulary.txt"
        if not path.exists():
            captions = [caption for photo in self.split("train") for caption in photo.captions]
            extra = Vocabulary.from_captions(read_texts(self.data), settings.min_text_count).words[:-1]
            Vocabulary.from_captions(captions, settings.min_word_count, extra).write(path)
        return Vocabulary.read(path)

    @cached_property
    def concepts(self) -> tuple[list[str], Tensor]:
        """The concept vocabulary and its embeddings  # C words, [C, E]"""
        settings = self.config.concepts
        captions = [caption for photo in self.split("train") for caption in photo.captions]
        words = concept_words(captions, nouns_of, settings.min_captions, settings.max_words)
        sentences, dual = self.sentence_encoder, self.dual_encoder()
        return words, prompt_ensemble(words, settings.prompts, lambda texts: dual.embed_text(sentences.encode(texts)))

    def views(self, names: Sequence[bool] = (False, True)) -> list[View]:
        """Features of all photos; `names` says for each view whether it is mirrored."""
        encoder = self.dual_encoder()
        return [embed_view(self.grids(True, mirrored), encoder) for mirrored in names]

    def texts(self) -> Texts:
        """The captions without photos. Their embeddings are shifted by the mean difference between training photos and their
        captions, because texts and images lie in different parts of the shared space (the modality gap)."""
        texts = [words for text in read_texts(self.data) if (words := words_of(text))]
        path = self.run / "texts.pt"
        if not path.exists():
            with bf16_autocast():
                embeddings = self.sentence_encoder.encode([" ".join(words) for words in texts])
            torch.save(embeddings.half(), path)
        dual, bank = self.dual_encoder(), self.bank("train")
        with torch.inference_mode():
            images = dual.embed_image(self.pooled(tuned=True)[[photo.row for photo in bank.photos]][:, None])
            gap = images.mean(0) - dual.embed_text(bank.embeddings).mean(0)
            embeddings = F.normalize(dual.embed_text(torch.load(path, weights_only=True).float()) + gap, dim=-1)
        return Texts(texts, embeddings.clone(), self.vocabulary, self.config.model.max_words)

    def captioner(self, trained: Sequence[str] = CAPTIONERS) -> PCMNet:
        """The captioner with the first of these states that exists; untrained if none is named."""
        model_config = self.config.model
        model_config.vocabulary = len(self.vocabulary)
        torch.manual_seed(self.config.seed)
        model = PCMNet(model_config)
        if trained:
            paths = [self.run / f"{name}.pt" for name in trained]
            path = next((path for path in paths if path.exists()), paths[-1])
            # Another stage trains the concept map, so a captioner's state may lack it.
            own = torch.load(path, weights_only=True)
            model.load_state_dict(own | {k: v for k, v in model.state_dict().items() if k.startswith(CONCEPT_MAP)})
        if model_config.adapt_concepts:
            model.visual_embed.concept_map.load_state_dict(torch.load(self.run / "concepts.pt", weights_only=True))
        return model.eval()


@torch.inference_mode()
def embed_view(grid: NDArray[np.float16], encoder: DualEncoder) -> View:
    """Computes the local and global embeddings of stored grids [P, N, D]."""
    encoder.eval()
    local = torch.empty(*grid.shape[:2], encoder.text.out_features, dtype=torch.float16)
    image = torch.empty(len(grid), encoder.text.out_features)
    for rows in batches(range(len(grid)), 64):
        x = torch.from_numpy(grid[rows[0] : rows[-1] + 1].astype(np.float32))
        with bf16_autocast():
            local[rows] = encoder.embed_patches(x).half()
        image[rows] = encoder.embed_image(x)
    return View(grid, local, image)
