"""SIGINT and SIGTERM as an exception, so that `finally` and `with` do what they are for."""

import signal

from pirig.errors import Interrupted


def raise_interrupted() -> None:
    """From here on, in the main thread."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def named(error: KeyboardInterrupt) -> Interrupted:
    """The signal behind `error`, which Ray raises anew without its name."""
    return error if isinstance(error, Interrupted) else Interrupted(_latest)


_latest: int = signal.SIGINT


def _interrupt(number: int, _: object) -> None:
    global _latest
    _latest = number
    raise Interrupted(number)
