"""Carry requests between processes of one machine: the request in shared memory, its length in a socket.

    request   8 bytes: its length n < 2^63, and it is in the client's shared memory; or 2^63 + n, and n bytes follow
    answer    8 bytes: its length n; n bytes follow. The first one is the greeting, with the policy's metadata

Law 1: A client has one request at a time, so the memory belongs to the client until it sends the request, and
to the host until it has answered. A request that does not fit into the memory follows its length.
Law 2: One thread of the host serves all clients and never waits for one of them, so a client that stops in the middle
of a message delays nobody. (With a thread for each client, 32 clients got fewer answers than over a WebSocket, and some
of them three times as many as others, because the threads wait for each other in the interpreter.)
"""

import collections
import contextlib
import dataclasses
import errno
import logging
import mmap
import os
import select
import selectors
import socket
from collections.abc import Callable
from concurrent.futures import Future

_log = logging.getLogger(__name__)
_SIZE = 1 << 20  # [bytes]; a LIBERO observation has 301 kB, and untouched pages cost nothing
_LENGTH_BYTES = 8  # [bytes]
_INLINE = 1 << 63
_GREETS_WITHIN_S = 10.0
_READ_AT_ONCE = 1 << 18  # [bytes]
_ACCEPTS_AGAIN_AFTER_S = 0.1  # at the limit of open files
ANSWER, ERROR = b"A", b"E"  # first byte of a reply: the policy's answer, or the error that it raised

Answer = Callable[[bytes | memoryview], "Future[bytes]"]
"""Takes a request and returns a future of its answer. The request is valid until then. Called in one thread."""


class Asking:
    """Send requests to a host. This is the client's end of a connection.

    Methods raise EOFError or OSError if the host closed the connection, and TimeoutError if no answer comes in time.
    """

    def __init__(self, address: str):
        """Connect and receive the metadata, which the host sends at once, even while its policy infers."""
        self._socket = socket.socket(socket.AF_UNIX)
        file = os.memfd_create("pirig-requests")
        try:
            os.ftruncate(file, _SIZE)
            self._shared = mmap.mmap(file, _SIZE)
            self._socket.connect(address)
            socket.send_fds(self._socket, [b"\0"], [file])
            self._readable = select.poll()
            self._readable.register(self._socket, select.POLLIN)
            self.greeting = self._receive(_GREETS_WITHIN_S)
        except BaseException:
            self._socket.close()
            raise
        finally:
            os.close(file)

    def ask(self, request: bytes, within_s: float | None = None) -> bytes:
        """Send a request and return its answer. Close this end after a TimeoutError, since the answer may still come.

        Raises EOFError also if this end is closed.
        """
        if self._socket.fileno() < 0:
            raise EOFError("this end of the connection is closed")
        size = len(request)
        if size <= _SIZE:
            self._shared[:size] = request
            self._socket.sendall(size.to_bytes(_LENGTH_BYTES, "little"))
        else:
            self._socket.sendall((_INLINE + size).to_bytes(_LENGTH_BYTES, "little") + request)
        return self._receive(within_s)

    def close(self) -> None:
        self._socket.close()
        with contextlib.suppress(BufferError):
            self._shared.close()

    def _receive(self, within_s: float | None) -> bytes:
        if not self._readable.poll(None if within_s is None else 1e3 * within_s):
            raise TimeoutError(f"no word within {within_s} s")
        data = self._socket.recv(_READ_AT_ONCE)
        while len(data) < _LENGTH_BYTES or len(data) < _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little"):
            more = self._socket.recv(_READ_AT_ONCE) if data else b""
            if not more:
                raise EOFError("the policy host closed the connection")
            data += more
        return data[_LENGTH_BYTES:]


@dataclasses.dataclass(eq=False)
class _Client:
    """Hold the host's state of one client connection."""

    socket: socket.socket
    shared: memoryview | None = None  # the client's memory; None: not received yet
    incoming: bytearray = dataclasses.field(default_factory=bytearray)
    outgoing: bytearray = dataclasses.field(default_factory=bytearray)
    is_asking: bool = False

    def request(self) -> bytes | memoryview | None:
        """Return the next request, or None if it has not arrived completely or the previous one is not answered."""
        if self.is_asking or len(self.incoming) < _LENGTH_BYTES:
            return None
        word = int.from_bytes(self.incoming[:_LENGTH_BYTES], "little")
        if word < _INLINE:
            del self.incoming[:_LENGTH_BYTES]
            assert self.shared is not None
            return self.shared[:word]
        end = _LENGTH_BYTES + word - _INLINE
        if len(self.incoming) < end:
            return None
        whole = bytes(self.incoming[_LENGTH_BYTES:end])
        del self.incoming[:end]
        return whole


class Answering:
    """Answer all clients of a host. One thread calls `run`, which never returns."""

    def __init__(self, address: str, greeting: bytes, answer: Answer):
        """Listen at `address`, the path of a socket file. Raises OSError if that fails."""
        self._greeting, self._answer = greeting, answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(address)
        self._listener.listen(128)
        self._listener.setblocking(False)
        self._answered: collections.deque[tuple[_Client, Future[bytes]]] = collections.deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._is_accepting = True

    def run(self) -> None:
        while True:
            for key, events in self._selector.select(None if self._is_accepting else _ACCEPTS_AGAIN_AFTER_S):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj == self._wake:
                    self._deliver()
                else:
                    self._serve(key.data, events)
            if not self._is_accepting:
                self._selector.register(self._listener, selectors.EVENT_READ)
                self._is_accepting = True

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as e:
            if e.errno in (errno.EMFILE, errno.ENFILE):  # the listener stays readable, so pause instead of spinning
                _log.warning("no worker can connect for now: %s", e)
                self._selector.unregister(self._listener)
                self._is_accepting = False
            return  # other errors: the client has disconnected already
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, _Client(connection))

    def _serve(self, client: _Client, events: int) -> None:
        if client.socket.fileno() < 0:
            return  # removed since `select` returned this event
        try:
            if events & selectors.EVENT_WRITE:
                self._write(client)
            if events & selectors.EVENT_READ:
                self._read(client)
        except (EOFError, OSError, ValueError):
            self._forget(client)

    def _read(self, client: _Client) -> None:
        if client.shared is None:
            _, files, *_ = socket.recv_fds(client.socket, 1, 1)
            if not files:
                raise EOFError
            with contextlib.closing(os.fdopen(files[0], "rb")) as file:
                client.shared = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)).toreadonly()
            self._send(client, self._greeting)
            return
        data = client.socket.recv(_READ_AT_ONCE)
        if not data:
            raise EOFError
        client.incoming += data
        if (request := client.request()) is not None:
            client.is_asking = True
            self._answer(request).add_done_callback(lambda answer: self._finish(client, answer))

    def _finish(self, client: _Client, answer: "Future[bytes]") -> None:
        """Pass an answer to the thread of `run`. Called in the thread that has computed it."""
        self._answered.append((client, answer))
        os.eventfd_write(self._wake, 1)

    def _deliver(self) -> None:
        os.eventfd_read(self._wake)
        while self._answered:
            client, answer = self._answered.popleft()
            client.is_asking = False
            if client.socket.fileno() < 0:
                continue  # the client has disconnected meanwhile
            try:
                self._send(client, answer.result())
            except OSError:
                self._forget(client)

    def _send(self, client: _Client, message: bytes) -> None:
        client.outgoing += len(message).to_bytes(_LENGTH_BYTES, "little") + message
        self._write(client)

    def _write(self, client: _Client) -> None:
        with contextlib.suppress(BlockingIOError):
            del client.outgoing[: client.socket.send(client.outgoing)]
        writes = selectors.EVENT_WRITE if client.outgoing else 0
        self._selector.modify(client.socket, selectors.EVENT_READ | writes, client)

    def _forget(self, client: _Client) -> None:
        if client.socket.fileno() >= 0:
            self._selector.unregister(client.socket)
            client.socket.close()
