"""Call Docker Compose. No other module calls it.

It is called through scripts/stack.sh, as `make eval` does. The script chooses compose files, user and build arguments
for this machine.
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
    """Control the stack of one checkout. Compose reads its variables (POLICY, CKPT, TRIALS, …) from this process."""

    def __init__(self, checkout: pathlib.Path, fanout: pathlib.Path | None = None):
        """`fanout`: an additional compose file, in `checkout`. Raises ConfigError if `checkout` is not a checkout."""
        self._script = checkout / "scripts/stack.sh"
        if not self._script.is_file():
            raise ConfigError(
                f"{checkout} is no checkout of pirig (no scripts/stack.sh); go to one, or name it: --checkout"
            )
        envvars.export({"FANOUT": str(fanout.relative_to(checkout)) if fanout else ""})

    def check(self) -> None:
        """Check that the stack can run on this machine.

        Raises StartError, which says what to do, if containers cannot be used or if a model needs a GPU.
        """
        self._quietly("check")

    def project(self) -> str:
        """Return the project name, with which all containers of the stack are labelled."""
        return json.loads(self._quietly("compose", *_EVERY_PROFILE, "config", "--format", "json"))["name"]

    def build(self, services: Sequence[str]) -> None:
        """Build the images that have changed. The progress is written to this process's stderr."""
        self._visibly("compose", *_EVERY_PROFILE, "build", *services)

    def prepare(self) -> None:
        """Make the pack for quantized servers, if quantization is requested and the pack is missing. Takes minutes."""
        self._visibly("prepare")

    def create(self) -> None:
        """Create the containers and the network of the fan-out from existing images. Starts nothing."""
        self._quietly("compose", "--profile", FANOUT_PROFILE, "create", "--no-build", "--force-recreate")

    def down(self) -> None:
        """Stop and remove all containers of the project, and its network. Images and volumes are kept."""
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
    """Return the version that compose reports, e.g. `2.26.1-4`; empty if docker has no compose plugin."""
    code, said = output(["docker", "compose", "version", "--short"])
    return "" if code else said


def _problem(said: str) -> str:
    """Return the last lines of the output, without the script's own prefix."""
    lines = [line for line in said.strip().splitlines() if "adding compose.cpu.yml" not in line]
    return "\n".join(lines[-12:]).removeprefix("pirig: error: ")
