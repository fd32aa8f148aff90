"""Describe the LIBERO suites as data: names, step limits, tasks, initial states.

It imports no simulator. Task lists, problem files and initial states are read from the installed `libero` package
without importing it, because its import writes into the user's home folder, asks a question, and needs torch.
"""

import dataclasses
import functools
import importlib.util
import io
import pathlib
import pickle
import zipfile
from collections.abc import Mapping

import numpy as np

from pirig.errors import ConfigError, DamagedFile, MissingExtra
from pirig.text import unknown
from pirig.types import EpisodeSpec, Rules

MAX_STEPS: Mapping[str, int] = {  # openpi examples/libero/main.py: slightly more than the longest demonstration
    "libero_spatial": 220,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
    "libero_90": 400,
}
STANDARD_SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
SETTLE_ACTION = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0)  # no motion, gripper open


@dataclasses.dataclass(frozen=True)
class Task:
    suite: str
    task_id: int
    name: str  # file name of the problem, without extension
    language: str  # the prompt

    @property
    def problem_file(self) -> pathlib.Path:
        return package_folder() / "bddl_files" / self.suite / f"{self.name}.bddl"

    @property
    def states_file(self) -> pathlib.Path:
        return package_folder() / "init_files" / self.suite / f"{self.name}.pruned_init"


def rules(suite: str, *, replan_steps: int = 5, settle_steps: int = 10) -> Rules:
    """Return the rules of a suite.

    Raises ConfigError for an unknown suite.
    """
    check_suite(suite)
    return Rules(MAX_STEPS[suite], SETTLE_ACTION, settle_steps, replan_steps)


def check_suite(suite: str) -> None:
    if suite not in MAX_STEPS:
        raise ConfigError(unknown("suite", suite, MAX_STEPS))


@functools.cache
def tasks(suite: str) -> tuple[Task, ...]:
    """Return the tasks of a suite in LIBERO's order (task order index 0).

    Raises ConfigError for an unknown suite.
    """
    check_suite(suite)
    return tuple(Task(suite, i, name, _language(name)) for i, name in enumerate(_task_map()[suite]))


def task(suite: str, task_id: int) -> Task:
    """Return one task of a suite.

    Raises ConfigError for an unknown suite or task.
    """
    of_suite = tasks(suite)
    if not 0 <= task_id < len(of_suite):
        raise ConfigError(f"{suite} has no task {task_id}; its tasks are 0 to {len(of_suite) - 1}")
    return of_suite[task_id]


@functools.lru_cache(maxsize=4)
def initial_states(of: Task) -> np.ndarray:
    """Return the initial states of a task, float64[50, 1 + nq + nv], read-only: time, qpos, qvel of each trial."""
    states = _read_states(of.states_file)
    states.flags.writeable = False
    return states


def initial_state(spec: EpisodeSpec) -> np.ndarray:
    """Return the initial state of an episode.

    Raises ConfigError for a trial that has no initial state.
    """
    states = initial_states(task(spec.suite, spec.task_id))
    if not 0 <= spec.trial < len(states):
        raise ConfigError(
            f"{spec.suite} task {spec.task_id} has no trial {spec.trial}; "
            f"it has {len(states)} initial states (0 to {len(states) - 1})"
        )
    return states[spec.trial]


@functools.cache
def package_folder() -> pathlib.Path:
    """Return the folder of the inner `libero.libero` package.

    Raises MissingExtra if it is not installed.
    """
    found = importlib.util.find_spec("libero")
    if found is None or not found.submodule_search_locations:
        raise MissingExtra("libero", "libero")
    return pathlib.Path(found.submodule_search_locations[0]) / "libero"


@functools.cache
def _task_map() -> dict[str, list[str]]:
    """Return LIBERO's own table of tasks, a file of plain data, which is loaded without its package."""
    path = package_folder() / "benchmark" / "libero_suite_task_map.py"
    found = importlib.util.spec_from_file_location("_libero_suite_task_map", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.libero_task_map


def _language(name: str) -> str:
    """Return the prompt of a task.

    File names of LIBERO-100 start with a scene, e.g. KITCHEN_SCENE10_close_the_top_drawer; the rest is the prompt.
    """
    words = name.split("_")
    if name[0].isupper():
        scene = next(i for i, word in enumerate(words) if word.startswith("SCENE"))
        words = words[scene + 1 :]
    return " ".join(words)


def _read_states(path: pathlib.Path) -> np.ndarray:
    """Read the initial states of a task.

    The files are torch archives: each is a zip file with one plain NumPy pickle, so torch is not needed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = next((name for name in archive.namelist() if name.endswith("/data.pkl")), "data.pkl")
            states = _ArrayUnpickler(io.BytesIO(archive.read(member))).load()
    except Exception as e:  # a damaged pickle can raise any exception
        raise DamagedFile(f"{path} cannot be read: {e}; install hf-libero again") from e
    if not isinstance(states, np.ndarray) or states.ndim != 2 or states.dtype != np.float64:
        raise DamagedFile(f"{path} holds no float64[trials, state]; install hf-libero again")
    return states


class _ArrayUnpickler(pickle.Unpickler):
    """An `_ArrayUnpickler` builds NumPy arrays and nothing else, so that a file cannot run code."""

    _ALLOWED = frozenset(
        {("multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
    )

    def find_class(self, module: str, name: str) -> object:
        module = module.replace("numpy.core", "numpy._core")
        if (module.removeprefix("numpy._core."), name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"an initial-states file must not load {module}.{name}")
        return super().find_class(module, name)
