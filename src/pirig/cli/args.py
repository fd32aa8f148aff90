"""What all commands do with their flags."""

from collections.abc import Sequence
from typing import TypeVar

import tyro

T = TypeVar("T")


def parse(kind: type[T], argv: Sequence[str], *, prog: str, description: str) -> T:
    """Reads flags into a dataclass. openpi's spelling `--args.seed 7` means `--seed 7`. Exits with 2 on a bad flag."""
    return tyro.cli(kind, args=[plain(word) for word in argv], prog=prog, description=description)


def plain(word: str) -> str:
    """`--args.task-suite-name` -> `--task-suite-name`, and `--no-args.x` and `--args.no-x` -> `--no-x`."""
    for prefix, flag in (("--args.", "--"), ("--no-args.", "--no-")):
        if word.startswith(prefix):
            return flag + word.removeprefix(prefix)
    return word
