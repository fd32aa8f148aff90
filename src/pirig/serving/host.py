"""Start policy hosts: processes that own a policy, with the WebSocket's codec over shared memory and a local socket.

A policy host is needed because several workers use one policy, and because CUDA and EGL abort if one process uses both
on one GPU. A policy may have several hosts, one for each GPU.

Law 1: For a worker, a policy host behaves exactly like the policy itself.
Law 2: A policy host exits when the process that started it exits, however that happened.
Law 3: A policy host that dies is started again, up to `_RESTARTS` times. Its requests are sent again, to another host
if there is one, so its death costs time but no episode.
"""

import concurrent.futures
import contextlib
import logging
import multiprocessing as mp
import pathlib
import tempfile
import threading
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from pirig import envvars
from pirig.errors import ConfigError, PeerError, PirigError, StartError, from_wire
from pirig.files import write_atomically
from pirig.serving.batching import BatchTimes
from pirig.serving.host_policy import GONE, another_policy
from pirig.serving.host_process import Door, MakePolicy, run
from pirig.text import process_end
from pirig.types import Metadata

_log = logging.getLogger(__name__)
_SPAWN = mp.get_context("spawn")
_STOPS_WITHIN_S = 20.0
_ANSWERS_WITHIN_S = 5.0
_RESTARTS = 3
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # on a CPU they affect an answer's last bits


@contextlib.contextmanager
def host_for_others(make_policy: MakePolicy, door: Door) -> "Generator[tuple[str, int, Metadata]]":
    """Keep a policy host with a WebSocket while the block runs.

    Yields its address for HostPolicy, the WebSocket's port, and the policy's metadata. Raises as `host` does.
    """
    with hosts([make_policy], door) as running:
        yield running.addresses[0], running.ports[0], running.metadata


@contextlib.contextmanager
def host(make_policy: MakePolicy) -> Generator[tuple[str, Metadata]]:
    """Keep a policy host while the block runs. Yields its address for HostPolicy, and the policy's metadata.

    Raises ConfigError and StartError as `make_policy` does.
    """
    with hosts([make_policy]) as running:
        yield running.addresses[0], running.metadata


@contextlib.contextmanager
def hosts(policies: Sequence[MakePolicy], door: Door | None = None) -> "Generator[Hosts]":
    """Keep a policy host for each of `policies` while the block runs. The hosts load their policies in parallel.

    Raises ConfigError and StartError as `policies` do, and ConfigError if the hosts do not have the same policy.
    """
    with tempfile.TemporaryDirectory(prefix="pirig-") as folder:  # other users cannot read it
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
    """Control the running policy hosts from the process that started them."""

    def __init__(self, keepers: "Sequence[_Keeper]", metadata: Metadata):
        self._keepers, self.metadata = keepers, metadata

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses for HostPolicy."""
        return tuple(str(keeper.address) for keeper in self._keepers)

    @property
    def ports(self) -> tuple[int, ...]:
        """Ports of the WebSockets. A host that was started again may have another port."""
        return tuple(keeper.port for keeper in self._keepers)

    def batches(self) -> list[Mapping[int, BatchTimes]]:
        """Return each host's measurements so far, by batch size; empty for a host that is starting."""
        return [keeper.ask("batches") or {} for keeper in self._keepers]

    def limit_batches(self, most: int) -> None:
        """Limit the batches of all hosts to `most` observations. Answers do not depend on it."""
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
    for metadata in answers[1:]:
        if metadata != answers[0]:
            raise ConfigError(
                f"the policy hosts are not one policy: {answers[0]} and {metadata}; name devices of one kind in "
                "CUDA_VISIBLE_DEVICES"
            )
    return answers[0]


class _Keeper:
    """Keep one policy host running, and replace its process if it dies."""

    def __init__(self, make_policy: MakePolicy, folder: pathlib.Path, door: "Door | None"):
        folder.mkdir()
        self._door, self.port = door, 0
        self.address, self._gone = folder / "policy", folder / GONE
        self._make_policy, self._level = make_policy, logging.getLogger("pirig").level
        self._threads = envvars.snapshot(THREADS)  # a copy, because the caller may change them for its workers
        self._lock, self._over = threading.Lock(), False
        self._process: Any = None
        self._pipe: Any = None
        self._is_ready = False  # a process that is loading its policy reads no messages

    def start(self) -> Metadata:
        """Start the process and return the metadata once the policy is loaded.

        Raises the error with which loading failed, and StartError if the process died.
        """
        with self._lock:
            if self._over:
                raise StartError("the policy host was stopped before it started")
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
            self._process = _SPAWN.Process(target=run, args=arguments, daemon=True, name="pirig-policy-host")
            self._process.start()
            theirs.close()
        try:
            kind, value, self.port = self._pipe.recv()
        except (EOFError, OSError):
            how = self._how_it_died()
            hint = "; SIGKILL often means that the machine's memory was not enough" if "SIGKILL" in how else ""
            raise PeerError(f"the policy host died with {how} while it loaded the policy{hint}") from None
        if kind == "failed":
            raise from_wire(*value)
        self._is_ready = True
        return value

    def watch(self, metadata: Metadata) -> None:
        """Start the process again when it dies (law 3), until `stop` is called."""
        for number in range(1, _RESTARTS + 1):
            self._process.join()
            if self._over:
                return
            _log.warning("the policy host died with %s; starting it again (%d of %d)", self._how_it_died(), number,
                         _RESTARTS)  # fmt: skip
            try:
                found = self.start()
            except PirigError as e:
                return self._give_up(str(e))
            if found != metadata:
                self._process.kill()
                return self._give_up(another_policy(found, metadata))
        self._process.join()
        if not self._over:
            self._give_up(f"it died {_RESTARTS + 1} times, the last time with {self._how_it_died()}")
        return None

    def ask(self, *question: Any) -> Any:
        """Send a message to the process and return its answer, or None if there is none."""
        with self._lock, contextlib.suppress(EOFError, OSError):
            if self._is_ready and not self._over:
                self._pipe.send(question)
                if self._pipe.poll(_ANSWERS_WITHIN_S):
                    return self._pipe.recv()
                # The process hangs. It would not see a request to exit, and a late answer would be taken for the next.
                self._is_ready = False
        return None

    def let_go(self) -> None:
        """Ask a responsive host to exit (law 2). Call `stop` afterwards."""
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
        """Write the reason to a file that tells clients that this host will not come back. The write is atomic."""
        write_atomically(self._gone, reason, sync=False)

    def _how_it_died(self) -> str:
        self._process.join()
        return process_end(self._process.exitcode or 0)
