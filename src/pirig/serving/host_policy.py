"""A policy host as a worker sees it: a policy like any other.

Where its own host dies, it waits for the next one there, or is a guest of another host of the same policy meanwhile.
"""

import pathlib
import time
from collections.abc import Sequence
from typing import Any

from pirig.errors import RemotePolicyError, StartError
from pirig.serving.pipe import ANSWER, Asking
from pirig.types import Metadata, Observation
from pirig.wire import protocol

GONE = "gone"  # a file beside the socket that says why no host will come back
_REPEATS = 1  # of one request; one that kills the host twice would kill it again
_RETRY_EVERY_S = 0.1
_HOME_EVERY_S = 5.0  # how often a guest of another host looks whether its own is back


class HostPolicy:
    """Implements interfaces.Policy: the worker's end of the pipe. Used by one thread."""

    def __init__(self, *addresses: str):
        """The first is its own host's; the others, of the same policy, take it in while that one is gone.

        Raises StartError where none listens.
        """
        self._addresses, self._is_guest, self._home_at_s = addresses, False, 0.0
        for address in addresses:
            try:
                self._pipe, self.metadata = _connect(address)
            except (EOFError, OSError) as e:
                self._is_guest, problem = True, e
            else:
                return
        raise StartError(f"no policy host at {' or '.join(addresses)}: {problem}; it died, and its log says why")

    def infer(self, obs: Observation) -> dict[str, Any]:
        """Raises RemotePolicyError for what the policy raised, and where all hosts are gone for good."""
        if self._is_guest and time.monotonic() >= self._home_at_s:
            self._go_home()
        request = protocol.request(obs)
        for _ in range(_REPEATS + 1):
            try:
                frame = self._pipe.ask(request)
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
        """With another host, or waits for the next one, which loads the policy first."""
        self._pipe.close()
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
            time.sleep(_RETRY_EVERY_S)

    def _go_home(self) -> None:
        guest = self._pipe
        self._home_at_s = time.monotonic() + _HOME_EVERY_S
        if self._connects(self._addresses[0]):
            self._is_guest = False
            guest.close()

    def _connects(self, address: str) -> bool:
        """Raises RemotePolicyError where another policy listens."""
        try:
            pipe, metadata = _connect(address)
        except (EOFError, OSError):
            return False
        if metadata != self.metadata:
            pipe.close()
            raise RemotePolicyError(another_policy(metadata, self.metadata))
        self._pipe = pipe
        return True


def why_gone(address: str) -> str:
    """Empty while a host may come back."""
    gone = pathlib.Path(address).with_name(GONE)
    try:
        return gone.read_text()
    except OSError:
        return "" if gone.parent.exists() else "whoever started it has ended"


def _connect(address: str) -> tuple[Asking, Metadata]:
    """Heard by a host that lives: a connection to one that is just dying ends before the greeting."""
    pipe = Asking(address)
    return pipe, protocol.read(pipe.greeting)


def another_policy(found: Metadata, was: Metadata) -> str:
    return f"the policy host came back as another policy: {dict(found)}, and was {dict(was)}; start a new run"
