"""What a worker tells whoever started its process, here or on another machine: that it is ready, or why it is not."""

import os
import traceback
from typing import Any

from pirig.errors import PirigError
from pirig.interfaces import Worker, WorkerFactory
from pirig.types import EpisodeResult, Job, Video


def start(make_worker: WorkerFactory, index: int) -> tuple[Worker | None, tuple[str, Any]]:
    """The worker, and ("ready", its description); or none, and ("failed", reason)."""
    try:
        worker = make_worker(index)
    except PirigError as error:
        return None, ("failed", str(error))
    except Exception:
        return None, ("failed", f"worker {index} could not start:\n{traceback.format_exc()}")
    return worker, ("ready", dict(worker.description))


def resident(process: int | str = "self") -> int:
    """Resident memory [bytes] of the process with this id; 0 where it has ended."""
    try:
        with open(f"/proc/{process}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def lost(job: Job, why: str) -> EpisodeResult | Video:
    """What comes of a job whose worker has died."""
    if isinstance(job, EpisodeResult):
        return Video(job.spec, "", error=why)
    return EpisodeResult(job, "error", 0, 0, error=why)
