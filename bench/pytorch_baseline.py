"""Photos a second of the embedded model in plain PyTorch, fp32: what the service's speed is compared with.

The same network from the same weights, run as well as eager PyTorch can: inference_mode, a channels-last tower, the image's keys
and values computed once and shared by its beams, a KV cache, all threads, the best of several batch sizes. JPEG decoding and
resizing go on in a thread meanwhile, as in the service.

    PYTHONPATH=models python bench/pytorch_baseline.py --run RUN --photos DIR

prints one JSON object: imagesPerSecond and batchSize of the best try, threads, the torch version, and all tries.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pcmnet.config import read_config
from pcmnet.data.text import UNKNOWN, Vocabulary
from pcmnet.embedded.workspace import Workspace
from pcmnet.evaluate.captioning import forbid
from pcmnet.model.beam_search import beam_search
from pcmnet.model.dual_encoder import DualEncoder, SentenceEncoder
from pcmnet.model.lite_tower import LiteTower
from pcmnet.model.pcm_net import PCMNet
from PIL import Image


@dataclass(frozen=True)
class Network:
    tower: LiteTower
    dual: DualEncoder
    captioner: PCMNet
    sentences: SentenceEncoder
    vocabulary: Vocabulary
    concepts: torch.Tensor
    beam_size: int
    no_repeat_ngram: int

    @torch.inference_mode()
    def caption(self, pixels: NDArray[np.uint8]) -> list[str]:
        """[B, H, W, 3] → the caption that the cosine of image and text puts first."""
        grid = self.tower(torch.from_numpy(pixels))
        images = self.dual.embed_image(grid)
        memory = self.captioner.encode(grid, self.dual.embed_patches(grid), images, self.concepts, compact=True)
        bias = forbid(self.vocabulary, [UNKNOWN]).expand(len(pixels), -1)
        length = self.captioner.config.max_words
        beams = beam_search(self.captioner, memory, self.beam_size, length, no_repeat_ngram=self.no_repeat_ngram, word_bias=bias)
        words = [[" ".join(self.vocabulary.decode(beam)) for beam in image] for image in beams.tokens.tolist()]
        texts = [text for image in words for text in image]
        embedded = self.dual.embed_text(self.sentences.encode(texts)).unflatten(0, (len(pixels), -1))
        cosine = torch.einsum("be,bke->bk", images, embedded)
        best = (beams.log_probs / beams.lengths + cosine).argmax(1).tolist()
        return [image[i] for image, i in zip(words, best, strict=True)]


def load(config: Path, run: Path, bundle: Path) -> Network:
    """The concept vocabulary and the decoding defaults are the bundle's."""
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    work = Workspace(read_config(config), run, run)
    concepts = np.fromfile(bundle / manifest["concepts"]["embeddings"], "<f4").reshape(-1, manifest["dimensions"]["embedding"])
    decoding = manifest["decoding"]
    return Network(
        work.tower(tuned=True),
        work.dual_encoder(),
        work.captioner(),
        work.sentence_encoder,
        work.vocabulary,
        torch.from_numpy(concepts),
        decoding["beamSize"],
        decoding["noRepeatNgram"],
    )


def decode(path: Path, side: int) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        image.draft("RGB", (side, side))  # JPEG's own down-scaling, as in the service
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))


def images_per_second(network: Network, photos: Sequence[Path], batch: int, seconds: float) -> float:
    side = network.tower.rows * 32
    with ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1))) as pool:

        def decoded(number: int) -> list[NDArray[np.uint8]]:
            chosen = [photos[(number * batch + i) % len(photos)] for i in range(batch)]
            return list(pool.map(lambda path: decode(path, side), chosen))

        with ThreadPoolExecutor(1) as ahead:
            following = ahead.submit(decoded, 0)
            started, done, number = 0.0, 0, 0
            while done == 0 or time.perf_counter() - started < seconds:
                pixels, number = np.stack(following.result()), number + 1
                following = ahead.submit(decoded, number)
                network.caption(pixels)
                if started:
                    done += batch
                else:  # the first batch only warms up
                    started = time.perf_counter()
            return done / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("models/configs/embedded.toml"))
    parser.add_argument("--run", type=Path, required=True, help="folder of trained parts; `pcmnet embedded unpack` makes one")
    parser.add_argument("--bundle", type=Path, default=Path("models/default"), help="for its concepts and decoding defaults")
    parser.add_argument("--photos", type=Path, required=True, help="a folder of JPEG files")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60, help="for all batch sizes together")
    parser.add_argument("--batches", default="1,2,4,8,16,32")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network = load(options.config, options.run, options.bundle)
    photos = sorted(options.photos.glob("*.jp*g"))[: options.count]
    sizes = [int(size) for size in options.batches.split(",")]
    each = options.seconds / len(sizes)
    tries = [{"batchSize": n, "imagesPerSecond": round(images_per_second(network, photos, n, each), 3)} for n in sizes]
    best = max(tries, key=lambda one: one["imagesPerSecond"])
    print(json.dumps({**best, "threads": options.threads, "torch": torch.__version__, "tries": tries}))


if __name__ == "__main__":
    main()
