"""Open and use a client's WebSocket connection: the synchronous client of `websockets`, with time limits.

Law 1: The library's threads answer the server's pings and send their own, so that neither the server nor a proxy on the
way closes an idle connection. A missing pong closes nothing, because openpi's server sends none while it infers.
Law 2: TCP keepalive notices a peer that vanished. A ping notices one that does not finish the closing handshake.
Law 3: every call ends within its time limit. The library alone waits without a limit for a peer that stops reading, or
that sends no data after its TLS handshake.
"""

import contextlib
import math
import socket
import time
from collections.abc import Mapping

import websockets
from websockets.sync.client import ClientConnection, connect
from websockets.uri import parse_uri

_PING_EVERY_S = 30.0
_CLOSE_WITHIN_S = 2.0  # openpi's server answers no client while it infers
_TCP_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 6))  # [s], [s], times


class _Connection(ClientConnection):
    def close_socket(self) -> None:
        """Close the socket after waking the threads that wait on it, because the library waits for them next."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        super().close_socket()


def open_connection(uri: str, *, headers: Mapping[str, str], max_bytes: int, timeout_s: float) -> ClientConnection:
    """Connect to a server. Raises OSError, and what `websockets` raises for a wrong address or handshake.

    `max_bytes`: largest size of a message; a longer one closes the connection with code 1009.
    """
    target = parse_uri(uri)
    tcp = socket.create_connection((target.host, target.port), timeout_s)
    try:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _TCP_KEEPALIVE:
            tcp.setsockopt(socket.IPPROTO_TCP, option, value)
        connection = connect(
            uri,
            sock=tcp,
            compression=None,
            additional_headers=headers,
            open_timeout=timeout_s,
            ping_interval=_PING_EVERY_S,
            ping_timeout=None,
            close_timeout=_CLOSE_WITHIN_S,
            max_size=max_bytes,
            create_connection=_Connection,
        )
        connection.socket.settimeout(None)  # the library's threads wait without a limit; `ask` sets its own
        return connection.__enter__()  # without `with`, the library would warn at each call
    except BaseException as e:
        tcp.close()
        if isinstance(e, ValueError | websockets.InvalidURI) and isinstance(e.__context__, websockets.InvalidStatus):
            raise e.__context__ from None  # a redirect, which the library cannot follow with our socket
        raise


def ask(connection: ClientConnection, frame: bytes, within_s: float | None = None) -> bytes | str:
    """Send a binary message and return the next one from the server.

    Raises ConnectionClosed, and TimeoutError after `within_s`. The answer may still arrive after that, so the
    connection must not be used again.
    """
    deadline = math.inf if within_s is None else time.monotonic() + within_s
    with contextlib.suppress(OSError):  # the socket is closed; `send` reports it
        connection.socket.settimeout(within_s)
    try:
        connection.send(frame)
    except websockets.ConnectionClosed as e:
        if time.monotonic() >= deadline:
            raise TimeoutError(f"the request was not taken within {within_s:g} s") from e
        raise
    return connection.recv(None if within_s is None else deadline - time.monotonic())
