"""Keep a list of the usable nodes of a Ray cluster, and run policy hosts on them as actors. Nodes may come and go.

Law 1: A node is used while it is alive and, if the policy needs hosts, while the hosts that its workers use answer.
These are the node's own hosts or, for a node without a GPU, a host on another node.
Law 2: A node that cannot start its hosts stops the run only if no other node has started its own.
Law 3: All hosts of a cluster have the same policy. A node whose hosts report other metadata is left out.
"""

import contextlib
import dataclasses
import logging
import socket
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from pirig import imports
from pirig.errors import PeerError, PirigError, StartError, from_wire, to_wire
from pirig.types import Metadata

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 2.0
_HEAD_WITHIN_S = 20.0
_FIRST_HOST_WITHIN_S = 3600.0  # a host may download its checkpoint first

OpenHost = Callable[[], AbstractContextManager[tuple[str, int, Metadata]]]
"""Opens a policy host on the node that calls it. Must pickle.

The context manager yields the host's address on the node, the port of its WebSocket for other nodes, and the policy's
metadata.
"""


@contextlib.contextmanager
def connected(address: str, variables: Mapping[str, str]) -> Generator[None]:
    """Connect to the cluster at `address` while the block runs. `auto`: the cluster of this node; `local`: a new one.

    `variables`: environment variables of the processes that Ray starts. Raises StartError if no cluster answers.
    """
    ray = imports.require("ray", extra="ray")
    try:
        _listens(address)
        ray.init(
            address=None if address == "local" else address,
            runtime_env={"env_vars": dict(variables)},
            logging_level=logging.WARNING,
            include_dashboard=False if address == "local" else None,
        )
    except (OSError, RuntimeError, ValueError) as e:
        raise PeerError(
            f"no Ray cluster at {address}: {e}; start one (ray start --head), or name another --ray-address"
        ) from e
    try:
        yield
    finally:
        ray.shutdown()


def _listens(address: str) -> None:
    """Raise OSError if nothing listens at `address`. Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_HEAD_WITHIN_S).close()


@dataclasses.dataclass(frozen=True)
class Node:
    id: str
    name: str  # network address
    cpus: int
    gpus: int
    addresses: tuple[str, ...] = ()  # of the policy hosts that its workers use: its own, by GPU, or ws://…


class Nodes:
    """Track the nodes of the cluster that this process is connected to, and run policy hosts on them."""

    def __init__(self, open_host: OpenHost | None = None):
        """`open_host` starts the policy host of a GPU, or of a node if the cluster has no GPUs. None means that the
        policy needs no host.
        """
        self._ray = imports.require("ray", extra="ray")
        self._open_host = open_host
        self._alive: dict[str, Node] = {}
        self._hosts: dict[str, _HostsOfNode] = {}
        self._left_out: set[str] = set()
        self._borrowed: dict[str, tuple[str, ...]] = {}  # by node without a host: the address of another node's host
        self._next_look_s = 0.0
        self.metadata: Metadata | None = None  # the policy's; None until a host has reported it

    def usable(self) -> list[Node]:
        """Return the usable nodes. The cluster is queried at most every `_LOOK_EVERY_S`.

        Raises the PirigError of a host that cannot start (law 2).
        """
        if time.monotonic() >= self._next_look_s:
            self._next_look_s = time.monotonic() + _LOOK_EVERY_S
            self._look()
        if not self._open_host:
            return list(self._alive.values())
        asked = {id_: hosts.addresses for id_, hosts in self._hosts.items()} | self._borrowed
        return [
            dataclasses.replace(node, addresses=asked[node.id])
            for node in self._alive.values()
            if node.id not in self._left_out and asked.get(node.id)
        ]

    def wait(self) -> Metadata:
        """Wait for the first node whose hosts are ready, and return the policy's metadata.

        Raises StartError if there is none within `_FIRST_HOST_WITHIN_S`, and raises as `usable` does.
        """
        deadline = time.monotonic() + _FIRST_HOST_WITHIN_S
        while time.monotonic() < deadline:
            if self.usable() and self.metadata is not None:
                return self.metadata
            time.sleep(0.2)
        raise PeerError(f"no policy host of the cluster was ready within {_FIRST_HOST_WITHIN_S:.0f} s; see its log")

    def close(self) -> None:
        for hosts in self._hosts.values():
            hosts.close()
        self._hosts.clear()

    def _look(self) -> None:
        rows = [row for row in self._ray.nodes() if row["Alive"]]
        there = {row["NodeID"]: _node(row) for row in rows}
        for gone in self._alive.keys() - there.keys():
            _log.warning("node %s is gone; its episodes run elsewhere", self._alive[gone].name)
        for new in there.keys() - self._alive.keys():
            _log.info("node %s: %d cores, %d GPUs", there[new].name, there[new].cpus, there[new].gpus)
        self._alive = there
        if self._open_host:
            self._look_at_hosts(self._open_host)
            self._lend()

    def _look_at_hosts(self, open_host: OpenHost) -> None:
        for gone in self._hosts.keys() - self._alive.keys():
            del self._hosts[gone]
        has_gpus = any(node.gpus for node in self._alive.values())
        for node in self._alive.values():
            is_place = node.gpus if has_gpus else node.cpus
            if is_place and node.id not in self._hosts and node.id not in self._left_out:
                self._hosts[node.id] = _HostsOfNode(self._ray, node, open_host)
        for id_, hosts in list(self._hosts.items()):
            try:
                found = hosts.look()
            except self._ray.exceptions.RayError as e:
                _log.warning("a policy host of node %s died (%s); starting it again", hosts.node.name, type(e).__name__)
                hosts.close()
                del self._hosts[id_]
            except PirigError as e:
                if self.metadata is None:
                    raise
                self._leave_out(id_, str(e))
            else:
                if found is None:
                    continue
                self.metadata = self.metadata or found
                if found != self.metadata:
                    self._leave_out(id_, f"its policy is {dict(found)}, and the others' {dict(self.metadata)}")

    def _lend(self) -> None:
        """Assign a host of another node to each node without hosts.

        A node keeps its host while that is available. Otherwise it gets the host that the fewest cores use.
        """
        doors = {door: 0 for hosts in self._hosts.values() for door in hosts.doors}
        guests = [node for node in self._alive.values() if node.id not in self._hosts and node.cpus]
        self._borrowed = {
            node.id: self._borrowed[node.id]
            for node in guests
            if node.id in self._borrowed and self._borrowed[node.id][0] in doors
        }
        for node in guests:
            if doors:
                (door,) = self._borrowed.setdefault(node.id, (min(doors, key=lambda door: doors[door]),))
                doors[door] += node.cpus

    def _leave_out(self, id_: str, why: str) -> None:
        hosts = self._hosts.pop(id_)
        _log.warning("node %s is left out: %s", hosts.node.name, why)
        hosts.close()
        self._left_out.add(id_)


class _HostsOfNode:
    """Run the policy hosts of one node: an actor per GPU, or one actor if the node has no GPU."""

    def __init__(self, ray: Any, node: Node, open_host: OpenHost):
        self._ray, self.node = ray, node
        self.addresses: tuple[str, ...] = ()
        self.doors: tuple[str, ...] = ()  # addresses for other nodes
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node.id, soft=False)
        options = {"num_cpus": 0, "num_gpus": 1 if node.gpus else 0, "scheduling_strategy": strategy}
        make = ray.remote(_HostActor).options(**options, max_concurrency=2)
        self._actors = [make.remote() for _ in range(max(1, node.gpus))]
        self._starting: Sequence[Any] = [actor.start.remote(open_host) for actor in self._actors]
        self._watching = [actor.watch.remote() for actor in self._actors]

    def look(self) -> Metadata | None:
        """Return the policy's metadata once, when all hosts have become ready, and else None.

        Raises RayError if a host died, and PirigError if one could not start or if their policies differ.
        """
        dead, _ = self._ray.wait(self._watching, num_returns=len(self._watching), timeout=0)
        self._ray.get(dead)
        if not self._starting:
            return None
        ready, waiting = self._ray.wait(list(self._starting), num_returns=len(self._starting), timeout=0)
        if waiting:
            return None
        self._starting, answers = (), self._ray.get(ready)
        for kind, *told in answers:
            if kind == "failed":
                error, message = told
                raise from_wire(error, f"node {self.node.name}: {message}")
        answers = sorted(answers, key=lambda answer: answer[1])
        self.addresses = tuple(address for _, _, address, _, _ in answers)
        self.doors = tuple(f"ws://{self.node.name}:{port}" for _, _, _, port, _ in answers)
        metadata = [answer[4] for answer in answers]
        if any(other != metadata[0] for other in metadata):
            raise StartError(f"node {self.node.name} has GPUs of several kinds, which are not one policy")
        return metadata[0]

    def close(self) -> None:
        self.addresses = self.doors = ()
        for actor in self._actors:
            actor.close.remote()
            self._ray.kill(actor)


class _HostActor:
    """Run one policy host, on the GPU that Ray assigns."""

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()

    def start(self, open_host: OpenHost) -> tuple[Any, ...]:
        ray = imports.require("ray", extra="ray")
        gpus = [int(gpu) for gpu in ray.get_gpu_ids() if str(gpu).isdigit()]
        try:
            address, port, metadata = self._open.enter_context(open_host())
        except PirigError as e:
            return "failed", *to_wire(e)
        return "ready", gpus, address, port, dict(metadata)

    def watch(self) -> None:
        """Wait forever. The call never returns; it fails when the actor dies, which `look` detects."""
        while True:
            time.sleep(3600)

    def close(self) -> None:
        self._open.close()


def _node(row: Mapping[str, Any]) -> Node:
    resources = row["Resources"]
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    return Node(row["NodeID"], str(row["NodeManagerAddress"]), cpus, gpus)
