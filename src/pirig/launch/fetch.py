"""Download files to this machine, with a progress bar."""

import pathlib

from pirig import envvars
from pirig.checkpoints import download
from pirig.checkpoints.address import Hub
from pirig.launch.preparation_progress import DownloadProgress


def bring(
    url: str, *, home: pathlib.Path | None = None, offline: bool = False, check_contents: bool = False
) -> pathlib.Path:
    """Return the local path of what `url` names, and download it if it is missing. Raises ConfigError and
    StartError.
    """
    place = (home or envvars.data_home()).expanduser().absolute()
    with DownloadProgress() as progress:
        return download.fetch(
            url,
            place,
            offline=offline or is_offline(),
            progress=progress.show,
            check_contents=check_contents,
            hub=hub(),
        )


def hub() -> Hub:
    """Return the Hugging Face server and its key, as the environment variables name them."""
    return Hub(envvars.get("HF_ENDPOINT", Hub.endpoint), envvars.get("HF_TOKEN").strip())


def is_offline() -> bool:
    """Whether an environment variable forbids downloads."""
    words = {envvars.get(name).lower() for name in ("PIRIG_OFFLINE", "HF_HUB_OFFLINE")}
    return bool(words & {"1", "true", "yes", "on"})
