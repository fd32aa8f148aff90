"""Download URLs into a cache, and return the path of the local copy.

    TARGET                   the download; it appears when it is complete (address.py defines the path)
    TARGET.pirig.json        the record of what it consists of (record.py)
    TARGET.pirig.partial/    the parts that have arrived (journal.py); removed when it is complete
    TARGET.lock              lock with openpi's name and type, so that openpi's and pirig's downloads exclude each other

Law 1: TARGET is never incomplete.
Law 2: Intact files are not fetched again and need no network. Missing or damaged files are fetched again, no others.
Law 3: A TARGET without a record was made by another program (openpi) and is used as it is.
Law 4: The remote is queried only if something is missing, so the cache does not follow changes of the remote.
"""

import contextlib
import errno
import fcntl
import logging
import os
import pathlib
from collections.abc import Callable, Generator, Mapping

from pirig import imports
from pirig.checkpoints import address as addresses
from pirig.checkpoints import record as records
from pirig.checkpoints import transfer
from pirig.checkpoints.address import Hub
from pirig.checkpoints.journal import Journal, RemoteFile
from pirig.checkpoints.record import Entry, Record, verify
from pirig.checkpoints.transfer import Pace, Progress
from pirig.errors import ConfigError, MissingResource, StartError
from pirig.files import existing_parent, free_bytes, remove, sync_folder
from pirig.text import and_more, size

__all__ = ["Pace", "Progress", "fetch", "is_here", "verify"]

_log = logging.getLogger(__name__)


def fetch(
    url: str,
    home: pathlib.Path,
    *,
    offline: bool = False,
    progress: Callable[[Progress], None] | None = None,
    streams: int = 8,
    check_contents: bool = False,
    pace: Pace = Pace(),  # noqa: B008  a frozen value
    hub: Hub = Hub(),  # noqa: B008
) -> pathlib.Path:
    """Fetch the file or folder that `url` names, and return its local path. It is complete when this returns.

    `check_contents` reads all files of a cached copy, not just their sizes, and compares a copy that has no record
    with its source. Raises ConfigError if the URL names nothing that can be fetched, and StartError if fetching fails.
    """
    path = addresses.local_path(url)
    if path is not None:
        if not path.exists():
            raise ConfigError(f"there is no file or folder {path}; expected one, or a URL such as gs://BUCKET/PATH")
        return path
    address = addresses.parse(url)
    target = address.place(home)
    try:
        if _whole(target, check_contents):
            return target
        if not offline:
            imports.require("obstore", extra="checkpoints")
            with _lock(target):
                if not _whole(target, check_contents):  # another process may have fetched it in the meantime
                    _download(address, target, progress, streams, pace, hub)
            return target
    except OSError as error:
        remedy = "free some space there" if error.errno == errno.ENOSPC else "check who may write there"
        raise MissingResource(
            f"cannot use {error.filename or target}: {error.strerror or error}; {remedy}, or choose another folder "
            "with OPENPI_DATA_HOME"
        ) from error
    raise StartError(
        f"{url} is not in the cache, or not whole, and this is offline; looked for {target}; run "
        f"`pirig checkpoint fetch {url}` where there is a network, and copy {home} here or name it in OPENPI_DATA_HOME"
    )


def is_here(url: str, home: pathlib.Path) -> bool:
    """Return whether `fetch` would need no network, judged by the files' names and sizes. Writes nothing."""
    path = addresses.local_path(url)
    if path is not None:
        return path.exists()
    target = addresses.parse(url).place(home)
    record = records.read(target)
    if record is None:
        return target.exists() and not _is_only_a_parent(target)
    return record.complete and bool(record.files) and not records.damaged(target, record, contents=False)


def _whole(target: pathlib.Path, contents: bool) -> bool:
    record = records.read(target)
    if record is None:
        if not target.exists() or contents or _is_only_a_parent(target):
            return False
        _log.info("%s was not fetched by pirig (no %s): taken as it is", target, records.SUFFIX)
        return True
    bad = records.damaged(target, record, contents=contents or not record.complete)
    if bad:
        _log.warning("%s: %d of %d files missing or damaged: %s", target, len(bad), len(record.files), and_more(bad, 3))
    elif record.files and not record.complete:
        records.write(target, Record(record.url, record.files, True))
    return not bad and bool(record.files)


def _is_only_a_parent(target: pathlib.Path) -> bool:
    """Return whether `target` exists only because pirig or openpi fetched something below it."""
    if not target.is_dir():
        return False
    below = [path for path in target.rglob("*") if not path.is_dir() or ".pirig." in path.name]
    return not below or any(path.suffix == ".lock" or ".pirig." in path.name for path in below)


def _download(
    address: addresses.Address,
    target: pathlib.Path,
    progress: Callable[[Progress], None] | None,
    streams: int,
    pace: Pace,
    hub: Hub,
) -> None:
    from pirig.checkpoints import remote  # imported here because it needs obstore, which a complete cache does not need

    source = remote.open_remote(address, pace, streams, hub)
    kept = _kept(target, source.files)
    wanted = [file for file in source.files if file.name not in kept]
    journal = Journal(target.with_name(target.name + ".pirig.partial"), pace.part_bytes)
    done = sum(journal.finished_bytes(file) for file in wanted)
    _announce(address.url, target, wanted, done, len(kept))
    _refuse_small_disk(journal.folder, sum(file.size for file in wanted) - done)
    hashes = transfer.run(source.read, wanted, journal, pace, streams, progress)
    entries = {file.name: Entry(file.size, file.tag, file.checksum, hashes[file.name]) for file in wanted}
    files = {file.name: kept.get(file.name) or entries[file.name] for file in source.files}
    _install(target, journal, wanted, Record(address.url, files, False))


def _kept(target: pathlib.Path, files: tuple[RemoteFile, ...]) -> Mapping[str, Entry]:
    """Return the files that need not be fetched: those that match both the record and the remote's current listing.

    If there is no record, these are the files that match the remote's checksum.
    """
    record, kept = records.read(target), {}
    for file in files:
        entry = record.files.get(file.name) if record else None
        path = target / file.name
        if entry is not None:
            sha256 = transfer.digests(path, "")[0] if path.is_file() else ""
            if sha256 == entry.sha256 and entry == Entry(file.size, file.tag, file.checksum, sha256):
                kept[file.name] = entry
        elif file.checksum and path.is_file() and path.stat().st_size == file.size:
            sha256, checksum = transfer.digests(path, file.checksum)
            if checksum == file.checksum:
                kept[file.name] = Entry(file.size, file.tag, file.checksum, sha256)
    return kept


def _announce(url: str, target: pathlib.Path, wanted: list[RemoteFile], done: int, kept: int) -> None:
    already = f", {size(done)} of it are here already" if done else ""
    others = f", {kept} others are whole" if kept else ""
    total = size(sum(file.size for file in wanted))
    _log.info("fetching %s to %s: %d files, %s%s%s", url, target, len(wanted), total, already, others)
    unsure = [file.name for file in wanted if not file.checksum]
    if unsure:
        _log.info(
            "the server gives no checksum for %d files; only their sizes are checked: %s",
            len(unsure),
            and_more(unsure, 3),
        )


def _refuse_small_disk(folder: pathlib.Path, needed: int) -> None:
    free = free_bytes(folder)
    if needed > free:
        raise MissingResource(
            f"the disk of {existing_parent(folder)} has {size(free)} free; {size(needed)} are needed; free "
            "some space, or choose a folder on another disk with OPENPI_DATA_HOME"
        )


def _install(target: pathlib.Path, journal: Journal, wanted: list[RemoteFile], record: Record) -> None:
    """Move the fetched files to `target`. A new download is renamed as a whole, an existing one file by file."""
    old = records.read(target)
    records.write(target, record)
    data = journal.folder / "data"
    for folder in {journal.place(file).parent for file in wanted}:
        sync_folder(folder)
    if not target.exists():
        data.rename(target)
    else:
        for file in wanted:
            place = target / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            journal.place(file).replace(place)
            sync_folder(place.parent)
        for name in (old.files.keys() if old else set()) - record.files.keys():
            (target / name).unlink(missing_ok=True)  # fetched by pirig, and no longer part of the download
    sync_folder(target.parent)
    records.write(target, Record(record.url, record.files, True))
    remove(journal.folder)


@contextlib.contextmanager
def _lock(target: pathlib.Path) -> Generator[None]:
    """Hold the lock of `target`, which one process can hold at a time. The kernel releases it if the holder dies."""
    path = target.with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _log.info("another process fetches %s; waiting for its lock %s", target, path)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):  # else its last holder removed it
                yield
                return
        finally:
            os.close(descriptor)
