"""Reads `pirig` commands from stdin, as JSON, and prints what pirig's parsers and checks say of each; runs none.

A program of its own, because commands set up logging and signals before they read their flags.
"""

import contextlib
import io
import json
import sys
from typing import Any, NoReturn

from pirig.cli import args, main
from pirig.cli.eval import EvalArgs
from pirig.errors import PirigError
from pirig.policies.baselines import NAMES
from pirig.policies.recipes import RECIPES, recipe
from pirig.serving.client import address
from pirig.sim import suites

_PARSE = args.parse
_READS_NOTHING = (["stack", "status"], ["stack", "logs"], ["stack", "down"])


class Read(Exception):
    """Raised where a command would begin to work."""

    def __init__(self, flags: Any):
        self.flags = flags


def read_only(*words: Any, **named: Any) -> NoReturn:
    raise Read(_PARSE(*words, **named))


def complaint(words: list[str]) -> str:
    if words[:2] in _READS_NOTHING or words == ["--help"]:
        return ""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            main.main(words)
    except Read as found:
        return check(found.flags)
    except PirigError as e:
        return str(e)
    except SystemExit as end:
        if end.code == 0 and words[-1] == "--help":
            return ""
        return f"exit {end.code}: {said.getvalue()}"
    return "it ran"


def check(flags: Any) -> str:
    """What the parser cannot know."""
    try:
        if isinstance(flags, EvalArgs):
            for suite in flags.episodes.suites:
                suites.check_suite(suite)
            policy(flags.policy.policy or flags.policy.policy_config)
    except PirigError as e:
        return str(e)
    return ""


def policy(name: str) -> None:
    if "://" in name:
        for part in name.split(","):
            address(part, None)
    elif name not in RECIPES and name not in NAMES and not name.startswith("replay:"):
        recipe(name)


if __name__ == "__main__":
    args.parse = read_only  # ty: ignore[invalid-assignment]
    print(json.dumps([complaint(words) for words in json.load(sys.stdin)]))
