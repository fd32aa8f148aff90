"""`pirig completion bash|zsh`: what makes a shell complete commands, flags and choices, from their own parsers."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union

import tyro

from pirig.cli import args
from pirig.cli.commands import COMMANDS, GROUPS


@dataclasses.dataclass(frozen=True)
class CompletionArgs:
    shell: tyro.conf.Positional[Literal["bash", "zsh"]]
    """whose script is printed"""


def run(argv: Sequence[str]) -> int:
    """Prints a script that stays true until pirig's flags change."""
    flags = args.parse(CompletionArgs, argv, "completion")
    tyro.cli(_all_commands(), prog="pirig", args=["--tyro-print-completion", flags.shell], config=args.STYLE)
    raise AssertionError("tyro prints and exits")


def _all_commands() -> Any:
    """One parser of all commands, which nothing is ever parsed with."""
    groups: dict[str, list[Any]] = collections.defaultdict(list)
    for name, command in COMMANDS.items():
        first, _, rest = name.partition(" ")
        groups[first if rest else ""].append(_named(rest or first, command.kind(), command.purpose))
    for group, purpose in GROUPS.items():
        action = tyro.conf.OmitArgPrefixes[Union[tuple(groups[group])]]  # noqa: UP007  made of a list
        groups[""].append(_named(group, dataclasses.make_dataclass(group, [("action", action)]), purpose))
    return Union[tuple(groups[""])]  # noqa: UP007


def _named(name: str, kind: Any, purpose: str) -> Any:
    return Annotated[kind, tyro.conf.subcommand(name, description=purpose, prefix_name=False)]
