"""A policy in a process of its own, behind a local pipe: the codec of the WebSocket, without a network.

Needed where the simulator must not share the policy's process: several workers ask one policy, and CUDA and EGL in one
process on one GPU abort. Law 1: a worker can't tell it from the policy itself. Law 2: the host ends with the process
that started it, whatever ends that.
"""

import contextlib
import logging
import multiprocessing as mp
import multiprocessing.connection
import pathlib
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from typing import Any

from pirig.errors import ConfigError, PirigError, RemotePolicyError, StartError
from pirig.interfaces import Policy
from pirig.serving.batching import Batcher
from pirig.types import Metadata, Observation
from pirig.wire import protocol

_log = logging.getLogger(__name__)
_SPAWN = mp.get_context("spawn")
_ANSWER, _ERROR = b"A", b"E"  # the first byte of what comes back
_STOPS_WITHIN_S = 20.0

MakePolicy = Callable[[], Policy]
"""Loads the policy and warms it up, in the process that will use it. Must pickle."""


class HostPolicy:
    """Implements interfaces.Policy: the worker's end of the pipe. Used by one thread."""

    def __init__(self, address: str, metadata: Metadata):
        """Raises StartError where no host listens."""
        self.metadata = metadata
        try:
            self._pipe = mp.connection.Client(address, "AF_UNIX")
        except OSError as e:
            raise StartError(f"no policy host at {address}: {e.strerror}; it died, and its log says why") from e

    def infer(self, obs: Observation) -> dict[str, Any]:
        """Raises RemotePolicyError for what the policy raised, and where the host is gone."""
        try:
            self._pipe.send_bytes(protocol.request(obs))
            frame = self._pipe.recv_bytes()
        except (EOFError, OSError) as e:
            raise RemotePolicyError("the policy host is gone; its log says why") from e
        return protocol.read(frame[1:] if frame[:1] == _ANSWER else frame[1:].decode())

    def infer_batch(self, observations: Sequence[Observation]) -> list[dict[str, Any]]:
        return [self.infer(obs) for obs in observations]

    def close(self) -> None:
        self._pipe.close()


@contextlib.contextmanager
def host(make_policy: MakePolicy) -> Generator[tuple[str, Metadata]]:
    """Runs a policy host while the block runs. Yields its address, for HostPolicy, and the policy's metadata.

    Raises ConfigError and StartError as `make_policy` does.
    """
    with tempfile.TemporaryDirectory(prefix="pirig-") as folder:  # only its owner may enter
        address = str(pathlib.Path(folder) / "policy")
        ours, theirs = _SPAWN.Pipe()
        level = logging.getLogger("pirig").level
        process = _SPAWN.Process(target=_run, args=(make_policy, address, theirs, level), daemon=True,
                                 name="pirig-policy-host")  # fmt: skip
        process.start()
        theirs.close()
        patience_s = 0.0  # a process that still loads hears nothing
        try:
            kind, value = _first_message(ours, process)
            patience_s = _STOPS_WITHIN_S
            if kind != "ready":
                raise (ConfigError if kind == "ConfigError" else StartError)(value)
            yield address, value
        finally:
            ours.close()
            process.join(patience_s)
            process.kill()
            process.join()


def _first_message(pipe: mp.connection.Connection, process: Any) -> tuple[str, Any]:
    try:
        return pipe.recv()
    except (EOFError, OSError):
        process.join()
        code = process.exitcode or 0
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        hint = "; SIGKILL often means that the machine's memory was not enough" if code == -signal.SIGKILL else ""
        return "died", f"the policy host died with {how} while it loaded the policy{hint}"


def _run(make_policy: MakePolicy, address: str, parent: Any, level: int) -> None:
    """The life of a host process. Signals are the coordinator's business; a closed pipe is the end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s",
                        datefmt="%H:%M:%S")  # fmt: skip
    logging.getLogger("pirig").setLevel(level)
    try:
        policy = make_policy()
    except PirigError as e:
        return parent.send(("ConfigError" if e.exit_code == 2 else "StartError", str(e)))
    except Exception:
        return parent.send(("StartError", f"the policy could not be loaded:\n{traceback.format_exc()}"))
    batcher = Batcher(policy)
    listener = mp.connection.Listener(address, "AF_UNIX", backlog=128)
    threading.Thread(target=_accept, args=(listener, batcher), daemon=True).start()
    parent.send(("ready", dict(policy.metadata)))
    with contextlib.suppress(EOFError, OSError):
        parent.recv()  # Law 2
    batcher.close()
    return None


def _accept(listener: mp.connection.Listener, batcher: Batcher) -> None:
    while True:
        try:
            pipe = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(pipe, batcher), daemon=True).start()


def _serve(pipe: mp.connection.Connection, batcher: Batcher) -> None:
    """One worker's requests, one after another."""
    with contextlib.suppress(EOFError, OSError), pipe:
        while True:
            frame = pipe.recv_bytes()
            try:
                answer, took_ms = batcher.submit(protocol.read(frame)).result()
                reply = _ANSWER + protocol.answer(answer, infer_ms=took_ms, prev_total_ms=None)
            except Exception as e:
                _log.exception("the policy failed")
                reply = _ERROR + protocol.error(e).encode()
            pipe.send_bytes(reply)
