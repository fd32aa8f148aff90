"""Brings files to this machine, with a progress bar."""

import pathlib

from pirig import envvars
from pirig.checkpoints import download
from pirig.launch.preparation_progress import DownloadProgress


def bring(
    url: str, *, home: pathlib.Path | None = None, offline: bool = False, check_contents: bool = False
) -> pathlib.Path:
    """The local path of what `url` names, downloaded where it is not there yet. Raises ConfigError and StartError."""
    place = (home or envvars.data_home()).expanduser().absolute()
    with DownloadProgress() as progress:
        return download.fetch(
            url, place, offline=offline or is_offline(), progress=progress.show, check_contents=check_contents
        )


def is_offline() -> bool:
    """Whether a variable forbids downloads."""
    words = {envvars.get(name).lower() for name in ("PIRIG_OFFLINE", "HF_HUB_OFFLINE")}
    return bool(words & {"1", "true", "yes", "on"})
