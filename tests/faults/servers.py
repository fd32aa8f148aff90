"""Policy servers that misbehave in one answer, over real sockets. Otherwise they are the random policy.

An act has the connection, and the answer that was due, and returns whether that is still to be sent.
"""

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Generator

import websockets
import websockets.sync.server as ws

from pirig.policies.baselines import RandomPolicy
from pirig.wire import protocol
from support import peers

Act = Callable[[ws.ServerConnection, bytes], bool]
_DUE = 8  # answers that are as they should be first


@contextlib.contextmanager
def misbehaving(act: Act, *, always: bool = False) -> Generator[int]:
    """Yields the port."""
    policy, count = RandomPolicy(), itertools.count()

    def serve(connection: ws.ServerConnection) -> None:
        with contextlib.suppress(websockets.ConnectionClosed, OSError):
            connection.send(protocol.greeting(policy.metadata))
            for frame in connection:
                output = policy.infer(protocol.read(frame))
                answer = protocol.answer(output, infer_ms=1.0, prev_total_ms=None)
                number = next(count)
                if not (number == _DUE or (always and number > _DUE)) or act(connection, answer):
                    connection.send(answer)

    with ws.serve(serve, "127.0.0.1", 0, compression=None, max_size=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()


def slow(seconds: float) -> Act:
    def act(connection: ws.ServerConnection, answer: bytes) -> bool:
        time.sleep(seconds)
        return True

    return act


def says(frame: bytes | str) -> Act:
    def act(connection: ws.ServerConnection, answer: bytes) -> bool:
        connection.send(frame)
        return False

    return act


def half_a_frame(connection: ws.ServerConnection, answer: bytes) -> bool:
    """The head tells the whole length; then the connection ends."""
    head = peers.frame(peers.BINARY, length=len(answer))
    unmasked = head[:1] + bytes([head[1] & 0x7F]) + head[2:-4]
    connection.socket.sendall(unmasked + answer[: len(answer) // 2])
    connection.socket.shutdown(socket.SHUT_RDWR)
    return False


def broken_frame(connection: ws.ServerConnection, answer: bytes) -> bool:
    """An operation code that WebSockets do not have."""
    connection.socket.sendall(b"\x8b\x00")
    return False


def closes(connection: ws.ServerConnection, answer: bytes) -> bool:
    """As the reference's server does behind a traceback, and where its own ping timed out."""
    connection.close(1011, "Internal server error")
    return False


@contextlib.contextmanager
def dumb() -> Generator[int]:
    """Takes connections, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextlib.contextmanager
def website(status: bytes) -> Generator[int]:
    """Answers each request with this HTTP status."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(1 << 16)
                        connection.sendall(
                            b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                        )

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
