"""Transfer many files over a few connections, in parts, until each file is on disk and its checksum is verified.

Law 1: Only the calling thread accesses the journal and calls `progress`; the other threads only fetch and hash.
Law 2: A transient error (`Transient`) is retried a limited number of times, each time after a longer wait.
Law 3: The parts that have arrived are kept, however the transfer ends.
Law 4: A file with a wrong checksum is fetched once more. If it is wrong again, that is an error.
"""

import collections
import concurrent.futures
import dataclasses
import hashlib
import logging
import os
import pathlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from pirig.checkpoints.journal import Journal, RemoteFile
from pirig.errors import PeerError, StartError

T = TypeVar("T")
Read = Callable[[RemoteFile, int, int], Iterator[bytes]]
"""(file, start [byte], length [byte]) -> those bytes, in pieces. Raises Transient for an error worth a retry."""

_log = logging.getLogger(__name__)
_REPORT_S = 0.2
_RATE_WINDOW_S = 10.0
_HASH_BYTES = 1 << 20


class Transient(PeerError):
    """An error that may disappear on a retry: a cut connection, a silent server, a 5xx status."""


class _Stopped(StartError):
    """Another part failed, or the caller was interrupted. This error never reaches the caller."""


@dataclasses.dataclass(frozen=True)
class Pace:
    """The part size, retry waits and timeout of a transfer."""

    part_bytes: int = 16 << 20
    waits_s: tuple[float, ...] = (0.5, 1, 2, 4, 8, 16)  # between attempts; there is one more attempt than waits
    silence_s: float = 30.0  # a connection counts as cut after this time without a byte


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of one transfer. Parts kept from an earlier one count as done; a wrong checksum reduces it again."""

    bytes_done: int
    bytes_total: int
    files_done: int
    files_total: int
    rate: float  # [byte/s], over the last ten seconds
    eta_s: float  # infinite while nothing arrives


def patiently(what: str, attempt: Callable[[], T], pace: Pace, pause: Callable[[float], object] = time.sleep) -> T:
    """Call `attempt` until it does not raise Transient, and return its result.

    Raises StartError when no attempts remain.
    """
    tries = len(pace.waits_s) + 1
    for number, wait_s in enumerate((*pace.waits_s, 0.0), 1):
        try:
            return attempt()
        except Transient as error:
            if number == tries:
                raise PeerError(f"{what}: {error}; given up after {tries} tries") from error
            _log.warning("%s: %s; try %d of %d in %g s", what, error, number + 1, tries, wait_s)
            pause(wait_s)
    raise AssertionError("not reached")


def run(
    read: Read,
    files: Sequence[RemoteFile],
    journal: Journal,
    pace: Pace,
    streams: int,
    progress: Callable[[Progress], None] | None,
) -> dict[str, str]:
    """Fetch `files` to `journal.folder`, and return the SHA-256 of each by its name.

    The files are on disk and verified when this returns.
    """
    transfer = _Transfer(read, files, journal, pace, streams, progress)
    try:
        transfer.run()
    except StartError as error:
        raise PeerError(
            f"{error}; what was fetched is kept in {journal.folder}, and the same command goes on from there"
        ) from error
    finally:
        transfer.close()
    return {file.name: journal.sha256(file) for file in files}


@dataclasses.dataclass(eq=False)
class _Part:
    file: RemoteFile
    number: int
    arrived: int = 0  # [byte]; written by the fetching thread


class _Transfer:
    """The state of a transfer: the parts to fetch and files to hash, both queued and in progress."""

    def __init__(self, read, files, journal, pace, streams, progress):
        self._read, self._files, self._journal, self._pace = read, files, journal, pace
        self._streams, self._progress = max(1, streams), progress
        self._pool = concurrent.futures.ThreadPoolExecutor(self._streams, "fetch")
        self._stop = threading.Event()
        self._todo: collections.deque[_Part | RemoteFile] = collections.deque()  # a RemoteFile is a file to hash
        self._jobs: dict[concurrent.futures.Future, _Part | RemoteFile] = {}
        self._again: set[str] = set()  # files that are being fetched a second time
        self._left: dict[str, int] = {}  # file -> number of parts still to fetch
        self._done_bytes = self._done_files = 0
        self._total_bytes = sum(file.size for file in files)
        self._samples: collections.deque[tuple[float, int]] = collections.deque()

    def run(self) -> None:
        for file in self._files:
            self._done_bytes += self._journal.finished_bytes(file)
            if self._journal.sha256(file):
                self._done_files += 1
            else:
                self._journal.begin(file)
                self._queue(file)
        self._report()
        while self._todo or self._jobs:
            while self._todo and len(self._jobs) < 2 * self._streams:
                job = self._todo.popleft()
                work = self._fetch if isinstance(job, _Part) else self._hash
                self._jobs[self._pool.submit(work, job)] = job  # ty: ignore[invalid-argument-type]
            ended, _ = concurrent.futures.wait(
                self._jobs, timeout=_REPORT_S, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in ended:
                result = future.result()
                self._after(self._jobs.pop(future), result)
            self._report()

    def close(self) -> None:
        """Stop the threads, and keep the parts that arrived in the meantime."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for future, job in self._jobs.items():
            if isinstance(job, _Part) and not future.cancelled() and not future.exception():
                self._journal.finish(job.file, job.number)

    def _queue(self, file: RemoteFile) -> None:
        finished = self._journal.finished(file)
        parts = [part for part in self._journal.parts(file) if part not in finished]
        self._left[file.name] = len(parts)
        self._todo.extend([_Part(file, part) for part in parts] or [file])

    def _after(self, job: _Part | RemoteFile, found: tuple[str, str] | None) -> None:
        if isinstance(job, _Part):
            self._journal.finish(job.file, job.number)
            self._done_bytes += job.arrived
            self._left[job.file.name] -= 1
            if not self._left[job.file.name]:
                self._todo.appendleft(job.file)
            return
        assert found is not None
        sha256, checksum = found
        if checksum == job.checksum:
            self._journal.check(job, sha256)
            self._done_files += 1
            return
        self._journal.begin(job, anew=True)
        self._done_bytes -= job.size
        if job.name in self._again:
            raise PeerError(
                f"{job.url} arrived twice with checksum {checksum}, expected {job.checksum}; "
                "the source or the way to it is damaged: try another network, or ask who keeps the source"
            )
        _log.warning("%s: checksum is %s, expected %s; fetched once more", job.url, checksum, job.checksum)
        self._again.add(job.name)
        self._queue(job)

    def _fetch(self, part: _Part) -> None:
        """Fetch a part; runs in a worker thread. The part is on disk when this returns."""
        file, length = part.file, self._journal.length(part.file, part.number)
        start = part.number * self._pace.part_bytes
        descriptor = os.open(self._journal.place(file), os.O_WRONLY)

        def attempt() -> None:
            if self._stop.is_set():
                raise _Stopped("stopped")
            if length == file.size:
                part.arrived = 0  # a server without range support can only start again
            for piece in self._read(file, start + part.arrived, length - part.arrived):
                if self._stop.is_set():
                    raise _Stopped("stopped")
                if part.arrived + len(piece) > length:
                    raise Transient("the server sent more than was asked for")
                os.pwrite(descriptor, piece, start + part.arrived)
                part.arrived += len(piece)
            if part.arrived < length:
                raise Transient(f"the answer is short: {part.arrived} bytes of {length}")

        try:
            patiently(file.url, attempt, self._pace, self._stop.wait)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def _hash(self, file: RemoteFile) -> tuple[str, str]:
        """Return the SHA-256 of a file and its checksum of the server's kind; runs in a worker thread."""
        return digests(self._journal.place(file), file.checksum, self._stop)

    def _report(self) -> None:
        if self._progress is None:
            return
        active = sum(job.arrived for job in self._jobs.values() if isinstance(job, _Part))
        now, done, total = time.monotonic(), self._done_bytes + active, self._total_bytes
        self._samples.append((now, done))
        while now - self._samples[0][0] > _RATE_WINDOW_S:
            self._samples.popleft()
        past, then = self._samples[0]
        rate = max(0.0, (done - then) / (now - past)) if now > past else 0.0
        eta_s = (total - done) / rate if rate else (0.0 if done == total else float("inf"))
        self._progress(Progress(done, total, self._done_files, len(self._files), rate, eta_s))


def digests(path: pathlib.Path, checksum: str, stop: threading.Event | None = None) -> tuple[str, str]:
    """Return the SHA-256 of a file, and its checksum of the same kind as `checksum` ("" for "")."""
    kind = checksum.partition(":")[0]
    sha256, other = hashlib.sha256(), hashlib.md5() if kind == "md5" else hashlib.sha1()
    with path.open("rb") as data:
        if kind == "git-sha1":  # the header that git hashes before a blob
            other.update(b"blob %d\0" % os.fstat(data.fileno()).st_size)
        while piece := data.read(_HASH_BYTES):
            if stop is not None and stop.is_set():
                raise _Stopped("stopped")
            sha256.update(piece)
            if kind in ("md5", "git-sha1"):
                other.update(piece)
    if kind in ("md5", "git-sha1"):
        return sha256.hexdigest(), f"{kind}:{other.hexdigest()}"
    return sha256.hexdigest(), f"sha256:{sha256.hexdigest()}" if kind == "sha256" else ""
