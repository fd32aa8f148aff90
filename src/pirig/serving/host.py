"""A policy in a process of its own, behind a local pipe: the codec of the WebSocket, and shared memory for a network.

Needed where the simulator must not share the policy's process: several workers ask one policy, and CUDA and EGL in one
process on one GPU abort. Law 1: a worker can't tell it from the policy itself. Law 2: the host ends with the process
that started it, whatever ends that. Law 3: one that dies is started again, a few times, and the requests that it had
are asked again; its death costs time and no episode.
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
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from typing import Any

from pirig.errors import ConfigError, PirigError, RemotePolicyError, StartError
from pirig.interfaces import Policy
from pirig.serving.batching import Batcher
from pirig.serving.heap import keep_freed_memory
from pirig.serving.pipe import Answering, Asking
from pirig.types import Metadata, Observation
from pirig.wire import protocol

_log = logging.getLogger(__name__)
_SPAWN = mp.get_context("spawn")
_ANSWER, _ERROR = b"A", b"E"  # the first byte of what comes back
_STOPS_WITHIN_S = 20.0
_RESTARTS = 3
_REPEATS = 1  # of one request; one that kills the host twice would kill it again
_RETRY_EVERY_S = 0.1
_GONE = "gone"  # a file beside the socket that says why no host will come back

MakePolicy = Callable[[], Policy]
"""Loads the policy and warms it up, in the process that will use it. Must pickle."""


class HostPolicy:
    """Implements interfaces.Policy: the worker's end of the pipe. Used by one thread."""

    def __init__(self, address: str):
        """Raises StartError where no host listens."""
        self._address = address
        try:
            self._pipe, self.metadata = _connect(address)
        except (EOFError, OSError) as e:
            raise StartError(f"no policy host at {address}: {e}; it died, and its log says why") from e

    def infer(self, obs: Observation) -> dict[str, Any]:
        """Raises RemotePolicyError for what the policy raised, and where the host is gone for good."""
        request = protocol.request(obs)
        for _ in range(_REPEATS + 1):
            try:
                frame = self._pipe.ask(request)
            except (EOFError, OSError):
                self._connect_again()
                continue
            return protocol.read(frame[1:] if frame[:1] == _ANSWER else frame[1:].decode())
        raise RemotePolicyError(f"the policy host died {_REPEATS + 1} times during one request; its log says why")

    def infer_batch(self, observations: Sequence[Observation]) -> list[dict[str, Any]]:
        return [self.infer(obs) for obs in observations]

    def close(self) -> None:
        self._pipe.close()

    def _connect_again(self) -> None:
        """Waits for the next host, which loads the policy first."""
        self._pipe.close()
        gone = pathlib.Path(self._address).with_name(_GONE)
        while True:
            try:
                self._pipe, metadata = _connect(self._address)
            except (EOFError, OSError) as e:
                if gone.exists() or not gone.parent.exists():
                    reason = gone.read_text() if gone.exists() else "whoever started it has ended"
                    raise RemotePolicyError(f"the policy host is gone: {reason}") from e
            else:
                if metadata == self.metadata:
                    return
                self._pipe.close()
                raise RemotePolicyError(_another_policy(metadata, self.metadata))
            time.sleep(_RETRY_EVERY_S)


def _connect(address: str) -> tuple[Asking, Metadata]:
    """Heard by a host that lives: a connection to one that is just dying ends before the greeting."""
    pipe = Asking(address)
    return pipe, protocol.read(pipe.greeting)


@contextlib.contextmanager
def host(make_policy: MakePolicy) -> Generator[tuple[str, Metadata]]:
    """Keeps a policy host while the block runs. Yields its address, for HostPolicy, and the policy's metadata.

    Raises ConfigError and StartError as `make_policy` does.
    """
    with tempfile.TemporaryDirectory(prefix="pirig-") as folder:  # only its owner may enter
        keeper = _Keeper(make_policy, pathlib.Path(folder))
        try:
            kind, value = keeper.start()
            if kind != "ready":
                raise (ConfigError if kind == "ConfigError" else StartError)(value)
            watching = threading.Thread(target=keeper.watch, args=(value,), daemon=True)
            watching.start()
            yield str(keeper.address), value
        finally:
            keeper.stop()


class _Keeper:
    """One host process after another."""

    def __init__(self, make_policy: MakePolicy, folder: pathlib.Path):
        self.address, self._gone = folder / "policy", folder / _GONE
        self._make_policy, self._level = make_policy, logging.getLogger("pirig").level
        self._lock, self._over = threading.Lock(), False
        self._process: Any = None
        self._pipe: Any = None
        self._is_ready = False  # a process that still loads hears nothing

    def start(self) -> tuple[str, Any]:
        """Waits until the policy is loaded. Returns the process's first message, or how it died."""
        with self._lock:
            if self._over:
                return "over", None
            self.address.unlink(missing_ok=True)
            self._pipe, theirs = _SPAWN.Pipe()
            self._is_ready = False
            arguments = (self._make_policy, str(self.address), theirs, self._level)
            self._process = _SPAWN.Process(target=_run, args=arguments, daemon=True, name="pirig-policy-host")
            self._process.start()
            theirs.close()
        try:
            kind, value = self._pipe.recv()
        except (EOFError, OSError):
            how = self._how_it_died()
            hint = "; SIGKILL often means that the machine's memory was not enough" if "SIGKILL" in how else ""
            return "died", f"the policy host died with {how} while it loaded the policy{hint}"
        self._is_ready = kind == "ready"
        return kind, value

    def watch(self, metadata: Metadata) -> None:
        """Law 3, until `stop`."""
        for number in range(1, _RESTARTS + 1):
            self._process.join()
            if self._over:
                return
            _log.warning("the policy host died with %s; starting it again (%d of %d)", self._how_it_died(), number,
                         _RESTARTS)  # fmt: skip
            kind, value = self.start()
            if kind == "ready" and value != metadata:
                self._process.kill()
                kind, value = "changed", _another_policy(value, metadata)
            if kind != "ready":
                return self._give_up(str(value))
        self._process.join()
        if not self._over:
            self._give_up(f"it died {_RESTARTS + 1} times, the last time with {self._how_it_died()}")
        return None

    def stop(self) -> None:
        with self._lock:
            self._over = True
        if self._process is None:
            return
        self._pipe.close()
        self._process.join(_STOPS_WITHIN_S if self._is_ready else 0.0)
        self._process.kill()
        self._process.join()

    def _give_up(self, reason: str) -> None:
        """Whole when clients see it."""
        partial = self._gone.with_suffix(".partial")
        partial.write_text(reason)
        partial.replace(self._gone)

    def _how_it_died(self) -> str:
        self._process.join()
        code = self._process.exitcode or 0
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _another_policy(found: Metadata, was: Metadata) -> str:
    return f"the policy host came back as another policy: {dict(found)}, and was {dict(was)}; start a new run"


def _run(make_policy: MakePolicy, address: str, parent: Any, level: int) -> None:
    """The life of a host process. Signals are the coordinator's business; a closed pipe is the end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s",
                        datefmt="%H:%M:%S")  # fmt: skip
    logging.getLogger("pirig").setLevel(level)
    keep_freed_memory()
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
        client = Answering(pipe, protocol.greeting(batcher.metadata))
        while True:
            frame = client.receive()
            try:
                answer, took_ms = batcher.submit(protocol.read(frame)).result()
                reply = _ANSWER + protocol.answer(answer, infer_ms=took_ms, prev_total_ms=None)
            except Exception as e:
                _log.exception("the policy failed")
                reply = _ERROR + protocol.error(e).encode()
            client.answer(reply)
