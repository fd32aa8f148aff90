"""What a check has found. Checks change nothing."""

import dataclasses
import subprocess
from collections.abc import Sequence
from typing import Literal

Severity = Literal["ok", "warning", "error"]
"""`warning`: something is slower or impossible, but not what was asked for. `error`: the evaluation can't run."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    check: str  # e.g. "engine"
    status: Severity
    found: str
    fix: str = ""  # one line, for a person to copy


def output(words: Sequence[str], timeout_s: float = 20.0) -> tuple[int, str]:
    """Exit code and all that a command says; 127 where there is no such command."""
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except FileNotFoundError:
        return 127, f"{words[0]}: command not found"
    except subprocess.TimeoutExpired:
        return 124, f"{words[0]} did not answer in {timeout_s:g} s"
    return done.returncode, (done.stdout + done.stderr).strip()
