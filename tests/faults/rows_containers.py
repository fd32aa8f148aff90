"""The stack in containers: `make eval MODE=split` on a CPU, where a Docker engine answers. Nothing is announced in
there; a row strikes when the first episode is done.
"""

import os
import pathlib
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from faults.fault import Fault, Strike
from faults.trial import HERE, Command, Ended, Trial, wait_for_end

PROJECT = "pirig-faults"
_ROOT = HERE.parents[1]
_FIRST = "task 0 trial 0: success"
_PID_FILE = pathlib.Path("/var/run/docker.pid")


def checkout(folder: pathlib.Path, site: pathlib.Path) -> None:
    """A copy to run in, and its images. Skips where no engine answers."""
    if subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("no Docker engine answers")
    os.environ.setdefault("BASE_IMAGE", "pirig-ci/base:bookworm")
    os.environ |= {
        "COMPOSE_PROJECT_NAME": PROJECT,
        "COMPOSE_FILE": "compose.yml:scripts/ci/compose.yml",
        "COMPOSE_ANSI": "never",
        "PIRIG_TAG": "ci",
        "SITE_CONTEXT": str(site),
    }
    folder.mkdir()
    script = """
        scripts/ci/base_image.sh "$BASE_IMAGE"
        scripts/ci/site.sh "$SITE_CONTEXT"
        git ls-files -z | tar --null -T - -c | tar -C "$0" -x
    """
    subprocess.run(["bash", "-euo", "pipefail", "-c", script, str(folder)], cwd=_ROOT, check=True)
    found = subprocess.run(["make", "build"], cwd=folder, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-4000:]


def when(said: str, strike: Callable[[Command], None], mend: Callable[[], None] = lambda: None) -> Strike:
    def course(trial: Trial) -> Iterator[Ended]:
        command = trial.start()
        command.has_said(said)
        trial.mark()
        strike(command)
        yield command.ended()
        mend()
        assert not _docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={PROJECT}"), (
            "containers are left"
        )

    return course


def killed(service: str) -> Callable[[Command], None]:
    return lambda command: _docker("kill", _container(service)) and None


def out_of_memory(command: Command) -> None:
    """A limit below what a simulator needs: the kernel ends processes until it fits."""
    _docker("update", "--memory", "256m", "--memory-swap", "256m", _container("runtime"))


def interrupted(command: Command) -> None:
    """As a terminal does."""
    os.killpg(command.pid, signal.SIGINT)


def engine_ends(command: Command) -> None:
    """As `systemctl restart docker` begins; only of an engine that scripts/ci/engine.sh started."""
    if os.getuid() or not _PID_FILE.exists() or pathlib.Path("/run/systemd/system").exists():
        pytest.skip("this engine is not ours to restart")
    pid = int(_PID_FILE.read_text())
    os.kill(pid, signal.SIGTERM)
    wait_for_end(pid)


def engine_starts() -> None:
    subprocess.run([str(_ROOT / "scripts/ci/engine.sh")], check=True, stdin=subprocess.DEVNULL)
    subprocess.run(["scripts/stack.sh", "down"], cwd=_ROOT, check=True, capture_output=True)


def _container(service: str) -> str:
    labels = f"label=com.docker.compose.project={PROJECT}", f"label=com.docker.compose.service={service}"
    return _docker("ps", "-q", "--filter", labels[0], "--filter", labels[1])


def _docker(*words: str) -> str:
    found = subprocess.run(["docker", *words], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def _row(name: str, role: str, phase: str, strike: Strike, says: str, code: int = 2) -> Fault:
    return Fault(name, role, phase, "resumed", strike, says, code, "containers")  # 2: make's own code


_KEPT = r"[\s\S]*the evaluation ended with code \d+; what was finished is kept"
ROWS = [
    _row("SIGKILL", "server", "episode", when(_FIRST, killed("server")), r"server\S* exited with code 137" + _KEPT),
    _row("SIGKILL", "runtime", "episode", when(_FIRST, killed("runtime")), r"runtime\S* exited with code 137" + _KEPT),
    _row("Ctrl-C", "stack", "episode", when(_FIRST, interrupted), "Gracefully stopping", -2),
    _row(
        "OOM-killed",
        "runtime",
        "set-up",
        when("rendering with", out_of_memory),
        rf"(died with signal SIGKILL while it started|exited with code 137){_KEPT}",
    ),
    _row(
        "restarted",
        "Docker engine",
        "episode",
        when(_FIRST, engine_ends, engine_starts),
        "Cannot connect to the Docker daemon",
    ),
]
