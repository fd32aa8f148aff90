"""Run policy servers on all GPUs, and a simulator per suite, in containers, and remove them afterwards (`pirig
stack`).
"""

import dataclasses
import logging
import pathlib
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pirig import envvars
from pirig.cli import report
from pirig.errors import ConfigError, MissingExtra, PeerError
from pirig.launch import logs, signals
from pirig.launch.settings import DEFAULT_IN_HELP, RECIPE, RESULTS, TRIALS
from pirig.machine import gpus, resources
from pirig.sim import suites as libero
from pirig.stack import fanout
from pirig.stack.compose import Compose
from pirig.stack.fanout import Fanout
from pirig.stack.supervision import Decision, History, State, next_step

if TYPE_CHECKING:
    from pirig.stack.containers import Containers

_LOOK_EVERY_S, _LINES_EVERY_S = 1.0, 60.0
_FILE = pathlib.Path("results/stack/fanout.yml")
_log = logging.getLogger(__name__)
_err = Console(stderr=True, highlight=False)


@dataclasses.dataclass(frozen=True)
class CheckoutArgs:
    checkout: Annotated[pathlib.Path, DEFAULT_IN_HELP] = pathlib.Path()
    """Folder of the checkout, which contains compose.yml; default: the current folder."""


@dataclasses.dataclass(frozen=True)
class ServersArgs(CheckoutArgs):
    policy: str = RECIPE
    """A recipe, a baseline, or (for run) ws://HOST:PORT."""
    policy_dir: Annotated[str, DEFAULT_IN_HELP] = ""
    """Checkpoint: a directory or an address; default: the published one."""
    quantize: Annotated[str, DEFAULT_IN_HELP] = ""
    """Quantize the model: w4a8, w8a8, … A missing pack is made first; default: what the OPENPI_DUQUANT_* variables
    say, which reach the servers."""
    gpus: Annotated[tuple[int, ...], DEFAULT_IN_HELP] = ()
    """GPUs to use, as numbered by nvidia-smi; default: all."""
    servers: Annotated[int | None, DEFAULT_IN_HELP] = None
    """Number of policy servers; default: one per GPU, or one on the CPU."""
    port: int = 8000
    """Port of the first server, on 127.0.0.1."""


@dataclasses.dataclass(frozen=True)
class RunArgs(ServersArgs):
    suite: str = "all"
    """One suite, several separated by commas, or all."""
    num_trials_per_task: int = TRIALS
    """Run trials 0 to N-1 of each task."""
    workers: int | Literal["auto"] = "auto"
    """Number of simulator processes per suite. auto: the machine's cores, divided among the suites."""
    client_args: Annotated[str, DEFAULT_IN_HELP] = ""
    """Further flags of `pirig eval`, as one word: --client-args='--video none'; default: none."""


@dataclasses.dataclass(frozen=True)
class LogsArgs(CheckoutArgs):
    services: Annotated[tyro.conf.Positional[tuple[str, ...]], DEFAULT_IN_HELP] = ()
    """Services to follow, as pirig stack status names them; default: print the last lines of all."""


def run(flags: RunArgs) -> int:
    """Evaluate suites. Return 0 if all are complete, else the first exit code that is not 0."""
    logs.log_to_stderr()
    names = libero.STANDARD_SUITES if flags.suite == "all" else tuple(flags.suite.split(","))
    for name in names:
        libero.check_suite(name)
    try:
        client_args = shlex.join(shlex.split(flags.client_args))
    except ValueError as e:
        raise ConfigError(f"--client-args={flags.client_args} cannot be taken apart: {e}; close its quotes") from e
    envvars.export({"TRIALS": str(flags.num_trials_per_task), "CLIENT_ARGS": client_args})
    signals.raise_interrupted()
    plan, containers, compose = _prepare(flags, names, flags.workers)
    try:
        compose.create()
        last = _supervise(plan, containers)
    finally:
        compose.down()
    for service, reason in last.reasons.items():
        print(f"{service}: {reason}", file=sys.stderr)
    report.show(flags.checkout / RESULTS, [name for name, code in last.codes.items() if code == 0])
    return next((code for code in last.codes.values() if code), 0)


def up(flags: ServersArgs) -> int:
    """Start the policy servers, and leave them running."""
    logs.log_to_stderr()
    if "://" in flags.policy:
        raise ConfigError(
            f"--policy {flags.policy} is a server already, with nothing to start; pirig stack run evaluates it"
        )
    signals.raise_interrupted()
    plan, containers, compose = _prepare(flags, (), 0)
    try:
        compose.create()
        last = _supervise(plan, containers, until_ready=True)
        if last.reasons:
            service, reason = next(iter(last.reasons.items()))
            raise PeerError(f"{service}: {reason}\n{containers.tail(service, 20)}")
    except BaseException:
        compose.down()
        raise
    print("ready: " + ", ".join(f"ws://127.0.0.1:{server.port}" for server in plan.servers))
    return 0


def _prepare(
    flags: ServersArgs, suites: Sequence[str], workers: int | Literal["auto"]
) -> "tuple[Fanout, Containers, Compose]":
    """Check, plan, write the compose file and build the images, without starting anything. Raises PirigError."""
    checkout = flags.checkout.absolute()
    envvars.export({"POLICY": flags.policy, "CKPT": flags.policy_dir, "QUANTIZE": flags.quantize})
    compose = Compose(checkout)
    compose.check()
    containers = _containers(compose)
    if running := [state.service for state in containers.look().values() if state.status == "running"]:
        raise ConfigError(f"the stack is running already: {', '.join(running)}; wait for it, or pirig stack down")
    plan, share = _plan(flags, suites, containers)
    _write(checkout / _FILE, fanout.compose_file(plan, workers=share if workers == "auto" else workers))
    compose = Compose(checkout, checkout / _FILE)
    compose.build([*(["server"] if plan.servers else []), *(["runtime"] if plan.runtimes else [])])
    if plan.servers:
        compose.prepare()
    return plan, containers, compose


def _containers(compose: Compose) -> "Containers":
    """Return the stack's containers. Raises MissingExtra if the Docker SDK is not installed."""
    try:
        from pirig.stack.containers import Containers
    except ModuleNotFoundError as e:
        raise MissingExtra("docker", "stack") from e
    return Containers(compose.project())


def _plan(flags: ServersArgs, suites: Sequence[str], containers: "Containers") -> tuple[Fanout, int]:
    """Return which simulator asks which servers, and the number of simulator processes per suite."""
    there = [gpu.index for gpu in gpus.gpus()] if containers.has_nvidia() else []
    if missing := [gpu for gpu in flags.gpus if gpu not in there]:
        raise ConfigError(f"--gpus {missing[0]}: there is no such GPU; there are: {there or 'none'}")
    chosen = flags.gpus or there
    if "://" in flags.policy:
        plan = fanout.elsewhere(suites, flags.policy, chosen)
    else:
        plan = fanout.spread(suites, fanout.servers(chosen, flags.servers, flags.port))
    return plan, max(1, min(resources.cores(), resources.simulators()) // max(1, len(suites)))


def _supervise(plan: Fanout, containers: "Containers", *, until_ready: bool = False) -> Decision:
    """Start services in order until nothing is left to wait for, and show their state."""
    history, view = History(), _View()
    with view:
        while True:
            seen = containers.look()
            step = next_step(plan, seen, history)
            view.show(seen, history)
            ready = until_ready and all(seen[s.name].health == "healthy" for s in plan.servers if s.name in seen)
            if step.is_last(plan) or ready:
                return step
            for service in step.start:
                if service in history.started:
                    _log.warning("%s ended (%s); starting it again", service, seen[service].how)
                containers.start(service)
            history = history.after(seen, step.start)
            time.sleep(_LOOK_EVERY_S)


class _View:
    """Show a live table on a terminal; else log a line at each change, and every minute how far each suite is."""

    def __init__(self):
        self._live = Live(console=_err, auto_refresh=False) if _err.is_terminal else None
        self._known: dict[str, tuple[str, str]] = {}
        self._next_lines_s = time.monotonic() + _LINES_EVERY_S

    def __enter__(self) -> None:
        if self._live:
            self._live.start()

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, seen: Mapping[str, State], history: History) -> None:
        if self._live:
            self._live.update(_table(seen, history), refresh=True)
            return
        is_time = time.monotonic() > self._next_lines_s
        if is_time:
            self._next_lines_s = time.monotonic() + _LINES_EVERY_S
        for name, state in seen.items():
            how, says = self._known.get(name, ("", ""))
            if state.how != how or (is_time and state.says != says):
                _log.info("%s: %s%s", name, state.how, f"; {state.says}" if state.says else "")
                self._known[name] = state.how, state.says


def down(flags: CheckoutArgs) -> int:
    """Remove the containers."""
    logs.log_to_stderr()
    Compose(flags.checkout.absolute()).down()
    return 0


def status(flags: CheckoutArgs) -> int:
    """Print what runs."""
    logs.log_to_stderr()
    seen = _containers(Compose(flags.checkout.absolute())).look()
    if not seen:
        print("No pirig containers are running.")
    else:
        Console(highlight=False).print(_table(seen, History()))
    return 0


def logs_of(flags: LogsArgs) -> int:
    """Print what the containers have logged."""
    logs.log_to_stderr()
    containers = _containers(Compose(flags.checkout.absolute()))
    for service in flags.services or containers.look():
        for line in containers.follow(service) if flags.services else containers.tail(service, 1000).splitlines():
            print(f"{service} | {line}", flush=True)
    return 0


def _table(seen: Mapping[str, State], history: History) -> Table:
    table = Table(box=None, expand=True)
    for column in ("service", "state", "restarts", "memory"):
        table.add_column(column, no_wrap=True)
    table.add_column("says", no_wrap=True, overflow="ellipsis", ratio=1)
    for state in seen.values():
        memory = f"{state.memory_mib / 1024:.1f} GiB" if state.memory_mib else ""
        says = Text(state.says, no_wrap=True, overflow="ellipsis")
        table.add_row(state.service, state.how, str(history.restarts(state.service) or ""), memory, says)
    return table


def _write(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
