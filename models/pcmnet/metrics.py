"""Caption metrics of the field, by pycocoevalcap, with its PTB tokenizer on both sides."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from .text import words_of

Texts = dict[int, list[str]]


def tokenized(texts: Sequence[Sequence[str]]) -> Texts:
    """PTB tokens of texts, as pycocoevalcap wants them: place → the texts. Needs Java."""
    records = {i: [{"caption": caption} for caption in captions] for i, captions in enumerate(texts)}
    return PTBTokenizer().tokenize(records)


def caption_metrics(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """BLEU-1…4, METEOR, ROUGE-L and CIDEr of one caption an image. Needs Java."""
    ours, theirs = tokenized([[caption] for caption in candidates]), tokenized(references)
    with contextlib.redirect_stdout(io.StringIO()):
        bleu, _ = Bleu(4).compute_score(theirs, ours)
        meteor, _ = Meteor().compute_score(theirs, ours)
        rouge, _ = Rouge().compute_score(theirs, ours)
        cider, _ = Cider().compute_score(theirs, ours)
    return {f"BLEU-{n + 1}": float(bleu[n]) for n in range(4)} | {
        "METEOR": float(meteor),
        "ROUGE-L": float(rouge),
        "CIDEr": float(cider),
    }


def quick_cider(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """CIDEr on plain words instead of PTB tokens: no Java, close enough to choose an epoch by."""
    ours = {i: [" ".join(words_of(caption))] for i, caption in enumerate(candidates)}
    theirs = {i: [" ".join(words_of(r)) for r in captions] for i, captions in enumerate(references)}
    score, _ = Cider().compute_score(theirs, ours)
    return float(score)
