"""What a complete download consists of: TARGET.pirig.json beside it, and whether the cache still is that.

Law: a record whose `complete` is false was being put in place when something stopped it; sizes prove nothing then, and
contents are read.
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
    tag: str  # as journal.RemoteFile
    checksum: str
    sha256: str  # our own, of what is on disk


@dataclasses.dataclass(frozen=True)
class Record:
    url: str
    files: Mapping[str, Entry]  # path inside the folder; "." where the download is a file
    complete: bool


def verify(target: pathlib.Path) -> tuple[str, ...]:
    """Reads every file of a download. Returns those that are missing or not what was fetched.

    Raises ConfigError where there is no record to compare with.
    """
    record = read(target)
    if record is None:
        raise ConfigError(
            f"{target} has no {target.name}{SUFFIX} beside it to compare with; expected a download of pirig's; "
            "`pirig checkpoint fetch URL --verify` compares it with its source"
        )
    return damaged(target, record, contents=True)


def damaged(target: pathlib.Path, record: Record, *, contents: bool) -> tuple[str, ...]:
    """Files that are missing or have another size or, if `contents`, another SHA-256. Others do not count."""
    return tuple(name for name, entry in record.files.items() if not _good(target / name, entry, contents))


def _good(path: pathlib.Path, entry: Entry, contents: bool) -> bool:
    if not path.is_file() or path.stat().st_size != entry.size:
        return False
    return not contents or digests(path, "")[0] == entry.sha256


def read(target: pathlib.Path) -> Record | None:
    """None where there is none. One that cannot be read knows no files and is not complete."""
    try:
        found = json.loads(_path(target).read_text())
        files = {name: Entry(**entry) for name, entry in found["files"].items()}
        return Record(found["url"], files, found["complete"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Record("", {}, False)


def write(target: pathlib.Path, record: Record) -> None:
    """On disk when this returns."""
    path = _path(target)
    write_atomically(path, json.dumps(dataclasses.asdict(record), indent=1), has_one_writer=True)
    sync_folder(path.parent)


def _path(target: pathlib.Path) -> pathlib.Path:
    return target.with_name(target.name + SUFFIX)
