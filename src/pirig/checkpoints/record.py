"""Record what a complete download consists of, in TARGET.pirig.json beside it, and compare the cache with the record.

Law: If a record's `complete` is false, its installation was interrupted. Sizes prove nothing then, so contents are
    read.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping

from pirig.checkpoints.transfer import digests
from pirig.errors import ConfigError
from pirig.files import sync_folder, write_atomically

SUFFIX = ".pirig.json"


@dataclasses.dataclass(frozen=True)
class Entry:
    size: int  # [byte]
    tag: str  # see journal.RemoteFile
    checksum: str
    sha256: str  # computed by pirig from the file on disk


@dataclasses.dataclass(frozen=True)
class Record:
    url: str
    files: Mapping[str, Entry]  # by path inside the folder; "." if the download is a file
    complete: bool


def verify(target: pathlib.Path) -> tuple[str, ...]:
    """Read every file of a download, and return the names of those that are missing or differ from what was fetched.

    Raises ConfigError if there is no record to compare with.
    """
    record = read(target)
    if record is None:
        raise ConfigError(
            f"{target} has no {target.name}{SUFFIX} beside it to compare with; expected a download of pirig's; "
            "`pirig checkpoint fetch URL --verify` compares it with its source"
        )
    return damaged(target, record, contents=True)


def damaged(target: pathlib.Path, record: Record, *, contents: bool) -> tuple[str, ...]:
    """Return the recorded files that are missing or have a different size or, if `contents`, a different SHA-256.

    Files that are not in the record are ignored.
    """
    return tuple(name for name, entry in record.files.items() if not _good(target / name, entry, contents))


def _good(path: pathlib.Path, entry: Entry, contents: bool) -> bool:
    if not path.is_file() or path.stat().st_size != entry.size:
        return False
    return not contents or digests(path, "")[0] == entry.sha256


def read(target: pathlib.Path) -> Record | None:
    """Return the record of a download, or None if there is none.

    An unreadable record is returned as one without files that is not complete.
    """
    try:
        found = json.loads(_path(target).read_text())
        files = {name: Entry(**entry) for name, entry in found["files"].items()}
        return Record(found["url"], files, found["complete"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Record("", {}, False)


def write(target: pathlib.Path, record: Record) -> None:
    """Write the record of a download. It is on disk when this returns."""
    path = _path(target)
    write_atomically(path, json.dumps(dataclasses.asdict(record), indent=1), has_one_writer=True)
    sync_folder(path.parent)


def _path(target: pathlib.Path) -> pathlib.Path:
    return target.with_name(target.name + SUFFIX)
