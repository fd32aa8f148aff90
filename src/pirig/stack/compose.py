"""Docker compose. The only module that calls it, and it does so as `make eval` does, by scripts/stack.sh, which chooses
files, user and build arguments for this machine.
"""

import json
import pathlib
import subprocess
from collections.abc import Sequence

from pirig import envvars
from pirig.errors import ConfigError, PeerError
from pirig.machine.findings import output

FANOUT_PROFILE = "fanout"
_EVERY_PROFILE = ("--profile", "*")


class Compose:
    """The stack of one checkout. Variables that compose reads (POLICY, CKPT, TRIALS, …) are this process's."""

    def __init__(self, checkout: pathlib.Path, fanout: pathlib.Path | None = None):
        """`fanout`: one more compose file, in `checkout`. Raises ConfigError where there is no checkout."""
        self._script = checkout / "scripts/stack.sh"
        if not self._script.is_file():
            raise ConfigError(
                f"{checkout} is no checkout of pirig (no scripts/stack.sh); go to one, or name it: --checkout"
            )
        envvars.export({"FANOUT": str(fanout.relative_to(checkout)) if fanout else ""})

    def check(self) -> None:
        """Raises StartError, with the ways out, where containers cannot be used or a model needs a GPU."""
        self._quietly("check")

    def project(self) -> str:
        """The name that labels all containers of the stack."""
        return json.loads(self._quietly("compose", *_EVERY_PROFILE, "config", "--format", "json"))["name"]

    def build(self, services: Sequence[str]) -> None:
        """Images of what has changed; their progress goes to this process's stderr."""
        self._visibly("compose", *_EVERY_PROFILE, "build", *services)

    def prepare(self) -> None:
        """The pack of quantized servers, where quantization is asked for and it is not there yet. Takes minutes."""
        self._visibly("prepare")

    def create(self) -> None:
        """Containers and network of the fan-out, from images that are there. Starts nothing."""
        self._quietly("compose", "--profile", FANOUT_PROFILE, "create", "--no-build", "--force-recreate")

    def down(self) -> None:
        """Stops and removes all containers of the project, and its network; images and volumes stay."""
        self._quietly("down")

    def _quietly(self, *words: str) -> str:
        done = subprocess.run(
            [self._script, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise PeerError(_problem(done.stderr or done.stdout))
        return done.stdout

    def _visibly(self, *words: str) -> None:
        if subprocess.run([self._script, *words], stdin=subprocess.DEVNULL, check=False).returncode:
            raise PeerError(f"docker compose {' '.join(words[1:])} failed; its last lines say why")


def version() -> str:
    """As compose says it, e.g. `2.26.1-4`; empty where docker has no compose."""
    code, said = output(["docker", "compose", "version", "--short"])
    return "" if code else said


def _problem(said: str) -> str:
    """The end of what was said, without the script's own prefix."""
    lines = [line for line in said.strip().splitlines() if "adding compose.cpu.yml" not in line]
    return "\n".join(lines[-12:]).removeprefix("pirig: error: ")
