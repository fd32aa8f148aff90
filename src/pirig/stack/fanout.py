"""Assign policy servers to GPUs and suites to policy servers, and write the compose file of that assignment.

Law 1: Every GPU gets a policy server, and every suite gets a simulator container.
Law 2: Every server has at least one suite while there are suites. If there are more servers than suites, the workers of
a suite are spread over several servers.
"""

import dataclasses
from collections.abc import Sequence

from pirig.errors import ConfigError
from pirig.stack.compose import FANOUT_PROFILE

PORT = 8000  # in the container
_HEADER = """\
# Written by `pirig stack`, and read by docker compose after compose.yml: a policy server for each device, a simulator
# container for each suite. What is not said here is as compose.yml has it.
"""


@dataclasses.dataclass(frozen=True)
class Server:
    name: str
    gpu: int | None  # index in nvidia-smi; None: the CPU
    port: int  # on 127.0.0.1 of this machine


@dataclasses.dataclass(frozen=True)
class Runtime:
    name: str
    suite: str
    policy: str  # for `pirig eval --policy`
    servers: tuple[Server, ...]  # empty if the policy runs elsewhere
    gpus: tuple[int, ...]  # for rendering


@dataclasses.dataclass(frozen=True)
class Fanout:
    servers: tuple[Server, ...]
    runtimes: tuple[Runtime, ...]


def servers(gpus: Sequence[int], count: int | None, port: int) -> tuple[Server, ...]:
    """Return `count` servers, by default one for each GPU. Without GPUs they run on the CPU, by default one.

    `port`: port of the first server; the others follow. Raises ConfigError if `count` or `port` is out of range.
    """
    if count is not None and count < 1:
        raise ConfigError(f"--servers is {count}; at least 1 is needed")
    number = count or len(gpus) or 1
    if not 1 <= port <= 65536 - number:
        raise ConfigError(f"--port is {port}, of the first of {number}; expected 1 to {65536 - number}")
    return tuple(Server(f"server-{i}", gpus[i % len(gpus)] if gpus else None, port + i) for i in range(number))


def spread(suites: Sequence[str], available: Sequence[Server]) -> Fanout:
    """Distribute the suites over the servers of this machine."""
    runtimes = []
    for i, suite in enumerate(suites):
        own = tuple(available[i % len(available) :: len(suites)])
        policy = ",".join(f"ws://{server.name}:{PORT}" for server in own)
        rendering = tuple(dict.fromkeys(server.gpu for server in own if server.gpu is not None))
        runtimes.append(Runtime(suite, suite, policy, own, rendering))
    return Fanout(tuple(available), tuple(runtimes))


def elsewhere(suites: Sequence[str], policy: str, gpus: Sequence[int]) -> Fanout:
    """Return the fan-out of suites that use a policy server outside the stack. GPUs are used only for rendering."""
    rendering = [(gpus[i % len(gpus)],) if gpus else () for i in range(len(suites))]
    return Fanout((), tuple(Runtime(s, s, policy, (), g) for s, g in zip(suites, rendering, strict=True)))


def compose_file(fanout: Fanout, *, workers: int) -> str:
    """Return the compose file as YAML. `workers`: number of workers in each suite's container."""
    lines = [_HEADER, "services:"]
    for server in fanout.servers:
        lines += [
            f"  {server.name}:",
            "    extends: { file: compose.yml, service: server }",
            f"    profiles: !override [{FANOUT_PROFILE}]",
            f'    ports: !override ["127.0.0.1:{server.port}:{PORT}"]',
            "    depends_on: !reset null",
            *_devices([server.gpu] if server.gpu is not None else []),
        ]
    for runtime in fanout.runtimes:
        names = [server.name for server in runtime.servers]
        lines += [
            f"  {runtime.name}:",
            "    extends: { file: compose.yml, service: runtime }",
            f"    profiles: !override [{FANOUT_PROFILE}]",
            "    command: >-",
            f"      --policy {runtime.policy} --suite {runtime.suite} --workers {workers}",
            "      --num-trials-per-task ${TRIALS:?unset it for its default in .env}",
            "      ${QUANTIZE:+--quantize ${QUANTIZE:-}} ${CLIENT_ARGS:-}",
            *_devices(runtime.gpus),
        ]
        if names:
            lines += ["    depends_on: !override"]
            lines += [f"      {name}: {{ condition: service_healthy }}" for name in names]
        else:
            lines += ["    depends_on: !reset null"]
    return "\n".join(lines) + "\n"


def _devices(gpus: Sequence[int]) -> list[str]:
    if not gpus:
        return ["    deploy: !reset null"]
    ids = ", ".join(f'"{gpu}"' for gpu in gpus)
    device = f"{{ driver: nvidia, device_ids: [{ids}], capabilities: [gpu] }}"
    return ["    deploy: !override", f"      resources: {{ reservations: {{ devices: [{device}] }} }}"]
