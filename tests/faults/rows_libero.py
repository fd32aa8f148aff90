"""The same on LIBERO: real scenes, a renderer, checkpoints, packs."""

import os
import pathlib
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator

from faults.fault import Fault, Strike
from faults.rows_processes import at, does
from faults.rows_servers import away
from faults.stage import Cue
from faults.trial import SCENES, Ended, Trial

_SCRIPTED = ("--policy", "scripted")
_ONE = ("--workers", "1")  # it comes to its second episode, when the first is on disk
_MODEL, _QUANTIZED = SCENES["model"].policy, SCENES["quantized"].policy
_LATER = Cue("worker", "episode", skip=1)


def no_gl(trial: Trial) -> Iterator[Ended]:
    """GLX, and no X server."""
    yield trial.command(*_SCRIPTED, env={"MUJOCO_GL": "glx", "DISPLAY": ""})


def interrupt(trial: Trial, *flags: str) -> None:
    """A run in its second episode."""
    command = trial.start(*flags, *_ONE, cue=_LATER)
    command.reached()
    os.kill(command.pid, signal.SIGTERM)
    command.release()
    assert command.ended().code == 143


def file_becomes(pattern: str, spoil: Callable[[pathlib.Path], None], *flags: str) -> Strike:
    """A file of the checkpoint, or the pack, between an interruption and the command that goes on."""

    def strike(trial: Trial) -> Iterator[Ended]:
        interrupt(trial, *flags)
        path = max(trial.folder.glob(pattern), key=lambda path: path.stat().st_size)
        good, times = path.with_name("good"), path.stat()
        shutil.copy2(path, good)
        spoil(path)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as bits rot: no date tells it
        trial.mark()
        yield trial.command(*flags)
        shutil.move(good, path)

    return strike


def flip_a_bit(path: pathlib.Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x40]))


def cut(path: pathlib.Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replaced(trial: Trial) -> Iterator[Ended]:
    """By another one, which is as good."""
    interrupt(trial, *_MODEL)
    mine = trial.folder / "ckpt"
    mine.rename(trial.folder / "mine")
    made = trial.program("checkpoint", "random", "pi05_libero_tiny", str(mine), "--seed", "9")
    assert made.code == 0, made.said
    trial.mark()
    yield trial.command(*_MODEL)
    shutil.rmtree(mine)
    (trial.folder / "mine").rename(mine)


def _row(
    name: str, role: str, phase: str, expected, strike: Strike, says: str = "", code: int = 0, scene="libero", again=()
) -> Fault:
    return Fault(name, role, phase, expected, strike, says, code, scene, again)


_KILLED = r"worker \d died with signal SIGKILL"
_UNSTABLE = r"trial \d: error[\s\S]*the simulation is unstable: MuJoCo found NaN or a huge value in Q"
ROWS = [
    _row(
        "SIGKILL",
        "coordinator",
        "episode",
        "resumed",
        at(_LATER, signal.SIGKILL, *_SCRIPTED, *_ONE, victim="coordinator"),
        "",
        -9,
    ),
    _row(
        "SIGTERM",
        "coordinator",
        "episode",
        "resumed",
        at(_LATER, signal.SIGTERM, *_SCRIPTED, *_ONE, victim="coordinator"),
        "SIGTERM: stopped; what was finished is kept",
        143,
    ),
    _row("SIGKILL", "worker", "set-up", "resumed", at(Cue("worker", "set-up"), signal.SIGKILL, *_SCRIPTED), _KILLED, 4),
    _row("SIGKILL", "worker", "episode", "recovers", at(Cue("worker", "episode"), signal.SIGKILL, *_SCRIPTED), _KILLED),
    _row("SIGKILL", "worker", "writing", "recovers", at(Cue("worker", "writing"), signal.SIGKILL, *_SCRIPTED), _KILLED),
    _row(
        "hangs",
        "worker",
        "episode",
        "recovers",
        does("worker", "episode", "stop", *_SCRIPTED, "--episode-timeout-s", "40"),
        r"worker \d gave no sign for 40 s",
    ),
    _row(
        "memory over --max-worker-memory-gib",
        "worker",
        "episode",
        "recovers",
        does("worker", "episode", "hoard", *_SCRIPTED, "--max-worker-memory-gib", "0.2", always=True),
    ),
    _row(
        "memory limit of the process hit",
        "worker",
        "episode",
        "recovers",
        does("worker", "episode", "run out of memory", *_SCRIPTED),
        "Unable to allocate",
    ),
    _row(
        "NaN in the state", "simulator", "episode", "recovers", does("worker", "episode", "nan", *_SCRIPTED), _UNSTABLE
    ),
    _row(
        "unstable simulation",
        "simulator",
        "episode",
        "recovers",
        does("worker", "episode", "huge", *_SCRIPTED),
        _UNSTABLE,
    ),
    _row(
        "GL context cannot be made",
        "simulator",
        "set-up",
        "resumed",
        no_gl,
        "MUJOCO_GL=glx cannot render: no X server answers",
        4,
    ),
    _row(
        "SIGKILL, and back",
        "server",
        "episode",
        "recovers",
        away(subprocess.Popen.kill, skip=0, policy="scripted"),
        "lost in try 1 of a request",
    ),
    _row(
        "SIGKILL",
        "policy host",
        "episode",
        "recovers",
        at(Cue("policy host", "episode", skip=8), signal.SIGKILL, *_MODEL),
        "the policy host died with signal SIGKILL; starting it again",
        0,
        "model",
    ),
    _row(
        "replaced",
        "checkpoint",
        "resume",
        "refused",
        replaced,
        "made with another configuration:\n  policy_metadata",
        2,
        "model",
    ),
    _row(
        "bit flipped, date kept",
        "checkpoint",
        "resume",
        "refused",
        file_becomes("ckpt/model.safetensors", flip_a_bit, *_MODEL),
        "made with another configuration:\n  policy_metadata",
        2,
        "model",
    ),
    _row(
        "truncated",
        "checkpoint",
        "resume",
        "refused",
        file_becomes("ckpt/model.safetensors", cut, *_MODEL),
        "model.safetensors",
        2,
        "model",
    ),
    _row(
        "bit flipped, date kept",
        "pack",
        "resume",
        "refused",
        file_becomes("packs/*", flip_a_bit, *_QUANTIZED),
        "the pack .* is damaged: its content has the digest",
        2,
        "quantized",
    ),
    _row(
        "truncated",
        "pack",
        "resume",
        "refused",
        file_becomes("packs/*", cut, *_QUANTIZED),
        "the pack .* cannot be read",
        2,
        "quantized",
    ),
]
