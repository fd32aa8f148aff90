"""Decide which containers to start next, from their states. Pure functions: the caller observes and starts containers.

Rule 1: A server is started at once. A suite's container is started when all servers that it uses are healthy.
Rule 2: A container that dies is started again, up to `RESTARTS` times. A run then continues where it stopped, and
requests are sent again.
Rule 3: A container is not started again if that cannot help: a server that was never healthy, or an evaluation whose
exit code says that its flags are wrong.
Rule 4: The end of one suite does not affect other suites. A server that has failed for the last time also ends the
suites that use it, once their containers are not running.
"""

import dataclasses
from collections.abc import Mapping

from pirig.errors import ConfigError
from pirig.stack.fanout import Fanout, Runtime

RESTARTS = 3
_FINISHED = (0, ConfigError.exit_code)  # exit codes of `pirig eval` that another try would not change


@dataclasses.dataclass(frozen=True)
class State:
    """Describe one container at one moment."""

    service: str
    status: str  # created, running, exited, …
    health: str = ""  # starting, healthy or unhealthy; empty without a health check
    exit_code: int | None = None  # None while the container has not ended
    out_of_memory: bool = False  # the kernel killed it
    memory_mib: float = 0.0  # while it runs [MiB]; else 0
    says: str = ""  # the last line of its log

    @property
    def has_ended(self) -> bool:
        return self.status in ("exited", "dead")

    @property
    def how(self) -> str:
        """State in words, e.g. `healthy`, `exit code 4`."""
        if self.has_ended:
            return "out of memory" if self.out_of_memory else f"exit code {self.exit_code}"
        return self.health or self.status


@dataclasses.dataclass(frozen=True)
class History:
    """Remember about containers what the engine does not."""

    started: Mapping[str, int] = dataclasses.field(default_factory=dict)  # number of starts, by service
    was_healthy: frozenset[str] = frozenset()

    def after(self, seen: Mapping[str, State], started: tuple[str, ...]) -> "History":
        """Return this history extended by the states that were observed now and the services that were then started."""
        counts = {**self.started}
        for service in started:
            counts[service] = counts.get(service, 0) + 1
        return History(counts, self.was_healthy | {s.service for s in seen.values() if s.health == "healthy"})

    def restarts(self, service: str) -> int:
        return max(0, self.started.get(service, 0) - 1)


@dataclasses.dataclass(frozen=True)
class Decision:
    start: tuple[str, ...]
    codes: Mapping[str, int]  # exit codes of suites that will not be started again, by service
    reasons: Mapping[str, str]  # why a suite has no result or a server failed, by service

    def is_last(self, fanout: Fanout) -> bool:
        """Return whether every suite has ended or, if there are no suites, whether a server has."""
        return len(self.codes) == len(fanout.runtimes) if fanout.runtimes else bool(self.reasons)


def next_step(fanout: Fanout, seen: Mapping[str, State], history: History) -> Decision:
    """Apply the rules once."""
    start, codes, reasons = [], {}, {}
    for server in fanout.servers:
        state = seen.get(server.name)
        if state is None:
            reasons[server.name] = "its container has been removed"
        elif state.status == "created":
            start.append(server.name)
        elif state.has_ended and server.name not in history.was_healthy:
            reasons[server.name] = f"ended before it was ready, with {state.how}: {state.says}"
        elif state.has_ended and not _may_start(server.name, history):
            reasons[server.name] = f"ended {RESTARTS + 1} times, the last with {state.how}: {state.says}"
        elif state.has_ended:
            start.append(server.name)
    for runtime in fanout.runtimes:
        state = seen.get(runtime.name)
        lost = [server.name for server in runtime.servers if server.name in reasons]
        if state is None:
            codes[runtime.name], reasons[runtime.name] = 1, "its container has been removed"
        elif state.has_ended and state.exit_code in _FINISHED:
            codes[runtime.name] = state.exit_code or 0
            if state.exit_code:
                reasons[runtime.name] = state.says
        elif lost and state.status != "running":
            codes[runtime.name] = state.exit_code or 4
            reasons[runtime.name] = f"waits for {', '.join(lost)} in vain"
        elif state.has_ended and not _may_start(runtime.name, history):
            codes[runtime.name] = state.exit_code or 1
            reasons[runtime.name] = f"ended {RESTARTS + 1} times, the last with {state.how}: {state.says}"
        elif (state.status == "created" or state.has_ended) and _is_served(runtime, seen):
            start.append(runtime.name)
    return Decision(tuple(start), codes, reasons)


def _may_start(service: str, history: History) -> bool:
    return history.restarts(service) < RESTARTS


def _is_served(runtime: Runtime, seen: Mapping[str, State]) -> bool:
    return all(seen[server.name].health == "healthy" for server in runtime.servers if server.name in seen)
