"""One WebSocket connection of somebody who asks and waits: the protocol is `websockets`' own, the socket is ours.

The library's ready-made client hands each frame from a thread that receives to the one that asked, which is a tenth of
a round trip (benchmarks/protocol.py). Here the caller reads by itself.
Law 1: while nobody asks, pings are answered all the same, and sent, so that neither the server nor what lies on the way
takes the connection for dead. Law 2: a peer that vanishes without a word is noticed by TCP.
"""

import collections
import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping

import websockets
from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import SEND_EOF, State
from websockets.uri import parse_uri

_CHUNK = 1 << 20  # [bytes] read at once
_LOOK_EVERY_S, _PING_EVERY_S = 0.2, 30.0  # while nobody asks
_SOON_S = 1e-3  # 0 would mean not to wait at all
_CLOSE_WITHIN_S = 2.0  # the reference's server answers nothing while it infers, for another client too
_ALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 6))  # [s], [s], times


class Overdue(Exception):
    """No answer came in time. It may still come, so the connection is of no more use."""


class Connection:
    """Used by one thread."""

    def __init__(self, uri: str, *, headers: Mapping[str, str], max_bytes: int, timeout_s: float):
        """Raises OSError, and what `websockets` raises for an address or a handshake that is wrong."""
        target = parse_uri(uri)
        self._protocol = ClientProtocol(target, max_size=max_bytes)
        self._events: collections.deque[Request | Response | Frame] = collections.deque()
        self._in_use, self._ended = threading.Lock(), threading.Event()
        self._deadline_s: float | None = None  # of a question
        self._socket: socket.socket = socket.create_connection((target.host, target.port), timeout_s)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _ALIVE:
                self._socket.setsockopt(socket.IPPROTO_TCP, option, value)
            if target.secure:
                self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=target.host)
            self._shake_hands(headers)
        except BaseException:
            self._socket.close()
            raise
        threading.Thread(target=self._attend, name="websocket-pings", daemon=True).start()

    def ask(self, frame: bytes, within_s: float | None = None) -> bytes | str:
        """Sends a binary frame and waits for the next. Raises ConnectionClosed, OSError, Overdue after `within_s`."""
        with self._in_use:
            if self._protocol.state is not State.OPEN:
                raise self._closed()
            self._deadline_s = None if within_s is None else time.monotonic() + within_s
            self._socket.settimeout(within_s)
            try:
                self._protocol.send_binary(frame)
                self._flush()
                return self._receive()
            except TimeoutError as e:
                if e.errno is None:  # ours, and not the kernel's, which has lost the peer
                    raise Overdue from e
                raise
            finally:
                self._deadline_s = None
                self._socket.settimeout(None)

    def receive(self, timeout_s: float) -> bytes | str:
        """What the server says unasked. Raises ConnectionClosed and OSError, also when the time is over."""
        with self._in_use:
            self._socket.settimeout(timeout_s)
            message = self._receive()
            self._socket.settimeout(None)
            return message

    def close(self) -> None:
        """Says so to the server, and waits a little for its answer."""
        self._ended.set()
        with self._in_use, contextlib.suppress(OSError), self._socket:
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
                self._flush()
                self._closed()

    def _shake_hands(self, headers: Mapping[str, str]) -> None:
        request = self._protocol.connect()
        request.headers.update(headers)
        self._protocol.send_request(request)
        self._flush()
        self._wait_for_event()
        if self._protocol.handshake_exc is not None:
            raise self._protocol.handshake_exc
        self._events.popleft()  # the response

    def _receive(self) -> bytes | str:
        parts: list[bytes] = []
        is_text = False
        while True:
            self._wait_for_event()
            frame = self._events.popleft()
            if not isinstance(frame, Frame) or frame.opcode in (Opcode.PING, Opcode.PONG):
                continue
            if frame.opcode is Opcode.CLOSE:
                raise self._closed()
            is_text = is_text or frame.opcode is Opcode.TEXT
            parts.append(bytes(frame.data))
            if frame.fin:
                message = parts[0] if len(parts) == 1 else b"".join(parts)
                return message.decode(errors="replace") if is_text else message

    def _wait_for_event(self) -> None:
        while not self._events:
            if not self._read():
                raise self._closed()

    def _read(self) -> bool:
        """Takes in what has come. Returns whether more may come."""
        if self._deadline_s is not None:
            self._socket.settimeout(max(_SOON_S, self._deadline_s - time.monotonic()))
        data = self._socket.recv(_CHUNK)
        if data:
            self._protocol.receive_data(data)
        elif self._protocol.state is not State.CLOSED:
            self._protocol.receive_eof()
        self._events.extend(self._protocol.events_received())
        self._flush()
        return bool(data)

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data is SEND_EOF:
                self._socket.shutdown(socket.SHUT_WR)
            else:
                self._socket.sendall(data)

    def _closed(self) -> websockets.ConnectionClosed:
        """Ends what is left of the connection, and says how it ended."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(_CLOSE_WITHIN_S)
            while self._protocol.state is not State.CLOSED and self._read():
                pass
        if self._protocol.state is not State.CLOSED:
            self._protocol.receive_eof()
        self._events.clear()
        return self._protocol.close_exc

    def _attend(self) -> None:
        """Law 1, in a thread of its own."""
        next_ping_s = time.monotonic() + _PING_EVERY_S
        while not self._ended.wait(_LOOK_EVERY_S):
            if not self._in_use.acquire(blocking=False):
                continue
            try:
                while select.select([self._socket], [], [], 0)[0]:
                    if not self._read():
                        return  # the next one who asks hears it
                if time.monotonic() > next_ping_s and self._protocol.state is State.OPEN:
                    next_ping_s = time.monotonic() + _PING_EVERY_S
                    self._protocol.send_ping(b"")
                    self._flush()
            except (OSError, ValueError):  # it broke, or was closed meanwhile
                return
            finally:
                self._in_use.release()
