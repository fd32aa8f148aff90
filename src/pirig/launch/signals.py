"""Turn SIGINT and SIGTERM into an exception, so that `finally` and `with` blocks run."""

import signal

from pirig.errors import Interrupted


def raise_interrupted() -> None:
    """Install the handlers. Call it in the main thread."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def named(error: KeyboardInterrupt) -> Interrupted:
    """Return the signal behind `error`, which Ray raises again without its name."""
    return error if isinstance(error, Interrupted) else Interrupted(_latest)


_latest: int = signal.SIGINT


def _interrupt(number: int, _: object) -> None:
    global _latest
    _latest = number
    raise Interrupted(number)
