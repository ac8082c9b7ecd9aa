"""Integer graphs of toy models: what is in integers, how near they stay, and that a batch does not matter."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from toy_parts import random_parts, random_pixels

import pcmnet.quantize.linears as onnx_int8
from pcmnet.evaluate.batch_invariance import batch_invariance
from pcmnet.export.bundle import BundleParts
from pcmnet.export.compare import compare_graphs
from pcmnet.export.pipeline import Captions, OnnxPipeline, open_session, run
from pcmnet.export.precisions import export_bundle, stored_graphs
from pcmnet.quantize.int8 import Examples
from pcmnet.quantize.linears import Watched, linear_inputs, quantise_linears
from pcmnet.quantize.ranges import Range, Samples
from pcmnet.quantize.storage import nodes_of

TEXTS = ["a dog", "two people stand next to a very large red bus in the city", "cat"]
ROWS = np.random.default_rng(0).standard_normal((40, 96)).astype(np.float32)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> BundleParts:
    return random_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def folder(parts: BundleParts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_int8, "SMALLEST", 64)  # a toy's matrices are small
        export_bundle(parts, folder, ("fp32", "w8", "int8"), Examples(random_pixels(12), TEXTS))
    return folder


def operators(path: Path) -> set[str]:
    return {node.op_type for node in nodes_of(onnx.load(path).graph)}


def two_layers() -> onnx.ModelProto:
    """x [R, 96] → Linear, Relu, Linear → y [R, 80]"""
    rng = np.random.default_rng(1)
    weights = {
        "first": rng.standard_normal((96, 64)) / 10,
        "bias": rng.standard_normal(64),
        "second": rng.standard_normal((64, 80)) / 8,
    }
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "second"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("R", 96))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("R", 80))],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def integer_layers() -> tuple[onnx.ModelProto, onnx.ModelProto]:
    model = two_layers()
    watched = Watched(model)
    watched({"x": ROWS})
    return model, quantise_linears(model, watched.ranges())


def outputs(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    return run(open_session(model.SerializeToString()), {"x": x})["y"]


def test_linear_layers_stay_near_in_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_int8, "SMALLEST", 64)
    model, small = integer_layers()
    assert linear_inputs(model) == ["x", "hidden"]
    real, found = outputs(model, ROWS), outputs(small, ROWS)
    assert 0 < np.abs(found - real).max() < 0.05 * np.abs(real).max()
    # The zero that uint8 starts from does what Relu did.
    assert [node.op_type for node in small.graph.node] == ["QuantizeLinear", "MatMulIntegerToFloat"] * 2


def test_a_row_is_the_same_beside_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_int8, "SMALLEST", 64)
    _, small = integer_layers()
    neighbour = 1000 * ROWS[1:2]
    assert (outputs(small, np.concatenate([ROWS[:1], neighbour]))[0] == outputs(small, ROWS[:1])[0]).all()


def test_products_of_the_largest_integers_do_not_overflow_16_bits() -> None:
    assert np.iinfo(np.int16).max >= 2 * 255 * onnx_int8.WEIGHT_LIMIT


def test_ranges_hold_zero_and_cut_off_what_is_rare() -> None:
    samples = Samples()
    samples.add({"positive": np.linspace(2, 3, 1000, dtype=np.float32)})
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((60, 2000)).astype(np.float32)
    for part in wide:
        samples.add({"wide": part})
    samples.add({"none": np.zeros(10, np.float32)})
    ranges = samples.ranges()
    assert ranges["positive"].zero == 0
    assert np.isclose(ranges["positive"].scale * 255, 3, rtol=0.05)
    assert ranges["none"] == Range(np.float32(1), np.uint8(0))
    assert ranges["wide"].scale * 255 < 0.96 * (wide.max() - wide.min())


def test_integers_do_the_heavy_work(folder: Path) -> None:
    encoder = open_session(folder / "encoder.int8.onnx")
    assert [value.type for value in encoder.get_inputs()] == ["tensor(uint8)"]
    for name in ("encoder", "mixup", "decoder", "text-encoder"):
        assert "MatMulIntegerToFloat" in operators(folder / f"{name}.int8.onnx"), name
        assert "MatMulIntegerToFloat" not in operators(folder / f"{name}.w8.onnx"), name
    graph = onnx.load(folder / "encoder.int8.onnx").graph
    dequantised = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert convolutions
    assert all(dequantised.issuperset(node.input) for node in convolutions)


def test_no_operator_takes_its_scale_from_the_batch(folder: Path) -> None:
    for path in folder.glob("*.int8.onnx"):
        assert not [name for name in operators(path) if name.startswith("Dynamic")], path.name


def test_integer_graphs_stay_near_pytorch(parts: BundleParts, folder: Path) -> None:
    found = compare_graphs(parts, folder, "int8", random_pixels(4), TEXTS)
    assert found.differences["textEncoder.text_embedding"] < 0.2
    assert found.differences["encoder.image_embedding"] < 0.3
    assert found.differences["mixup.memory"] < 0.5
    assert found.differences["mixup.memory"] > 0


@pytest.mark.parametrize("precision", ["w8", "int8"])
def test_captions_do_not_depend_on_the_batch(folder: Path, precision: str) -> None:
    found = batch_invariance(OnnxPipeline(folder, precision, threads=1), random_pixels(9), sizes=(2, 4, 9))
    assert found.holds, found.to_json()
    assert found.photos == 9


@pytest.mark.parametrize(("words", "log_prob"), [(["a"], -1.0), ([], -1.002)])
def test_a_caption_that_depends_on_its_batch_is_noticed(words: list[str], log_prob: float) -> None:
    def caption(pixels: NDArray[np.uint8], batch_size: int) -> Captions:
        many, count = batch_size > 2, len(pixels)
        beam, sums = (words, log_prob) if many else ([], -1.0)
        shape = np.full((count, 1), sums, np.float32)
        return Captions([[beam]] * count, shape, np.ones((count, 1), np.int64), np.ones((count, 2), np.float32))

    pipeline: Any = SimpleNamespace(caption=caption)
    found = batch_invariance(cast(OnnxPipeline, pipeline), np.zeros((6, 1, 1, 3), np.uint8), sizes=(2, 3))
    assert [difference.is_none for difference in found.differences] == [True, False]
    assert not found.holds


def test_int8_asks_for_examples(parts: BundleParts) -> None:
    with pytest.raises(ValueError, match="examples"):
        list(stored_graphs(parts, ("int8",)))
