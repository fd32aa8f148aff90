"""A request and its answer between two processes of one machine: the request in shared memory, a word of it in a pipe.

Law: one request at a time, so the memory is the client's until it asks, and the host's until it has answered. A request
that does not fit goes through the pipe.
"""

import contextlib
import mmap
import multiprocessing as mp
import multiprocessing.connection
import os
import select
from multiprocessing import reduction

_SIZE = 1 << 20  # [bytes]; a LIBERO observation has 301 kB, and untouched pages cost nothing
_SHARED, _INLINE = b"S", b"I"  # where a request is: the first byte of the word
_LENGTH = 8  # bytes
_GREETS_WITHIN_S = 10.0
ANSWER, ERROR = b"A", b"E"  # what a policy said: the first byte of what comes back


class Asking:
    """The client's end. Raises EOFError and OSError where the other is gone, TimeoutError where it says nothing."""

    def __init__(self, address: str):
        """The host greets at once, whatever its policy is at."""
        self._pipe = mp.connection.Client(address, "AF_UNIX")
        self._said = select.poll()  # its own `poll` makes a selector each time
        self._said.register(self._pipe.fileno(), select.POLLIN)
        file = os.memfd_create("pirig-requests")
        try:
            os.ftruncate(file, _SIZE)
            self._shared = mmap.mmap(file, _SIZE)
            reduction.send_handle(self._pipe, file, None)
            self.greeting = self._receive(_GREETS_WITHIN_S)
        except BaseException:
            self._pipe.close()
            raise
        finally:
            os.close(file)

    def ask(self, request: bytes, within_s: float | None = None) -> bytes:
        """After a TimeoutError the answer may still come, so this is of no more use."""
        if len(request) <= _SIZE:
            self._shared[: len(request)] = request
            self._pipe.send_bytes(_SHARED + len(request).to_bytes(_LENGTH, "little"))
        else:
            self._pipe.send_bytes(_INLINE + request)
        return self._receive(within_s)

    def _receive(self, within_s: float | None) -> bytes:
        if not self._said.poll(None if within_s is None else 1e3 * within_s):
            raise TimeoutError(f"no word within {within_s} s")
        return self._pipe.recv_bytes()

    def close(self) -> None:
        self._pipe.close()
        with contextlib.suppress(BufferError):
            self._shared.close()


class Answering:
    """The host's end of one client. Raises EOFError and OSError where the other is gone."""

    def __init__(self, pipe: mp.connection.Connection, greeting: bytes):
        self._pipe = pipe
        file = reduction.recv_handle(pipe)
        try:
            self._shared = memoryview(mmap.mmap(file, 0, prot=mmap.PROT_READ)).toreadonly()
        finally:
            os.close(file)
        pipe.send_bytes(greeting)

    def receive(self) -> bytes | memoryview:
        """The next request. A view is good until it is answered."""
        word = self._pipe.recv_bytes()
        if word[:1] == _INLINE:
            return word[1:]
        return self._shared[: int.from_bytes(word[1 : 1 + _LENGTH], "little")]

    def answer(self, reply: bytes) -> None:
        self._pipe.send_bytes(reply)
