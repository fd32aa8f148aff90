"""Run the command that the first words name (`pirig COMMAND …`). Only that command's module is imported."""

import errno
import os
import select
import signal
import sys
import traceback
from collections.abc import Sequence

from pirig import __version__, envvars
from pirig.cli import args, commands
from pirig.errors import Interrupted, PirigError, StartError

_DEBUG = "--debug"
_HELP = ("-h", "--help")
_NO_READER = 141  # exit code, as a shell reports SIGPIPE
_OF_THE_MACHINE = {  # errors that can happen anywhere, and their remedies
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room, or have the quota raised",
    errno.EROFS: "choose a folder that can be written",
    errno.EMFILE: "raise the limit of open files (ulimit -n), or use fewer workers",
    errno.ENFILE: "the machine has no file handle left; end what has many files open",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit: with 0 on success; errors.py lists the other codes.

    An error that pirig raises is printed as one message. `--debug`, anywhere among the words, adds its traceback.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    words = [word for word in given if word != _DEBUG]
    if not words or words[0] in _HELP:
        print(commands.usage())
        sys.exit(0 if words else 2)
    if words[0] == "--version":
        print(__version__)
        sys.exit(0)
    if words[0] in commands.GROUPS and (len(words) == 1 or words[1] in _HELP):
        print(commands.usage(words[0]))
        sys.exit(0 if words[1:] else 2)
    try:
        sys.exit(run(words))
    except PirigError as error:
        if _DEBUG in given or envvars.get("PIRIG_DEBUG"):
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt as error:
        stopped = error if isinstance(error, Interrupted) else Interrupted(signal.SIGINT)
        print(f"stopped by {stopped}", file=sys.stderr)
        sys.exit(stopped.exit_code)
    except BrokenPipeError:  # pirig runs | head
        if not _is_unread(sys.stdout.fileno()):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes stdout when it exits
        sys.exit(_NO_READER)
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            raise
        where = f" ({error.filename})" if error.filename else ""
        said = f"{os.strerror(error.errno)}{where}; {_OF_THE_MACHINE[error.errno]}, and give the same command again"
        print(f"error: {said}", file=sys.stderr)
        sys.exit(StartError.exit_code)


def run(words: Sequence[str]) -> int:
    """Run the command that `words` begin with. Return its exit code. Raises PirigError; SystemExit for bad flags."""
    name, rest = commands.find(words)
    command = commands.COMMANDS[name]
    return command.run(args.parse(command.kind(), rest, name))


def _is_unread(descriptor: int) -> bool:
    """Whether the descriptor is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


if __name__ == "__main__":
    main()
