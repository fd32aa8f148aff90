"""Run the process of a policy host. It answers workers on this machine over a Unix socket, and others over a WebSocket.

`host.py` starts this process and controls it through a pipe.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from pirig import envvars
from pirig.errors import MissingResource, PirigError, StartError, to_wire
from pirig.interfaces import Policy
from pirig.serving.batching import Batcher
from pirig.serving.heap import keep_freed_memory
from pirig.serving.limits import Limits
from pirig.serving.pipe import ANSWER, ERROR, Answering
from pirig.serving.server import PolicyServer
from pirig.wire import protocol

_log = logging.getLogger(__name__)
_OPENS_WITHIN_S = 30.0
_OF_A_CLUSTER = Limits(max_clients=4096, max_queue=4096)  # the clients are the run's workers, and have the key

MakePolicy = Callable[[], Policy]
"""Loads the policy and warms it up in the process that will use it. Must pickle."""


@dataclasses.dataclass(frozen=True)
class Door:
    """Configure the WebSocket endpoint for workers on other machines. It listens on all addresses of this machine."""

    api_key: str  # workers must send this key


def run(
    make_policy: MakePolicy,
    address: str,
    parent: Any,
    level: int,
    threads: Mapping[str, str | None],
    door: Door | None,
    port: int,
) -> None:
    """Load the policy, then serve it until `parent`, the pipe to the coordinator, is closed.

    `level`: log level. `threads`: environment variables to set before loading. `port`: see `_open`. Signals are
    ignored: the coordinator handles them.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s",
                        datefmt="%H:%M:%S")  # fmt: skip
    logging.getLogger("pirig").setLevel(level)
    keep_freed_memory()
    envvars.restore(threads)
    try:
        policy = make_policy()
    except PirigError as e:
        return parent.send(("failed", to_wire(e), 0))
    except Exception:
        error = StartError(f"the policy could not be loaded:\n{traceback.format_exc()}")
        return parent.send(("failed", to_wire(error), 0))
    batcher = Batcher(policy)
    try:
        clients = Answering(address, protocol.greeting(batcher.metadata), functools.partial(_answer, batcher))
    except OSError as e:
        batcher.close()
        return parent.send(("failed", to_wire(MissingResource(f"a policy host cannot listen at {address}: {e}")), 0))
    threading.Thread(target=_serve, args=(clients,), name="clients", daemon=True).start()
    try:
        port = _open(door, port, policy, batcher) if door else 0
    except TimeoutError:
        batcher.close()
        error = StartError(f"the policy host's port did not open within {_OPENS_WITHIN_S:.0f} s")
        return parent.send(("failed", to_wire(error), 0))
    with contextlib.suppress(EOFError, OSError):  # the coordinator has exited, perhaps while the policy was loading
        parent.send(("ready", dict(policy.metadata), port))
        while True:
            what, *values = parent.recv()
            if what == "limit":
                batcher.limit(*values)
            parent.send(batcher.times())
    batcher.close()
    return None


def _open(door: Door, port: int, policy: Policy, batcher: Batcher) -> int:
    """Open the WebSocket endpoint and return its port.

    `port`: the port of the previous process, to which its clients reconnect; 0: any free port. Raises TimeoutError if
    the port is not open in time.
    """
    server = PolicyServer(
        policy, host="0.0.0.0", port=port, api_key=door.api_key, batcher=batcher, limits=_OF_A_CLUSTER
    )
    ready: concurrent.futures.Future[int] = concurrent.futures.Future()
    threading.Thread(target=server.run, args=(ready.set_result,), daemon=True).start()
    return ready.result(_OPENS_WITHIN_S)


def _serve(clients: Answering) -> None:
    """Serve all clients. If that fails, the process exits, so that the coordinator replaces it."""
    try:
        clients.run()
    except BaseException:
        _log.exception("the policy host cannot serve its workers any more")
        os._exit(1)


def _answer(batcher: Batcher, frame: bytes | memoryview) -> "Future[bytes]":
    """Return a future of the reply to a worker's request: the policy's answer, or the error that it raised."""
    reply: Future[bytes] = Future()

    def finish(answered: Future) -> None:
        try:
            answer, took_ms = answered.result()
            reply.set_result(ANSWER + protocol.answer(answer, infer_ms=took_ms, prev_total_ms=None))
        except Exception as e:
            reply.set_result(_error(e))

    try:
        batcher.submit(protocol.read(frame)).add_done_callback(finish)
    except Exception as e:
        reply.set_result(_error(e))
    return reply


def _error(error: Exception) -> bytes:
    _log.error("the policy failed", exc_info=error)
    return ERROR + protocol.error(error).encode(errors="replace")
