"""`pirig COMMAND …`: one file per command, loaded when it is asked for."""

import importlib
import os
import select
import sys
import traceback
from collections.abc import Sequence

from pirig import __version__, envvars
from pirig.cli import commands
from pirig.errors import Interrupted, PirigError

_DEBUG = "--debug"
_NO_READER = 141  # exit code, as a shell reports SIGPIPE


def main(argv: Sequence[str] | None = None) -> None:
    """Exits with 0 where all is well; errors.py says what other codes mean.

    An error that was raised on purpose is one message; `--debug`, anywhere among the words, adds its traceback.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    words = [word for word in given if word != _DEBUG]
    if not words or words[0] in ("-h", "--help"):
        print(commands.usage())
        sys.exit(0 if words else 2)
    if words[0] == "--version":
        print(__version__)
        sys.exit(0)
    there = list(dict.fromkeys(name.split()[0] for name in commands.COMMANDS))
    if words[0] not in there:
        print(f"error: pirig has no command {words[0]!r}; there are: {', '.join(there)}", file=sys.stderr)
        sys.exit(2)
    try:
        sys.exit(importlib.import_module(f"pirig.cli.{words[0]}").run(words[1:]))
    except PirigError as error:
        if _DEBUG in given or envvars.get("PIRIG_DEBUG"):
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Interrupted as signal_:
        sys.exit(signal_.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # pirig runs | head
        if not _is_unread(sys.stdout.fileno()):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the interpreter, which flushes at its end
        sys.exit(_NO_READER)


def _is_unread(descriptor: int) -> bool:
    """Whether it is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


if __name__ == "__main__":
    main()
