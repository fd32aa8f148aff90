"""SIGINT and SIGTERM as an exception, so that `finally` and `with` do what they are for."""

import signal

from pirig.errors import Interrupted


def raise_interrupted() -> None:
    """From here on, in the main thread."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _interrupt(number: int, _: object) -> None:
    raise Interrupted(number)
