"""What the machine does to a run: disks, files, file handles, ports, clocks; and a second command."""

import dataclasses
import importlib.resources
import json
import os
import pathlib
import resource
import signal
import socket
from collections.abc import Callable, Iterator

from faults import disks
from faults.fault import Fault, Strike
from faults.stage import Cue
from faults.trial import HERE, Ended, Trial
from pirig.sim import assets

_IN_WORKERS = ("--policy", "random")
_LATER = Cue("worker", "episode", skip=1)  # something is on disk by then


def interrupted(trial: Trial) -> None:
    """A run with something in it, and more to do."""
    command = trial.start(*_IN_WORKERS, cue=_LATER)
    command.reached()
    os.kill(command.pid, signal.SIGTERM)
    command.release()
    assert command.ended().code == 143


def disk_becomes(state: Callable) -> Strike:
    def strike(trial: Trial) -> Iterator[Ended]:
        with disks.small(trial.results):
            command = trial.start(*_IN_WORKERS, cue=_LATER)
            command.reached()
            with state(trial.results):
                command.release()
                yield command.ended()

    return strike


def disk_is(state: Callable) -> Strike:
    def strike(trial: Trial) -> Iterator[Ended]:
        with disks.small(trial.results), state(trial.results):
            yield trial.command(*_IN_WORKERS)

    return strike


def spoiled(name: str, spoil: Callable[[bytes], bytes | None]) -> Strike:
    """A file of a run that was interrupted, before the command goes on with it."""

    def strike(trial: Trial) -> Iterator[Ended]:
        interrupted(trial)
        path = trial.run / name
        data = spoil(path.read_bytes())
        path.unlink()
        if data is not None:
            path.write_bytes(data)
        trial.mark()
        yield trial.command(*_IN_WORKERS)

    return strike


def cut_last_line(data: bytes) -> bytes:
    """As a power cut leaves it."""
    return data[: len(data) - 40]


def cut_first_line(data: bytes) -> bytes:
    first, rest = data.split(b"\n", 1)
    return first[: len(first) // 2] + b"\n" + rest


def flip_steps(data: bytes) -> bytes:
    """The lowest bit of a digit: the number of steps of the first episode stays a number."""
    place = data.index(b'"steps": ') + len(b'"steps": ')
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def flip_status(data: bytes) -> bytes:
    """More than a bit: a failure becomes a success."""
    swap = {b'"success"': b'"failure"', b'"failure"': b'"success"'}
    found = next(status for status in swap if status in data)
    return data.replace(found, swap[found], 1)


def flip_seed(data: bytes) -> bytes:
    return data.replace(b'"seed": 7', b'"seed": 5', 1)


def gone(data: bytes) -> None:
    return None


def two_coordinators(trial: Trial) -> Iterator[Ended]:
    first = trial.start(*_IN_WORKERS, cue=_LATER)
    first.reached()
    trial.mark()
    second = trial.command(*_IN_WORKERS)
    first.release()
    assert first.ended().code == 0
    yield second


def no_handles(trial: Trial) -> Iterator[Ended]:
    """A limit that is enough to start Python, and for no worker."""
    yield trial.command(*_IN_WORKERS, limit=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12)))


def handles_run_out(who: str) -> Strike:
    """In the middle of an episode: no other file can be opened."""

    def strike(trial: Trial) -> Iterator[Ended]:
        command = trial.start(*_IN_WORKERS, cue=_LATER)
        worker = command.reached()
        pid = command.pid if who == "coordinator" else worker
        trial.mark()
        _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, most))
        command.release()
        yield command.ended()

    return strike


def live_port_taken(trial: Trial) -> Iterator[Ended]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield trial.command(*_IN_WORKERS, "--live", str(other.getsockname()[1]))


def clock_jumps_back(trial: Trial) -> Iterator[Ended]:
    """Of the command and its processes; the machine's clock is everybody's (clock/sitecustomize.py)."""
    jump = trial.folder / "jump"
    path = os.pathsep.join([str(HERE / "clock"), os.environ.get("PYTHONPATH", "")])
    command = trial.start(*_IN_WORKERS, cue=_LATER, env={"PYTHONPATH": path, "FAULTS_CLOCK": str(jump)})
    command.reached()
    trial.mark()
    jump.touch()
    command.release()
    ended = command.ended()
    session = json.loads((trial.run / "manifest.json").read_text())["sessions"][0]
    assert session["ended"] < session["began"], session
    assert session["timings"]["wall_s"] >= 0, session
    yield ended


def asset_missing(trial: Trial) -> Iterator[Ended]:
    there, copy = assets.locate(), trial.folder / "assets"
    listing = importlib.resources.files("pirig.sim").joinpath("assets_sha256.txt").read_text()
    names = [line.split(maxsplit=2)[2] for line in listing.splitlines() if line and not line.startswith("#")]
    for name in names[1:]:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).symlink_to(there / name)
    yield trial.command(*_IN_WORKERS, env={"PIRIG_LIBERO_ASSETS": str(copy)})


def folder_removed(trial: Trial) -> Iterator[Ended]:
    """Somebody tidies up while it runs."""
    command = trial.start(*_IN_WORKERS, cue=_LATER)
    command.reached()
    trial.run.rename(trial.folder / "elsewhere")
    command.release()
    yield command.ended()


def _says(path: pathlib.Path | str, reason: str) -> str:
    return rf"error: cannot write \S*{path}: {reason}; what was finished before is kept"


_DISK = "results disk"
_BAD = r"episodes.jsonl, line 1 is damaged \(ValueError: its checksum is [0-9a-f]{8}, and it says [^)]*\); restore"
_KEPT = "episodes are there already; going on with the rest"
_ROWS = [
    Fault("full", _DISK, "writing", "resumed", disk_becomes(disks.full), _says(".*", "No space left on device"), 2),
    Fault("full", _DISK, "start", "resumed", disk_is(disks.full), "No space left on device", 2),
    Fault(
        "read-only", _DISK, "writing", "resumed", disk_becomes(disks.read_only), _says(".*", "Read-only file system"), 2
    ),
    Fault(
        "read-only", _DISK, "start", "resumed", disk_is(disks.read_only), "cannot write to .*: Read-only file system", 2
    ),
    Fault("folder removed", "store", "writing", "resumed", folder_removed, _says(".*", "No such file or directory"), 2),
    Fault("last line cut", "store", "resume", "recovers", spoiled("episodes.jsonl", cut_last_line)),
    Fault(
        "first line cut",
        "store",
        "resume",
        "refused",
        spoiled("episodes.jsonl", cut_first_line),
        "episodes.jsonl, line 1 is damaged",
        2,
        again=("--fresh",),
    ),
    Fault(
        "a bit of `steps` flipped",
        "store",
        "resume",
        "refused",
        spoiled("episodes.jsonl", flip_steps),
        _BAD,
        2,
        again=("--fresh",),
    ),
    Fault(
        "a failure made a success",
        "store",
        "resume",
        "refused",
        spoiled("episodes.jsonl", flip_status),
        _BAD,
        2,
        again=("--fresh",),
    ),
    Fault("gone", "store", "resume", "recovers", spoiled("episodes.jsonl", gone)),
    Fault(
        "truncated",
        "manifest",
        "resume",
        "refused",
        spoiled("manifest.json", lambda data: data[: len(data) // 2]),
        "manifest.json is damaged: .*; restore it, or use --fresh",
        2,
        again=("--fresh",),
    ),
    Fault(
        "a bit of `seed` flipped",
        "manifest",
        "resume",
        "refused",
        spoiled("manifest.json", flip_seed),
        "made with another configuration:\n  seed: the run has 5, this command 7[^.]*.*start over with --fresh",
        2,
        again=("--fresh",),
    ),
    Fault("gone", "manifest", "resume", "recovers", spoiled("manifest.json", gone), _KEPT),
    Fault(
        "two on one run folder",
        "coordinator",
        "episode",
        "recovers",
        two_coordinators,
        "another process is writing run run; wait",
        2,
    ),
    Fault("out of file handles", "coordinator", "start", "resumed", no_handles, "Too many open files", 4),
    Fault(
        "out of file handles",
        "coordinator",
        "writing",
        "resumed",
        handles_run_out("coordinator"),
        "Too many open files",
        2,
    ),
    Fault("out of file handles", "worker", "episode", "recovers", handles_run_out("worker")),
    Fault("port of the live page taken", "coordinator", "start", "refused", live_port_taken, "cannot listen|in use", 4),
    Fault("clock jumps back 3 days", "clock", "episode", "recovers", clock_jumps_back),
    Fault(
        "assets file missing",
        "simulator",
        "start",
        "resumed",
        asset_missing,
        "1 of LIBERO's 166 asset files in .* are not what",
        2,
    ),
]
_SLOW = {"folder removed", "a failure made a success", "gone"}  # much like another row, or long
ROWS = [dataclasses.replace(row, slow=row.slow or row.name in _SLOW) for row in _ROWS]
