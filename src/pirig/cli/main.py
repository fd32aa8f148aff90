"""`pirig COMMAND …`: one file per command, loaded when it is asked for."""

import errno
import importlib
import os
import signal
import sys
from collections.abc import Sequence

from pirig import __version__
from pirig.errors import Interrupted, PirigError, StartError

COMMANDS = {
    "eval": "run LIBERO episodes with a policy and report success rates",
    "serve": "serve a policy over a WebSocket",
    "quantize": "make the pack of a checkpoint: its weights in a few bits",
    "replay": "run recorded episodes again: check their states, make videos of them",
    "verify": "run a sample of a run's episodes again, and say where they part, if they do",
    "report": "make pages, tables and files of runs, and of the latest results of all suites",
    "compare": "say whether policy B is better or worse than policy A, by the same episodes of both",
    "power": "say how many episodes show a difference, and which one so many show",
    "runs": "list the runs there are",
    "merge": "join the parts of a run that several machines made",
    "stack": "run servers and simulators in containers, on all GPUs",
    "doctor": "say what is wrong with this machine, and how to mend it",
    "checkpoint": "download checkpoints",
}


_OF_THE_MACHINE = {  # what can happen anywhere, and what helps
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room, or have the quota raised",
    errno.EROFS: "choose a folder that can be written",
    errno.EMFILE: "raise the limit of open files (ulimit -n), or use fewer workers",
    errno.ENFILE: "the machine has no file handle left; end what has many files open",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Exits with 0 where all is well; errors.py says what other codes mean."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        sys.exit(0 if words else 2)
    if words[0] == "--version":
        print(__version__)
        sys.exit(0)
    if words[0] not in COMMANDS:
        print(f"error: pirig has no command {words[0]!r}; there are: {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    try:
        sys.exit(importlib.import_module(f"pirig.cli.{words[0]}").run(words[1:]))
    except PirigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            raise
        where = f" ({error.filename})" if error.filename else ""
        said = f"{os.strerror(error.errno)}{where}; {_OF_THE_MACHINE[error.errno]}, and give the same command again"
        print(f"error: {said}", file=sys.stderr)
        sys.exit(StartError.exit_code)
    except KeyboardInterrupt as error:
        stopped = error if isinstance(error, Interrupted) else Interrupted(signal.SIGINT)
        print(f"stopped by {stopped}", file=sys.stderr)
        sys.exit(stopped.exit_code)


def usage() -> str:
    rows = "\n".join(f"  {name:<10} {what}" for name, what in COMMANDS.items())
    return f"usage: pirig COMMAND [FLAGS]\n\n{rows}\n\n`pirig COMMAND --help` lists the flags of a command."


if __name__ == "__main__":
    main()
