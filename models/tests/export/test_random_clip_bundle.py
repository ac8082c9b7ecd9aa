"""The bundle of random CLIP towers, small: its graphs against PyTorch in both precisions."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import torch

from pcmnet.export.bundle import read_bundle
from pcmnet.export.pipeline import open_session, run
from pcmnet.model.clip import ClipSizes

SIDE = 56


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[2] / "bench" / "random_clip_bundle.py"
    spec = importlib.util.spec_from_file_location("random_clip_bundle", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_graphs_are_those_of_the_towers(script: ModuleType, tmp_path: Path) -> None:
    sizes = ClipSizes(
        side=SIDE,
        patch=14,
        pool=2,
        vision_width=64,
        vision_layers=2,
        text_width=64,
        text_layers=2,
        embedding=32,
        text_vocabulary=31000,
    )
    script.export(tmp_path, sizes, vocabulary=300)
    manifest = read_bundle(tmp_path)
    assert manifest["grid"] == {"rows": 2, "columns": 2}
    assert set(manifest["precisions"]) == {"fp16", "w8"}

    parts = script.random_parts(sizes, vocabulary=300)
    pixels = torch.randint(0, 256, (3, SIDE, SIDE, 3), dtype=torch.uint8)
    ids = torch.tensor([[101, 2000, 3000, 102], [101, 2500, 102, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    with torch.no_grad():
        grid, local, image = (each.numpy() for each in parts.encoder(pixels))
        text = parts.text_encoder(ids, mask).numpy()
    for precision, tolerance in (("fp16", 5e-3), ("w8", 1e-1)):
        files = manifest["precisions"][precision]
        encoded = run(open_session(tmp_path / files["encoder"]), {"pixels": pixels.numpy()})
        for name, expected in (("grid", grid), ("local", local), ("image_embedding", image)):
            assert encoded[name].dtype == np.float32
            np.testing.assert_allclose(encoded[name], expected, atol=tolerance)
        feeds = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
        embedded = run(open_session(tmp_path / files["textEncoder"]), feeds)["text_embedding"]
        np.testing.assert_allclose(embedded, text, atol=tolerance)


def test_fp16_computes_in_half_precision(script: ModuleType) -> None:
    weight = np.ones((4, 4), np.float32)
    product = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    value = {name: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in ("x", "y")}
    graph = onnx.helper.make_graph([product], "g", [value["x"]], [value["y"]], [onnx.numpy_helper.from_array(weight, "w")])
    half = script.in_half_precision(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)]))
    assert half.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert half.graph.initializer[0].data_type == onnx.TensorProto.FLOAT16
