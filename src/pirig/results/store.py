"""Store one run on disk; these files are the only state of a run.

    manifest.json    what the run is (its configuration) and what was recorded about it
    episodes.jsonl   one line per result, in order of completion

Law 1: A result is on disk when `append` returns.
Law 2: The file stays readable however the writer is killed; a last line that was cut short counts as never written.
Law 3: Damage anywhere else is an error and is never skipped; each line has a checksum (`lines.py`).
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Generator, Iterator
from typing import IO, Any

from pirig.errors import ConfigError, DamagedFile, UnusableResource
from pirig.files import write_atomically
from pirig.results import lines, plans
from pirig.types import EpisodeResult, EpisodeSpec

FORMAT = 2
_MANIFEST = {"configuration": dict, "planned": int, "complete": bool, "stopping": dict, "sessions": list, "plan": list}
Configuration = dict[str, Any]
"""Plain JSON with what determines the results of a run's episodes; worker counts and the like are not in it."""


def run_id(configuration: Configuration) -> str:
    """Return a run's name, derived from its configuration, e.g. `libero_object-scripted-1a2b3c4d`.

    The name is safe as a folder name.
    """
    canonical = json.dumps(configuration, sort_keys=True).encode()
    words = (str(configuration.get(key, "")) for key in ("suite", "policy"))
    readable = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", word).strip("_")[-40:] for word in words if word)
    return f"{readable}-{hashlib.blake2b(canonical, digest_size=4).hexdigest()}"


def differing_fields(a: Configuration, b: Configuration) -> list[tuple[str, Any, Any]]:
    """Return the name, the value in `a` and the value in `b` of each field that differs, sorted by name.

    The value of a missing field is None.
    """
    return [(name, a.get(name), b.get(name)) for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]


class RunStore:
    """A `RunStore` holds one run on disk and implements `interfaces.ResultStore`.

    Create it with `open` (one writer at a time) or `read`.
    """

    def __init__(self, directory: pathlib.Path, manifest: dict[str, Any], lock: IO[bytes] | None = None):
        self.directory, self.manifest, self._lock = directory, manifest, lock

    @classmethod
    def open(cls, directory: str | os.PathLike, configuration: Configuration, *, fresh: bool = False) -> "RunStore":
        """Start a run, or continue it.

        `fresh` first renames an earlier run of that name.

        Raises ConfigError if the folder cannot be written, if another process is writing it, or if it holds a run of
        another configuration.
        """
        directory = pathlib.Path(directory)
        try:
            if fresh and directory.exists():
                _set_aside(directory)
            directory.mkdir(parents=True, exist_ok=True)
            lock = (directory / "lock").open("ab")
        except OSError as e:
            raise UnusableResource(
                f"cannot write results to {directory}: {e.strerror}; choose a folder with --results"
            ) from e
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            lock.close()
            raise ConfigError(
                f"another process is writing run {directory.name}; wait for it, or name another --run"
            ) from e
        try:
            if (directory / "manifest.json").exists():
                manifest = _read_manifest(directory)
                refuse_mixture(directory, manifest["configuration"], configuration)
            else:
                manifest = {"format": FORMAT, "configuration": configuration}
                with _disk(directory / "manifest.json"):
                    _write_json(directory / "manifest.json", manifest)
            _close_cut_line(directory / "episodes.jsonl")
        except BaseException:
            lock.close()
            raise
        return cls(directory, manifest, lock)

    @classmethod
    def read(cls, directory: str | os.PathLike) -> "RunStore":
        """Open a run for reading only.

        Raises ConfigError if there is no run, naming the runs in the same parent folder.
        """
        directory = pathlib.Path(directory)
        if not _is_file(directory / "manifest.json"):
            beside = sorted(path.parent.name for path in directory.parent.glob("*/manifest.json"))
            there = (
                f"there are: {', '.join(beside)}" if beside else "there are no runs beside it; pirig eval makes some"
            )
            raise ConfigError(f"no run in {directory}; {there}")
        return cls(directory, _read_manifest(directory))

    @property
    def configuration(self) -> Configuration:
        return self.manifest["configuration"]

    def append(self, result: EpisodeResult) -> None:
        """Append a result, which is on disk when this returns.

        Raises ConfigError if it cannot be written.
        """
        path = self.directory / "episodes.jsonl"
        with _disk(path), path.open("ab") as file:
            file.write(lines.line(result))
            file.flush()
            os.fsync(file.fileno())

    def results(self) -> Iterator[EpisodeResult]:
        """Yield one result per episode, in order of first completion.

        The latest result counts, except that an error never replaces a success or failure.
        """
        latest: dict[EpisodeSpec, EpisodeResult] = {}
        for result in self._lines():
            known = latest.get(result.spec)
            if known is None or known.status == "error" or result.status != "error":
                latest[result.spec] = result
        yield from latest.values()

    def scored(self) -> dict[EpisodeSpec, EpisodeResult]:
        """Return the successes and failures by episode; these episodes need not run again."""
        return {result.spec: result for result in self.results() if result.status != "error"}

    def count(self) -> int:
        """Return the number of results that were appended so far, repetitions included."""
        return sum(1 for line in self._split() if line)

    def appended_after(self, count: int) -> list[EpisodeResult]:
        """Return the results that were appended after the first `count`."""
        return list(self._lines())[count:]

    def note(self, **fields: Any) -> None:
        """Add plain JSON fields to the manifest, which are on disk when this returns.

        Raises ConfigError if they cannot be written.
        """
        self.manifest |= fields
        path = self.directory / "manifest.json"
        with _disk(path):
            _write_json(path, self.manifest)

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()  # releases the lock

    def __enter__(self) -> "RunStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lines(self) -> Iterator[bytes]:
        """Return the lines as they are in the file, each with its newline."""
        return (line + b"\n" for line in self._split())

    def _split(self) -> list[bytes]:
        path = self.directory / "episodes.jsonl"
        try:
            return path.read_bytes().split(b"\n")[:-1] if path.exists() else []  # drops a line that was cut short
        except OSError as e:
            raise UnusableResource(
                f"cannot read {path}: {e.strerror or e}; nothing was lost: remove the cause, then give the same "
                "command again"
            ) from e

    def _lines(self) -> Iterator[EpisodeResult]:
        path = self.directory / "episodes.jsonl"
        for number, line in enumerate(self._split(), start=1):
            if not line:
                continue  # the rest of a cut line that `open` removed
            try:
                yield lines.read(line)
            except lines.DAMAGE as e:
                said = f"{type(e).__name__}: {e}"
                raise DamagedFile(f"{path}, line {number} is damaged ({said}); restore the file, or use --fresh") from e


@contextlib.contextmanager
def _disk(path: pathlib.Path) -> Generator[None]:
    try:
        yield
    except OSError as e:
        raise UnusableResource(
            f"cannot write {path}: {e.strerror or e}; what was finished before is kept: mend that, and the same "
            "command goes on"
        ) from e


def _read_manifest(directory: pathlib.Path) -> dict[str, Any]:
    path = directory / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
        found = manifest["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise DamagedFile(f"{path} is damaged: {e}; restore it, or use --fresh") from e
    if found != FORMAT:
        raise ConfigError(f"{path} has format {found}, this pirig reads format {FORMAT}; use the version that wrote it")
    for name, kind in _MANIFEST.items():
        value = manifest.get(name)
        if not isinstance(value, kind) and (value is not None or name == "configuration"):
            raise DamagedFile(f"{path} is damaged: {name} is {value!r:.80}; restore it, or use --fresh")
    if not plans.is_plan(manifest.get("plan", [])):
        raise DamagedFile(f"{path} is damaged: plan is {manifest['plan']!r:.80}; restore it, or use --fresh")
    return manifest


def _is_file(path: pathlib.Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # not a valid file name
        return False


def refuse_mixture(directory: pathlib.Path, theirs: Configuration, ours: Configuration) -> None:
    """Raise ConfigError if a run was made with another configuration than ours, naming the fields."""
    differing = [f"{name}: the run has {a!r}, this command {b!r}" for name, a, b in differing_fields(theirs, ours)]
    if differing:
        raise ConfigError(
            f"run {directory.name} was made with another configuration:\n  "
            + "\n  ".join(differing)
            + "\nName another --run, or start over with --fresh (the old run is kept beside it)."
        )


def _set_aside(directory: pathlib.Path) -> None:
    number = 1
    while (aside := directory.with_name(f"{directory.name}.replaced-{number}")).exists():
        number += 1
    directory.rename(aside)


def _close_cut_line(path: pathlib.Path) -> None:
    """Remove what a crash left of the last line, so that the next line is not joined to it."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        os.fsync(file.fileno())


def _write_json(path: pathlib.Path, value: Any) -> None:
    write_atomically(path, json.dumps(value, indent=1, sort_keys=False) + "\n")
