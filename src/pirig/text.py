"""Words for people: durations, sizes, how a process ended, lists cut short, and the answer to an unknown name."""

import signal
from collections.abc import Iterable, Sequence


def duration(seconds: float) -> str:
    """E.g. `2 h 10 min`, `3 min 5 s`, `40 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size(count: float) -> str:
    """E.g. `1.50 GiB`, `3.20 MiB`; `count` is in bytes."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**27 else f"{count / 2**20:.2f} MiB"


def process_end(exit_code: int) -> str:
    """E.g. `exit code 3`, or `signal SIGKILL` for a negative number, which is how Python reports a signal."""
    return f"signal {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exit code {exit_code}"


def and_more(items: Sequence[str], shown: int, separator: str = ", ") -> str:
    """Join the first `shown` items, and say how many more there are: `a, b and 3 more`."""
    joint = " " if separator == ", " else separator
    more = f"{joint}and {len(items) - shown} more"
    return separator.join(items[:shown]) + (more if len(items) > shown else "")


def unknown(kind: str, name: str, known: Iterable[object]) -> str:
    """E.g. `unknown suite 'libero_x'; there are: libero_goal, libero_10`."""
    return f"unknown {kind} {name!r}; there are: {', '.join(map(str, known)) or 'none'}"
