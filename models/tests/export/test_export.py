"""Whole bundles of toy models: graphs against PyTorch, storage, the manifest and its hashes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tokenizers import Tokenizer
from toy_parts import CONCEPTS, SIDE, WORDS, random_parts, random_pixels

from pcmnet.export.bundle import BundleParts, read_bundle, write_bundle
from pcmnet.export.compare import compare_graphs
from pcmnet.export.graphs import Mixup, to_onnx
from pcmnet.export.manifest import GRAPHS, MANIFEST
from pcmnet.export.pipeline import OnnxPipeline, open_session, run
from pcmnet.export.precisions import export_bundle, stored_graphs
from pcmnet.quantize.int8 import Graphs
from pcmnet.quantize.storage import store

TEXTS = ["a dog", "two people stand next to a very large red bus in the city", "cat"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> BundleParts:
    return random_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def folder(parts: BundleParts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    export_bundle(parts, folder, ("fp32", "fp16", "w8"))
    return folder


def manifest_in(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    return manifest


def test_every_graph_in_fp32_gives_what_pytorch_gives(parts: BundleParts, folder: Path) -> None:
    found = compare_graphs(parts, folder, "fp32", random_pixels(11), TEXTS, batch_size=4)
    assert set(found.differences) == {
        *("encoder.grid", "encoder.local", "encoder.image_embedding"),
        *("mixup.memory", "mixup.memory_mask", "mixup.concept_ids", "mixup.concept_scores", "mixup.patch_scores"),
        *("decoder.tokens", "decoder.log_probs", "decoder.lengths", "textEncoder.text_embedding"),
    }
    assert max(found.differences.values()) <= 1e-3, found.differences
    assert found.equal_captions == 1
    assert found.photos == 11


def test_the_comparison_notices_a_changed_model(parts: BundleParts, folder: Path) -> None:
    weight = parts.captioner.encoder.layers[0].output["dense"].weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight += 0.05 * torch.randn_like(weight)
    found = compare_graphs(parts, folder, "fp32", random_pixels(3), TEXTS)
    with torch.no_grad():
        weight.copy_(before)
    assert found.differences["mixup.memory"] > 1e-3
    assert found.differences["encoder.grid"] <= 1e-3


@pytest.mark.parametrize(("precision", "bound"), [("fp16", 0.02), ("w8", 0.2)])
def test_small_storage_stays_near(parts: BundleParts, folder: Path, precision: str, bound: float) -> None:
    found = compare_graphs(parts, folder, precision, random_pixels(4), TEXTS)
    assert found.differences["mixup.memory"] < bound
    assert found.differences["textEncoder.text_embedding"] < bound
    assert found.differences["mixup.memory"] > 0


def test_storage_takes_a_half_and_a_quarter(folder: Path) -> None:
    files = manifest_in(folder)["files"]
    size = {p: sum(files[f"{name}.{p}.onnx"]["bytes"] for name in ("encoder", "text-encoder")) for p in ("fp32", "fp16", "w8")}
    assert 0.45 < size["fp16"] / size["fp32"] < 0.6
    assert 0.22 < size["w8"] / size["fp32"] < 0.33


@pytest.mark.parametrize("images", [1, 2, 5])
def test_any_number_of_images_and_concepts_goes_through(parts: BundleParts, folder: Path, images: int) -> None:
    pipeline = OnnxPipeline(folder, "fp32", threads=1)
    pixels = random_pixels(images)
    with torch.no_grad():
        features = parts.encoder(torch.from_numpy(pixels))
        for count in (5, 6, 9):
            concepts = parts.concept_embeddings[:count]
            expected = Mixup(parts.captioner)(*features, concepts)
            encoded = run(pipeline.sessions["encoder"], {"pixels": pixels})
            found = run(pipeline.sessions["mixup"], {**encoded, "concepts": concepts.numpy()})
            for name, value in zip(found, expected, strict=True):
                np.testing.assert_allclose(found[name], value.numpy(), atol=1e-3, err_msg=name)


def test_zero_rows_pad_the_concepts(parts: BundleParts, folder: Path) -> None:
    pipeline = OnnxPipeline(folder, "fp32", threads=1)
    encoded = run(pipeline.sessions["encoder"], {"pixels": random_pixels(2)})
    concepts = np.zeros((5, 16), np.float32)
    concepts[:2] = parts.concept_embeddings[:2].numpy()
    found = run(pipeline.sessions["mixup"], {**encoded, "concepts": concepts})
    assert np.isfinite(found["memory"]).all()
    assert (found["patch_scores"][found["concept_ids"][:, None].repeat(parts.encoder.patches, 1) >= 2] == 0).all()


def test_padding_does_not_change_a_text(folder: Path) -> None:
    pipeline = OnnxPipeline(folder, "fp32", threads=1)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = [tokenizer.encode(text).ids for text in TEXTS]
    together = pipeline.embed_texts(ids)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for row, one in zip(together, ids, strict=True):
        np.testing.assert_allclose(pipeline.embed_texts([one])[0], row, atol=1e-5)


def test_the_tokenizer_does_not_pad_and_cuts_at_the_bundles_length(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.encode("a dog").tokens == ["[CLS]", "a", "dog", "[SEP]"]
    assert len(tokenizer.encode("dog " * 99).ids) == manifest_in(folder)["tokenizer"]["maxTokens"] == 16


def test_the_manifest_states_what_the_graphs_take(parts: BundleParts, folder: Path) -> None:
    manifest = read_bundle(folder)
    assert manifest["image"] == {"width": SIDE, "height": SIDE, "resize": "stretch", "kernel": "cubic"}
    assert manifest["grid"] == {"rows": 2, "columns": 2}
    assert manifest["dimensions"] == {"grid": 1280, "embedding": 16, "memory": 32, "memoryLength": 9, "vocabulary": 30}
    assert manifest["decoding"]["maxLength"] == 9
    assert "matchProbability" not in manifest["calibration"]
    assert json.loads((folder / "concepts.json").read_text()) == CONCEPTS
    assert (folder / "vocabulary.txt").read_text().split() == [*WORDS, "UNK"]
    assert np.fromfile(folder / "concepts.f32", "<f4").reshape(-1, 16) == pytest.approx(parts.concept_embeddings.numpy())
    sizes = {
        "encoder": {"pixels": ["B", SIDE, SIDE, 3], "grid": ["B", 4, 1280], "local": ["B", 4, 16], "image_embedding": ["B", 16]},
        "decoder": {"memory": ["B", "M", 32], "word_bias": ["B", 30], "beam_size": [], "tokens": ["B", "K", "L"]},
        "mixup": {"memory": ["B", 9, 32], "concepts": ["C", 16], "patch_scores": ["B", 4, 5]},
        "textEncoder": {"text_embedding": ["X", 16]},
    }
    for key, file in manifest["precisions"]["w8"].items():
        session = open_session(folder / file)
        shapes = {value.name: value.shape for value in (*session.get_inputs(), *session.get_outputs())}
        assert sizes[key].items() <= shapes.items()


def test_a_changed_byte_changes_the_hash(folder: Path) -> None:
    file = folder / "mixup.w8.onnx"
    original = file.read_bytes()
    changed = bytearray(original)
    changed[len(changed) // 2] ^= 1
    file.write_bytes(changed)
    with pytest.raises(ValueError, match=r"mixup\.w8\.onnx"):
        read_bundle(folder)
    file.write_bytes(original)
    read_bundle(folder)


def test_writing_again_removes_graphs_that_are_no_longer_listed_and_keeps_the_card(parts: BundleParts, tmp_path: Path) -> None:
    (tmp_path / "encoder.int4.onnx").write_bytes(b"of an earlier export")
    (tmp_path / "MODEL_CARD.md").write_text("# Card")
    manifest = export_bundle(parts, tmp_path, ("w8",))
    assert sorted(path.name for path in tmp_path.glob("*.onnx")) == sorted(f"{name}.w8.onnx" for name in GRAPHS.values())
    assert (tmp_path / "MODEL_CARD.md").exists()
    assert manifest == manifest_in(tmp_path) == read_bundle(tmp_path)


def test_an_export_that_fails_leaves_the_earlier_bundle(parts: BundleParts, tmp_path: Path) -> None:
    manifest = export_bundle(parts, tmp_path, ("w8",))

    def failing() -> Iterator[tuple[str, Graphs]]:
        yield from stored_graphs(parts, ("fp16",))
        raise ValueError("no memory")

    with pytest.raises(ValueError, match="no memory"):
        write_bundle(parts, failing(), tmp_path)
    assert manifest == read_bundle(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*manifest["files"], MANIFEST}


def test_pieces_that_do_not_fit_together_are_refused(parts: BundleParts) -> None:
    facts = {name: getattr(parts, name) for name in parts.__dataclass_fields__}
    with pytest.raises(ValueError, match="concept embeddings"):
        BundleParts(**facts | {"concepts": CONCEPTS[:-1]})
    with pytest.raises(ValueError, match="fewer"):
        BundleParts(**facts | {"concepts": CONCEPTS[:4], "concept_embeddings": parts.concept_embeddings[:4]})


def test_an_unknown_precision_is_refused(parts: BundleParts, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="int3"):
        export_bundle(parts, tmp_path, ("int3",))


def test_a_size_that_tracing_took_for_a_constant_is_refused() -> None:
    class Baked(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.zeros(len(x), 3)

    with pytest.raises(ValueError, match="traced"):
        to_onnx(Baked(), {"x": (torch.zeros(2, 3), ("B", 3))}, {"y": ("B", 3)})


def test_int8_weights_are_within_half_a_step_of_the_real_ones(folder: Path) -> None:
    graph = onnx.load(folder / "encoder.fp32.onnx")
    small = store(graph, "w8")
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in small.graph.initializer}
    real = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    names = [name.removesuffix(".int8") for name in stored if name.endswith(".int8")]
    assert len(names) > 20
    for name in names:
        scale = stored[f"{name}.scale"]
        assert stored[f"{name}.int8"].dtype == np.int8
        assert (np.abs(stored[f"{name}.int8"] * scale - real[name]) <= scale * 0.5001).all()
        assert scale.size in real[name].shape
