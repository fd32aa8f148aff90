"""Checks what compose makes of the committed files: services by profile, GPU requests, hardening. Starts nothing."""

import json
import os
import subprocess
from typing import Any

EVERYTHING = ("--profile", "*")
GPU, CPU = "compose.yml", "compose.yml:compose.cpu.yml"


def config(files: str, *words: str) -> dict[str, Any]:
    env = {**os.environ, "COMPOSE_FILE": files}
    found = subprocess.run(
        ["docker", "compose", *words, "config", "--format", "json"], env=env, check=True, capture_output=True, text=True
    )
    return json.loads(found.stdout)["services"]


def gpus(service: dict[str, Any]) -> list[Any]:
    return service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])


for files in (GPU, CPU):
    assert set(config(files)) == {"server", "runtime"}, "`docker compose up` starts something else"
    assert set(config(files, "--profile", "headless")) == {"headless"}
    quantized = config(files, "--profile", "split", "--profile", "quantize")
    assert set(quantized) == {"server", "runtime", "quantize"}
    assert "quantize" in quantized["server"]["depends_on"]
    assert quantized["quantize"]["command"] == quantized["server"]["command"]
    for name, service in config(files, *EVERYTHING).items():
        requested = [device["driver"] for device in gpus(service)]
        assert requested == (["nvidia"] if files == GPU else []), (files, name, requested)
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
        assert service.get("network_mode") != "host", name
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", [])), name
        assert not any("X11" in volume["source"] for volume in service["volumes"]), name
    assert config(files, *EVERYTHING)["server"]["build"]["args"]["ACCELERATOR"] == ("cuda" if files == GPU else "cpu")
assert config("examples/libero/compose.yml").keys() == {"server", "runtime"}
assert not any("ports" in config(GPU, *EVERYTHING)[name] for name in ("runtime", "headless")), "LIVE is off by default"
os.environ["LIVE"] = "8123"
for name in ("runtime", "headless"):
    service = config(f"{CPU}:compose.live.yml", *EVERYTHING)[name]
    (port,) = service["ports"]
    assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", "8123", 8080), port
    command = " ".join(service["command"])
    assert "--live 8080 --live-host 0.0.0.0" in command, command
del os.environ["LIVE"]
os.environ |= {"QUANTIZE": "w8a8", "OPENPI_DUQUANT_INCLUDE": "o_proj$", "OPENPI_DUQUANT_PACKROOT": "/somewhere"}
for name, service in config(CPU, *EVERYTHING).items():
    command, given = " ".join(service["command"]), service["environment"]
    assert "--quantize w8a8" in command, (name, command)
    assert given["OPENPI_DUQUANT_INCLUDE"] == "o_proj$$", (name, given)
    assert given["OPENPI_DUQUANT_SCOPE"] is None, (name, given)
    assert name == "runtime" or ("/somewhere", "/packs") in [(v["source"], v["target"]) for v in service["volumes"]], (
        name
    )
ray = config("compose.yml:examples/ray/compose.yml", "--profile", "ray")
assert ray.keys() == {"ray-head", "ray-node"}
assert gpus(ray["ray-node"])
assert not gpus(ray["ray-head"])
ray = config("compose.yml:examples/ray/compose.yml:examples/ray/compose.cpu.yml", "--profile", "ray")
assert not gpus(ray["ray-node"])
assert ray["ray-head"]["build"]["args"]["ACCELERATOR"] == "cpu"
assert all(service["read_only"] and service["cap_drop"] == ["ALL"] for service in ray.values())
assert not any("ports" in service for service in ray.values()), "a Ray cluster runs what anybody tells it"
os.environ["DISPLAY"] = ":0"
screen = config(f"{CPU}:compose.x11.yml", *EVERYTHING)["runtime"]
assert screen["environment"]["MUJOCO_GL"] == "glx"
assert any("X11" in v["source"] for v in screen["volumes"])
print("profiles, GPU requests and hardening are as they should be")
