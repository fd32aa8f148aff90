"""Define the errors that pirig raises. The command line prints them without a traceback and exits with their code.

An error's class says whose it is: the user's, the machine's, a damaged file's or another process's.

    PirigError                1
      ConfigError             2   the user's input: a flag, variable or file has a value that cannot be used
        DamagedFile           2   a file that pirig, or somebody else, wrote is not what it must be
        UnusableResource      2   the machine refuses what the user named: a folder to write to, a disk, a kernel
      MissingExtra            2   an optional package is not installed
      StartError              4   something the run needs did not start: simulator, policy, server, port
        MissingResource       4   the machine lacks what the run needs: OpenGL, disk space, a free port
        PeerError             4   another process failed or does not exist: a server, remote store, cluster or engine
      ProtocolError           4   a peer broke the wire protocol
      PolicyError             4   a policy answered with something that is not an action chunk
        RemotePolicyError     4   the policy server reported a failure
        BusyError             4   the policy server has no room for a request now
      SimulationError         4   the simulator lost its state

    Interrupted (KeyboardInterrupt)   130 or 143

Exit code 3 is not an error: a run ended with episodes missing.
"""

import signal


class PirigError(Exception):
    """Base class. The message says what was found, what was expected and what to do."""

    exit_code = 1


class ConfigError(PirigError):
    exit_code = 2


class DamagedFile(ConfigError):
    pass


class UnusableResource(ConfigError):
    pass


class MissingExtra(PirigError):
    exit_code = 2

    def __init__(self, package: str, extra: str):
        lock = f"locks/{extra}.txt"  # exact versions; a resolver would refuse what LIBERO's packages declare
        targets = dict.fromkeys(("libero", "dev", "stack", "trackers"), "setup") | {"ray": "setup-ray"}
        remedy = f"make {targets.get(extra, 'setup-models')}, or pip install --no-deps -r {lock}"
        if extra in ("trackio", "wandb"):  # large packages whose version does not matter here
            remedy = f".venv/bin/pip install {package}"
        super().__init__(f"{package} is not installed; get it with: {remedy}")


class StartError(PirigError):
    exit_code = 4


class MissingResource(StartError):
    pass


class PeerError(StartError):
    pass


class ProtocolError(PirigError):
    exit_code = 4


class PolicyError(PirigError):
    exit_code = 4


class RemotePolicyError(PolicyError):
    pass


class BusyError(PolicyError):
    """The server is full. The same request may be sent again a little later."""


class SimulationError(PirigError):
    exit_code = 4


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived. `except Exception` does not catch it."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number  # as a shell reports a signal


def to_wire(error: PirigError) -> tuple[str, str]:
    """Return an error as plain values, for another process: its class in the tree above, and its message."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _tree()), str(error)


def from_wire(kind: str, message: str) -> PirigError:
    """Return the error that `to_wire` was given, to be raised here."""
    found = _tree()[kind]
    return found.__new__(found, message)  # MissingExtra makes its message itself, and here it is made already


def _tree() -> dict[str, type[PirigError]]:
    return {name: kind for name, kind in globals().items() if isinstance(kind, type) and issubclass(kind, PirigError)}
