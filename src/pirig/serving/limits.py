"""Define the limits of a policy server. Each is a flag of `pirig serve` with the same name, which errors name too.

The memory that clients can cause the server to use is bounded by a few times max_clients x max_frame_mib. Each client
can have a frame that is arriving, one that waits behind it, and an answer that it has not read.
"""

import dataclasses
import math

from pirig.errors import ConfigError

MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limit what clients can use of a policy server. The defaults are generous for evaluations.

    A server that untrusted clients can reach needs PIRIG_API_KEY before it needs lower limits.
    """

    max_clients: int = 256
    """Largest number of connections. More are refused with HTTP status 503; pirig's client then tries again."""
    max_queue: int = 256
    """Largest number of requests that wait for the policy. More are refused; pirig's client then tries again."""
    max_frame_mib: float = 32.0
    """Largest request; a LIBERO observation has 0.3 MiB [MiB]."""
    frame_timeout_s: float = 60.0
    """Time limit for a frame from its first byte to its last, and for a client to read an answer [s]."""
    request_timeout_s: float = 3600.0
    """Time limit from a request to its answer, including the time in the queue; 0: none [s]."""
    idle_timeout_s: float = 0.0
    """Close a connection on which no request arrives for this long; 0: never [s]."""

    def __post_init__(self) -> None:
        for name in ("max_clients", "max_queue"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{_flag(name)} is {getattr(self, name)}; at least 1 is needed")
        for name in ("max_frame_mib", "frame_timeout_s"):
            require(name, getattr(self, name), above_zero=True)
        for name in ("request_timeout_s", "idle_timeout_s"):
            require(name, getattr(self, name), above_zero=False)

    @property
    def max_bytes(self) -> int:
        """Largest size of a frame [bytes]."""
        return int(self.max_frame_mib * MIB)


def require(name: str, value: float, *, above_zero: bool) -> None:
    """Raise ConfigError for a value that is negative, infinite or NaN, or that is 0 although `above_zero`."""
    if not math.isfinite(value) or value < 0 or (above_zero and value == 0):
        raise ConfigError(f"{_flag(name)} is {value:g}; expected {'more than 0' if above_zero else '0 or more'}")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
