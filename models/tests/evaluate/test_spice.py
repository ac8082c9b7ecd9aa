"""SPICE where its jars are; a message that says which are missing where they are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pycocoevalcap.spice.spice
import pytest

from pcmnet.evaluate.spice import CORENLP, NASHORN, SpiceError, spice

JARS = Path(pycocoevalcap.spice.spice.__file__).parent / "lib"
CAPTION, ANOTHER = "a brown dog runs on the grass", "two men sit at a wooden table"


def test_missing_jars_are_named_with_the_page_that_tells_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    monkeypatch.setattr(pycocoevalcap.spice.spice, "__file__", str(tmp_path / "spice.py"))
    with pytest.raises(SpiceError, match=r"lacks stanford-corenlp-3\.6\.0\.jar, .*models\.jar, nashorn.*models/README\.md"):
        spice([CAPTION], [[CAPTION]])
    for name in CORENLP:
        (tmp_path / "lib" / name).touch()
    with pytest.raises(SpiceError, match=r"lacks nashorn-core-\*\.jar, asm-\*\.jar;"):
        spice([CAPTION], [[CAPTION]])


def with_jars(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all jars were there."""
    (folder / "lib").mkdir()
    for name in (*CORENLP, *(pattern.replace("*", "1") for pattern in NASHORN)):
        (folder / "lib" / name).touch()
    monkeypatch.setattr(pycocoevalcap.spice.spice, "__file__", str(folder / "spice.py"))


def test_java_is_told_what_it_needs_and_prints_nothing_to_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with_jars(tmp_path, monkeypatch)
    monkeypatch.setenv("JDK_JAVA_OPTIONS", "-Dmine=1")
    program = "import os; print(os.environ['JDK_JAVA_OPTIONS'])"

    def compute_score(*_: object) -> tuple[float, list[object]]:
        subprocess.check_call([sys.executable, "-c", program])
        return 0.25, []

    monkeypatch.setattr(pycocoevalcap.spice.spice.Spice, "compute_score", compute_score)
    monkeypatch.setattr(pycocoevalcap.spice.spice, "get_stanford_models", lambda: None)
    assert spice([CAPTION], [[CAPTION]]) == 0.25
    captured = capfd.readouterr()
    assert captured.out == ""
    assert '-Dmine=1 "--add-opens=java.base/java.lang=ALL-UNNAMED"' in captured.err
    assert f'"--module-path={tmp_path}/lib/nashorn-core-1.jar:{tmp_path}/lib/asm-1.jar"' in captured.err
    assert os.environ["JDK_JAVA_OPTIONS"] == "-Dmine=1"


def test_a_failing_java_does_not_end_the_evaluation_by_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_jars(tmp_path, monkeypatch)
    monkeypatch.setattr(pycocoevalcap.spice.spice, "get_stanford_models", lambda: None)
    with pytest.raises(SpiceError, match=r"Java did not compute it: .*spice-1\.0\.jar"):
        spice([CAPTION], [[CAPTION]])  # that jar is not there


def test_spice_is_one_for_the_reference_itself_and_little_for_another_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    """With the jars; without them, as in `.ci/run`, what `evaluate` then says is tested by the first test."""
    if all(any(JARS.glob(pattern)) for pattern in (*CORENLP, *NASHORN)):
        assert 0.5 <= spice([CAPTION, CAPTION], [[CAPTION], [ANOTHER]]) < 0.75  # 1 and next to 0
        assert capfd.readouterr().out == ""
    else:
        with pytest.raises(SpiceError, match="lacks"):
            spice([CAPTION], [[CAPTION]])
