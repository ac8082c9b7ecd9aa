"""`pcmnet convert` on random weights in the layout of the released checkpoints."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from random_clip import SMALL, random_openai_state, write_merges

import pcmnet.quantize.linears as onnx_int8
from pcmnet.cli import main
from pcmnet.config import PRECISIONS, ModelConfig, read_config
from pcmnet.data.concepts import read_concepts
from pcmnet.data.photos import decode_photo
from pcmnet.evaluate.batch_invariance import batch_invariance
from pcmnet.export.bundle import read_bundle
from pcmnet.export.compare import compare_graphs, torch_decode
from pcmnet.export.convert import Converted, released_parts
from pcmnet.export.pipeline import OnnxPipeline
from pcmnet.model.checkpoint import read_captioner, write_checkpoint
from pcmnet.model.pcm_net import PCMNet
from pcmnet.quantize.storage import nodes_of

WORDS = [f"word{n}" for n in range(38)] + ["UNK"]
CONFIG = """
[model]
grid_width = 128
embedding = 32
patches = 4
width = 64
heads = 1
ffn = 96
"""
CONCEPTS = ["cat", "dog", "hat", "bat", "at", "tree", "sea"]
PHOTOS = 64


@dataclass(frozen=True)
class Files:
    folder: Path
    bundle: Path
    printed: str

    @property
    def arguments(self) -> list[str]:
        return arguments_of(self.folder)


def arguments_of(folder: Path) -> list[str]:
    options = {"clip": "clip.pt", "concepts": "concepts.pkl", "vocabulary": "words.txt", "merges": "merges.txt"}
    return [
        "convert",
        str(folder / "checkpoint.pth"),
        *("--config", str(folder / "config.toml")),
        *(part for name, file in options.items() for part in (f"--{name}", str(folder / file))),
    ]


def write_photos(folder: Path) -> None:
    """Blocks of colour of several sizes."""
    folder.mkdir()
    rng = np.random.default_rng(8)
    for n in range(PHOTOS):
        colours = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(colours).resize((70 + n, 60), Image.Resampling.NEAREST).save(folder / f"{n:02}.png")


def released_captioner(proj: torch.Tensor, norm: tuple[torch.Tensor, torch.Tensor]) -> PCMNet:
    """Random, in a small width, with CLIP's projection; its sentences end and differ by image."""
    torch.manual_seed(9)
    sizes = {"grid_width": 128, "embedding": 32, "patches": 4, "width": 64, "heads": 1, "ffn": 96}
    model = PCMNet(ModelConfig(vocabulary=len(WORDS) + 1, encoder_layers=3, decoder_layers=3, **sizes), own_projection=True)
    with torch.no_grad():
        model.visual_embed.proj.copy_(proj)
        model.visual_embed.ln_post.weight.copy_(norm[0])
        model.visual_embed.ln_post.bias.copy_(norm[1])
        model.predictor.logits.weight *= 5
        for layer in model.decoder.g_layers:
            layer.x_att.self["value"].weight *= 4
    return model


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("released")
    clip = random_openai_state(SMALL)
    torch.save(clip, folder / "clip.pt")
    write_merges(folder / "merges.txt", SMALL)
    model = released_captioner(clip["visual.proj"], (clip["visual.ln_post.weight"], clip["visual.ln_post.bias"]))
    state = {f"module.{name}": value for name, value in model.state_dict().items()} | {"module.extra.weight": torch.ones(3)}
    torch.save({"model": state, "trainer": {"iteration": 5, "epoch": 2}}, folder / "checkpoint.pth")
    (folder / "config.toml").write_text(CONFIG)
    torch.manual_seed(10)
    vectors = 1.007 * F.normalize(torch.randn(len(CONCEPTS), 32), dim=-1)
    (folder / "concepts.pkl").write_bytes(pickle.dumps((CONCEPTS, vectors.half())))
    (folder / "words.txt").write_text("".join(f"{word}\n" for word in WORDS))
    write_photos(folder / "photos")
    bundle = folder / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda *values, **_: lines.append(" ".join(map(str, values))))
        patch.setattr(onnx_int8, "SMALLEST", 64)  # the toy's matrices are small
        precisions = ["--precisions", *PRECISIONS, "--photos", str(folder / "photos")]
        main([*arguments_of(folder), "--out", str(bundle), *precisions, "--id", "released"])
    return Files(folder, bundle, "\n".join(lines))


def parts_of(files: Files) -> Converted:
    named = (files.folder / name for name in ("checkpoint.pth", "clip.pt", "concepts.pkl", "words.txt", "merges.txt"))
    return released_parts(*named, config=read_config(files.folder / "config.toml"))


def pixels_of(files: Files) -> np.ndarray:
    return np.stack([decode_photo(path, SMALL.side, "crop") for path in sorted((files.folder / "photos").iterdir())])


def test_the_command_says_which_keys_it_did_not_use(files: Files) -> None:
    said = files.printed.splitlines()[0]
    assert said.startswith("not used: extra.weight, input_resolution (of CLIP)")
    assert said.count(",") == 3
    assert {line.split(":")[0] for line in files.printed.splitlines()[1:]} == set(PRECISIONS)


def test_the_bundle_says_what_it_is(files: Files) -> None:
    manifest = read_bundle(files.bundle)
    assert manifest["id"] == "released"
    assert manifest["image"] == {"width": 56, "height": 56, "resize": "crop", "kernel": "cubic"}
    assert manifest["dimensions"]["vocabulary"] == 40
    assert manifest["decoding"] == {
        "beamSize": 3,
        "maxLength": 20,
        "lengthPenalty": 0.0,
        "noRepeatNgram": 0,
        "rerankWeight": 0.0,
        "blockedWords": ["UNK"],
    }
    assert json.loads((files.bundle / "concepts.json").read_text()) == CONCEPTS
    lengths = np.linalg.norm(np.fromfile(files.bundle / "concepts.f32", "<f4").reshape(-1, 32), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)


def test_graphs_are_pytorchs_and_so_are_all_captions(files: Files) -> None:
    """The reference takes the checkpoint's own projection, as the released code does, and its inference form."""
    folder = files.folder
    found = parts_of(files)
    parts, pixels = found.parts, pixels_of(files)
    compared = compare_graphs(parts, files.bundle, "fp32", pixels, ["a cat", "at"], batch_size=16)
    assert compared.largest <= 1e-3, compared.differences
    assert compared.differences["decoder.tokens"] == 0
    assert compared.equal_captions == 1

    model, _ = read_captioner(folder / "checkpoint.pth", read_config(folder / "config.toml"))
    with torch.inference_mode():
        grid, _, image = parts.encoder(torch.from_numpy(pixels))
        memory = model.encode(grid, model.visual_embed.local(grid), image, read_concepts(folder / "concepts.pkl")[1])
        beams = torch_decode(replace(parts, captioner=model), memory)
    captions = [" ".join(parts.vocabulary.decode(tokens.tolist())) for tokens in beams.tokens[:, 0]]
    onnx = OnnxPipeline(files.bundle, "fp32").caption(pixels)
    assert [" ".join(beams[0]) for beams in onnx.words] == captions
    assert len(set(captions)) > PHOTOS // 4
    assert not any("." in caption for caption in captions)


def test_int8_multiplies_integers_but_cuts_the_patches_in_floats(files: Files) -> None:
    found = parts_of(files)
    for name in ("encoder", "mixup", "decoder", "text-encoder"):
        operators = [node.op_type for node in nodes_of(onnx.load(files.bundle / f"{name}.int8.onnx").graph)]
        assert operators.count("MatMulIntegerToFloat") > 4, name
        assert not [operator for operator in operators if operator.startswith("Dynamic")], name
    pixels = pixels_of(files)
    compared = compare_graphs(found.parts, files.bundle, "int8", pixels, ["a cat", "at"])
    assert 0 < compared.differences["encoder.image_embedding"] < 0.1
    assert 0 < compared.differences["textEncoder.text_embedding"] < 0.1
    assert batch_invariance(OnnxPipeline(files.bundle, "int8", threads=1), pixels[:9], sizes=(2, 4, 9)).holds


def test_int8_asks_for_photos(files: Files, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--photos"):
        main([*files.arguments, "--out", str(tmp_path / "out"), "--precisions", "int8"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("words.txt", b"one\ntwo\nUNK\n", "vocabulary is 4 in one and 40 in another"),
        ("concepts.pkl", pickle.dumps((CONCEPTS, torch.ones(3, 32))), "7 words, but embeddings of shape"),
        ("concepts.pkl", pickle.dumps({"a": 1}), "no pair of words"),
        ("concepts.pkl", pickle.dumps((CONCEPTS, len)), "builtins.len is no tensor, array or plain container"),
        ("checkpoint.pth", b"nothing", "was not read"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    files: Files, file: str, content: bytes, says: str, tmp_path: Path
) -> None:
    for path in files.folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / file).unlink()
    (tmp_path / file).write_bytes(content)
    with pytest.raises(SystemExit, match=says):
        main([*arguments_of(tmp_path), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_without_one_of_its_tensors_is_refused(files: Files, tmp_path: Path) -> None:
    state = torch.load(files.folder / "checkpoint.pth")["model"]
    del state["module.encoder.gvfeat_embed.1.bias"]
    torch.save({"model": state}, tmp_path / "checkpoint.pth")
    with pytest.raises(ValueError, match=r"lacks encoder\.gvfeat_embed\.1\.bias"):
        read_captioner(tmp_path / "checkpoint.pth", read_config(files.folder / "config.toml"))


def test_another_clip_is_refused(files: Files, tmp_path: Path) -> None:
    clip = random_openai_state(SMALL)
    clip["visual.proj"] = -clip["visual.proj"]
    torch.save(clip, tmp_path / "clip.pt")
    with pytest.raises(SystemExit, match="trained on another CLIP"):
        main([*files.arguments, "--clip", str(tmp_path / "clip.pt"), "--out", str(tmp_path / "out")])


def test_a_checkpoint_without_a_configuration_is_not_guessed_at(files: Files, tmp_path: Path) -> None:
    without = [part for part in files.arguments if part not in ("--config", str(files.folder / "config.toml"))]
    with pytest.raises(SystemExit, match=r"records no configuration.*name one by --config"):
        main([*without, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match=r"model\.ffn is 2048 there, 96 in the weights"):
        main([*files.arguments, "--set", "model.ffn=2048", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_is_read_in_the_configuration_that_it_records(files: Files, tmp_path: Path) -> None:
    config = read_config(files.folder / "config.toml", ["model.k=3", "model.k2=0.5", "model.max_words=11"])
    model, _ = read_captioner(files.folder / "checkpoint.pth", config)
    write_checkpoint(tmp_path / "epoch-3.pt", model, config)
    named = [files.folder / name for name in ("clip.pt", "concepts.pkl", "words.txt", "merges.txt")]
    parts = released_parts(tmp_path, *named, changes=["model.threshold=0.25"]).parts  # the folder's last epoch
    c = parts.captioner.config
    assert (c.k, c.k2, c.max_words, c.threshold, parts.decoding.max_length) == (3, 0.5, 11, 0.25, 11)
    with pytest.raises(ValueError, match="records its configuration: leave out --config"):
        released_parts(tmp_path / "epoch-3.pt", *named, config=config)
