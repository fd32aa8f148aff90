"""A policy in a process of its own, behind a local pipe: the codec of the WebSocket, and shared memory for a network.

Needed where the simulator must not share the policy's process: several workers ask one policy, and CUDA and EGL in one
process on one GPU abort. There may be several hosts of one policy, one for each GPU.

Law 1: a worker can't tell it from the policy itself. Law 2: the host ends with the process that started it, whatever
ends that. Law 3: one that dies is started again, a few times, and the requests that it had are asked again, of another
host where there is one; its death costs time and no episode.
"""

import concurrent.futures
import contextlib
import dataclasses
import logging
import math
import multiprocessing as mp
import multiprocessing.connection
import pathlib
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from pirig import envvars
from pirig.errors import ConfigError, PirigError, RemotePolicyError, StartError
from pirig.interfaces import Policy
from pirig.serving.batching import Batcher, BatchTimes
from pirig.serving.heap import keep_freed_memory
from pirig.serving.limits import Limits
from pirig.serving.pipe import Answering, Asking
from pirig.serving.server import PolicyServer
from pirig.types import Metadata, Observation
from pirig.wire import protocol

_log = logging.getLogger(__name__)
_SPAWN = mp.get_context("spawn")
_ANSWER, _ERROR = b"A", b"E"  # the first byte of what comes back
_STOPS_WITHIN_S = 20.0
_ANSWERS_WITHIN_S = 5.0
_OPENS_WITHIN_S = 30.0
_RESTARTS = 3
_REPEATS = 1  # of one request; one that kills the host twice would kill it again
_RETRY_EVERY_S = 0.1
_HOME_EVERY_S = 5.0  # how often a guest of another host looks whether its own is back
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # they decide last bits on a CPU
_OF_A_CLUSTER = Limits(max_clients=4096, max_queue=4096)  # its workers are known, and have the key
_GONE = "gone"  # a file beside the socket that says why no host will come back

MakePolicy = Callable[[], Policy]
"""Loads the policy and warms it up, in the process that will use it. Must pickle."""


class HostPolicy:
    """Implements interfaces.Policy: the worker's end of the pipe. Used by one thread."""

    def __init__(self, *addresses: str, request_timeout_s: float = 0.0):
        """The first is its own host's; the others, of the same policy, take it in while that one is gone.

        `request_timeout_s`: for an answer, and for a host that is gone to come back; 0: for ever.

        Where none listens, one may just be starting again. Raises StartError where all are gone for good.
        """
        self._addresses, self._is_guest, self._home_at_s = addresses, False, 0.0
        self._answer_within_s = request_timeout_s or None
        self.metadata: Metadata = {}
        try:
            self._find()
        except RemotePolicyError as e:
            raise StartError(f"no policy host at {' or '.join(addresses)}: {e}; its log says why") from e

    def infer(self, obs: Observation) -> dict[str, Any]:
        """Raises RemotePolicyError for what the policy raised, and where all hosts are gone for good."""
        if self._is_guest and time.monotonic() >= self._home_at_s:
            self._go_home()
        request = protocol.request(obs)
        for _ in range(_REPEATS + 1):
            try:
                frame = self._pipe.ask(request, self._answer_within_s)
            except TimeoutError as e:
                self._pipe.close()  # the answer may still come, and nobody may take it for the next one's
                raise RemotePolicyError(self._silence()) from e
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
        self._pipe.close()
        self._find()

    def _find(self) -> None:
        """The first host that listens, or waits for the next one, which loads the policy first."""
        deadline_s = time.monotonic() + (self._answer_within_s or math.inf)
        while True:
            reasons = []
            for number, address in enumerate(self._addresses):
                if self._connects(address):
                    self._is_guest, self._home_at_s = number > 0, time.monotonic() + _HOME_EVERY_S
                    return
                if reason := _why_gone(address):
                    reasons.append(reason)
            if len(reasons) == len(self._addresses):
                raise RemotePolicyError(f"the policy host is gone: {'; '.join(dict.fromkeys(reasons))}")
            if time.monotonic() > deadline_s:
                raise RemotePolicyError(self._silence())
            time.sleep(_RETRY_EVERY_S)

    def _silence(self) -> str:
        return f"the policy host gave no answer within {self._answer_within_s:g} s (--request-timeout-s): it hangs"

    def _go_home(self) -> None:
        guest = self._pipe
        self._home_at_s = time.monotonic() + _HOME_EVERY_S
        if self._connects(self._addresses[0]):
            self._is_guest = False
            guest.close()

    def _connects(self, address: str) -> bool:
        """Raises RemotePolicyError where another policy listens."""
        try:
            pipe, metadata = _connect(address)
        except (EOFError, OSError):
            return False
        if self.metadata and metadata != self.metadata:
            pipe.close()
            raise RemotePolicyError(_another_policy(metadata, self.metadata))
        self._pipe, self.metadata = pipe, metadata
        return True


def _why_gone(address: str) -> str:
    """Empty while a host may come back."""
    gone = pathlib.Path(address).with_name(_GONE)
    try:
        return gone.read_text()
    except OSError:
        return "" if gone.parent.exists() else "whoever started it has ended"


def _connect(address: str) -> tuple[Asking, Metadata]:
    """Heard by a host that lives: a connection to one that is just dying ends before the greeting."""
    pipe = Asking(address)
    return pipe, protocol.read(pipe.greeting)


@dataclasses.dataclass(frozen=True)
class Door:
    """A WebSocket on all of this machine's addresses, for workers elsewhere."""

    api_key: str  # which they must send


@contextlib.contextmanager
def host_for_others(make_policy: MakePolicy, door: Door) -> "Generator[tuple[str, int, Metadata]]":
    """As `host`, with a WebSocket too. Yields the address here, its port, and the policy's metadata."""
    with hosts([make_policy], door) as running:
        yield running.addresses[0], running.ports[0], running.metadata


@contextlib.contextmanager
def host(make_policy: MakePolicy) -> Generator[tuple[str, Metadata]]:
    """Keeps a policy host while the block runs. Yields its address, for HostPolicy, and the policy's metadata.

    Raises ConfigError and StartError as `make_policy` does.
    """
    with hosts([make_policy]) as running:
        yield running.addresses[0], running.metadata


@contextlib.contextmanager
def hosts(policies: Sequence[MakePolicy], door: Door | None = None) -> "Generator[Hosts]":
    """Keeps a host of each while the block runs; they load at the same time.

    Raises ConfigError and StartError as they do, and ConfigError where they are not one policy.
    """
    with tempfile.TemporaryDirectory(prefix="pirig-") as folder:  # only its owner may enter
        keepers = [_Keeper(make, pathlib.Path(folder) / str(number), door) for number, make in enumerate(policies)]
        try:
            metadata = _start_all(keepers)
            for keeper in keepers:
                threading.Thread(target=keeper.watch, args=(metadata,), daemon=True).start()
            yield Hosts(keepers, metadata)
        finally:
            for keeper in keepers:
                keeper.let_go()
            for keeper in keepers:
                keeper.stop()


class Hosts:
    """Those that run, seen from the process that started them."""

    def __init__(self, keepers: "Sequence[_Keeper]", metadata: Metadata):
        self._keepers, self.metadata = keepers, metadata

    @property
    def addresses(self) -> tuple[str, ...]:
        """For HostPolicy."""
        return tuple(str(keeper.address) for keeper in self._keepers)

    @property
    def ports(self) -> tuple[int, ...]:
        """Of their WebSockets; another one when a host was started again."""
        return tuple(keeper.port for keeper in self._keepers)

    def batches(self) -> list[Mapping[int, BatchTimes]]:
        """What each host measured so far, by the size of a batch; empty for one that is just being started."""
        return [keeper.ask("batches") or {} for keeper in self._keepers]

    def limit_batches(self, most: int) -> None:
        """To `most` observations at once, which has no influence on answers."""
        for keeper in self._keepers:
            keeper.ask("limit", most)


def _start_all(keepers: "Sequence[_Keeper]") -> Metadata:
    threads = concurrent.futures.ThreadPoolExecutor(len(keepers))
    try:
        answers = list(threads.map(lambda keeper: keeper.start(), keepers))
    except BaseException:
        for keeper in keepers:
            keeper.stop()
        raise
    finally:
        threads.shutdown()
    for kind, value in answers:
        if kind != "ready":
            raise (ConfigError if kind == "ConfigError" else StartError)(value)
    for _, metadata in answers[1:]:
        if metadata != answers[0][1]:
            raise ConfigError(
                f"the policy hosts are not one policy: {answers[0][1]} and {metadata}; name devices of one kind in "
                "CUDA_VISIBLE_DEVICES"
            )
    return answers[0][1]


class _Keeper:
    """One host process after another."""

    def __init__(self, make_policy: MakePolicy, folder: pathlib.Path, door: "Door | None"):
        folder.mkdir()
        self._door, self.port = door, 0
        self.address, self._gone = folder / "policy", folder / _GONE
        self._make_policy, self._level = make_policy, logging.getLogger("pirig").level
        self._threads = envvars.snapshot(THREADS)  # the caller may change them for its workers
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
            arguments = (
                self._make_policy,
                str(self.address),
                theirs,
                self._level,
                self._threads,
                self._door,
                self.port,
            )
            self._process = _SPAWN.Process(target=_run, args=arguments, daemon=True, name="pirig-policy-host")
            self._process.start()
            theirs.close()
        try:
            kind, value, self.port = self._pipe.recv()
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

    def ask(self, *question: Any) -> Any:
        """What the host's process answers; None where it can't."""
        with self._lock, contextlib.suppress(EOFError, OSError):
            if self._is_ready and not self._over:
                self._pipe.send(question)
                if self._pipe.poll(_ANSWERS_WITHIN_S):
                    return self._pipe.recv()
                self._is_ready = False  # it hangs: it would not hear that it is to end, and a late answer is to nothing
        return None

    def let_go(self) -> None:
        """Law 2, for one that hears it; `stop` is next."""
        with self._lock:
            self._over = True
            if self._is_ready:
                self._pipe.close()

    def stop(self) -> None:
        self.let_go()
        if self._process is None:
            return
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


def _run(
    make_policy: MakePolicy,
    address: str,
    parent: Any,
    level: int,
    threads: Mapping[str, str | None],
    door: Door | None,
    port: int,
) -> None:
    """The life of a host process. Signals are the coordinator's business; a closed pipe is the end."""
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
        return parent.send(("ConfigError" if e.exit_code == 2 else "StartError", str(e), 0))
    except Exception:
        return parent.send(("StartError", f"the policy could not be loaded:\n{traceback.format_exc()}", 0))
    batcher = Batcher(policy)
    listener = mp.connection.Listener(address, "AF_UNIX", backlog=128)
    threading.Thread(target=_accept, args=(listener, batcher), daemon=True).start()
    with contextlib.suppress(EOFError, OSError):  # Law 2; who started this may have ended while it loaded
        parent.send(("ready", dict(policy.metadata), _open(door, port, policy, batcher) if door else 0))
        while True:
            what, *values = parent.recv()
            if what == "limit":
                batcher.limit(*values)
            parent.send(batcher.times())
    batcher.close()
    return None


def _open(door: Door, port: int, policy: Policy, batcher: Batcher) -> int:
    """`port`: of the host before this one, whose clients come back to it; 0: any. Returns it."""
    server = PolicyServer(
        policy, host="0.0.0.0", port=port, api_key=door.api_key, batcher=batcher, limits=_OF_A_CLUSTER
    )
    ready: concurrent.futures.Future[int] = concurrent.futures.Future()
    threading.Thread(target=server.run, args=(ready.set_result,), daemon=True).start()
    return ready.result(_OPENS_WITHIN_S)


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
