"""Print a script that completes commands, flags and choices in a shell (`pirig completion bash|zsh`)."""

import collections
import dataclasses
import functools
import operator
from typing import Annotated, Any, Literal

import tyro

from pirig.cli import args
from pirig.cli.commands import COMMANDS, GROUPS


@dataclasses.dataclass(frozen=True)
class CompletionArgs:
    shell: tyro.conf.Positional[Literal["bash", "zsh"]]
    """Shell to print the script for."""


def run(flags: CompletionArgs) -> int:
    """Print a script, which is valid until pirig's flags change."""
    tyro.cli(_all_commands(), prog="pirig", args=["--tyro-print-completion", flags.shell], config=args.STYLE)
    raise AssertionError("tyro prints and exits")


def _all_commands() -> Any:
    """Return one type that has all commands as subcommands. Nothing is parsed with it."""
    groups: dict[str, list[Any]] = collections.defaultdict(list)
    for name, command in COMMANDS.items():
        first, _, rest = name.partition(" ")
        groups[first if rest else ""].append(_named(rest or first, command.kind(), command.purpose))
    for group, purpose in GROUPS.items():
        action: Any = functools.reduce(operator.or_, groups[group])
        whole = dataclasses.make_dataclass(group, [("action", tyro.conf.OmitArgPrefixes[action])])
        groups[""].append(_named(group, whole, purpose))
    return functools.reduce(operator.or_, groups[""])


def _named(name: str, kind: Any, purpose: str) -> Any:
    return Annotated[kind, tyro.conf.subcommand(name, description=purpose, prefix_name=False)]
