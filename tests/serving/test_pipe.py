"""The local transport between workers and a policy host: what one client does must not reach another."""

import errno
import os
import socket
import threading
import time
from concurrent.futures import Future

import pytest

from pirig.serving.pipe import Answering, Asking

GREETING = b"hello"


class Held:
    """Promises answers, and gives them when the test says so."""

    def __init__(self):
        self.promised = []

    def __call__(self, request):
        self.promised.append((bytes(request), Future()))
        return self.promised[-1][1]


class Gate:
    """Stands before a server's `select`, so that a test decides which events one call returns."""

    def __init__(self, server):
        self.is_open = threading.Event()
        self.is_open.set()
        self._select = server._selector.select
        server._selector.select = self.select

    def select(self, timeout=None):
        self.is_open.wait(30)
        return self._select(timeout)


@pytest.fixture
def server(tmp_path):
    """Address, the answers that it promises, its thread, and the server itself."""
    held = Held()
    answering = Answering(str(tmp_path / "socket"), GREETING, held)
    thread = threading.Thread(target=answering.run, daemon=True)
    return str(tmp_path / "socket"), held, thread, answering


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def answered(client, held, request):
    """What a client gets for a request, which is answered with its own bytes."""
    count = len(held.promised)
    found = []
    thread = threading.Thread(target=lambda: found.append(client.ask(request)))
    thread.start()
    until(lambda: len(held.promised) > count)
    seen, promise = held.promised[-1]
    promise.set_result(seen)
    thread.join(20)
    return found[0]


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_a_request_of_any_size_arrives_whole(server, size):
    address, held, thread, _ = server
    thread.start()
    client, request = Asking(address), os.urandom(size)
    assert client.greeting == GREETING
    assert answered(client, held, request) == request


def test_a_client_that_leaves_while_its_answer_is_sent_stops_nobody(server):
    """The answer is ready and the client gone in one and the same `select`."""
    address, held, thread, answering = server
    gate = Gate(answering)
    thread.start()
    leaving = Asking(address)
    leaving._socket.sendall((3).to_bytes(8, "little"))
    until(lambda: held.promised)
    gate.is_open.clear()
    with socket.socket(socket.AF_UNIX) as waker:
        waker.connect(address)  # ends the `select` that runs
        time.sleep(0.2)
        held.promised[-1][1].set_result(b"too late")
        leaving.close()
        gate.is_open.set()
    other = Asking(address)
    assert answered(other, held, b"still here?") == b"still here?"
    assert thread.is_alive()


def test_a_closed_client_says_so(server):
    address, _, thread, _ = server
    thread.start()
    client = Asking(address)
    with pytest.raises(TimeoutError):
        client.ask(b"x", within_s=0.05)
    client.close()
    with pytest.raises(EOFError):
        client.ask(b"x")


def test_at_the_limit_of_files_it_pauses_and_then_accepts(server, monkeypatch):
    address, held, thread, answering = server
    refused = []

    class Full:
        def __init__(self, listener):
            self._listener = listener

        def accept(self):
            if len(refused) < 3:
                refused.append(time.monotonic())
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return self._listener.accept()

        def fileno(self):
            return self._listener.fileno()

    listener = Full(answering._listener)
    answering._selector.unregister(answering._listener)
    answering._listener = listener
    answering._selector.register(listener, 1)
    thread.start()
    client = Asking(address)
    assert answered(client, held, b"now") == b"now"
    assert len(refused) == 3
