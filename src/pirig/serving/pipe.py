"""Requests between processes of one machine: a request in shared memory, a word of it in a socket.

    request   8 bytes: its length n < 2^63, and it is in the client's shared memory; or 2^63 + n, and n bytes follow
    answer    8 bytes: its length n; n bytes follow. The first one is the host's greeting

Law 1: a client has one request at a time, so the memory is the client's until it asks and the host's until it has
answered. A request that does not fit into the memory follows its word.
Law 2: one thread of the host serves all clients and never waits for one of them: a client that stops in the middle of
a message holds up nobody. (A thread for each client answered fewer requests than a WebSocket at 32 clients, and some
clients got three times as many as others: the threads wait for each other's turn in the interpreter.)
"""

import collections
import contextlib
import dataclasses
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
_WORD = 8  # [bytes]
_INLINE = 1 << 63
_GREETS_WITHIN_S = 10.0
_READ_AT_ONCE = 1 << 18  # [bytes]
ANSWER, ERROR = b"A", b"E"  # what a policy said: the first byte of what comes back

Answer = Callable[[bytes | memoryview], "Future[bytes]"]
"""Takes a request, which is good until its answer is there, and promises the answer. Called in one thread."""


class Asking:
    """The client's end. Raises EOFError and OSError where the other is gone, TimeoutError where it says nothing."""

    def __init__(self, address: str):
        """The host greets at once, whatever its policy is doing."""
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
        """After a TimeoutError the answer may still come, so this is of no more use."""
        size = len(request)
        if size <= _SIZE:
            self._shared[:size] = request
            self._socket.sendall(size.to_bytes(_WORD, "little"))
        else:
            self._socket.sendall((_INLINE + size).to_bytes(_WORD, "little") + request)
        return self._receive(within_s)

    def close(self) -> None:
        self._socket.close()
        with contextlib.suppress(BufferError):
            self._shared.close()

    def _receive(self, within_s: float | None) -> bytes:
        if not self._readable.poll(None if within_s is None else 1e3 * within_s):
            raise TimeoutError(f"no word within {within_s} s")
        data = self._socket.recv(_READ_AT_ONCE)
        while len(data) < _WORD or len(data) < _WORD + int.from_bytes(data[:_WORD], "little"):
            more = self._socket.recv(_READ_AT_ONCE) if data else b""
            if not more:
                raise EOFError("the policy host closed the connection")
            data += more
        return data[_WORD:]


@dataclasses.dataclass(eq=False)
class _Client:
    """The host's end of one client."""

    socket: socket.socket
    shared: memoryview | None = None  # None: it has not sent its memory yet
    incoming: bytearray = dataclasses.field(default_factory=bytearray)
    outgoing: bytearray = dataclasses.field(default_factory=bytearray)
    is_asking: bool = False

    def request(self) -> bytes | memoryview | None:
        """Return the request that has come whole; None: it has not."""
        if self.is_asking or len(self.incoming) < _WORD:
            return None
        word = int.from_bytes(self.incoming[:_WORD], "little")
        if word < _INLINE:
            del self.incoming[:_WORD]
            assert self.shared is not None
            return self.shared[:word]
        end = _WORD + word - _INLINE
        if len(self.incoming) < end:
            return None
        whole = bytes(self.incoming[_WORD:end])
        del self.incoming[:end]
        return whole


class Answering:
    """The host's end of all clients. `run` is the life of one thread; it ends with the process."""

    def __init__(self, address: str, greeting: bytes, answer: Answer):
        """Listens when this returns. Raises OSError where it can't."""
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

    def run(self) -> None:
        while True:
            for key, events in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj == self._wake:
                    self._deliver()
                else:
                    self._serve(key.data, events)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the client has gone already, or there are too many files
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ, _Client(connection))

    def _serve(self, client: _Client, events: int) -> None:
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
        """Called in the thread that has computed the answer."""
        self._answered.append((client, answer))
        os.eventfd_write(self._wake, 1)

    def _deliver(self) -> None:
        os.eventfd_read(self._wake)
        while self._answered:
            client, answer = self._answered.popleft()
            client.is_asking = False
            if client.socket.fileno() < 0:
                continue  # it went away meanwhile
            try:
                self._send(client, answer.result())
            except OSError:
                self._forget(client)

    def _send(self, client: _Client, message: bytes) -> None:
        client.outgoing += len(message).to_bytes(_WORD, "little") + message
        self._write(client)

    def _write(self, client: _Client) -> None:
        with contextlib.suppress(BlockingIOError):
            del client.outgoing[: client.socket.send(client.outgoing)]
        writes = selectors.EVENT_WRITE if client.outgoing else 0
        self._selector.modify(client.socket, selectors.EVENT_READ | writes, client)

    def _forget(self, client: _Client) -> None:
        self._selector.unregister(client.socket)
        client.socket.close()
