"""Both towers in their released shapes, random: the released files become graphs that are PyTorch's, and a service that writes
what Python writes. `released_shapes.py` serves every precision of both, which takes longer."""

from __future__ import annotations

from pathlib import Path

import pytest
from released_shapes import TOWERS, compare, convert, pixels_of, serve, write_released
from served import compile_service
from tiny_run import sample_photos

from pcmnet.data.clip_pixels import fit_and_crop
from pcmnet.data.photos import photos_in
from pcmnet.export.bundle import read_bundle
from pcmnet.model.clip import VIT_B_32

PHOTOS, SERVED = 64, 12
COMPARED = {"ViT-B/32": PHOTOS, "ViT-L/14": 8}
"""A photo costs the larger tower eighteen times as much."""
CELLS = {"ViT-B/32": 7, "ViT-L/14": 8}
SIZES = {
    "ViT-B/32": {"grid": 768, "embedding": 512, "memory": 512, "memoryLength": 55, "vocabulary": 10200},
    "ViT-L/14": {"grid": 1024, "embedding": 768, "memory": 512, "memoryLength": 70, "vocabulary": 10200},
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    for n, (image, _) in enumerate(sample_photos(PHOTOS)):
        # Of the model's size: random weights make another sentence of pixels that a resize rounds otherwise.
        fit_and_crop(image, VIT_B_32.side).save(folder / f"{n:02}.png")
    return photos_in(folder)


@pytest.mark.parametrize("tower", TOWERS)
def test_every_output_of_every_graph_is_pytorchs_and_so_are_the_words(tower: str, photos: list[Path], tmp_path: Path) -> None:
    sizes = TOWERS[tower]
    write_released(tmp_path, sizes)
    convert(tmp_path, tmp_path / "bundle", ("fp32",), tmp_path)
    manifest = read_bundle(tmp_path / "bundle")
    assert manifest["grid"] == {"rows": CELLS[tower], "columns": CELLS[tower]}
    assert manifest["dimensions"] == SIZES[tower]
    compared = compare(tmp_path, tmp_path / "bundle", pixels_of(photos[: COMPARED[tower]], sizes))
    assert compared.largest <= 1e-3, compared.differences
    assert compared.differences["decoder.tokens"] == 0
    assert compared.equal_captions == 1
    assert compared.photos == COMPARED[tower]


def test_the_service_writes_what_python_writes(photos: list[Path], tmp_path: Path) -> None:
    compile_service()
    write_released(tmp_path, VIT_B_32)
    convert(tmp_path, tmp_path / "bundle", ("w8",), tmp_path)
    found = serve(tmp_path / "bundle", "w8", photos[:SERVED], VIT_B_32)
    assert found.captions == found.pythons
    assert len(set(found.captions)) > SERVED // 2
    lengths = [len(caption.split()) for caption in found.captions]
    # Neither empty nor cut: the end was written.
    assert 0 < min(lengths) <= max(lengths) < 20
    assert not any(caption.endswith(".") for caption in found.captions)
