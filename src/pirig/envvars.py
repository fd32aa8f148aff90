"""Read environment variables. This module has the table of all that pirig knows, and alone accesses `os.environ`.

Order of precedence everywhere: flag, environment variable, recipe, default.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping

from pirig.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Variable:
    name: str
    meaning: str


TABLE = (
    Variable(
        "PIRIG_LIBERO_ASSETS", "folder with LIBERO's meshes and textures, instead of the installed asset packages"
    ),
    Variable("PIRIG_CACHE", "folder for compiled code and generated files; default ~/.cache/pirig"),
    Variable("MUJOCO_GL", "egl, osmesa or glx; chosen by itself where unset"),
    Variable("MUJOCO_EGL_DEVICE_ID", "index of the EGL device to render on; read by robosuite"),
    Variable("CUDA_VISIBLE_DEVICES", "GPUs that may be used, by index or UUID; schedulers set it"),
    Variable("OPENPI_DATA_HOME", "folder for downloaded checkpoints and the tokenizer; default ~/.cache/openpi"),
    Variable("PIRIG_OFFLINE", "1: nothing is downloaded; only what is in the cache is used"),
    Variable("HF_HUB_OFFLINE", "1: the same as PIRIG_OFFLINE; Hugging Face's own name"),
    Variable("HF_ENDPOINT", "server for hf:// addresses; default https://huggingface.co"),
    Variable("HF_TOKEN", "key for hf:// repositories that ask for one; sent to HF_ENDPOINT only"),
    Variable("GOOGLE_BASE_URL", "server for gs:// addresses, instead of Google's; read by obstore"),
    Variable("PIRIG_REVISION", "what the source is, for manifests; images have it, elsewhere git is asked"),
    Variable("PIRIG_IMAGE", "id of the container image that this runs in, for manifests; scripts/stack.sh passes it"),
    Variable("PIRIG_DEBUG", "1: errors come with their traceback, as with --debug"),
    Variable("PIRIG_API_KEY", "key that clients of `pirig serve` must send, and that our client sends"),
)
_NAMES = frozenset(v.name for v in TABLE)


def get(name: str, default: str = "") -> str:
    """Return the value of a variable in TABLE; an empty one counts as unset. Raises KeyError for a name not in
    TABLE.
    """
    if name not in _NAMES:
        raise KeyError(f"{name} is not in envvars.TABLE")
    return os.environ.get(name) or default


def starting_with(prefix: str) -> dict[str, str]:
    """Return the variables of a family that is too large for TABLE, such as `OPENPI_DUQUANT_`. Empty ones count as
    unset.
    """
    return {name: value for name, value in os.environ.items() if name.startswith(prefix) and value}


def export(values: Mapping[str, str], *, override: bool = True) -> None:
    """Set variables for libraries that read them at import (MUJOCO_GL, OMP_NUM_THREADS, …), in this process."""
    for name, value in values.items():
        if override or name not in os.environ:
            os.environ[name] = value


def snapshot(names: Iterable[str]) -> dict[str, str | None]:
    """Return the present values, for `restore`. None means unset."""
    return {name: os.environ.get(name) for name in names}


def restore(values: Mapping[str, str | None]) -> None:
    """Set variables in this process, and for the processes that it starts."""
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def cache_dir() -> pathlib.Path:
    """Return the folder where pirig may write outside a run's own folders. It is not created here."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _folder("PIRIG_CACHE", os.path.join(base, "pirig"))


def data_home() -> pathlib.Path:
    """Return the folder of downloaded checkpoints and the tokenizer, shared with openpi. It is not created here."""
    return _folder("OPENPI_DATA_HOME", "~/.cache/openpi")


def _folder(name: str, default: str) -> pathlib.Path:
    path = get(name, default)
    try:
        return pathlib.Path(path).expanduser().absolute()
    except (RuntimeError, OSError) as e:
        raise ConfigError(f"{name}={get(name)}: there is no {path}: {e}; set {name} to a folder") from e
