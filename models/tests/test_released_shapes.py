"""ViT-B/32 in its released shapes, random: the released files become graphs that are PyTorch's, and a service that writes what
Python writes. `released_shapes.py` does the same with ViT-L/14 and every precision, which takes minutes."""

from __future__ import annotations

from pathlib import Path

import pytest
from released_shapes import compare, convert, pixels_of, serve, write_released
from served import compile_service
from tiny_run import sample_photos

from pcmnet.bundle import read_bundle
from pcmnet.clip import VIT_B_32
from pcmnet.data import fit_and_crop, photos_in

PHOTOS, SERVED = 64, 12


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    for n, (image, _) in enumerate(sample_photos(PHOTOS)):
        # Of the model's size: random weights make another sentence of pixels that a resize rounds otherwise.
        fit_and_crop(image, VIT_B_32.side).save(folder / f"{n:02}.png")
    return photos_in(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("released")
    write_released(folder, VIT_B_32)
    convert(folder, folder / "bundle", ("fp32", "w8"), folder)
    return folder


def test_every_output_of_every_graph_is_pytorchs_and_so_are_the_words(folder: Path, photos: list[Path]) -> None:
    manifest = read_bundle(folder / "bundle")
    assert manifest["grid"] == {"rows": 7, "columns": 7}
    sizes = {"grid": 768, "embedding": 512, "memory": 512, "memoryLength": 55, "vocabulary": 10200}
    assert manifest["dimensions"] == sizes
    compared = compare(folder, folder / "bundle", pixels_of(photos, VIT_B_32))
    assert compared.largest <= 1e-3, compared.differences
    assert compared.differences["decoder.tokens"] == 0
    assert compared.equal_captions == 1
    assert compared.photos == PHOTOS


def test_the_service_writes_what_python_writes(folder: Path, photos: list[Path]) -> None:
    compile_service()
    found = serve(folder / "bundle", "w8", photos[:SERVED], VIT_B_32)
    assert found.captions == found.pythons
    assert len(set(found.captions)) > SERVED // 2
    lengths = [len(caption.split()) for caption in found.captions]
    # Neither empty nor cut: the end was written.
    assert 0 < min(lengths) <= max(lengths) < 20
    assert not any(caption.endswith(".") for caption in found.captions)
