"""A manifest follows the service's schema, or no bundle is written."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_parts import random_parts

from pcmnet.export.bundle import write_bundle
from pcmnet.export.manifest import check_manifest

EMBEDDED = Path(__file__).parents[2] / "default"


@pytest.fixture
def manifest() -> dict[str, Any]:
    return json.loads((EMBEDDED / "bundle.json").read_text(encoding="utf-8"))


def test_the_embedded_bundles_manifest_follows_the_schema(manifest: dict[str, Any]) -> None:
    check_manifest(manifest)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["decoding"].update(beamSize=0), "/decoding/beamSize"),
        (lambda m: m["decoding"].update(beamSizes=3), "/decoding"),
        (lambda m: m["image"].update(resize="squash"), "/image/resize"),
        (lambda m: m["calibration"]["confidence"]["scale"].__setitem__(0, 0), "/calibration/confidence/scale/0"),
        (lambda m: m["precisions"]["w8"].update(encoder="../encoder.onnx"), "/precisions/w8/encoder"),
        (lambda m: m.pop("licence"), "licence"),
        (lambda m: m.update(formatVersion=2), "/formatVersion"),
    ],
)
def test_a_wrong_member_is_named(manifest: dict[str, Any], change: Callable[[dict[str, Any]], object], message: str) -> None:
    wrong = copy.deepcopy(manifest)
    change(wrong)
    with pytest.raises(ValueError, match=r"^bundle\.json") as refused:
        check_manifest(wrong)
    assert message in str(refused.value)


def test_a_bundle_whose_manifest_is_refused_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text("{}")
    parts = replace(random_parts(tmp_path), id="not an id")
    with pytest.raises(ValueError, match=r"bundle\.json: /id .*not an id"):
        write_bundle(parts, [], tmp_path / "bundle")
    assert [(path.name, path.read_text()) for path in (tmp_path / "bundle").iterdir()] == [("bundle.json", "{}")]
