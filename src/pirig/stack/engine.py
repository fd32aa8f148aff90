"""Check the Docker engine, the compose plugin, and whether containers can use a GPU."""

import json

from pirig.machine.findings import Finding, output
from pirig.stack import compose

COMPOSE_NEEDED = (2, 24, 4)  # the first version that supports !override
_TOOLKIT = "install the NVIDIA container toolkit: sudo nvidia-ctk runtime configure --runtime=docker; restart Docker"


def check(*, has_gpu: bool) -> list[Finding]:
    """Check the engine. A missing engine is only a warning, because MODE=local works without it."""
    code, said = output(["docker", "info", "--format", "{{json .}}"])
    if code == 127:
        return [Finding("engine", "warning", "there is no docker", "install Docker, or use MODE=local")]
    facts = _json(said)
    if code or not facts.get("ServerVersion"):
        return [Finding("engine", "warning", _why(said, facts), _engine_fix(said + str(facts)))]
    found = [Finding("engine", "ok", f"Docker {facts['ServerVersion']}"), _compose()]
    runtimes = facts.get("Runtimes") or {}
    if "nvidia" in runtimes:
        found.append(Finding("containers with a GPU", "ok", "the engine has an NVIDIA runtime"))
    elif has_gpu:
        problem = 'the engine has no NVIDIA runtime: could not select device driver "nvidia" with capabilities: [[gpu]]'
        found.append(Finding("containers with a GPU", "error", problem, _TOOLKIT))
    else:
        found.append(Finding("containers with a GPU", "ok", "no GPU; make adds compose.cpu.yml"))
    return found


def _compose() -> Finding:
    said = compose.version()
    needed = ".".join(map(str, COMPOSE_NEEDED))
    if not said:
        return Finding("compose", "warning", "docker has no compose plugin", f"install docker-compose-plugin {needed}")
    version = tuple(int(part) for part in said.lstrip("v").partition("+")[0].partition("-")[0].split("."))
    if version < COMPOSE_NEEDED:
        return Finding("compose", "warning", f"{said}; {needed} is needed", "update docker-compose-plugin")
    return Finding("compose", "ok", said)


def _json(text: str) -> dict:
    for line in text.splitlines():
        if line.startswith("{"):
            return json.loads(line)
    return {}


def _why(said: str, facts: dict) -> str:
    return "; ".join(facts.get("ServerErrors") or [said.splitlines()[-1] if said else "no engine answers"])


def _engine_fix(said: str) -> str:
    if "permission denied" in said.lower():
        return "sudo usermod -aG docker $USER, then log in again"
    return "start it: sudo systemctl start docker; or use MODE=local"
