"""The service with a bundle, as users start it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


def compile_service() -> None:
    subprocess.run(["node", "scripts/bootstrap.mjs", "src"], cwd=ROOT, check=True)


@contextmanager
def service(bundle: Path, precision: str, **settings: str) -> Iterator[tuple[str, int]]:
    """The URL of a service that has loaded this bundle, and its process."""
    environment = {"PORT": "0", "MODEL_PATH": str(bundle), "PRECISION": precision, "CACHE_SIZE": "0", **settings}
    command = ["node", "dist/src/main.js"]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            log = []
            for line in process.stdout:
                log.append(line)
                if found := re.search(r"Server listening at (http:[^\"]+)", line):
                    break
            else:
                raise AssertionError("".join(log))
            yield found[1], process.pid
        finally:
            process.terminate()
