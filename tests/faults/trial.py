"""One row's course: commands in a folder of their own, and what is left of them, beside what a clean run leaves.

Nothing here is told what came out: lost and miscounted episodes are counted in the two CSV files, and the time to
recover is read off the store's file, which a thread watches.
"""

import contextlib
import csv
import dataclasses
import io
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence

from faults.stage import Cue, Stage

HERE = pathlib.Path(__file__).parent
WITHIN_S = 240.0  # whatever a row waits for
_COMMON = ("--suite", "libero_object", "--run", "run", "--workers", "2", "--video", "none", "--no-autotune")
_MAKE = ("make", "eval", "MODE=split", "SUITE=libero_object", "POLICY=scripted", "TRIALS=3")
_CSV = "results/libero/libero_object_results.csv"
_STORE = "results/libero/runs/run/episodes.jsonl"


@dataclasses.dataclass(frozen=True)
class Setting:
    kind: str  # fake or libero, for the coordinator; containers: `make eval`
    policy: tuple[str, ...]  # of the clean run
    episodes: tuple[str, ...] = ("--task-ids", "0", "--trials", "0", "1")
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def command(self, stage: Stage, words: Sequence[str]) -> list[str]:
        if self.kind == "containers":
            return [*_MAKE, f"ARGS={' '.join([*_COMMON[2:], *self.episodes, '--workers 1', *words])}"]
        start = [sys.executable, str(HERE / "coordinator.py"), str(stage.folder), self.kind]
        return [*start, *_COMMON, *self.episodes, *words]


MODEL = ("--policy", "pi05_libero_tiny", "--policy-dir", "ckpt", "--backend", "torch", "--replan-steps", "10")
SCENES = {
    "fake": Setting("fake", ("--policy", "random"), ("--task-ids", "0", "5", "9", "--trials", "0", "1")),
    "ray": Setting("fake", ("--policy", "random"), ("--task-ids", "0", "5", "9", "--trials", "0", "1")),
    "libero": Setting("libero", ("--policy", "scripted")),
    "model": Setting("libero", MODEL),
    "quantized": Setting(
        "libero", (*MODEL, "--quantize", "w4a8", "--pack-dir", "packs"), env={"OPENPI_DUQUANT_CALIB_STEPS": "4"}
    ),
    "containers": Setting("containers", (), ("--task-ids", "0")),
}


@dataclasses.dataclass(frozen=True)
class Ended:
    code: int
    said: str


class Command:
    """A running `pirig eval`, in a session of its own."""

    def __init__(self, words: list[str], folder: pathlib.Path, stage: Stage, log: pathlib.Path, **options):
        self._stage, self._log, self._file = stage, log, log.open("wb")
        self.process = subprocess.Popen(
            words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
        self.pid = self.process.pid

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def reached(self) -> int:
        """The process that has come to the phase of its cue."""
        return self._until(self._stage.reached, "did not come to its phase")

    def has_said(self, text: str) -> None:
        self._until(lambda: text in self.said or None, f"did not say {text!r}")

    def release(self) -> None:
        self._stage.release()

    def ended(self, *, leaves: bool = False) -> Ended:
        """Waits for it. `leaves`: processes may outlive it."""
        code = self.process.wait(WITHIN_S)
        self._file.close()
        if not leaves:
            self._until(lambda: not session(self.pid) or None, "left processes", may_have_ended=True)
        return Ended(code, self.said)

    def end(self) -> None:
        for pid in session(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._file.close()

    def _until(self, found, complaint: str, *, may_have_ended: bool = False):
        deadline = time.monotonic() + WITHIN_S
        while (value := found()) is None:
            has_ended = self.process.poll() is not None and not may_have_ended
            assert not has_ended, f"the command {complaint}:\n{self.said}"
            assert time.monotonic() < deadline, f"the command {complaint}:\n{self.said}"
            time.sleep(0.01)
        return value


class Trial:
    def __init__(self, folder: pathlib.Path, scene: Setting):
        """`folder`: with what the scene needs in it."""
        self.folder, self._scene = folder, scene
        self.words: tuple[str, ...] = ()  # of the first command
        self._commands: list[Command] = []
        self._growth: list[tuple[float, int]] = []  # when the store grew, to how many lines
        self._since_s = time.monotonic()
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def results(self) -> pathlib.Path:
        return self.folder / "results"

    @property
    def run(self) -> pathlib.Path:
        return (self.folder / _STORE).parent

    def start(self, *words: str, cue: Cue | None = None, env: Mapping[str, str] | None = None, limit=None) -> Command:
        """`limit`: called in the new process, before anything else."""
        number = len(self._commands)
        self.words = self.words or words
        stage = Stage.set(self.folder / f"stage{number}", cue)
        variables = {
            **os.environ,
            "PIRIG_OFFLINE": "1",
            "OPENPI_DATA_HOME": str(self.folder / "home"),
            **self._scene.env,
            **(env or {}),
        }
        started = Command(
            self._scene.command(stage, words),
            self.folder,
            stage,
            self.folder / f"log{number}",
            env=variables,
            preexec_fn=limit,
        )
        self._commands.append(started)
        return started

    def command(self, *words: str, **options) -> Ended:
        return self.start(*words, **options).ended()

    def program(self, *words: str) -> Ended:
        """Another command of pirig's."""
        command = [sys.executable, "-m", "pirig.cli.main", *words]
        found = subprocess.run(
            command, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WITHIN_S
        )
        return Ended(found.returncode, found.stdout + found.stderr)

    def csv(self) -> bytes:
        path = self.folder / _CSV
        return path.read_bytes() if path.exists() else b""

    def mark(self) -> None:
        """The fault strikes now; or what mends it begins."""
        self._since_s = time.monotonic()

    def recovered_s(self) -> float:
        """From the mark to the next result on disk; where there was none to come, until now."""
        before = [lines for when, lines in self._growth if when <= self._since_s]
        known = before[-1] if before else 0
        later = [when for when, lines in self._growth if when > self._since_s and lines > known]
        return (later[0] if later else time.monotonic()) - self._since_s

    def end(self) -> None:
        self._over.set()
        for command in self._commands:
            command.end()

    def _watch(self) -> None:
        store = self.folder / _STORE
        while not self._over.wait(0.01):
            with contextlib.suppress(OSError):
                lines = sum(b'"status": "error"' not in line for line in store.read_bytes().splitlines())
                if not self._growth or self._growth[-1][1] != lines:
                    self._growth.append((time.monotonic(), lines))


def differences(clean: bytes, found: bytes) -> tuple[int, int]:
    """Episodes of the clean CSV that the other lacks; rows of the other that the clean one does not have."""
    expected, there = _rows(clean), _rows(found)
    lost = len(expected.keys() - there.keys())
    return lost, sum(expected.get(key) != row for key, row in there.items())


def _rows(data: bytes) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["task_id"], row["episode_idx"]): row for row in csv.DictReader(io.StringIO(data.decode()))}


def session(pid: int) -> list[int]:
    """The processes of its session that live."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, of = stat.read_text().rpartition(")")[2].split()[:4]
            if int(of) == pid and state != "Z":
                found.append(int(stat.parent.name))
    return found


def wait_for_end(pid: int) -> None:
    """Of a process that is somebody else's child."""
    deadline = time.monotonic() + WITHIN_S
    while pathlib.Path(f"/proc/{pid}/exe").exists():
        assert time.monotonic() < deadline, f"process {pid} does not end"
        time.sleep(0.02)


@contextlib.contextmanager
def served(port: int, *words: str, policy: str = "random") -> Generator[subprocess.Popen]:
    """A real `pirig serve`, ready, on this port while the block runs."""
    command = [sys.executable, "-m", "pirig.cli.main", "serve", "--port", str(port), *words]
    server = subprocess.Popen(
        [*command, "policy:baseline", "--policy.name", policy], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for_port(port, server)
        yield server
    finally:
        server.kill()
        server.wait()


def _wait_for_port(port: int, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        assert server.poll() is None, f"the server ended with {server.returncode}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return  # an open port means ready
        time.sleep(0.02)
    raise AssertionError("the server does not answer")
