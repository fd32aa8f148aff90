"""On a Ray cluster of three nodes, simulated on this machine."""

import contextlib
import os
import pathlib
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from faults.fault import Fault
from faults.stage import Cue
from faults.trial import HERE, Ended, Trial, wait_for_end


@contextlib.contextmanager
def cluster() -> Generator[Any]:
    """Its processes import the tests' scene."""
    pytest.importorskip("ray", reason="make setup-ray")
    from ray.cluster_utils import Cluster

    os.environ["PYTHONPATH"] = str(HERE.parent)
    try:
        head = {"num_cpus": 0, "object_store_memory": 200 * 2**20, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=head)
        made.workers = [made.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(3)]
    finally:
        del os.environ["PYTHONPATH"]
    try:
        yield made
    finally:
        with contextlib.suppress(Exception):
            made.shutdown()


def on(made: Any) -> tuple[str, ...]:
    return "--policy", "random", "--executor", "ray", "--ray-address", made.address, "--workers", "3"


def node_lost(trial: Trial) -> Iterator[Ended]:
    """The one whose worker is in an episode."""
    with cluster() as made:
        command = trial.start(*on(made), cue=Cue("worker", "episode"))
        worker = command.reached()
        raylet = _parent(worker)
        node = next(node for node in made.workers if raylet in _processes(node))
        trial.mark()
        made.remove_node(node, allow_graceful=False)
        wait_for_end(worker)
        command.release()
        yield command.ended()


def worker_hangs(trial: Trial) -> Iterator[Ended]:
    with cluster() as made:
        command = trial.start(*on(made), "--episode-timeout-s", "30", cue=Cue("worker", "episode", "stop"))
        command.reached()
        trial.mark()
        yield command.ended()


def _parent(pid: int) -> int:
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _processes(node: Any) -> set[int]:
    return {one.process.pid for kind in node.all_processes.values() for one in kind}


ROWS = [
    Fault("lost", "node", "episode", "recovers", node_lost, "a worker of node .* is lost", scene="ray"),
    Fault("hangs", "worker", "episode", "recovers", worker_hangs, r"is lost \(no sign for 30 s", scene="ray"),
]
