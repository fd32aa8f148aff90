"""Query a policy on a server over a WebSocket.

Law 1: A request whose connection is lost is sent again on a new connection. Its answer is the same, because requests
are pure.
Law 2: Only the call that sent a request reads its answer. A call that is interrupted closes the connection.
Law 3: A server to which the client reconnects must have the same policy; another one is an error.
Law 4: The client waits for a server that is full, as for one that is starting. A server that never answers is an error.
"""

import logging
import time
import urllib.parse
from collections.abc import Sequence
from typing import Any

import websockets
from websockets.sync.client import ClientConnection

from pirig.errors import BusyError, ConfigError, PeerError, ProtocolError, RemotePolicyError, StartError
from pirig.serving.connection import ask, open_connection
from pirig.types import Metadata, Observation
from pirig.wire import codec, protocol

_log = logging.getLogger(__name__)
_REPEATS = 3
_RETRY_EVERY_S = 0.5
_GREETING_WITHIN_S = 60.0  # the reference's server sends the metadata only between two inferences
_MESSAGE_TOO_BIG = 1009  # RFC 6455, section 7.4.1
_THIS_MACHINE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class RemotePolicy:
    """Infer on a policy server. Implements interfaces.Policy. Only one thread may use an instance."""

    max_batch = 1

    def __init__(
        self,
        host: str = "localhost",
        port: int | None = 8000,
        *,
        api_key: str = "",
        connect_timeout_s: float = 600.0,
        request_timeout_s: float = 3600.0,
        max_bytes: int = codec.MAX_BYTES,
    ):
        """Wait up to `connect_timeout_s` for a server that is warming up or full. Raises StartError after that.

        `request_timeout_s`: time limit of an answer; 0: none. `max_bytes`: largest size of an answer.
        """
        self.uri = address(host, port)
        self._headers, self._timeout_s, self._max_bytes = protocol.authorization(api_key), connect_timeout_s, max_bytes
        self._answer_within_s = request_timeout_s or None
        self._greeting: bytes | str = b""
        self._connection: ClientConnection | None = self._connect()
        self.metadata: Metadata = protocol.read(self._greeting, max_bytes=max_bytes)

    def infer(self, obs: Observation) -> dict[str, Any]:
        """Return the server's answer, which may take minutes.

        Raises RemotePolicyError for an error that the server reports; later calls still work.
        """
        frame, deadline = protocol.request(obs), time.monotonic() + self._timeout_s
        while True:
            try:
                return protocol.read(self._ask_patiently(frame), max_bytes=self._max_bytes)
            except BusyError:  # Law 4
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_EVERY_S)

    def _ask_patiently(self, frame: bytes) -> bytes | str:
        """Send a request, and send it again if the connection is lost (law 1)."""
        for tries in range(1, _REPEATS + 2):
            try:
                return self._ask(frame)
            except TimeoutError as e:
                raise RemotePolicyError(
                    f"{self.uri} gave no answer within {self._answer_within_s:g} s (--request-timeout-s); "
                    "its log may say why"
                ) from e
            except websockets.ConnectionClosed as e:
                if _MESSAGE_TOO_BIG in (e.rcvd and e.rcvd.code, e.sent and e.sent.code):
                    whose = "this client" if e.sent and not e.rcvd_then_sent else "the server"
                    raise ProtocolError(
                        f"a frame is over the limit of {whose}: {e}; {self.uri} and this client have --max-frame-mib"
                    ) from e
                _log.warning("connection to %s lost in try %d of a request (%s)", self.uri, tries, e)
                problem = e
        raise RemotePolicyError(
            f"{self.uri} closed the connection in each of {_REPEATS + 1} tries of one request ({problem}); "
            "its log may say why"
        ) from problem

    def infer_batch(self, observations: Sequence[Observation]) -> list[dict[str, Any]]:
        """Infer one observation after another, because a connection carries one request at a time."""
        return [self.infer(obs) for obs in observations]

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ask(self, frame: bytes) -> bytes | str:
        connection = self._connection = self._connection or self._connect()
        try:
            return ask(connection, frame, self._answer_within_s)
        except BaseException:  # Law 2
            self.close()
            raise

    def _connect(self) -> ClientConnection:
        deadline, waiting = time.monotonic() + self._timeout_s, False
        while True:
            try:
                return self._try_to_connect(max(1.0, min(deadline - time.monotonic(), _GREETING_WITHIN_S)))
            except (websockets.InvalidURI, UnicodeError) as e:  # UnicodeError: an invalid host name
                raise ConfigError(f"{self.uri} is no address of a policy server: {e}") from e
            except websockets.InvalidStatus as e:
                _raise_if_final(self.uri, e.response.status_code)
                problem: Exception = _refusal(e)
            except (OSError, websockets.InvalidHandshake, websockets.ConnectionClosed) as e:
                problem = e
            if time.monotonic() > deadline:
                reason = str(problem) or type(problem).__name__
                raise PeerError(
                    f"no policy server at {self.uri} after {self._timeout_s:g} s ({reason}); "
                    "start one with `pirig serve`, or check --host and --port"
                ) from problem
            if not waiting:
                _log.info("waiting for a policy server at %s", self.uri)
                waiting = True
            time.sleep(_RETRY_EVERY_S)

    def _try_to_connect(self, timeout_s: float) -> ClientConnection:
        connection = open_connection(self.uri, headers=self._headers, max_bytes=self._max_bytes, timeout_s=timeout_s)
        try:
            self._greet(connection.recv(timeout_s))
            return connection
        except BaseException:
            connection.close()
            raise

    def _greet(self, frame: bytes | str) -> None:
        """Check the policy's metadata (law 3). Raises ProtocolError if the server had another policy before."""
        metadata = protocol.read(frame, max_bytes=self._max_bytes)
        if self._greeting and frame != self._greeting:
            raise ProtocolError(
                f"{self.uri} came back as another policy: {metadata}, and was {dict(self.metadata)}; start a new run"
            )
        self._greeting = frame


def address(host: str, port: int | None) -> str:
    """Return the URI of a policy server. Raises ConfigError if `host` is not an address.

    `host`: a name, an IP address, host:port, or a complete ws:// URI. A port in it takes precedence over `port`. The
    reference's default 0.0.0.0 means this machine.
    """
    bare = f"[{host}]" if host.count(":") > 1 and "[" not in host else host
    uri = host if "://" in host else f"ws://{bare}"
    try:
        parts = urllib.parse.urlsplit(uri)
        name, port = parts.hostname or "", parts.port or port
    except ValueError as e:
        raise ConfigError(f"{host} is no address of a policy server: {e}") from e
    if parts.scheme not in ("ws", "wss") or not name:
        raise ConfigError(f"{host} is no address of a policy server; expected HOST, HOST:PORT or ws://HOST:PORT")
    name = _THIS_MACHINE.get(name, name)
    user, at, _ = parts.netloc.rpartition("@")
    netloc = user + at + (f"[{name}]" if ":" in name else name) + (f":{port}" if port else "")
    return parts._replace(netloc=netloc).geturl()


def _refusal(e: websockets.InvalidStatus) -> Exception:
    """Return an error with the status and the body of the response, in which a full server names its limit."""
    said = e.response.body.decode(errors="replace").strip() if e.response.body else ""
    return StartError(f"HTTP status {e.response.status_code}{': ' + said if said else ''}")


def _raise_if_final(uri: str, status: int) -> None:
    """Raise an error for a status that waiting does not change.

    A server that is starting or stopping answers with 5xx, if at all. Other statuses are permanent.
    """
    if status == 401:
        raise StartError(f"{uri} wants another API key; set PIRIG_API_KEY")
    if status < 500:
        raise PeerError(f"{uri} answers with HTTP status {status}: no policy server; check --host and --port")
