"""Observe, start and follow the stack's containers through the Docker engine. Creates and removes none."""

from collections.abc import Iterator

import docker
import docker.errors
import requests

from pirig.errors import ConfigError, PeerError
from pirig.stack.supervision import State
from pirig.text import unknown

_PROJECT, _SERVICE = "com.docker.compose.project", "com.docker.compose.service"
_MIB = 2**20


class Containers:
    """Access the containers with a project's label, by service."""

    def __init__(self, project: str):
        """Connect to the Docker engine. Raises StartError if no engine answers."""
        self._project = project
        try:
            self._client = docker.from_env()
            self._client.ping()
        except (docker.errors.DockerException, requests.RequestException) as e:
            raise PeerError(f"no Docker engine answers ({e}); pirig doctor says what to do") from e

    def has_nvidia(self) -> bool:
        """Return whether the engine can give a GPU to a container."""
        return "nvidia" in (self._client.info().get("Runtimes") or {})

    def look(self) -> dict[str, State]:
        """Return the state of each container by service, in the order of the container names."""
        found = sorted(self._all(), key=lambda container: container.name)
        return {container.labels[_SERVICE]: _state(container) for container in found}

    def start(self, service: str) -> None:
        """Start a container that was created or has ended. Raises StartError with the engine's reason if that fails."""
        try:
            self._one(service).start()
        except docker.errors.APIError as e:
            raise PeerError(f"{service} does not start: {e.explanation}") from e

    def tail(self, service: str, lines: int) -> str:
        return self._one(service).logs(tail=lines).decode(errors="replace")

    def follow(self, service: str) -> Iterator[str]:
        """Yield the lines of the log from the beginning until the container ends."""
        yield from _lines(self._one(service).logs(stream=True, follow=True))

    def _all(self) -> list:
        return self._client.containers.list(all=True, filters={"label": f"{_PROJECT}={self._project}"})

    def _one(self, service: str):
        by_service = {container.labels[_SERVICE]: container for container in self._all()}
        if service not in by_service:
            raise ConfigError(unknown("service of the stack", service, sorted(by_service)))
        return by_service[service]


def _state(container) -> State:
    about = container.attrs["State"]
    status = about["Status"]
    try:
        says = container.logs(tail=1).decode(errors="replace").strip() if status != "created" else ""
        memory_mib = _memory_mib(container) if status == "running" else 0.0
    except (docker.errors.APIError, KeyError):  # it ended between two requests
        says, memory_mib = "", 0.0
    return State(
        service=container.labels[_SERVICE],
        status=status,
        health=about.get("Health", {}).get("Status", ""),
        exit_code=about["ExitCode"] if status in ("exited", "dead") else None,
        out_of_memory=bool(about.get("OOMKilled")),
        memory_mib=memory_mib,
        says=says.splitlines()[-1] if says else "",
    )


def _memory_mib(container) -> float:
    """Return the memory in use as `docker stats` counts it, without the reclaimable page cache [MiB]."""
    memory = container.stats(stream=False, one_shot=True)["memory_stats"]
    return (memory["usage"] - memory.get("stats", {}).get("inactive_file", 0)) / _MIB


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace").rstrip("\r")
    if rest:
        yield rest.decode(errors="replace")
