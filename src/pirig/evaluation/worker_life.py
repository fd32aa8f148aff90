"""Start workers and report their state to the coordinator, on this machine or another one."""

import os
import traceback
from typing import Any

from pirig.errors import PirigError
from pirig.interfaces import Worker, WorkerFactory
from pirig.types import EpisodeResult, Job, Video


def start(make_worker: WorkerFactory, index: int) -> tuple[Worker | None, tuple[str, Any]]:
    """Make a worker. Return it and ("ready", its description), or None and ("failed", reason)."""
    try:
        worker = make_worker(index)
    except PirigError as error:
        return None, ("failed", str(error))
    except Exception:
        return None, ("failed", f"worker {index} could not start:\n{traceback.format_exc()}")
    return worker, ("ready", dict(worker.description))


def resident(process: int | str = "self") -> int:
    """Return the resident memory of the process with this id [bytes]; 0 if it has ended."""
    try:
        with open(f"/proc/{process}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def lost(job: Job, why: str) -> EpisodeResult | Video:
    """Return the outcome of a job whose worker has died: an error."""
    if isinstance(job, EpisodeResult):
        return Video(job.spec, "", error=why)
    return EpisodeResult(job, "error", 0, 0, error=why)
