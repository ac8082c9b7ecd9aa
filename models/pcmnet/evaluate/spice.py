"""SPICE (Anderson et al., 2016) by pycocoevalcap, whose program was written for Java 8."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pycocoevalcap.spice.spice

from .metrics import tokenized

CORENLP = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
NASHORN = ("nashorn-core-*.jar", "asm-*.jar")
"""SPICE runs a line of JavaScript. Java 15 removed its engine; Java 8, which has one, ignores these jars."""
OPENED = ("java.lang", "java.math", "java.net", "java.text", "java.util", "java.util.concurrent")
"""Packages whose private fields SPICE's cache of parsed captions reads by reflection, which Java 16 forbids by default."""


class SpiceError(Exception):
    """SPICE was not computed; the message says why."""


def spice(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """SPICE of one caption for each image. Raises SpiceError if Java, Stanford CoreNLP or Nashorn are missing or fail."""
    library = Path(pycocoevalcap.spice.spice.__file__).parent / "lib"
    if absent := [pattern for pattern in (*CORENLP, *NASHORN) if not any(library.glob(pattern))]:
        raise SpiceError(f"{library} lacks {', '.join(absent)}; models/README.md has the command that fetches them")
    ours, theirs = tokenized([[caption] for caption in candidates]), tokenized(references)
    engine = [str(path) for pattern in NASHORN for path in sorted(library.glob(pattern))]
    opened = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED]
    options = [*opened, f"--module-path={os.pathsep.join(engine)}", "--add-modules=org.openjdk.nashorn"]
    try:
        with _output_to_stderr(), _java_options(options):
            score, _ = pycocoevalcap.spice.spice.Spice().compute_score(theirs, ours)
    except (subprocess.CalledProcessError, OSError) as error:
        raise SpiceError(f"Java did not compute it: {error}") from error
    return float(score)


@contextlib.contextmanager
def _java_options(options: Sequence[str]) -> Iterator[None]:
    """Sets options of the `java` that pycocoevalcap starts, which takes none itself."""
    name = "JDK_JAVA_OPTIONS"
    before = os.environ.get(name)
    os.environ[name] = " ".join([*([] if before is None else [before]), *(f'"{option}"' for option in options)])
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextlib.contextmanager
def _output_to_stderr() -> Iterator[None]:
    """Redirects standard output, of child processes too: Java prints timings, but a command's output is JSON."""
    sys.stdout.flush()
    output = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(output, 1)
        os.close(output)
