"""Finished runs that several test files read: each is made once in a session, for all processes that test.

A test gets a copy of the working directory, which it may write into.
"""

import dataclasses
import fcntl
import pathlib
import shutil

from support import command

EPISODES = {  # of `pirig eval`, by what a run is called here
    "scripted": ("--suite", "libero_object", "--policy", "scripted", "--task-ids", "0", "2", "--trials", "0", "1"),
}


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    folder: pathlib.Path  # the working directory
    name: str  # that `pirig eval` gave it
    ended: command.Ended

    @property
    def directory(self) -> pathlib.Path:
        return self.folder / "results/libero/runs" / self.name


def copy(kind: str, shared: pathlib.Path, folder: pathlib.Path) -> FinishedRun:
    """Copies the run's working directory into `folder`, which may be there. `shared`: a folder of this session."""
    shared.mkdir(exist_ok=True)
    with (shared / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / kind).exists():
            unfinished = shared / f"{kind}.part"
            shutil.rmtree(unfinished, ignore_errors=True)  # of an attempt that failed
            unfinished.mkdir()
            ended = command.run(unfinished, "eval", *EPISODES[kind], "--video", "none", "--workers", "2")
            assert ended.code == 0, ended.err
            (unfinished / "stdout").write_text(ended.out)
            (unfinished / "stderr").write_text(ended.err)
            unfinished.rename(shared / kind)
    shutil.copytree(shared / kind, folder, dirs_exist_ok=True)
    (directory,) = (folder / "results/libero/runs").iterdir()
    ended = command.Ended(0, *((folder / name).read_text() for name in ("stdout", "stderr")))
    return FinishedRun(folder, directory.name, ended)
