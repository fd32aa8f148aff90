"""How long a question takes that needs no thinking: a LIBERO observation (two images of 224², state, prompt) to a
policy that answers at once with ten actions, and back.

    python benchmarks/protocol.py
    python benchmarks/protocol.py --clients 1 8 32 --calls 300

Side by side, taking turns, on one machine: openpi's client with a server that behaves as openpi's does; ours with
ours, over a WebSocket and over a local pipe; and a direct call. Each server and each client has a process of its own.
Prints a table and writes JSON.
"""

import contextlib
import dataclasses
import importlib
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from pirig.policies.wrappers import OneByOne
from pirig.serving.host import host
from pirig.types import Metadata, Observation

ROOT = pathlib.Path(__file__).parents[1]
CLIENT = ROOT / "benchmarks/protocol_client.py"
WAYS = ("openpi", "websocket", "pipe", "direct")


@dataclasses.dataclass(frozen=True)
class Args:
    clients: tuple[int, ...] = (1, 8, 32)
    calls: int = 400
    """of all clients of one round together"""
    rounds: int = 5
    output: pathlib.Path = ROOT / "benchmarks/results/protocol.json"


class InstantPolicy(OneByOne):
    """Touches all it gets, and answers with a chunk."""

    metadata: Metadata = {"name": "instant"}

    def __init__(self):
        self._chunk = np.zeros((10, 7))

    def infer(self, obs: Observation) -> dict:
        state = (
            obs["observation/state"][0] + obs["observation/image"][0, 0, 0] + obs["observation/wrist_image"][0, 0, 0]
        )
        return {"actions": self._chunk + state}


@dataclasses.dataclass
class Case:
    way: str
    clients: int
    round_trips_ms: list[list[float]] = dataclasses.field(default_factory=list)  # by client, all rounds
    seconds: list[float] = dataclasses.field(default_factory=list)  # by round

    def add(self, by_client: list[list[float]], seconds: float) -> None:
        self.round_trips_ms += by_client
        self.seconds.append(seconds)

    def row(self) -> dict:
        everything = sorted(ms for client in self.round_trips_ms for ms in client)
        means = [statistics.mean(client) for client in self.round_trips_ms]
        rounds = [means[i : i + self.clients] for i in range(0, len(means), self.clients)]
        return {
            "way": self.way,
            "clients": self.clients,
            "p50_ms": statistics.median(everything),
            "p99_ms": everything[int(0.99 * len(everything))],
            "per_s": len(everything) / sum(self.seconds),
            "slowest_to_fastest": statistics.median(max(one) / min(one) for one in rounds),
        }


def main() -> None:
    flags = tyro.cli(Args, description=__doc__)
    cases = [Case(way, n) for n in flags.clients for way in WAYS if way != "direct" or n == 1]
    with contextlib.ExitStack() as stack:
        where = {way: stack.enter_context(serving(way)) for way in WAYS if way != "direct"}
        for _ in range(flags.rounds):
            for case in cases:
                calls = max(20, flags.calls // case.clients)
                if case.way == "direct":
                    case.add(*direct(calls))
                else:
                    case.add(*ask(case.way, where[case.way], case.clients, calls))
    show([case.row() for case in cases])
    save(flags, [case.row() for case in cases])


@contextlib.contextmanager
def serving(way: str) -> Generator[str]:
    """Yields where the clients find the server: a port or an address."""
    if way == "pipe":
        with host(InstantPolicy) as (address, _):
            yield address
        return
    server = subprocess.Popen([sys.executable, __file__, "--serve", way], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait()


def serve(way: str) -> None:
    """The life of a server process."""
    if way == "websocket":
        from pirig.serving.heap import keep_freed_memory
        from pirig.serving.server import PolicyServer

        keep_freed_memory()  # as `pirig serve` does
        PolicyServer(InstantPolicy(), host="127.0.0.1", port=0).run(lambda port: print(port, flush=True))
        return
    with _tests("support.peers").reference_server(InstantPolicy()) as port:
        print(port, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(3600)


def ask(way: str, where: str, clients: int, calls: int) -> tuple[list[list[float]], float]:
    """Round trips [ms] by client, and how long all of them took [s]."""
    interpreter = sys.executable
    if way == "openpi":
        interpreter = _tests("support.openpi_client_env").python()
    words = [interpreter, str(CLIENT), way, where, str(calls)]
    running = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(clients)
    ]
    for client in running:
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
    start = time.perf_counter()
    for client in running:
        assert client.stdin is not None
        client.stdin.write("\n")
        client.stdin.flush()
    found = [json.loads(client.stdout.readline()) for client in running if client.stdout]
    took_s = time.perf_counter() - start
    for client in running:
        client.wait()
    return found, took_s


def direct(calls: int) -> tuple[list[list[float]], float]:
    policy, images = InstantPolicy(), np.zeros((2, 224, 224, 3), np.uint8)
    observation = {
        "observation/image": images[0],
        "observation/wrist_image": images[1],
        "observation/state": np.zeros(8),
    }
    began, found = time.perf_counter(), []
    for _ in range(calls):
        start = time.perf_counter()
        policy.infer(observation)
        found.append(1e3 * (time.perf_counter() - start))
    return [found], time.perf_counter() - began


def _tests(name: str) -> Any:
    """A module of the tests: the peers there are the same."""
    sys.path.insert(0, str(ROOT / "tests"))
    return importlib.import_module(name)


def show(rows: list[dict]) -> None:
    table = Table(title="one LIBERO observation there and ten actions back", title_justify="left")
    columns = (
        "clients",
        "way",
        "p50 [ms]",
        "p99 [ms]",
        "requests/s",
        "slowest : fastest",
        "p50 to openpi's",
        "time a request to openpi's",
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "way" else "right")
    reference = {row["clients"]: row for row in rows if row["way"] == "openpi"}
    for row in rows:
        table.add_row(
            str(row["clients"]),
            row["way"],
            f"{row['p50_ms']:.3f}",
            f"{row['p99_ms']:.3f}",
            f"{row['per_s']:.0f}",
            f"{row['slowest_to_fastest']:.2f}",
            f"{row['p50_ms'] / reference[row['clients']]['p50_ms']:.2f}",
            f"{reference[row['clients']]['per_s'] / row['per_s']:.2f}",
        )
    Console(width=130).print(table)


def save(flags: Args, rows: list[dict]) -> None:
    flags.output.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "benchmark": "protocol",
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "websockets": importlib.metadata.version("websockets"),
        "calls": flags.calls,
        "rounds": flags.rounds,
        "cases": rows,
    }
    flags.output.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        main()
