"""The stack in containers: `make eval MODE=split` on a CPU, where a Docker engine answers. Nothing is announced in
there; a row strikes when the first episode is done.
"""

import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from faults.fault import Fault, Strike
from faults.trial import HERE, WITHIN_S, Command, Ended, Trial

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


def after_the_first_episode(strike: Callable[[Command], None], mend: Callable[[], None] = lambda: None) -> Strike:
    def course(trial: Trial) -> Iterator[Ended]:
        command = trial.start()
        command.has_said(_FIRST)
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
    _docker("update", "--memory", "150m", "--memory-swap", "150m", _container("runtime"))


def interrupted(command: Command) -> None:
    """As a terminal does."""
    os.killpg(command.pid, signal.SIGINT)


def engine_ends(command: Command) -> None:
    """As `systemctl restart docker` begins; only of an engine that scripts/ci/engine.sh started."""
    if os.getuid() or not _PID_FILE.exists() or pathlib.Path("/run/systemd/system").exists():
        pytest.skip("this engine is not ours to restart")
    pid = int(_PID_FILE.read_text())
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + WITHIN_S
    while pathlib.Path(f"/proc/{pid}/exe").exists() and time.monotonic() < deadline:
        time.sleep(0.1)


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


def _row(name: str, role: str, strike: Strike, says: str) -> Fault:
    return Fault(name, role, "episode", "resumed", strike, says, 2, "containers")  # 2: make's own code


ROWS = [
    _row("SIGKILL", "server", after_the_first_episode(killed("server")), r"server\S* exited with code 137"),
    _row("SIGKILL", "runtime", after_the_first_episode(killed("runtime")), r"runtime\S* exited with code 137"),
    _row("Ctrl-C", "stack", after_the_first_episode(interrupted), "SIGTERM: stopped; what was finished is kept"),
    _row(
        "OOM-killed",
        "runtime",
        after_the_first_episode(out_of_memory),
        r"died with signal SIGKILL|runtime\S* exited with code 137",
    ),
    _row("restarted", "Docker engine", after_the_first_episode(engine_ends, engine_starts), "exited with code|Error"),
]
