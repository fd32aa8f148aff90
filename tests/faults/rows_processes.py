"""Processes that are struck by a signal, die, hang, grow or raise; and policies that answer with something else."""

import os
import signal
from collections.abc import Iterator

from faults.fault import Fault, Strike
from faults.stage import Cue
from faults.trial import Ended, Trial

HOSTED = ("--policy", "pi05_libero_tiny")  # the scene has another model in its place
_ALONE = (*HOSTED, "--workers", "1")  # requests of a batch that failed are asked again, one by one
IN_WORKERS = ("--policy", "random")
_CODES = {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": 130, "SIGHUP": -1}
_WRITING_SKIPS = {"policy host": 6, "worker": 1, "coordinator": 1}  # warm-ups, and something to keep


def at(cue: Cue, number: int, *flags: str, victim: str = "", leaves: bool = False) -> Strike:
    """A signal to the process that came to its cue, or to the coordinator meanwhile."""

    def strike(trial: Trial) -> Iterator[Ended]:
        command = trial.start(*flags, cue=cue)
        pid = command.reached()
        trial.mark()
        os.kill(command.pid if victim == "coordinator" else pid, number)
        command.release()
        yield command.ended(leaves=leaves)

    return strike


def does(role: str, phase: str, act: str, *flags: str, skip: int = 0, always: bool = False) -> Strike:
    """The process does it to itself."""

    def strike(trial: Trial) -> Iterator[Ended]:
        command = trial.start(*flags, cue=Cue(role, phase, act, skip, always))
        command.reached()
        trial.mark()
        yield command.ended()

    return strike


def _signals() -> Iterator[Fault]:
    for name, code in _CODES.items():
        number = getattr(signal, name)
        kept = "" if code < 0 else f"{name}: stopped; what was finished is kept"
        for phase, cue in (
            ("set-up", Cue("worker", "set-up")),
            ("set-up of a policy host", Cue("policy host", "set-up")),
            ("episode", Cue("worker", "episode", skip=1)),
            ("writing", Cue("coordinator", "writing", skip=_WRITING_SKIPS["coordinator"])),
        ):
            said = f"stopped by {name}" if "host" in phase and code > 0 else kept
            flags = HOSTED if "host" in phase or name == "SIGHUP" else IN_WORKERS
            yield Fault(
                name, "coordinator", phase, "resumed", at(cue, number, *flags, victim="coordinator"), said, code
            )
    for role, flags in (("worker", IN_WORKERS), ("policy host", HOSTED)):
        for name in ("SIGTERM", "SIGINT"):
            for phase in ("set-up", "episode", "writing"):
                cue = Cue(role, phase, skip=_WRITING_SKIPS[role] if phase == "writing" else 0)
                strike = at(cue, getattr(signal, name), *flags)
                yield Fault(name, role, phase, "recovers", strike, slow=phase != "episode")
    killed = "died with signal SIGKILL"
    for role, phase, expected, code, said in (
        ("worker", "set-up", "resumed", 4, rf"worker \d {killed} while it started; 1 in a row"),
        ("worker", "episode", "recovers", 0, rf"worker \d {killed} during libero_object/task0"),
        ("worker", "writing", "recovers", 0, rf"worker \d {killed} during libero_object/task0"),
        ("policy host", "set-up", "resumed", 4, f"the policy host {killed} while it loaded the policy; SIGKILL often"),
        ("policy host", "episode", "recovers", 0, f"the policy host {killed}; starting it again"),
        ("policy host", "writing", "recovers", 0, f"the policy host {killed}; starting it again"),
    ):
        cue = Cue(role, phase, skip=_WRITING_SKIPS[role] if phase == "writing" else 0)
        flags = IN_WORKERS if role == "worker" else HOSTED
        yield Fault("SIGKILL", role, phase, expected, at(cue, signal.SIGKILL, *flags), said, code)


def suspended(trial: Trial) -> Iterator[Ended]:
    """Ctrl-Z, and fg."""
    command = trial.start(*IN_WORKERS, cue=Cue("worker", "episode", skip=1))
    command.reached()
    trial.mark()
    os.kill(command.pid, signal.SIGSTOP)
    command.release()
    os.kill(command.pid, signal.SIGCONT)
    yield command.ended()


_WORKERS = [
    Fault("Ctrl-Z and fg", "coordinator", "episode", "recovers", suspended),
    Fault(
        "segmentation fault",
        "worker",
        "episode",
        "recovers",
        does("worker", "episode", "crash", *IN_WORKERS),
        r"worker \d died with signal SIGSEGV during",
    ),
    Fault(
        "ends without a word",
        "worker",
        "set-up",
        "resumed",
        does("worker", "set-up", "exit", *IN_WORKERS),
        r"worker \d died with exit code 11 while it started",
        4,
    ),
    Fault(
        "raises",
        "worker",
        "set-up",
        "resumed",
        does("worker", "set-up", "raise", *IN_WORKERS),
        r"worker \d could not start:[\s\S]*something broke in here",
        4,
    ),
    Fault(
        "simulator raises",
        "worker",
        "episode",
        "recovers",
        does("worker", "episode", "raise", *IN_WORKERS),
        r"trial \d: error[\s\S]*something broke in here[\s\S]*1 episodes ended in an error; running them once more",
    ),
    Fault(
        "simulator raises always",
        "worker",
        "episode",
        "resumed",
        does("worker", "episode", "raise", *IN_WORKERS, always=True),
        r"10 errors in a row, so the run stops[\s\S]*something broke in here",
        4,
    ),
    Fault(
        "hangs",
        "worker",
        "episode",
        "recovers",
        does("worker", "episode", "stop", *IN_WORKERS, "--episode-timeout-s", "6"),
        r"worker \d gave no sign for 6 s \(--episode-timeout-s\) during libero_object/task0",
    ),
    Fault(
        "hangs",
        "worker",
        "set-up",
        "resumed",
        does("worker", "set-up", "stop", *IN_WORKERS, "--episode-timeout-s", "6", "--workers", "1"),
        r"worker \d gave no sign for 6 s \(--episode-timeout-s\) while it started",
        4,
    ),
    Fault(
        "memory over --max-worker-memory-gib",
        "worker",
        "episode",
        "recovers",
        does("worker", "episode", "hoard", *IN_WORKERS, "--max-worker-memory-gib", "0.3"),
    ),
    Fault(
        "memory limit of the process hit",
        "worker",
        "episode",
        "recovers",
        does("worker", "episode", "run out of memory", *IN_WORKERS),
        r"trial \d: error[\s\S]*Unable to allocate 300",
    ),
]

_ANSWERS = {  # act -> what is said
    "raise": "something broke in here",
    "nan": "the policy answered with nan in action 0, axis 3",
    "shape": r"actions must be numbers of shape \[T, 7\]; found float64\[10, 6\]",
    "dtype": r"actions must be numbers of shape \[T, 7\]; found bool\[10, 7\]",
    "short": "replan_steps is 5, but the policy's chunk has 2 actions",
    "nothing": "the policy must answer with a dict that has 'actions'; found keys",
    "unsendable": "TypeError",
}
_NAMES = {
    "raise": "policy raises",
    "nan": "policy answers NaN",
    "shape": "policy answers another shape",
    "dtype": "policy answers another dtype",
    "short": "policy answers too short a chunk",
    "nothing": "policy answers without actions",
    "unsendable": "policy answers what cannot be sent",
}


def _policies() -> Iterator[Fault]:
    for act, said in _ANSWERS.items():
        strike = does("policy host", "episode", act, *_ALONE)
        told = rf"{said}[\s\S]*trial \d: error" if act == "raise" else rf"trial \d: error[\s\S]*{said}"
        slow = act in ("short", "nothing", "unsendable")
        yield Fault(_NAMES[act], "policy host", "episode", "recovers", strike, told, slow=slow)
    always = does("policy host", "episode", "nan", *HOSTED, always=True)
    said = r"answered with nan[\s\S]*INCOMPLETE, 1 of 6 episodes scored, 5 errors"  # one has a single chunk
    yield Fault("policy answers NaN from now on", "policy host", "episode", "resumed", always, said, 3)
    loading = does("policy host", "set-up", "raise", *HOSTED)
    said = r"the policy could not be loaded:[\s\S]*something broke in here"
    yield Fault("model raises", "policy host", "set-up", "resumed", loading, said, 4)
    said = r"the policy host gave no answer within 2 s \(--request-timeout-s\): it hangs"
    for name, act in (("policy hangs", "hang"), ("process hangs", "stop")):
        strike = does("policy host", "episode", act, *HOSTED, "--request-timeout-s", "2")
        yield Fault(name, "policy host", "episode", "resumed", strike, said, 4, slow=True)


ROWS = [*_signals(), *_WORKERS, *_policies()]
