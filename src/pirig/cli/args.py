"""Parse flags, in the same way for all commands.

One thing has one name in all commands: `--results` is the results folder, `--videos` is the videos folder, `--out` is
the file or folder that a command writes, `--checkout` is the folder of a checkout. RENAMED has the earlier names.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import tyro

from pirig.cli import commands
from pirig.errors import ConfigError

T = TypeVar("T")

STYLE = (tyro.conf.PositionalMetavarFromFieldName, tyro.conf.DisallowNone)


class Renamed(NamedTuple):
    name: str  # the present name
    difference: str = ""  # how the value's meaning differs from that under the old name


RENAMED: Mapping[tuple[str, str], Renamed] = {  # (command, old name of a flag)
    ("report", "--video-out-path"): Renamed("--videos"),
    ("replay", "--output"): Renamed("--out"),
    ("quantize", "--output"): Renamed("--out"),
    ("serve", "--runs"): Renamed("--results", "it takes the folder that contains the folder runs"),
}
"""Names that are errors. openpi's names of `pirig eval` are not among them: they stay, as aliases."""


def parse(kind: type[T], argv: Sequence[str], command: str) -> T:
    """Parse flags into a dataclass. openpi's spelling `--args.seed 7` means `--seed 7`. Exits with 2 for a bad flag.

    `command`: a name in commands.COMMANDS, whose purpose and examples begin the help text. Raises ConfigError for an
    old name of a flag.
    """
    words = [plain(word) for word in argv]
    for word in words:
        _refuse_old_name(word, command)
    return tyro.cli(kind, args=words, prog=f"pirig {command}", description=commands.described(command), config=STYLE)


def plain(word: str) -> str:
    """Return openpi's spelling of a flag as pirig's: `--args.x` as `--x`; `--no-args.x` and `--args.no-x` as
    `--no-x`.
    """
    for prefix, flag in (("--args.", "--"), ("--no-args.", "--no-")):
        if word.startswith(prefix):
            return flag + word.removeprefix(prefix)
    return word


def _refuse_old_name(word: str, command: str) -> None:
    old = word.partition("=")[0].replace("_", "-")  # tyro accepts both
    if renamed := RENAMED.get((command, old)):
        difference = f"; {renamed.difference}" if renamed.difference else ""
        raise ConfigError(f"{old} is called {renamed.name} now{difference}")
