"""A policy that lives on the other side of a WebSocket.

Law: requests are pure, so one that was cut off is sent again on a new connection, and its answer is the same.
"""

import contextlib
import logging
import time
import urllib.parse
from typing import Any

import websockets
import websockets.sync.client

from pirig.errors import ProtocolError, StartError
from pirig.types import Metadata, Observation
from pirig.wire import codec, protocol

_log = logging.getLogger(__name__)
_REPEATS = 3
_RETRY_EVERY_S = 0.5
_PING_EVERY_S = 30  # keeps idle connections open on the way
_MESSAGE_TOO_BIG = 1009  # RFC 6455, section 7.4.1


class RemotePolicy:
    """Implements interfaces.Policy. Used by one thread."""

    def __init__(
        self,
        host: str = "localhost",
        port: int | None = 8000,
        *,
        api_key: str = "",
        connect_timeout_s: float = 600.0,
        max_bytes: int = codec.MAX_BYTES,
    ):
        """Waits up to `connect_timeout_s` for a server that is still warming up. Raises StartError after that."""
        self.uri = address(host, port)
        self._headers, self._timeout_s, self._max_bytes = protocol.authorization(api_key), connect_timeout_s, max_bytes
        self._exit = contextlib.ExitStack()
        self._connection = self._connect()

    @property
    def metadata(self) -> Metadata:
        return self._metadata

    def infer(self, obs: Observation) -> dict[str, Any]:
        """May take minutes. Raises RemotePolicyError for what the server reports; the next call works all the same."""
        frame = protocol.request(obs)
        for repeats_left in reversed(range(_REPEATS + 1)):
            try:
                self._connection.send(frame)
                return protocol.read(self._connection.recv(), max_bytes=self._max_bytes)
            except (websockets.ConnectionClosed, OSError) as e:
                closed = getattr(e, "rcvd", None) or getattr(e, "sent", None)
                if closed is not None and closed.code == _MESSAGE_TOO_BIG:
                    self._connection = self._connect()
                    raise ProtocolError(f"a frame is over the limit of {self.uri} or of this client: {e}") from e
                if not repeats_left:
                    raise
                _log.warning("connection to %s lost (%s); connecting again", self.uri, e)
                self._connection = self._connect()
        raise AssertionError("unreachable")

    def close(self) -> None:
        self._exit.close()

    def _connect(self) -> websockets.sync.client.ClientConnection:
        self._exit.close()
        deadline, waiting = time.monotonic() + self._timeout_s, False
        while True:
            try:
                opened = websockets.sync.client.connect(
                    self.uri,
                    additional_headers=self._headers,
                    compression=None,
                    max_size=self._max_bytes,
                    ping_interval=_PING_EVERY_S,
                    ping_timeout=None,  # the reference's server answers no ping while it infers
                )
                connection = self._exit.enter_context(opened)
                self._metadata = protocol.read(connection.recv(), max_bytes=self._max_bytes)
                return connection
            except websockets.InvalidStatus as e:
                if e.response.status_code == 401:
                    raise StartError(f"{self.uri} wants another API key; set PIRIG_API_KEY") from e
                problem: Exception = e
            except (OSError, websockets.InvalidHandshake, websockets.ConnectionClosed) as e:
                problem = e
            except (ValueError, websockets.InvalidURI) as e:
                raise StartError(f"{self.uri} is no address of a policy server: {e}") from e
            if time.monotonic() > deadline:
                raise StartError(
                    f"no policy server at {self.uri} after {self._timeout_s:g} s ({problem}); "
                    "start one with `pirig serve`, or check --host and --port"
                ) from problem
            if not waiting:
                _log.info("waiting for a policy server at %s", self.uri)
                waiting = True
            time.sleep(_RETRY_EVERY_S)


def address(host: str, port: int | None) -> str:
    """`host`: a name, an IP address, or a whole ws:// URI. The reference's default 0.0.0.0 means this machine."""
    if "://" not in host:
        name = "127.0.0.1" if host == "0.0.0.0" else host
        return f"ws://[{name}]:{port}" if ":" in name else f"ws://{name}:{port}"
    parts = urllib.parse.urlsplit(host)
    netloc = parts.netloc.replace("0.0.0.0", "127.0.0.1")
    return parts._replace(netloc=netloc).geturl()
