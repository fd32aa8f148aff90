"""What all commands do with their flags."""

from collections.abc import Sequence
from typing import TypeVar

import tyro

from pirig.cli import commands

T = TypeVar("T")

STYLE = (tyro.conf.PositionalMetavarFromFieldName, tyro.conf.DisallowNone)


def parse(kind: type[T], argv: Sequence[str], command: str) -> T:
    """Reads flags into a dataclass. openpi's spelling `--args.seed 7` means `--seed 7`. Exits with 2 on a bad flag.

    `command`: a name of commands.COMMANDS, whose purpose and examples are the head of its help.
    """
    words = [plain(word) for word in argv]
    return tyro.cli(kind, args=words, prog=f"pirig {command}", description=commands.described(command), config=STYLE)


def plain(word: str) -> str:
    """`--args.task-suite-name` -> `--task-suite-name`, and `--no-args.x` and `--args.no-x` -> `--no-x`."""
    for prefix, flag in (("--args.", "--"), ("--no-args.", "--no-")):
        if word.startswith(prefix):
            return flag + word.removeprefix(prefix)
    return word
