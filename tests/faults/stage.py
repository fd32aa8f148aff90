"""Where a fault strikes: a process comes to a phase, says so, and waits to be struck, or does by itself what is asked.

Told through files in a folder, since processes die here.

    cue.json    who is to do what, in which phase
    claimed     somebody has taken it; the others, and those that come after a death, pass
    reached     the id of the process that waits
    released    it need not wait any longer
"""

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import time

_LOOK_EVERY_S = 0.005
_arrivals: collections.Counter[tuple[str, str]] = collections.Counter()  # of this process


@dataclasses.dataclass(frozen=True)
class Cue:
    role: str  # worker, policy host, coordinator
    phase: str  # set-up, episode, writing
    act: str = "wait"
    skip: int = 0  # arrivals of a process that pass first
    always: bool = False  # every later arrival too, in every process


@dataclasses.dataclass(frozen=True)
class Stage:
    folder: pathlib.Path
    cue: Cue | None

    @classmethod
    def set(cls, folder: pathlib.Path, cue: Cue | None) -> "Stage":
        folder.mkdir()
        (folder / "cue.json").write_text(json.dumps(dataclasses.asdict(cue) if cue else None))
        return cls(folder, cue)

    @classmethod
    def read(cls, folder: str) -> "Stage":
        said = json.loads((pathlib.Path(folder) / "cue.json").read_text())
        return cls(pathlib.Path(folder), Cue(**said) if said else None)

    def arrive(self, role: str, phase: str) -> str:
        """What this process is to do now; empty: nothing, or nothing any more."""
        if not self.is_due(role, phase):
            return ""
        if self.cue.act == "wait":
            self.wait()
            return ""
        return self.cue.act

    def is_due(self, role: str, phase: str) -> bool:
        """Asked once for each arrival; whoever hears yes has taken the cue."""
        if self.cue is None or (role, phase) != (self.cue.role, self.cue.phase):
            return False
        _arrivals[role, phase] += 1
        if _arrivals[role, phase] <= self.cue.skip:
            return False
        try:
            os.close(os.open(self.folder / "claimed", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return self.cue.always
        self._say_where()
        return True

    def wait(self) -> None:
        while not (self.folder / "released").exists():
            time.sleep(_LOOK_EVERY_S)

    def release(self) -> None:
        (self.folder / "released").touch()

    def reached(self) -> int | None:
        """The process that has taken the cue; None: nobody yet."""
        with contextlib.suppress(OSError):
            return int((self.folder / "reached").read_text())
        return None

    def _say_where(self) -> None:
        partial = self.folder / f"reached.{os.getpid()}"
        partial.write_text(str(os.getpid()))
        partial.rename(self.folder / "reached")
