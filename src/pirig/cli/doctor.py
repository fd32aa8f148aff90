"""Check this machine, and print how to fix what is wrong (`pirig doctor`). Changes nothing."""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Literal

from rich.console import Console
from rich.markup import escape

from pirig import envvars
from pirig.checkpoints import address
from pirig.errors import ConfigError, PirigError
from pirig.launch.settings import RECIPE
from pirig.machine import egl, gpus, resources, versions
from pirig.machine.findings import Finding, output
from pirig.policies.recipes import RECIPES
from pirig.sim import assets
from pirig.sim.drawing import gl
from pirig.stack import engine

_BACKENDS = ("jax", "torch")
_MARKS = {"ok": "[green]ok     [/]", "warning": "[yellow]warning[/]", "error": "[red]error  [/]"}
_FAILED = 4  # exit code: something that a run needs does not work
_RENDER = """
import sys
from pirig import envvars
from pirig.sim import assets, boot
from pirig.sim.libero import LiberoEnvironment
from pirig.types import EpisodeSpec
env = LiberoEnvironment(boot.Settings(sys.argv[1], assets.locate(sys.argv[2]), envvars.cache_dir()))
picture = env.reset(EpisodeSpec("libero_spatial", 0, 0), ["observation/image"]).observation["observation/image"]
print("RENDERER", env.describe()["gl_renderer"], "CONTRAST", int(picture.std()))
env.close()
"""


@dataclasses.dataclass(frozen=True)
class DoctorArgs:
    json: bool = False
    """Print a list of findings as JSON."""
    port: int = 8000
    """Port of a policy server, which has to be free."""
    policy: Literal["any", "model"] = "any"
    """model: a missing requirement of a checkpoint is an error. any: it is a warning."""


def run(flags: DoctorArgs) -> int:
    """Print all findings. Return 0, or 4 if something would stop an evaluation."""
    if not 1 <= flags.port <= 65535:
        raise ConfigError(f"--port is {flags.port}; expected 1 to 65535")
    found: list[Finding] = []
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings(flags):
        found.append(finding)
        if not flags.json:
            fix = f"\n        fix: {escape(finding.fix)}" if finding.fix else ""
            console.print(f"{_MARKS[finding.status]} {escape(finding.check)}: {escape(finding.found)}{fix}")
    errors = sum(finding.status == "error" for finding in found)
    if flags.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in found], indent=1))
    else:
        warnings = sum(finding.status == "warning" for finding in found)
        print(f"{len(found)} checks: {errors} errors, {warnings} warnings")
    return _FAILED if errors else 0


def findings(flags: DoctorArgs) -> Iterator[Finding]:
    """Yield one finding after another, the quick ones first."""
    has_gpu = gpus.has_device_files()
    yield versions.check()
    yield from _backends(flags)
    yield resources.memory()
    home = envvars.data_home()
    checkpoint = address.parse(RECIPES[RECIPE].checkpoint).place(home)
    yield from resources.disks(pathlib.Path.cwd(), home, has_checkpoint=checkpoint.exists())
    yield from _checkpoint(home, checkpoint, flags)
    yield resources.port(flags.port)
    yield from gpus.check(has_device_files=has_gpu)
    yield from egl.check(gpus.gpus())
    yield from engine.check(has_gpu=has_gpu)
    yield _stated(_assets, "assets")
    yield _stated(_rendering, "rendering")


def _stated(check: Callable[[], Finding], name: str) -> Finding:
    """Return the check's finding, or an error that pirig raised as a finding."""
    try:
        return check()
    except PirigError as e:
        return Finding(name, "error", str(e))


def _backends(flags: DoctorArgs) -> Iterator[Finding]:
    found = versions.installed(_BACKENDS)
    if not found:
        status = "error" if flags.policy == "model" else "warning"
        yield Finding("model backends", status, "neither jax nor torch is installed", "make setup-models")
        return
    yield Finding("model backends", "ok", ", ".join(f"{name} {version}" for name, version in found.items()))


def _checkpoint(home: pathlib.Path, checkpoint: pathlib.Path, flags: DoctorArgs) -> Iterator[Finding]:
    status = "error" if flags.policy == "model" else "warning"
    tokenizer = home / address.TOKENIZER_PATH
    if tokenizer.is_file():
        yield Finding("tokenizer", "ok", str(tokenizer))
    else:
        yield Finding(
            "tokenizer",
            status,
            f"not at {tokenizer}; only π0 and π0.5 need it",
            f"pirig checkpoint fetch {address.TOKENIZER}",
        )
    if checkpoint.exists():
        yield Finding("checkpoint", "ok", str(checkpoint))
    else:
        fix = f"pirig checkpoint fetch {RECIPES[RECIPE].checkpoint}, or --policy-dir"
        yield Finding("checkpoint", "warning", f"not at {checkpoint}; only {RECIPE} needs it", fix)


def _assets() -> Finding:
    folder = assets.locate(envvars.get("PIRIG_LIBERO_ASSETS"))
    return Finding("assets", "ok", f"{folder}, as listed ({assets.verify(folder)[:12]})")


def _rendering() -> Finding:
    """Render one frame in a process of its own, because a broken GL library may kill it."""
    choice = gl.choose(envvars.get("MUJOCO_GL"))
    words = [sys.executable, "-c", _RENDER, choice.backend, envvars.get("PIRIG_LIBERO_ASSETS")]
    code, said = output(words, timeout_s=180)
    line = next((row for row in said.splitlines() if row.startswith("RENDERER ")), "")
    if code or not line:
        last = said.splitlines()[-1] if said else f"the process ended with {code}"
        problem = f"{choice.backend} ({choice.reason}) cannot render: {last}"
        return Finding("rendering", "error", problem, "another back end: MUJOCO_GL=osmesa, or egl")
    renderer, _, contrast = line.removeprefix("RENDERER ").partition(" CONTRAST ")
    if int(contrast) < 5:
        return Finding("rendering", "error", f"{choice.backend} renders a blank picture on {renderer}")
    if choice.reason == "NVIDIA GPU" and "llvmpipe" in renderer:
        fix = "NVIDIA_DRIVER_CAPABILITIES must contain graphics; libEGL_nvidia.so.0 must be installed"
        return Finding("rendering", "warning", f"there is an NVIDIA GPU, but EGL renders on {renderer}", fix)
    return Finding("rendering", "ok", f"{choice.backend} ({choice.reason}) on {renderer}")
