"""Load LIBERO into this process without questions on stdin, downloads, torch, or files outside our cache.

`boot` must run before anything imports mujoco, robosuite or libero, because they read the GL back end and their
folders at import. A process has one back end: a second call must request the same settings.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import importlib.util
import json
import logging
import pathlib
import sys
import types
from collections.abc import Generator
from typing import Any

from pirig import envvars
from pirig.errors import MissingResource, StartError
from pirig.files import write_atomically
from pirig.sim import suites
from pirig.sim.drawing import gl


@dataclasses.dataclass(frozen=True)
class Settings:
    """`Settings` holds what a simulator process must know before it imports MuJoCo."""

    gl: str  # one of `gl.BACKENDS`
    assets: pathlib.Path
    cache: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Libero:
    """`Libero` holds the parts of LIBERO and robosuite from which an environment is built."""

    make: Any  # libero.libero.envs.OffScreenRenderEnv
    MujocoEnv: Any  # robosuite.environments.base.MujocoEnv, the base class of every problem
    RandomizationError: type[Exception]
    versions: dict[str, str]


PROCESS_VARIABLES = {
    "OMP_NUM_THREADS": "1",  # a simulator uses one core; more threads would only compete with the other workers
    "OPENBLAS_NUM_THREADS": "1",
    "LP_NUM_THREADS": "0",  # llvmpipe: rasterise in the calling thread
}
"""Variables of simulator processes. The parent must set the thread limits, because NumPy reads them at import."""

_UNUSED = ("matplotlib", "matplotlib.cm", "cv2", "gymnasium", "cloudpickle")
"""Packages that are imported by modules of LIBERO and that an environment never uses."""

_booted: tuple[Settings, Libero] | None = None


def boot(settings: Settings) -> Libero:
    """Load LIBERO with these settings, or return it if it is loaded already.

    Raises StartError if this process already runs a simulator with other settings, or if MuJoCo was imported before.
    """
    global _booted
    if _booted is not None:
        if _booted[0] != settings:
            raise StartError(f"this process already runs LIBERO with {_booted[0]}; {settings} needs a new process")
        return _booted[1]
    if "mujoco" in sys.modules:
        raise StartError("mujoco was imported before the simulator chose its GL back end; start a new process")
    numba_cache = settings.cache / "numba"
    try:
        numba_cache.mkdir(parents=True, exist_ok=True)
        configured = _config_folder(settings)
    except OSError as e:
        raise MissingResource(
            f"cannot write to {settings.cache}: {e.strerror}; name another folder in PIRIG_CACHE"
        ) from e
    envvars.export(
        {
            **PROCESS_VARIABLES,
            "MUJOCO_GL": settings.gl,
            "PYOPENGL_PLATFORM": settings.gl,
            "NUMBA_CACHE_DIR": str(numba_cache),
            "LIBERO_CONFIG_PATH": str(configured),
        }
    )
    if settings.gl == "egl":
        envvars.export({"MUJOCO_EGL_DEVICE_ID": "0"}, override=False)
        # robosuite would read this variable as EGL device numbers, and only other processes use CUDA
        if envvars.get("CUDA_VISIBLE_DEVICES"):
            envvars.export({"CUDA_VISIBLE_DEVICES": ""})
    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)  # silences "No private macro file found!"
    with _placeholders():
        inner = importlib.import_module("libero.libero")
        inner._assets_path_cache = str(settings.assets)  # LIBERO reads it before it downloads anything
        try:
            envs = importlib.import_module("libero.libero.envs")
        except RuntimeError as e:  # from mujoco.egl and mujoco.osmesa, whose import opens a device
            raise MissingResource(f"MuJoCo cannot render with {settings.gl}: {e} {gl.REMEDY}") from e
    base = importlib.import_module("robosuite.environments.base")
    errors = importlib.import_module("robosuite.utils.errors")
    versions = {name: importlib.import_module(name).__version__ for name in ("mujoco", "robosuite", "numpy", "numba")}
    _booted = settings, Libero(envs.OffScreenRenderEnv, base.MujocoEnv, errors.RandomizationError, versions)
    return _booted[1]


def _config_folder(settings: Settings) -> pathlib.Path:
    """Write LIBERO's configuration file, and return its folder.

    LIBERO reads its folders from this file, which it would otherwise create by asking on stdin.
    """
    root = suites.package_folder()
    config = json.dumps(  # JSON is valid YAML
        {
            "benchmark_root": str(root),
            "bddl_files": str(root / "bddl_files"),
            "init_states": str(root / "init_files"),
            "datasets": str(settings.cache / "libero" / "datasets"),
            "assets": str(settings.assets),
        }
    )
    folder = settings.cache / "libero" / hashlib.sha256(config.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "config.yaml", config, sync=False)  # concurrent workers must each read a complete file
    return folder


@contextlib.contextmanager
def _placeholders() -> Generator[None]:
    """Let `import cv2` and similar imports succeed while LIBERO loads, if the package is not installed."""
    made = [name for name in _UNUSED if not _installed(name)]
    for name in made:
        sys.modules[name] = _Placeholder(name)
        sys.modules[name].__path__ = []  # so that it can have submodules
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]


class _Placeholder(types.ModuleType):
    """A `_Placeholder` module has every attribute, each as an empty class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def _installed(name: str) -> bool:
    with contextlib.suppress(ImportError):
        return importlib.util.find_spec(name) is not None
    return False
