"""Self-critical training: captions sampled from the model are rewarded by CIDEr-D.

Rennie et al., "Self-critical Sequence Training for Image Captioning", CVPR 2017. The baseline of a caption is the mean
reward of the other captions sampled for its photo (Luo, "A Better Variant of Self-Critical Sequence Training", 2020), so no
greedy caption is needed. The reward counts EOS as a word: without it, captions that stop in mid-sentence are not penalised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from pycocoevalcap.cider.cider_scorer import CiderScorer, cook_refs, cook_test
from torch import Tensor

from ..config import Config
from ..data.captions import Captions
from ..data.features import Features, mixed_views
from ..data.photos import Photo
from ..data.text import END, IGNORED, UNKNOWN, Vocabulary, words_of
from ..evaluate.captioning import forbid
from ..model.layers import additive
from ..model.pcm_net import Memory, PCMNet
from .captioner import clip_gradients, new_optimizer
from .loop import Checkpoint, Log, bf16_autocast, cosine, epoch_order, seed_step
from .loss import caption_loss
from .sources import source_of, start_tokens

_EOS = "<eos>"


class _Scorer(CiderScorer):  # type: ignore[misc]  # of a library without types
    """Takes the number of documents behind the document frequencies; the library assumes that it is the size of the batch."""

    def __init__(self, documents: int) -> None:
        self._log_documents = math.log(documents)
        super().__init__()

    @property
    def ref_len(self) -> float:
        return self._log_documents

    @ref_len.setter
    def ref_len(self, _: float | None) -> None: ...


class CiderReward:
    """CIDEr-D of captions against those of their photo, with document frequencies over all photos."""

    def __init__(self, photos: Sequence[Photo]) -> None:
        self.references = [cook_refs([" ".join([*words_of(c), _EOS]) for c in photo.captions]) for photo in photos]
        counted = CiderScorer()
        counted.crefs = self.references
        counted.compute_doc_freq()
        self.document_frequency = counted.document_frequency

    def __call__(self, captions: Sequence[Sequence[str]], owners: Sequence[int]) -> Tensor:
        """Rewards of S captions, split into words, with `_EOS` where they ended; `owners` [S] index their photos  # [S]"""
        scorer = _Scorer(len(self.references))
        scorer.document_frequency = self.document_frequency
        scorer.crefs = [self.references[owner] for owner in owners]
        scorer.ctest = [cook_test(" ".join(words)) for words in captions]
        return torch.tensor(np.asarray(scorer.compute_cider()), dtype=torch.float32)


class WorldsReward:
    """The reward of each caption in the world of its photo, whose document frequencies are of that world's photos alone."""

    def __init__(self, photos: Sequence[Photo], worlds: Sequence[str]) -> None:
        """`worlds` are beginnings of the names of sources; without any, all photos are one."""
        self.world = np.array([source_of(photo, worlds) if worlds else 0 for photo in photos])
        self.place = np.zeros(len(photos), np.int64)
        self.rewards: dict[int, CiderReward] = {}
        for world in np.unique(self.world).tolist():
            members = np.flatnonzero(self.world == world)
            self.place[members] = np.arange(len(members))
            self.rewards[world] = CiderReward([photos[i] for i in members.tolist()])

    def __call__(self, captions: Sequence[Sequence[str]], owners: Sequence[int]) -> Tensor:
        """See `CiderReward`  # [S]"""
        owner = np.asarray(owners)
        found = torch.empty(len(owner))
        for world, reward in self.rewards.items():
            chosen = np.flatnonzero(self.world[owner] == world).tolist()
            if chosen:
                found[chosen] = reward([captions[i] for i in chosen], self.place[owner[chosen]].tolist())
        return found


@torch.no_grad()
def sample(
    model: PCMNet, memory: Memory, count: int, word_bias: Tensor, temperature: float = 1.0, starts: Tensor | None = None
) -> Tensor:
    """Samples `count` captions an image from a model in evaluation mode; `word_bias` [1, V] is added to the logits, `starts`
    [B·count, 1] are the first tokens, BOS if not given.

    → ids [B·count, L], then 0 from the end of the sentence; a caption of the largest length has no 0.
    """
    rows, device = len(memory.states) * count, memory.states.device
    cross, mask = model.decoder.cross(memory.states), additive(memory.mask)
    last = torch.full((rows, 1), END, device=device) if starts is None else starts
    ended = torch.zeros(rows, 1, dtype=torch.bool, device=device)
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
    """A mask of the sampled tokens, EOS included: tokens [S, L] → 1 or 0, float [S, L]"""
    before = torch.cat([torch.zeros_like(tokens[:, :1]), (tokens == END).long().cumsum(1)[:, :-1]], 1)
    return (before == 0).float()


def captions_of(tokens: Tensor, vocabulary: Vocabulary) -> list[list[str]]:
    """The words of each caption, with `_EOS` if it ended."""
    return [vocabulary.decode(row) + ([_EOS] if END in row else []) for row in tokens.tolist()]


def advantages(rewards: Tensor, count: int) -> Tensor:
    """Each reward minus the mean reward of the other captions of its photo: [B·count] → [B·count]"""
    grouped = rewards.view(-1, count)
    return ((grouped - grouped.mean(1, keepdim=True)) * count / (count - 1)).flatten()


def serving_form(model: PCMNet, training: bool) -> None:
    """Switches dropout on or off, but keeps mixup in its inference form: its captions are what is rewarded."""
    model.train(training)
    model.visual_embed.training = False


def train_self_critical(
    config: Config,
    model: PCMNet,
    views: Sequence[Features],
    concepts: Tensor,
    photos: Sequence[Photo],
    vocabulary: Vocabulary,
    checkpoint: Checkpoint,
    log: Log,
    evaluate: Callable[[PCMNet], dict[str, float]],
    save_every: int = 50,
    captions: Captions | None = None,
) -> None:
    """Trains `model` in place, on its device, on the loss of the reward plus weighted cross-entropy on human captions.

    `concepts` [C, E]; `captions` are those of the photos, which are encoded if not given. Resumes from the checkpoint with the
    result of an uninterrupted run. `model` ends with the running average of the weights, which is also what `evaluate` is called
    with, every `evaluate_every` steps. Raises ValueError if no batch can be filled, FloatingPointError for a loss that is not
    finite.
    """
    settings = config.self_critical
    captioner = config.captioner
    reward = WorldsReward(photos, settings.worlds)
    if captions is None:
        captions = Captions(photos, vocabulary, config.model.max_words, start_tokens(photos, config.model))
    device = concepts.device
    bias = forbid(vocabulary, [UNKNOWN]).to(device)
    rows = np.array([photo.row for photo in photos])
    per_epoch = len(photos) // settings.batch_size
    if per_epoch == 0:
        raise ValueError(f"{len(photos)} photos fill no batch of {settings.batch_size}")
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
        grid, local, images = (tensor.to(device) for tensor in mixed_views(views, rows[indices], rng))
        owners = np.repeat(indices, settings.samples)
        starts = torch.from_numpy(captions.starts[owners]).unsqueeze(1).to(device)
        with bf16_autocast(captioner.bf16, device.type):
            serving_form(model, training=False)
            with torch.no_grad():
                memory = model.encode(grid, local, images, concepts, compact=True)
                drawn = sample(model, memory, settings.samples, bias, settings.temperature, starts)
            rewards = reward(captions_of(drawn, vocabulary), owners.tolist()).to(device)
            serving_form(model, training=True)
            memory = model.encode(grid, local, images, concepts, compact=True)
            logits = model(memory, torch.cat([starts, drawn[:, :-1]], 1))
            tokens, targets, _ = (t.to(device) for t in captions.draw(indices, settings.captions_per_photo, rng))
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
