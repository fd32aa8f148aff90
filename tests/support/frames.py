"""Spoiled frames, for the codec and for a live server. Seeded, so that what was found can be found again."""

import contextlib
import random
import socket
import time
from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np
import websockets
import websockets.sync.client

from pirig.errors import PolicyError, ProtocolError
from pirig.wire import codec, protocol
from support import peers
from support.damage import damaged, some_edits

KEYS = (b"__ndarray__", b"__npgeneric__", b"nd", b"data", b"dtype", b"type", b"kind", b"shape", "prompt", "x", "")
DTYPES = ("<f8", "|u1", "<U3", "<U2147483647", "(2,)f4", "i4,(", "O", "m8", "M8[ns]", "<f16", "bool", b"<f4")
_VALID = (
    {"observation/state": np.arange(8.0), "observation/image": np.zeros((4, 4, 3), np.uint8), "prompt": "pick it up"},
    {"x": np.float32(1), "carry": {"a": [1, 2.5, None, True], "b": b"bytes"}, "noise_key": "libero/1/2"},
    {"x": np.array(["ab", "c"]), "y": np.array(["2020-01-01"], "M8[D]"), "z": np.zeros((0, 7))},
)
CORPUS = tuple(map(codec.pack, _VALID))


class Tolerant(peers.EchoPolicy):
    """Whatever `x` is."""

    def infer(self, obs):
        fails = {"fail": "as asked"} if b"kind" in obs else {}
        return super().infer({"x": float(len(str(obs.get("x")))), **fails})


def spoiled(draw: random.Random) -> bytes:
    """A frame with bytes changed, or one that is well-formed msgpack and makes no sense."""
    if draw.random() < 0.5:
        return damaged(draw.choice(CORPUS), some_edits(draw))
    frame = msgpack.packb({draw.choice(KEYS): _junk(draw, 3) for _ in range(draw.randrange(5))})
    return damaged(frame, some_edits(draw)) if draw.random() < 0.3 else frame


def _junk(draw: random.Random, depth: int) -> Any:
    match draw.randrange(9 if depth else 7):
        case 0:
            return draw.choice((None, True, False))
        case 1:
            return draw.choice((0, 1, -1, 8, 255, 2**31, 2**63 - 1, -(2**63), 2**64 - 1))
        case 2:
            return draw.choice((0.0, -1.5, float("nan"), float("inf")))
        case 3 | 4:
            return draw.choice(DTYPES)
        case 5:
            return draw.randbytes(draw.choice((0, 1, 4, 8, 40)))
        case 6:
            return "é" * draw.randrange(4)
        case 7:
            return [_junk(draw, depth - 1) for _ in range(draw.randrange(4))]
        case _:
            return {draw.choice(KEYS): _junk(draw, depth - 1) for _ in range(draw.randrange(4))}


def feed(count: int, draw: random.Random) -> Iterator[tuple[str, float]]:
    """What becomes of each frame, and how long that took [s]. Any other exception gets out."""
    for _ in range(count):
        frame = spoiled(draw)
        start = time.perf_counter()
        try:
            protocol.read(frame)
            outcome = "read"
        except ProtocolError as e:
            assert str(e)
            outcome = "refused"
        except PolicyError:
            outcome = "text"
        except BaseException:
            print(f"frame {frame.hex()}")
            raise
        yield outcome, time.perf_counter() - start


def hammer(port: int, count: int, draw: random.Random) -> dict[str, int]:
    """Sends so many spoiled frames to a live server: as messages, and as bytes that are no WebSocket's. Counts."""
    seen = dict.fromkeys(("answered", "error", "closed", "raw"), 0)
    with contextlib.ExitStack() as opened:
        connection: websockets.sync.client.ClientConnection | None = None
        for _ in range(count):
            if draw.random() < 0.1:
                whole = peers.HANDSHAKE + b"\r\n" + peers.frame(peers.BINARY, spoiled(draw))
                with socket.create_connection(("127.0.0.1", port), timeout=30) as sock, contextlib.suppress(OSError):
                    sock.sendall(damaged(whole, some_edits(draw)))
                seen["raw"] += 1
                continue
            try:
                if connection is None:
                    url = f"ws://127.0.0.1:{port}"
                    connection = opened.enter_context(websockets.sync.client.connect(url, compression=None))
                    connection.recv(30)
                connection.send(spoiled(draw) if draw.random() < 0.95 else "text")
                seen["error" if isinstance(connection.recv(30), str) else "answered"] += 1
            except websockets.ConnectionClosed:
                seen["closed"] += 1
                connection = None
    return seen
