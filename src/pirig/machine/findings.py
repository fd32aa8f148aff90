"""Define the result of a check. Checks change nothing."""

import dataclasses
import subprocess
from collections.abc import Sequence
from typing import Literal

Severity = Literal["ok", "warning", "error"]
"""`warning`: something is slower or impossible, but not what was asked for. `error`: the evaluation cannot run."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    check: str  # e.g. "engine"
    status: Severity
    found: str
    fix: str = ""  # one line that the user can copy


def output(words: Sequence[str], timeout_s: float = 20.0) -> tuple[int, str]:
    """Run a command. Return its exit code and its output, stdout and stderr.

    The exit code is 127 if there is no such command, and 124 if it does not end within `timeout_s`.
    """
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except FileNotFoundError:
        return 127, f"{words[0]}: command not found"
    except subprocess.TimeoutExpired:
        return 124, f"{words[0]} did not answer in {timeout_s:g} s"
    return done.returncode, (done.stdout + done.stderr).strip()
