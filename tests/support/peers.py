"""Peers for the serving tests: policies, a server that behaves as the reference's does, clients that misbehave."""

import asyncio
import base64
import contextlib
import hashlib
import re
import socket
import struct
import threading
import time
import traceback

import numpy as np
import websockets
import websockets.asyncio.server as ws

from pirig.policies.wrappers import OneByOne
from pirig.wire import codec


class EchoPolicy(OneByOne):
    """Answers with the sum of the observation's `x`; sleeps or fails when asked to."""

    metadata = {"name": "echo", "reset_pose": [0, -1.5]}

    def __init__(self):
        self.started = threading.Event()

    def infer(self, obs):
        self.started.set()
        time.sleep(obs.get("sleep", 0))
        if "fail" in obs:
            raise ValueError(f"boom: {obs['fail']}")
        return {"actions": np.full((2, 7), np.sum(obs["x"])), "policy_timing": {"infer_ms": 0.5}}


@contextlib.contextmanager
def reference_server(policy):
    """Infers inside the event loop; sends a traceback as text and closes with 1011 when the policy raises."""

    async def handler(connection):
        await connection.send(codec.pack(policy.metadata))
        while True:
            try:
                await connection.send(codec.pack(policy.infer(codec.unpack(await connection.recv()))))
            except websockets.ConnectionClosed:
                return
            except Exception:
                await connection.send(traceback.format_exc())
                await connection.close(1011, "Internal server error. Traceback included in previous frame.")
                return

    loop = asyncio.new_event_loop()
    port, stop = [], asyncio.Event()
    opened = threading.Event()

    async def serve():
        async with ws.serve(handler, "127.0.0.1", 0, compression=None, max_size=None) as server:
            port.append(server.sockets[0].getsockname()[1])
            opened.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    opened.wait(10)
    try:
        yield port[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


HANDSHAKE = (  # and an empty line
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
)
BINARY, PING = 0x2, 0x9


def opened(port):
    """A bare socket behind the handshake."""
    found = socket.create_connection(("127.0.0.1", port), timeout=30)
    found.sendall(HANDSHAKE + b"\r\n")
    assert found.recv(12) == b"HTTP/1.1 101"
    return found


def greet(sock):
    """A server's half of the handshake, and a greeting without metadata, on a bare socket."""
    asked = sock.recv(4096).decode()
    key = re.search(r"Sec-WebSocket-Key: (\S+)", asked)[1]
    accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
    head = b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    sock.sendall(head + accept + b"\r\n\r\n" + b"\x82\x01\x80")


def frame(opcode, payload=b"", *, fin=True, length=None):
    """As a client sends it, masked with zeros. `length`: what it says, instead of what it has."""
    length = len(payload) if length is None else length
    size = struct.pack("!BQ", 0x80 | 127, length) if length > 125 else struct.pack("!B", 0x80 | length)
    return struct.pack("!B", (0x80 if fin else 0) | opcode) + size + bytes(4) + payload


def everything(sock):
    """What the server still says, until it closes the connection."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while data := sock.recv(1 << 16):
            said += data
    return said


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
