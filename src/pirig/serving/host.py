"""A policy in a process of its own, behind a local pipe: the codec of the WebSocket, and shared memory for a network.

Needed where the simulator must not share the policy's process: several workers ask one policy, and CUDA and EGL in one
process on one GPU abort. There may be several hosts of one policy, one for each GPU.

Law 1: a worker can't tell it from the policy itself. Law 2: the host ends with the process that started it, whatever
ends that. Law 3: one that dies is started again, a few times, and the requests that it had are asked again, of another
host where there is one; its death costs time and no episode.
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
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # they decide last bits on a CPU


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
    for metadata in answers[1:]:
        if metadata != answers[0]:
            raise ConfigError(
                f"the policy hosts are not one policy: {answers[0]} and {metadata}; name devices of one kind in "
                "CUDA_VISIBLE_DEVICES"
            )
    return answers[0]


class _Keeper:
    """One host process after another."""

    def __init__(self, make_policy: MakePolicy, folder: pathlib.Path, door: "Door | None"):
        folder.mkdir()
        self._door, self.port = door, 0
        self.address, self._gone = folder / "policy", folder / GONE
        self._make_policy, self._level = make_policy, logging.getLogger("pirig").level
        self._threads = envvars.snapshot(THREADS)  # the caller may change them for its workers
        self._lock, self._over = threading.Lock(), False
        self._process: Any = None
        self._pipe: Any = None
        self._is_ready = False  # a process that still loads hears nothing

    def start(self) -> Metadata:
        """Wait until the policy is loaded. Raises what went wrong there, and StartError where the process died."""
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
        """Law 3, until `stop`."""
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
        write_atomically(self._gone, reason, sync=False)

    def _how_it_died(self) -> str:
        self._process.join()
        return process_end(self._process.exitcode or 0)
