"""Record which parts of a download have arrived, one JSON line per event, so that a killed download can resume.

    {"file": …, "size": …, "tag": …, "checksum": …, "part_bytes": …}    the file starts, or starts again
    {"file": …, "part": 3}                                              part 3 is on disk
    {"file": …, "sha256": …}                                            the file is complete and verified

Law 1: A line is written after the data that it describes has reached the disk.
Law 2: If a file's first line differs from the remote's current values (the remote changed), its parts are discarded.
Law 3: A truncated last line is ignored, and so are a damaged line and all lines after it.
"""

import dataclasses
import json
import os
import pathlib
from typing import Any


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A file as its server lists it."""

    name: str  # path inside the folder; "." if the URL names a file
    url: str  # for messages
    key: str  # in its store
    size: int  # [byte]
    tag: str  # changes when the content changes; "" if the server gives none
    checksum: str  # md5:…, sha256:… or git-sha1:…; "" if the server gives none


@dataclasses.dataclass
class _State:
    head: dict[str, Any]
    parts: set[int] = dataclasses.field(default_factory=set)
    sha256: str = ""


class Journal:
    """The journal of a download. `folder` holds the journal and, under `data`, the files.

    Only one process may write to it. Nothing is created before `begin`.
    """

    def __init__(self, folder: pathlib.Path, part_bytes: int):
        self.folder, self.part_bytes = folder, part_bytes
        self._path = folder / "journal.jsonl"
        self._states: dict[str, _State] = {}
        self._good_bytes = 0
        if self._path.exists():
            self._read()

    def place(self, file: RemoteFile) -> pathlib.Path:
        return self.folder / "data" / file.name

    def parts(self, file: RemoteFile) -> range:
        return range(-(-file.size // self.part_bytes))

    def length(self, file: RemoteFile, part: int) -> int:
        """Return the length of a part [byte]."""
        return min(self.part_bytes, file.size - part * self.part_bytes)

    def finished(self, file: RemoteFile) -> set[int]:
        """Return the parts that are on disk. There are none if the remote changed or the local file is missing."""
        return set(self._states[file.name].parts) if self._known(file) else set()

    def finished_bytes(self, file: RemoteFile) -> int:
        return sum(self.length(file, part) for part in self.finished(file))

    def sha256(self, file: RemoteFile) -> str:
        """Return the SHA-256 of a file that is complete and verified, otherwise ""."""
        return self._states[file.name].sha256 if self._known(file) else ""

    def begin(self, file: RemoteFile, *, anew: bool = False) -> None:
        """Resume a file, or start it if nothing of it has arrived. With `anew`, start it in any case."""
        if self._known(file) and not anew:
            return
        path = self.place(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as data:
            data.truncate(file.size)
        self._append(file, self._head(file))

    def finish(self, file: RemoteFile, part: int) -> None:
        self._append(file, {"part": part})

    def check(self, file: RemoteFile, sha256: str) -> None:
        self._append(file, {"sha256": sha256})

    def _head(self, file: RemoteFile) -> dict[str, Any]:
        return {"size": file.size, "tag": file.tag, "checksum": file.checksum, "part_bytes": self.part_bytes}

    def _known(self, file: RemoteFile) -> bool:
        state, path = self._states.get(file.name), self.place(file)
        return state is not None and state.head == self._head(file) and path.is_file() and _size(path) == file.size

    def _append(self, file: RemoteFile, event: dict[str, Any]) -> None:
        with self._path.open("r+b" if self._path.exists() else "wb") as journal:
            journal.truncate(self._good_bytes)  # removes an incomplete line
            journal.seek(self._good_bytes)
            journal.write(json.dumps({"file": file.name, **event}).encode() + b"\n")
            journal.flush()
            os.fdatasync(journal.fileno())
            self._good_bytes = journal.tell()
        self._apply(file.name, event)

    def _read(self) -> None:
        for line in self._path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                return
            try:
                event = json.loads(line)
                self._apply(event.pop("file"), event)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                return
            self._good_bytes += len(line)

    def _apply(self, name: str, event: dict[str, Any]) -> None:
        if "part" in event:
            self._states[name].parts.add(event["part"])
        elif "sha256" in event:
            self._states[name].sha256 = event["sha256"]
        else:
            self._states[name] = _State(event)


def _size(path: pathlib.Path) -> int:
    return path.stat().st_size
