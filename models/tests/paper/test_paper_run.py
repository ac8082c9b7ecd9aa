"""Runs on stored features: configurations, records, preparation, resuming, the paper's table."""

from __future__ import annotations

import json
import pickle
import tomllib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import TEST, TRAIN, run_of
from torch import Tensor

from pcmnet.cli import main
from pcmnet.config import read_config
from pcmnet.data.clip_features import FeatureFiles
from pcmnet.data.clip_pixels import decode_for_clip
from pcmnet.data.concepts import read_concepts
from pcmnet.data.records import Pair, read_pairs, read_rows, read_test, select, write_rows
from pcmnet.data.text import END, Vocabulary
from pcmnet.evaluate.clip_score import clip_scores
from pcmnet.model.beam_search import beam_search
from pcmnet.paper.evaluate import captions_of_test
from pcmnet.paper.prepare import prepare
from pcmnet.paper.table import ROWS
from pcmnet.paper.training import train
from pcmnet.train.loss import caption_loss

CONFIGS = Path(__file__).parents[2] / "configs"
RUNS = ("coco-b32", "coco-l14", "flickr30k-b32", "flickr30k-l14")


def differing(one: dict[str, object], other: dict[str, object], prefix: str = "") -> Iterator[str]:
    for name, value in one.items():
        if isinstance(value, dict):
            yield from differing(value, other[name], f"{prefix}{name}.")  # type: ignore[arg-type]
        elif value != other[name]:
            yield prefix + name


def test_released_configurations_differ_only_where_the_paper_does() -> None:
    configs = {name: asdict(read_config(CONFIGS / f"{name}.toml")) for name in RUNS}
    tower = {"id", "model.grid_width", "model.embedding", "model.patches", "captioner.clip_weight_alpha"}
    for one, other, beyond in (
        ("coco-b32", "flickr30k-b32", {"id"}),
        ("flickr30k-b32", "flickr30k-l14", tower),
        ("coco-b32", "coco-l14", tower | {"model.dropout"}),
    ):
        found = set(differing(configs[one], configs[other]))
        assert {name for name in found if not name.startswith(("data.", "released."))} == beyond, (one, other)
    recipe = configs["coco-b32"]["captioner"]
    assert (recipe["batch_size"], recipe["epochs"], recipe["captions_per_photo"], recipe["clip_value"]) == (32, 12, 1, 0.1)
    assert (recipe["focal"], recipe["focal_gamma"], recipe["label_smoothing"], recipe["optimizer"]) == ("batch", 2.0, 0.1, "adam")
    assert [configs[name]["captioner"]["clip_weight_alpha"] for name in RUNS] == [2.5, 4.0, 2.5, 4.0]
    assert [configs[name]["model"]["dropout"] for name in RUNS] == [0.2, 0.25, 0.2, 0.2]
    assert {config["concepts"]["max_words"] for config in configs.values()} == {446}
    # All four trainings, and so all eight evaluations, detect the concepts of one list.
    assert [configs[name]["data"]["concepts"] for name in RUNS] == ["coco/concepts-b32.pkl", "coco/concepts-l14.pkl"] * 2
    assert not any(config["captioner"]["bf16"] for config in configs.values())


def test_the_papers_rows_are_of_its_epochs() -> None:
    in_domain = {one: epoch for one, other, epoch, _ in ROWS if one == other}
    across = {(one, other): epoch for one, other, epoch, _ in ROWS if one != other and not other.startswith("nocaps")}
    assert in_domain == dict(zip(RUNS, (10, 6, 11, 9), strict=True))
    assert across == {
        ("coco-b32", "flickr30k-b32"): 7,
        ("coco-l14", "flickr30k-l14"): 6,
        ("flickr30k-b32", "coco-b32"): 10,
        ("flickr30k-l14", "coco-l14"): 9,
    }


def test_a_base_is_overridden_table_by_table_and_by_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("seed = 7\n[model]\nk = 3\nk2 = 2\n")
    (tmp_path / "own.toml").write_text('base = "base.toml"\n[model]\nk = 4\n')
    config = read_config(tmp_path / "own.toml", ["model.k2 = 0.5", 'model.mode = "random"'])
    assert (config.seed, config.model.k, config.model.k2, config.model.mode) == (7, 4, 0.5, "random")
    with pytest.raises(tomllib.TOMLDecodeError):
        read_config(tmp_path / "own.toml", ["model.mode = random"])


def test_captions_become_cleaned_tokens_and_a_vocabulary() -> None:
    rows = [
        {"image": "a/one.jpg", "captions": ["A cat, a hat!", "..."], "split": "train"},
        {"image": "two.jpg", "captions": ["The cat’s hat"], "split": "train"},
        {"image": "three.jpg", "captions": ["A dog"], "split": "test"},
    ]
    vocabulary, train, test = prepare(rows, synthetic=False, min_count=2, max_words=3)
    assert vocabulary.words == ["a", "hat", "UNK"]
    assert [row["image_id"] for row in train] == ["one", "two"]
    assert train[0]["tokens_ids"] == [[0, 1, 3, 1]]  # a UNK a, and "hat" as the last target in place of the end
    assert train[0]["target_ids"] == [[1, 3, 1, 2]]
    assert train[1]["target_ids"] == [[3, 3, 2, 0]]
    assert test == [{"image_id": "three", "captions": ["A dog"]}]


def test_every_caption_becomes_a_pair_where_images_are_to_be_made(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("a cat\n\n")
    rows = [*read_rows(tmp_path / "captions.txt"), {"image": "x.jpg", "captions": ["a dog", "one dog"]}]
    _, train, _ = prepare(rows, synthetic=True, min_count=1, max_words=5)
    assert [(row["image_id"], row["captions"]) for row in train] == [
        ("0000000", ["a cat"]),
        ("x_0", ["a dog"]),
        ("x_1", ["one dog"]),
    ]


def test_released_records_and_plain_captions_are_read_alike(tmp_path: Path) -> None:
    vocabulary = Vocabulary(["a", "cat", "UNK"])
    tokens, targets = np.array([0, 1, 2, 0]), np.array([1, 2, 0, -1])
    released = {"image_id": "5", "split_id": 0, "tokens_ids": tokens, "target_ids": targets, "clipscore": 0.5}
    (tmp_path / "train.pkl").write_bytes(pickle.dumps([released]))
    (tmp_path / "plain.jsonl").write_text(
        json.dumps({"image": "5.jpg", "captions": ["A cat."], "split": "train"})
        + "\n"
        + json.dumps({"image": "6.jpg", "captions": ["A cat."], "split": "val"})
    )
    (one,) = read_pairs(tmp_path / "train.pkl", vocabulary, 3)
    (other,) = read_pairs(tmp_path / "plain.jsonl", vocabulary, 3)
    assert one.file(tmp_path / "b32", ".npz") == tmp_path / "b32_sp0" / "5.npz"
    assert other.file(tmp_path / "b32", ".npz") == tmp_path / "b32" / "5.npz"
    assert one.tokens.tolist() == other.tokens.tolist() == [[0, 1, 2, 0]]
    assert one.targets.tolist() == other.targets.tolist() == [[1, 2, 0, -1]]
    assert (one.clipscore.tolist(), other.clipscore.tolist()) == ([0.5], [1.0])
    with pytest.raises(ValueError, match="beyond a vocabulary of 2"):
        read_pairs(tmp_path / "train.pkl", Vocabulary(["a"]), 3)


def test_cocos_annotations_are_test_captions(tmp_path: Path) -> None:
    annotations = [
        {"image_id": 7, "caption": "A cat"},
        {"image_id": 9, "caption": "A dog"},
        {"image_id": 7, "caption": "One cat"},
    ]
    (tmp_path / "test.json").write_text(json.dumps({"annotations": annotations}))
    assert [(image.image_id, image.captions) for image in read_test(tmp_path / "test.json")] == [
        ("7", ("A cat", "One cat")),
        ("9", ("A dog",)),
    ]


def test_pairs_are_dropped_by_score_and_then_drawn_by_share() -> None:
    none = np.zeros((1, 1), np.int64)
    pairs = [Pair(n, str(n), "", none, none, np.array([n / 10], np.float32)) for n in range(10)]
    above = select(pairs, 1.0, 0.25, seed=1)
    assert [pair.row for pair in above] == [3, 4, 5, 6, 7, 8, 9]
    some = select(pairs, 0.4, 0.25, seed=1)
    assert len(some) == 2  # int(7 · 0.4)
    assert {pair.row for pair in some} <= {pair.row for pair in above}
    assert [pair.row for pair in select(pairs, 0.4, 0.25, seed=1)] == [pair.row for pair in some]
    assert len(select(pairs, 1.0, -1.0, seed=1)) == 10  # no threshold: a score of 0 stays
    assert [pair.row for pair in select(pairs, 1.0, 0.5, seed=1)] == [6, 7, 8, 9]


def test_an_image_keeps_the_captions_that_score_above_the_threshold() -> None:
    tokens = np.array([[0, 1], [0, 2], [0, 3]])
    pair = Pair(0, "x", "", tokens, tokens + 4, np.array([0.9, 0.2, 0.6], np.float32))
    (kept,) = select([pair], 1.0, 0.5, seed=1)
    assert (kept.tokens.tolist(), kept.targets.tolist()) == ([[0, 1], [0, 3]], [[4, 5], [4, 7]])
    assert kept.clipscore.tolist() == [np.float32(0.9), np.float32(0.6)]
    assert select([pair], 1.0, 0.9, seed=1) == []


def test_listed_concepts_are_embedded_in_their_order(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "words.txt").write_text("skateboard\n\ngiraffe\nsurfer\nfrisbee\ncat\n")
    common = [str(prepared / "tiny.toml"), "--data", str(prepared / "data"), "--words", str(tmp_path / "words.txt")]
    main(["paper", "concepts", *common, "--set", "data.concepts='listed.pkl'"])
    assert capsys.readouterr().out == "5 concepts\n"
    words, vectors = read_concepts(prepared / "data" / "listed.pkl")
    assert words == ["skateboard", "giraffe", "surfer", "frisbee", "cat"]
    assert vectors.shape == (5, 32)
    with pytest.raises(SystemExit, match="5 concepts are too few; the network detects 6 in each image"):
        main(["paper", "concepts", *common, "--set", "model.k=6"])


def test_each_path_refuses_the_others_configuration(prepared: Path, tmp_path: Path) -> None:
    paper, embedded = str(prepared / "tiny.toml"), str(CONFIGS / "embedded.toml")
    common = ["--data", str(prepared / "data"), "--run", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"^pcmnet embedded train: tiny trains on stored features"):
        main(["embedded", "train", paper, *common])
    with pytest.raises(SystemExit, match=r"^pcmnet paper train: pcm-net-lite2 trains on photos"):
        main(["paper", "train", embedded, *common])


def test_features_are_in_the_released_layout_and_only_missing_ones_are_written(
    prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = prepared / "data" / "features"
    with np.load(folder / "000.npz") as held:
        assert held["features"].shape == (4, 128)
        assert held["g_feature"].shape == (1, 32)
        assert held["g_feature"].dtype == np.float32
        assert abs(np.linalg.norm(held["g_feature"]) - 1) > 0.01
    (folder / "005.npz").unlink()
    split = prepared / "data" / "images_sp2"
    split.mkdir()
    Image.new("RGB", (60, 60)).save(split / "x.png")
    main(["paper", "features", str(prepared / "tiny.toml"), "--data", str(prepared / "data")])
    assert capsys.readouterr().out == "features of 2 images written\n"
    assert (prepared / "data" / "features_sp2" / "x.npz").exists()


def test_features_are_those_of_the_tower_and_its_own_local_embeddings(prepared: Path, tmp_path: Path) -> None:
    run = run_of(prepared, tmp_path)
    model, clip = run.model(), run.clip.images
    features = FeatureFiles([prepared / "data" / "features" / "000.npz"], model.visual_embed.ln_post, model.visual_embed.proj)
    pixels = torch.from_numpy(decode_for_clip(prepared / "data" / "images" / "000.png", 56).copy())
    with torch.inference_mode():
        expected = clip(pixels[None])
    for found, value in zip(features.batch(np.array([0])), expected, strict=True):
        torch.testing.assert_close(found, value, atol=1e-4, rtol=1e-4)


def test_scores_are_two_and_a_half_cosines(prepared: Path, tmp_path: Path) -> None:
    run = run_of(prepared, tmp_path)
    texts = ["a cat", "at", "the sea", "two dogs", "a hat on a tree", "x"]
    files = run.test_files[: len(texts)]
    with torch.inference_mode():
        embedded = run.clip.texts.encode([f"A photo depicts {text}" for text in texts])
    images = torch.stack([torch.from_numpy(np.load(file)["g_feature"][0]) for file in files])
    cosines = torch.nn.functional.cosine_similarity(images, embedded)
    np.testing.assert_allclose(clip_scores(run.clip.texts, texts, files), 2.5 * cosines.clamp(min=0).numpy(), atol=1e-5)
    assert (cosines > 0.01).any()
    assert (cosines < -0.01).any()


def test_every_caption_gets_its_own_score(prepared: Path, tmp_path: Path) -> None:
    rows = [
        {"image_id": "000", "captions": ["a cat"]},
        {"image_id": "001", "captions": ["at", "a hat"]},
        {"image_id": "002", "captions": ["the sea"]},
    ]
    write_rows(prepared / "data" / "several.jsonl", rows)
    run = run_of(prepared, tmp_path, "data.train='several.jsonl'")
    assert run.score_pairs().startswith("4 pairs scored")
    for row in read_rows(run.path("train")):
        files = [prepared / "data" / "features" / f"{row['image_id']}.npz"] * len(row["captions"])
        np.testing.assert_allclose(row["clipscore"], clip_scores(run.clip.texts, row["captions"], files), atol=1e-5)


def test_a_pair_weighs_in_the_loss_what_its_score_and_the_configuration_say(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = read_rows(prepared / "data" / "train.jsonl")
    # Drawn photos share captions.
    distinct = dict.fromkeys(tuple(row["target_ids"][0]) for row in rows)
    scores = {ids: 1.6 * n / (len(distinct) - 1) for n, ids in enumerate(distinct)}
    write_rows(prepared / "data" / "scored.pkl", [row | {"clipscore": scores[tuple(row["target_ids"][0])]} for row in rows])
    seen: dict[tuple[int, ...], float] = {}

    def note(logits: Tensor, targets: Tensor, weights: Tensor, *rest: float | str) -> Tensor:
        assert rest == (0.1, "batch", 2.0)
        seen.update(zip((tuple(row[row >= 0].tolist()) for row in targets), weights.tolist(), strict=True))
        return caption_loss(logits, targets, weights, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("pcmnet.train.captioner.caption_loss", note)
    changes = ["captioner.epochs=1", "captioner.clip_weight_alpha=2.0", "data.test=''", "data.train='scored.pkl'"]
    train(run_of(prepared, tmp_path, *changes))
    expected = {tuple(t for t in ids if t >= 0): min(score / 2.5 * 2, 1) for ids, score in scores.items()}
    assert seen == {ids: pytest.approx(weight, abs=1e-6) for ids, weight in expected.items()}
    assert {0.0, 1.0} <= set(seen.values())


def test_a_run_that_was_stopped_ends_where_an_unstopped_one_does(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(run_of(prepared, tmp_path / "whole", "data.test=''"))

    def stopped(name: str) -> dict[str, float]:
        if name == "epoch-2":
            raise KeyboardInterrupt
        return {}

    with monkeypatch.context() as patch:
        patch.setattr("pcmnet.paper.training._evaluation", lambda *_: stopped)
        with pytest.raises(KeyboardInterrupt):
            train(run_of(prepared, tmp_path / "parts", "data.test=''"))
    assert torch.load(tmp_path / "parts" / "captioner.ckpt")["step"] == TRAIN // 8  # so it goes on from the first epoch
    train(run_of(prepared, tmp_path / "parts", "data.test=''", "captioner.workers=0"), resume=True)
    for epoch in (1, 2):
        whole, parts = (torch.load(tmp_path / name / f"epoch-{epoch}.pt")["model"] for name in ("whole", "parts"))
        assert len(whole) > 100
        for name, value in whole.items():
            assert torch.equal(value, parts[name]), name


def test_an_epoch_of_a_share_goes_over_it_more_often(prepared: Path, tmp_path: Path) -> None:
    train(run_of(prepared, tmp_path, "data.share=0.5", "data.test=''", "captioner.epochs=1"))
    assert torch.load(tmp_path / "captioner.ckpt")["step"] == TRAIN // 8


@pytest.mark.parametrize("change", ["mode='random'\nmodel.k2=0.3", "mode='all'", "mode='off'", "threshold=0.1"])
def test_every_ablation_trains(prepared: Path, tmp_path: Path, change: str) -> None:
    """Without CLIP's weights, too."""
    changes = ["captioner.epochs=1", "data.test=''", "captioner.clip_weight_alpha=0.0", *f"model.{change}".splitlines()]
    run = run_of(prepared, tmp_path, *changes)
    train(run)
    before, after = run.model().state_dict(), run.model(run.checkpoint(1)).state_dict()
    assert not torch.equal(before["predictor.logits.weight"], after["predictor.logits.weight"])
    assert torch.equal(before["visual_embed.proj"], after["visual_embed.proj"])


def test_missing_features_are_named(prepared: Path, tmp_path: Path) -> None:
    run = run_of(prepared, tmp_path, "data.train_features='nowhere'")
    with pytest.raises(
        FileNotFoundError, match=r"64 of 64 images have no features \(run pcmnet paper features\): .*nowhere/000\.npz"
    ):
        train(run)


def test_the_papers_table_says_which_files_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(
        SystemExit, match=r"no row of the paper has its files(.|\n)*coco-b32 on flickr30k-b32: there is no folder .*/coco-b32"
    ):
        main(["paper", "table", str(CONFIGS), "--data", str(tmp_path), "--run", str(tmp_path)])


def test_the_papers_table_has_the_rows_that_can_be_computed(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tiny runs under the released names, one of them trained."""
    for name in (*RUNS, "nocaps-b32", "nocaps-l14"):
        (tmp_path / f"{name}.toml").write_text((prepared / "tiny.toml").read_text().replace('"tiny"', f'"{name}"'))
    (tmp_path / "released.toml").write_bytes((CONFIGS / "released.toml").read_bytes())
    run = run_of(prepared, tmp_path / "coco-b32")
    tmp_path.joinpath("coco-b32").mkdir()
    torch.save({"model": run.model().state_dict()}, tmp_path / "coco-b32" / "epoch-10.pt")
    main(["paper", "table", str(tmp_path), "--data", str(prepared / "data"), "--run", str(tmp_path)])
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    table = [line for line in lines if line.startswith("| ") and "---" not in line]
    assert len(table) == 1 + 8 + 2
    in_domain, cross = (next(line for line in table if line.startswith(f"| coco-b32 | {t}")) for t in ("coco", "flickr30k"))
    assert "–" not in in_domain.replace("| – |", "", 1)  # all but SPICE, where its jars are not
    assert ("| – |" in in_domain) == ("SPICE is left out: " in printed.err)
    assert cross.split(" | ")[3:] == ["–"] * 8 + ["– |"]
    assert any(line.startswith("coco-b32 on flickr30k-b32: ") and "no checkpoint of epoch 7" in line for line in lines)


def test_across_domains_the_runs_own_concepts_are_detected_and_its_own_words_written(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, vectors = read_concepts(prepared / "data" / "concepts.pkl")
    (prepared / "data" / "others.pkl").write_bytes(pickle.dumps((words[::-1], vectors.flip(0))))
    seen: list[object] = []
    monkeypatch.setattr("pcmnet.paper.evaluate.caption_rows", lambda *given, **named: seen.append((given, named)) or [])
    own, target = run_of(prepared, tmp_path), run_of(prepared, tmp_path, "data.concepts='others.pkl'")
    captions_of_test(own.model(), own, target)
    ((given, named),) = seen  # type: ignore[misc]
    _, features, rows, concepts, vocabulary = given
    torch.testing.assert_close(concepts, vectors)
    assert features.files == target.test_files
    assert len(rows) == TEST
    assert vocabulary is own.vocabulary
    assert named == {"blocked": (), "concept_bias": None}


def test_test_images_are_captioned_by_the_papers_search(prepared: Path, tmp_path: Path) -> None:
    run = run_of(prepared, tmp_path)
    model = run.model()
    embed = model.visual_embed
    features = FeatureFiles(run.test_files, embed.ln_post, embed.proj).batch(np.arange(TEST))
    with torch.no_grad():
        model.predictor.logits.bias[END] -= 1  # an untrained network may end every sentence at once
    with torch.inference_mode():
        beams = beam_search(model, model.encode(*features, run.concepts[1]))
    expected = [" ".join(run.vocabulary.decode(tokens)) for tokens in beams.tokens[:, 0].tolist()]
    assert captions_of_test(model, run, run) == expected
    assert max(len(caption.split()) for caption in expected) > 0
