"""`pirig checkpoint ACTION …`: what is done with checkpoints before a policy uses them.

A row of ACTIONS is an action: what it does, its flags, and the function that does it.
"""

import dataclasses
import logging
import pathlib
import signal
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from pirig import envvars
from pirig.checkpoints import download
from pirig.cli import args, console
from pirig.errors import ConfigError, Interrupted

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FetchArgs:
    url: tyro.conf.Positional[str]
    """gs://BUCKET/PATH, https://HOST/PATH, hf://ORG/REPO[@REVISION][/PATH], or a local path"""
    data_home: pathlib.Path | None = None
    """folder for downloads; default: OPENPI_DATA_HOME, else ~/.cache/openpi"""
    offline: bool = False
    """use what is in the cache, or fail; also PIRIG_OFFLINE=1 or HF_HUB_OFFLINE=1"""
    verify: bool = False
    """read a cached copy and repair what is damaged, instead of looking at names and sizes"""


def fetch(flags: FetchArgs) -> int:
    """Prints the local path on stdout; all else goes to stderr."""
    home = (flags.data_home or envvars.data_home()).expanduser().absolute()
    try:
        with console.DownloadProgress() as progress:
            path = download.fetch(
                flags.url,
                home,
                offline=flags.offline or offline(),
                progress=progress.show,
                check_contents=flags.verify,
            )
    except Interrupted as signal_:
        _log.warning("%s: stopped; what was fetched is kept, and the same command goes on from there", signal_)
        raise
    print(path)
    return 0


@dataclasses.dataclass(frozen=True)
class Action:
    meaning: str
    flags: type
    work: Callable[[Any], int]


ACTIONS = {
    "fetch": Action("bring a checkpoint, or any file or folder, to this machine", FetchArgs, fetch),
}


def run(argv: Sequence[str]) -> int:
    """Returns the exit code. Raises PirigError, and Interrupted on SIGINT or SIGTERM."""
    console.log_to_stderr()
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] not in ACTIONS:
        raise ConfigError(f"pirig checkpoint has no action {argv[0]!r}; there are: {', '.join(ACTIONS)}")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    action = ACTIONS[argv[0]]
    flags = args.parse(action.flags, argv[1:], prog=f"pirig checkpoint {argv[0]}", description=action.meaning)
    return action.work(flags)


def usage() -> str:
    rows = "\n".join(f"  {name:<10} {action.meaning}" for name, action in ACTIONS.items())
    return f"usage: pirig checkpoint ACTION [FLAGS]\n\n{rows}\n\n`pirig checkpoint ACTION --help` lists its flags."


def offline() -> bool:
    """Whether a variable forbids downloads."""
    words = {envvars.get(name).lower() for name in ("PIRIG_OFFLINE", "HF_HUB_OFFLINE")}
    return bool(words & {"1", "true", "yes", "on"})


def _interrupt(number: int, _: object) -> None:
    raise Interrupted(number)
