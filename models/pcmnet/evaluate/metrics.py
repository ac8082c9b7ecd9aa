"""Caption metrics by pycocoevalcap, with its PTB tokenizer for captions and references."""

from __future__ import annotations

import atexit
import contextlib
import io
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from ..data.text import words_of

Texts = dict[int, list[str]]


def require_java() -> None:
    """Raises FileNotFoundError if Java is not installed."""
    if shutil.which("java") is None:
        raise FileNotFoundError("Java is not installed, and caption metrics need it")


def tokenized(texts: Sequence[Sequence[str]]) -> Texts:
    """Tokenizes texts by PTB into pycocoevalcap's form, index → texts. Raises FileNotFoundError without Java."""
    require_java()
    records = {i: [{"caption": caption} for caption in captions] for i, captions in enumerate(texts)}
    return PTBTokenizer().tokenize(records)


def _silently(scorer: Any, theirs: Texts, ours: Texts) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        return scorer.compute_score(theirs, ours)[0]


def _bleu(theirs: Texts, ours: Texts) -> dict[str, float]:
    return {f"BLEU-{n}": float(score) for n, score in enumerate(_silently(Bleu(4), theirs, ours), start=1)}


@cache
def _meteor() -> Any:
    """METEOR's Java process, which takes longer to start than to score: one for all calls."""
    require_java()
    return Meteor()


atexit.register(_meteor.cache_clear)  # which ends it


def _meteor_score(theirs: Texts, ours: Texts) -> dict[str, float]:
    meteor = _meteor()
    try:
        return {"METEOR": float(_silently(meteor, theirs, ours))}
    except BaseException:
        # The library keeps its lock when Java fails, and would wait for it for ever when the object is deleted.
        if meteor.lock.locked():
            meteor.lock.release()
        _meteor.cache_clear()
        raise


TOKEN_METRICS: dict[str, Callable[[Texts, Texts], dict[str, float]]] = {
    "BLEU": _bleu,
    "METEOR": _meteor_score,
    "ROUGE-L": lambda theirs, ours: {"ROUGE-L": float(_silently(Rouge(), theirs, ours))},
    "CIDEr": lambda theirs, ours: {"CIDEr": float(_silently(Cider(), theirs, ours))},
}
"""Metrics of tokenized references and captions, each by itself: METEOR needs Java."""


def caption_metrics(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """BLEU-1 to BLEU-4, METEOR, ROUGE-L and CIDEr of one caption for each image. Needs Java."""
    ours, theirs = tokenized([[caption] for caption in candidates]), tokenized(references)
    return {name: value for compute in TOKEN_METRICS.values() for name, value in compute(theirs, ours).items()}


def quick_cider(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """CIDEr on plain words instead of PTB tokens. Needs no Java, and is close enough to choose an epoch by."""
    ours = {i: [" ".join(words_of(caption))] for i, caption in enumerate(candidates)}
    theirs = {i: [" ".join(words_of(r)) for r in captions] for i, captions in enumerate(references)}
    score, _ = Cider().compute_score(theirs, ours)
    return float(score)
