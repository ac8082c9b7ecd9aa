"""Self-critical training: captions that the model draws are rewarded by CIDEr-D.

Rennie et al., "Self-critical Sequence Training for Image Captioning", CVPR 2017. The baseline of a caption is the mean
reward of the other captions drawn for its photo (Luo, "A Better Variant of Self-Critical Sequence Training", 2020), so no
greedy caption is needed. EOS is a word of the reward: without it, captions that stop in mid-sentence go unpunished.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from pycocoevalcap.cider.cider_scorer import CiderScorer, cook_refs, cook_test
from torch import Tensor

from .captioning import forbid
from .config import Config
from .data import Photo
from .loss import caption_loss
from .model import Memory, PCMNet, additive
from .text import END, IGNORED, UNKNOWN, Vocabulary, words_of
from .train_captioner import Captions, View, clip_gradients, mixed_views, new_optimizer
from .training import Checkpoint, Log, bf16_autocast, cosine, epoch_order, seed_step

_EOS = "<eos>"


class _Scorer(CiderScorer):  # type: ignore[misc]  # of a library without types
    """Weighs n-grams by the documents they were counted in; the library's own takes the size of the scored batch for it."""

    def __init__(self, documents: int) -> None:
        self._log_documents = math.log(documents)
        super().__init__()

    @property
    def ref_len(self) -> float:
        return self._log_documents

    @ref_len.setter
    def ref_len(self, _: float | None) -> None: ...


class CiderReward:
    """CIDEr-D of captions against those of their photo, document frequencies of all the photos."""

    def __init__(self, photos: Sequence[Photo]) -> None:
        self.references = [cook_refs([" ".join([*words_of(c), _EOS]) for c in photo.captions]) for photo in photos]
        counted = CiderScorer()
        counted.crefs = self.references
        counted.compute_doc_freq()
        self.document_frequency = counted.document_frequency

    def __call__(self, captions: Sequence[Sequence[str]], owners: Sequence[int]) -> Tensor:
        """Captions as words, `_EOS` where they ended; `owners` index the photos  # [S]"""
        scorer = _Scorer(len(self.references))
        scorer.document_frequency = self.document_frequency
        scorer.crefs = [self.references[owner] for owner in owners]
        scorer.ctest = [cook_test(" ".join(words)) for words in captions]
        return torch.tensor(np.asarray(scorer.compute_cider()), dtype=torch.float32)


@torch.no_grad()
def sample(model: PCMNet, memory: Memory, count: int, word_bias: Tensor, temperature: float = 1.0) -> Tensor:
    """`count` captions an image, drawn word by word, of a model in evaluation mode; `word_bias` [1, V] is added to the logits.

    Ids [B·count, L], 0 from the end of a sentence on; a caption that reached the longest length has no 0.
    """
    rows = len(memory.states) * count
    cross, mask = model.decoder.cross(memory.states), additive(memory.mask)
    last = torch.full((rows, 1), END)
    ended = torch.zeros(rows, 1, dtype=torch.bool)
    caches = None
    drawn: list[Tensor] = []
    for position in range(model.config.max_words):
        logits, caches = model.step(last, position, caches, cross, mask)
        last = torch.multinomial(((logits.float() + word_bias) / temperature).softmax(-1), 1).masked_fill(ended, END)
        drawn.append(last)
        ended = ended | (last == END)
        if ended.all():
            break
    return torch.cat(drawn, 1)


def written(tokens: Tensor) -> Tensor:
    """1 at every word that was chosen, EOS included, else 0: tokens [S, L] → [S, L] float"""
    before = torch.cat([torch.zeros_like(tokens[:, :1]), (tokens == END).long().cumsum(1)[:, :-1]], 1)
    return (before == 0).float()


def captions_of(tokens: Tensor, vocabulary: Vocabulary) -> list[list[str]]:
    """Words of each caption, `_EOS` where it ended."""
    return [vocabulary.decode(row) + ([_EOS] if END in row else []) for row in tokens.tolist()]


def advantages(rewards: Tensor, count: int) -> Tensor:
    """What each reward is above the mean of the others of its photo: [B·count] → [B·count]"""
    grouped = rewards.view(-1, count)
    return ((grouped - grouped.mean(1, keepdim=True)) * count / (count - 1)).flatten()


def serving_form(model: PCMNet, training: bool) -> None:
    """Dropout as in training, or none; the mixup always in the form of inference, whose captions are what is rewarded."""
    model.train(training)
    model.visual_embed.training = False


def train_self_critical(
    config: Config,
    model: PCMNet,
    views: Sequence[View],
    concepts: Tensor,
    photos: Sequence[Photo],
    vocabulary: Vocabulary,
    checkpoint: Checkpoint,
    log: Log,
    evaluate: Callable[[PCMNet], dict[str, float]],
    save_every: int = 50,
) -> None:
    """Trains `model` in place on the sum of the reward's loss and a share of cross-entropy on people's captions.

    `concepts` [C, E]. Resumes from the checkpoint with the result of an uninterrupted run. What is left in `model` is the
    running average of the weights. `evaluate` runs on it, every `evaluate_every` steps.
    """
    settings = config.self_critical
    captioner = config.captioner
    reward = CiderReward(photos)
    captions = Captions(photos, vocabulary, config.model.max_words)
    bias = forbid(vocabulary, [UNKNOWN])
    rows = np.array([photo.row for photo in photos])
    per_epoch = len(photos) // settings.batch_size
    optimizer = new_optimizer(model, captioner)
    average = {name: value.clone() for name, value in model.state_dict().items()}
    start = 0
    if state := checkpoint.load():
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average = state["average"]
        start = state["step"]

    def evaluate_average() -> dict[str, float]:
        current = {name: value.clone() for name, value in model.state_dict().items()}
        model.load_state_dict(average)
        result = evaluate(model)
        model.load_state_dict(current)
        return result

    for step in range(start, settings.steps):
        epoch, place = divmod(step, per_epoch)
        order = epoch_order(range(len(photos)), config.seed + 1, epoch)
        indices = np.sort(order[place * settings.batch_size : (place + 1) * settings.batch_size])
        rng = seed_step(config.seed + 1, step)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * cosine(step, settings.steps, settings.warmup_steps)
        features = mixed_views(views, rows[indices], rng)
        owners = np.repeat(indices, settings.samples)
        with bf16_autocast(captioner.bf16):
            serving_form(model, training=False)
            with torch.no_grad():
                drawn = sample(
                    model, model.encode(*features, concepts, compact=True), settings.samples, bias, settings.temperature
                )
            rewards = reward(captions_of(drawn, vocabulary), owners.tolist())
            serving_form(model, training=True)
            memory = model.encode(*features, concepts, compact=True)
            logits = model(memory, torch.cat([torch.full_like(drawn[:, :1], END), drawn[:, :-1]], 1))
            tokens, targets, _ = captions.draw(indices, settings.captions_per_photo, rng)
            human = model(memory, tokens)
        chosen = ((logits.float() + bias) / settings.temperature).log_softmax(-1).gather(-1, drawn.unsqueeze(-1)).squeeze(-1)
        mask = written(drawn)
        critical = -(advantages(rewards, settings.samples).unsqueeze(1) * chosen * mask).sum() / mask.sum()
        used = (targets != IGNORED).any(1)
        entropy = caption_loss(human[used], targets[used], None, captioner.label_smoothing)
        loss = critical + settings.cross_entropy * entropy
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"the loss is {loss.item()} at step {step + 1}")
        optimizer.zero_grad()
        loss.backward()
        clip_gradients(model, captioner)
        optimizer.step()
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if value.is_floating_point():
                    average[name].lerp_(value, 1 - settings.average_decay)
        done = step + 1
        if done % 10 == 0:
            log.write(stage="self-critical", step=done, of=settings.steps, reward=rewards.mean().item(), entropy=entropy.item())
        if done % save_every == 0 or done == settings.steps:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average, "step": done}
            checkpoint.save(state)
        if done % settings.evaluate_every == 0:
            log.write(stage="self-critical", step=done, **evaluate_average())
    model.load_state_dict(average)
