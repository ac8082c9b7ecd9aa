"""The metrics of the field against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from pcmnet.evaluate.metrics import caption_metrics


class NoMeteor:
    """METEOR has no number to be worked out by hand, and takes many seconds to load."""

    def compute_score(self, *_: object) -> tuple[float, list[float]]:
        return 0.375, []


def test_each_metric_has_its_own_name_and_punctuation_counts_on_neither_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """One caption is a reference in other clothes, one shares no word with its own; so n-grams of 6 and of 2 words, of which the
    first's are right, and a brevity of 8 words to 9."""
    monkeypatch.setattr("pcmnet.evaluate.metrics._meteor", NoMeteor)
    found = caption_metrics(["A dog runs on the grass .", "a cat"], [["a dog, runs on the grass"], ["two birds fly"]])
    brevity = math.exp(1 - 9 / 8)
    shares = [6 / 8, 5 / 6, 4 / 4, 3 / 3]
    for n in range(1, 5):
        assert found[f"BLEU-{n}"] == pytest.approx(brevity * math.prod(shares[:n]) ** (1 / n), rel=1e-4)
    assert found["ROUGE-L"] == pytest.approx(0.5)
    assert found["METEOR"] == 0.375
    assert found["CIDEr"] == pytest.approx(10 / 2)  # 10 and 0
    assert list(found) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr"]
