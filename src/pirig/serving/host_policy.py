"""Query a policy host from a worker, which uses it like any other policy.

If a worker's own host dies, the worker uses another host of the same policy until its own is back, or else waits.
"""

import math
import multiprocessing
import pathlib
import time
from collections.abc import Sequence
from typing import Any

from pirig.errors import PeerError, RemotePolicyError
from pirig.serving.pipe import ANSWER, Asking
from pirig.types import Metadata, Observation
from pirig.wire import protocol

GONE = "gone"  # file beside the socket; it has the reason why the host will not come back
_REPEATS = 1  # of one request; a request that killed the host twice would kill it again
_RETRY_EVERY_S = 0.1
_HOME_EVERY_S = 5.0  # how often a worker on another host checks whether its own host is back


class HostPolicy:
    """Infer on a policy host. Implements interfaces.Policy. Only one thread may use an instance."""

    max_batch = 1

    def __init__(self, *addresses: str, request_timeout_s: float = 0.0):
        """Connect to the first of `addresses` that accepts, or wait for a host that is starting again.

        `addresses`: the worker's own host, and then others with the same policy, which are used while it is down.
        `request_timeout_s`: time limit of an answer, and of waiting for a host; 0: none.
        Raises StartError if no host will come back.
        """
        self._addresses, self._is_guest, self._home_at_s = addresses, False, 0.0
        self._answer_within_s = request_timeout_s or None
        self.metadata: Metadata = {}
        try:
            self._find()
        except RemotePolicyError as e:
            raise PeerError(f"no policy host at {' or '.join(addresses)}: {e}; its log says why") from e

    def infer(self, obs: Observation) -> dict[str, Any]:
        """Return the policy host's answer.

        Raises RemotePolicyError for an error that the policy raised, if there is no answer in time, and if no host will
        come back.
        """
        if self._is_guest and time.monotonic() >= self._home_at_s:
            self._go_home()
        request = protocol.request(obs)
        for _ in range(_REPEATS + 1):
            try:
                frame = self._pipe.ask(request, self._answer_within_s)
            except TimeoutError as e:
                self._pipe.close()  # a late answer must not be taken for that of the next request
                raise RemotePolicyError(self._silence()) from e
            except (EOFError, OSError):
                self._connect_again()
                continue
            return protocol.read(frame[1:] if frame[:1] == ANSWER else frame[1:].decode())
        raise RemotePolicyError(f"the policy host died {_REPEATS + 1} times during one request; its log says why")

    def infer_batch(self, observations: Sequence[Observation]) -> list[dict[str, Any]]:
        return [self.infer(obs) for obs in observations]

    def close(self) -> None:
        self._pipe.close()

    def _connect_again(self) -> None:
        self._pipe.close()
        self._find()

    def _find(self) -> None:
        """Connect to the first host that accepts, or wait for a host that is starting again and loads its policy."""
        deadline_s = time.monotonic() + (self._answer_within_s or math.inf)
        while True:
            reasons = []
            for number, address in enumerate(self._addresses):
                if self._connects(address):
                    self._is_guest, self._home_at_s = number > 0, time.monotonic() + _HOME_EVERY_S
                    return
                if reason := why_gone(address):
                    reasons.append(reason)
            if len(reasons) == len(self._addresses):
                raise RemotePolicyError(f"the policy host is gone: {'; '.join(dict.fromkeys(reasons))}")
            if time.monotonic() > deadline_s:
                raise RemotePolicyError(self._silence())
            if (parent := multiprocessing.parent_process()) and not parent.is_alive():
                raise RemotePolicyError("the policy host is gone: the coordinator, which would restart it, has ended")
            time.sleep(_RETRY_EVERY_S)

    def _silence(self) -> str:
        return f"the policy host gave no answer within {self._answer_within_s:g} s (--request-timeout-s): it hangs"

    def _go_home(self) -> None:
        guest = self._pipe
        self._home_at_s = time.monotonic() + _HOME_EVERY_S
        if self._connects(self._addresses[0]):
            self._is_guest = False
            guest.close()

    def _connects(self, address: str) -> bool:
        """Connect to a host and return whether it accepted. Raises RemotePolicyError if it has another policy."""
        try:
            pipe, metadata = _connect(address)
        except (EOFError, OSError):
            return False
        if self.metadata and metadata != self.metadata:
            pipe.close()
            raise RemotePolicyError(another_policy(metadata, self.metadata))
        self._pipe, self.metadata = pipe, metadata
        return True


def why_gone(address: str) -> str:
    """Return the reason why a host will not come back, or an empty string if it may."""
    gone = pathlib.Path(address).with_name(GONE)
    try:
        return gone.read_text()
    except OSError:
        return "" if gone.parent.exists() else "whoever started it has ended"


def _connect(address: str) -> tuple[Asking, Metadata]:
    """Connect to a host and read the policy's metadata. A host that is dying closes the connection before it.

    Raises EOFError or OSError if there is no host.
    """
    pipe = Asking(address)
    return pipe, protocol.read(pipe.greeting)


def another_policy(found: Metadata, was: Metadata) -> str:
    return f"the policy host came back as another policy: {dict(found)}, and was {dict(was)}; start a new run"
