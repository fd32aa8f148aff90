"""`pirig` commands, as users give them.

call     in this process: for laws about parsing, planning, messages and files. An interpreter costs more than they do.
run      in a process of its own, to its end: for laws about exit codes, imports, and what an environment decides.
start    the same without waiting: for signals, deaths, and what happens meanwhile.
serving  a policy server, while a block runs.
"""

import contextlib
import dataclasses
import io
import logging
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from unittest import mock

from pirig.cli import main
from pirig.results.store import RunStore

PIRIG = [sys.executable, "-m", "pirig.cli.main"]
WITHIN_S = 300.0  # for whatever is waited for


@dataclasses.dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """All that was printed, with single spaces, since messages are wrapped."""
        return " ".join((self.out + self.err).split())


def environment(folder: pathlib.Path, **variables: str) -> dict[str, str]:
    """Offline, with what is downloaded and cached under `folder`, but for the compiled code that all tests share."""
    return {**os.environ, "PIRIG_OFFLINE": "1", "OPENPI_DATA_HOME": str(folder / "home"), "COLUMNS": "100", **variables}


def call(folder: pathlib.Path, *words: str, **variables: str) -> Ended:
    """The process is as before afterwards: folder, variables, handlers of signals and of log lines."""
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    log = logging.getLogger("pirig")
    logged = (list(log.handlers), log.propagate, log.level)
    try:
        with (
            mock.patch.dict(os.environ, environment(folder, **variables), clear=True),
            contextlib.chdir(folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            main.main(words)
    except SystemExit as ended:
        return Ended(int(ended.code or 0), out.getvalue(), err.getvalue())
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        log.handlers[:], log.propagate, log.level = logged
    raise AssertionError("main() returned")


def run(folder: pathlib.Path, *words: str, **variables: str) -> Ended:
    process = start(folder, *words, **variables)
    out, err = process.communicate(timeout=WITHIN_S)
    return Ended(process.returncode, out, err)


def start(folder: pathlib.Path, *words: str, program: Sequence[str] = PIRIG, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*program, *words],
        cwd=folder,
        env=environment(folder, **variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> Ended:
    process.send_signal(number)
    out, err = process.communicate(timeout=WITHIN_S)
    return Ended(process.returncode, out, err)


@contextlib.contextmanager
def serving(
    folder: pathlib.Path, *words: str, program: Sequence[str] = (*PIRIG, "serve"), **variables: str
) -> Generator[str]:
    """A policy server on a free port while the block runs, which must end well. Yields its address, ws://HOST:PORT."""
    process = start(folder, "--port", "0", *words, program=program, **variables)
    try:
        assert process.stderr is not None
        address = next((found[0] for line in process.stderr if (found := re.search(r"ws://\S+:\d+", line))), "")
        assert address, f"the server ended with {process.wait()}"
        yield address
    finally:
        ended = stop(process)
    assert ended.code == 0, ended.err


def wait_for_results(folder: pathlib.Path, count: int, process: subprocess.Popen[str], run: str = "*") -> pathlib.Path:
    """Until a run of this name has `count` results on disk. Returns the file that has them."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        for path in folder.glob(f"results/libero/runs/{run}/episodes.jsonl"):
            if path.read_bytes().count(b"\n") >= count:
                return path
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"no {count} results after {WITHIN_S:g} s"
        time.sleep(0.02)


def outcomes(folder: pathlib.Path, run: str) -> dict:
    """What must be equal, by episode."""
    return {r.spec: r.outcome() for r in RunStore.read(folder / "results/libero/runs" / run).results()}
