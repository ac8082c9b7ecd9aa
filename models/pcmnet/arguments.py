"""Arguments that commands of both groups take. Nothing here imports PyTorch, so that `--help` is quick."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

Execute = Callable[[argparse.Namespace], None]
Commands = Any
"""What `ArgumentParser.add_subparsers` returns; argparse has no public name for it."""


def add_command(
    commands: Commands, name: str, text: str, execute: Callable[[argparse.Namespace], None]
) -> argparse.ArgumentParser:
    """Adds a command whose parsed options carry `execute`, the function that runs it; `text` is its help."""
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    command.set_defaults(execute=execute, command=command.prog)
    return command


def add_config_arguments(command: argparse.ArgumentParser) -> None:
    """Adds CONFIG, --data and --set."""
    command.add_argument("config", type=Path, help="a configuration, such as configs/embedded.toml")
    command.add_argument("--data", type=Path, required=True, help="folder that holds what the configuration reads")
    add_set_argument(command)


def add_set_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="override a setting of the configuration: model.k=3"
    )
