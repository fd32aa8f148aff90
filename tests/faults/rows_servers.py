"""The policy server: gone, back, another one, slow, silent, and saying what it should not."""

import dataclasses
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator

from faults import servers
from faults.fault import Fault, Strike
from faults.stage import Cue
from faults.trial import Ended, Trial, served
from support import peers

_AGAIN = "1 episodes ended in an error; running them once more"


def at(port: int, patience_s: float = 60.0) -> tuple[str, ...]:
    return "--policy", f"ws://127.0.0.1:{port}", "--connect-timeout-s", str(patience_s)


def comes_late(trial: Trial) -> Iterator[Ended]:
    port = peers.free_port()
    trial.mark()
    command = trial.start(*at(port))
    command.has_said("waiting for a policy server")
    with served(port):
        yield command.ended()


def never_comes(trial: Trial) -> Iterator[Ended]:
    port = peers.free_port()
    yield trial.command(*at(port, 0.5))
    with served(port):
        yield trial.command(*at(port))


def away(end: Callable[[subprocess.Popen], None], *, skip: int = 1, policy: str = "random") -> Strike:
    """Ended in mid-episode, `skip` episodes later than the first, and back."""

    def strike(trial: Trial) -> Iterator[Ended]:
        port = peers.free_port()
        with served(port, policy=policy) as server:
            command = trial.start(*at(port), cue=Cue("worker", "episode", skip=skip))
            command.reached()
            trial.mark()
            end(server)
            server.wait()
        with served(port, policy=policy):
            command.release()
            yield command.ended()

    return strike


def gone_for_good(trial: Trial) -> Iterator[Ended]:
    port = peers.free_port()
    with served(port) as server:
        command = trial.start(*at(port, 0.2), "--workers", "1", cue=Cue("worker", "episode", skip=1))
        command.reached()
        server.kill()
        server.wait()
    command.release()
    yield command.ended()
    with served(port):
        yield trial.command(*at(port))


def another_policy(trial: Trial) -> Iterator[Ended]:
    """It answers, but is not who it was."""
    port = peers.free_port()
    with served(port) as server:
        command = trial.start(*at(port), "--workers", "1", cue=Cue("worker", "episode", skip=1))
        command.reached()
        server.kill()
        server.wait()
    with served(port, policy="zero"):
        command.release()
        yield command.ended()
    with served(port):
        yield trial.command(*at(port))


def another_policy_for_some(trial: Trial) -> Iterator[Ended]:
    """A worker dies, and the one that takes its place is the first to see the other policy."""
    port = peers.free_port()
    with served(port) as server:
        command = trial.start(*at(port), "--workers", "1", cue=Cue("worker", "episode", skip=1))
        worker = command.reached()
        server.kill()
        server.wait()
    with served(port, policy="zero"):
        os.kill(worker, signal.SIGKILL)
        yield command.ended()
    with served(port):
        yield trial.command(*at(port))


def full(trial: Trial) -> Iterator[Ended]:
    """Its one place is taken, and given back."""
    port = peers.free_port()
    with served(port, "--max-clients", "1"):
        taken = peers.opened(port)
        trial.mark()
        command = trial.start(*at(port), "--workers", "1")
        command.has_said("waiting for a policy server")
        taken.close()
        yield command.ended()


def misbehaves(act: servers.Act, *words: str, always: bool = False) -> Strike:
    def strike(trial: Trial) -> Iterator[Ended]:
        with servers.misbehaving(act, always=always) as port:
            trial.mark()
            yield trial.command(*at(port), "--workers", "1", *words)
        if always:
            with served(port):
                yield trial.command(*at(port))

    return strike


def dumb(trial: Trial) -> Iterator[Ended]:
    with servers.dumb() as port:
        yield trial.command(*at(port, 0.5))
    with served(port):
        yield trial.command(*at(port))


def website(trial: Trial) -> Iterator[Ended]:
    with servers.website(b"404 Not Found") as port:
        yield trial.command(*at(port))
    with served(port):
        yield trial.command(*at(port))


def port_taken(trial: Trial) -> Iterator[Ended]:
    """By another program; `pirig serve` says so, and the evaluation is done with a server on another port."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        found = trial.program(
            "serve", "--port", str(other.getsockname()[1]), "policy:baseline", "--policy.name", "zero"
        )
        yield found
    port = peers.free_port()
    with served(port):
        yield trial.command(*at(port))


def _error(said: str) -> str:
    return rf"trial \d: error[\s\S]*{said}[\s\S]*{_AGAIN}"


_LOST = r"connection to ws://127.0.0.1:\d+ lost in try 1 of a request"
_ROWS = [
    Fault("comes later", "server", "start", "recovers", comes_late, "waiting for a policy server at ws://"),
    Fault("never comes", "server", "start", "resumed", never_comes, r"no policy server at ws://\S+ after 0.5 s", 4),
    Fault(
        "takes connections, says nothing", "server", "start", "resumed", dumb, r"no policy server at ws://\S+ after", 4
    ),
    Fault("a website", "server", "start", "resumed", website, "HTTP status 404: no policy server; check --host", 4),
    Fault("port taken", "server", "start", "resumed", port_taken, "address already in use; stop what uses the port", 4),
    Fault("full", "server", "start", "recovers", full, "waiting for a policy server at ws://"),
    Fault("SIGKILL, and back", "server", "episode", "recovers", away(subprocess.Popen.kill), _LOST),
    Fault("SIGTERM, and back", "server", "episode", "recovers", away(subprocess.Popen.terminate), _LOST),
    Fault("gone for good", "server", "episode", "resumed", gone_for_good, "error: .*no policy server at ws://", 4),
    Fault(
        "back as another policy",
        "server",
        "episode",
        "resumed",
        another_policy,
        "error: .*came back as another policy",
        4,
    ),
    Fault(
        "back as another policy, for a new worker",
        "server",
        "episode",
        "resumed",
        another_policy_for_some,
        "error: .*came back as another policy",
        4,
    ),
    Fault("slow: an answer after 2 s", "server", "episode", "recovers", misbehaves(servers.slow(2.0))),
    Fault("slow: an answer after 70 s", "server", "episode", "recovers", misbehaves(servers.slow(70.0)), slow=True),
    Fault(
        "an answer after --request-timeout-s",
        "server",
        "episode",
        "recovers",
        misbehaves(servers.slow(3.0), "--request-timeout-s", "1"),
        _error(r"gave no answer within 1 s \(--request-timeout-s\)"),
    ),
    Fault(
        "sends garbage",
        "server",
        "episode",
        "recovers",
        misbehaves(servers.says(b"\xc1\x00ruin")),
        _error("ProtocolError"),
    ),
    Fault(
        "sends garbage from now on",
        "server",
        "episode",
        "resumed",
        misbehaves(servers.says(b"\xc1\x00ruin"), always=True),
        "error: .*cannot read a frame",
        4,
    ),
    Fault("half a frame", "server", "episode", "recovers", misbehaves(servers.half_a_frame), _LOST),
    Fault("a frame of no kind", "server", "episode", "recovers", misbehaves(servers.broken_frame), _LOST),
    Fault(
        "a text frame", "server", "episode", "recovers", misbehaves(servers.says("boom: a traceback")), _error("boom")
    ),
    Fault(
        "a frame over --max-frame-mib",
        "server",
        "episode",
        "recovers",
        misbehaves(servers.says(bytes(2 << 20)), "--max-frame-mib", "1"),
        _error("a frame is over the limit of this client"),
    ),
    Fault("closes with 1011", "server", "episode", "recovers", misbehaves(servers.closes), _LOST),
]
_SLOW = {
    "a website",
    "takes connections, says nothing",
    "full",
    "SIGTERM, and back",
    "sends garbage from now on",
    "a frame of no kind",
    "a frame over --max-frame-mib",
}  # much like another row, or long
ROWS = [dataclasses.replace(row, slow=row.slow or row.name in _SLOW) for row in _ROWS]
