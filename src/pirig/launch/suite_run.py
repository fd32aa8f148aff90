"""Open and export one suite's run.

Law 1: A run's folder, CSV, JSON and page do not depend on the other suites of the command.
"""

import contextlib
import dataclasses
import importlib.metadata
import logging
import pathlib
import tempfile
from collections.abc import Generator, Mapping, Sequence

from pirig.errors import ConfigError, ProtocolError, UnusableResource
from pirig.evaluation.worker import video_name, wants_video
from pirig.files import plain_json
from pirig.launch import exports, reports
from pirig.launch.observers import early_stop
from pirig.launch.policy import PolicySource
from pirig.launch.settings import Episodes, Paths, StopRule
from pirig.results import plans, runs
from pirig.results.statistics.tally import Tally, tally_by_task
from pirig.results.store import Configuration, RunStore, run_id
from pirig.sim import suites
from pirig.types import EpisodeResult, EpisodeSpec, Metadata, Rules

_log = logging.getLogger(__name__)
_PACKAGES = ("mujoco", "robosuite", "hf-libero", "numba")  # their versions affect episodes


@dataclasses.dataclass(frozen=True)
class Shared:
    """What all suites of one command share."""

    gl: str  # GL back end
    policy: PolicySource
    metadata: Metadata  # as the policy reports them
    episodes: Episodes
    paths: Paths
    stop: StopRule


@dataclasses.dataclass(frozen=True)
class SuiteRun:
    suite: str
    specs: Sequence[EpisodeSpec]  # planned
    order: Sequence[EpisodeSpec]  # in which they run; the declared one if the run may stop early
    rules: Rules
    store: RunStore
    paths: Paths
    early: early_stop.EarlyStop | None

    @property
    def name(self) -> str:
        return self.store.directory.name

    @property
    def videos(self) -> pathlib.Path:
        """Folder of the run's videos."""
        return self.paths.videos / self.name

    def scored(self) -> list[EpisodeResult]:
        """Results of planned episodes that need not run again."""
        planned = set(self.specs)
        return [result for spec, result in self.store.scored().items() if spec in planned]

    def lacks_video(self, result: EpisodeResult) -> bool:
        """Whether the result's video is wanted and does not exist."""
        return wants_video(result, self.paths.video) and not (self.videos / video_name(result)).exists()


@dataclasses.dataclass(frozen=True)
class SuiteOutcome:
    """What a command reports about a suite at its end."""

    suite: str
    by_task: Mapping[int, Tally]
    task_names: Mapping[int, str]
    total: Tally
    decided: str  # the verdict that ended the run before its plan was done; else empty
    csv: pathlib.Path
    page: pathlib.Path

    @property
    def is_complete(self) -> bool:
        """Whether all that was planned is scored, or the run was decided."""
        return self.total.complete or bool(self.decided)


@contextlib.contextmanager
def opened(suite: str, specs: Sequence[EpisodeSpec], shared: Shared) -> Generator[SuiteRun]:
    """Start a run or continue it. This process is its only writer while the block runs.

    Raises ConfigError if the folder cannot be written, or if the run has another configuration or declaration.
    """
    paths = shared.paths
    name, rules, configuration = named(suite, shared)
    directory = _writable(paths.results) / "runs" / name
    if paths.video != "none":
        _writable(paths.videos / name)
    test = early_stop.prepare(shared.stop, specs, configuration, directory, paths.results)
    with RunStore.open(directory, configuration, fresh=paths.fresh) as store:
        _log.info("run %s: %d episodes, results in %s", name, len(specs), directory)
        early = early_stop.declare(test, store) if test else None
        store.note(plan=plans.extended(store.manifest, specs, list(task_names(suite))))
        yield SuiteRun(suite, specs, early.order if early else specs, rules, store, paths, early)


def named(suite: str, shared: Shared) -> tuple[str, Rules, Configuration]:
    """Return name, rules and configuration of the run. Raises as `opened`; reads no folder."""
    episodes, run = shared.episodes, shared.paths.run
    rules = _rules(suite, shared.metadata, episodes)
    configuration = _configuration(suite, rules, shared)
    if not run:
        return run_id(configuration), rules, configuration
    ending = f"-{suite}" if episodes.task_suite_name == "all" else ""
    return run + ending, rules, configuration


def report(run: SuiteRun) -> SuiteOutcome:
    """Write the exports and the page, and return what to print."""
    csv, results, total = export(run)
    page = reports.write_run(run.store, run.paths.videos)
    decided = runs.decided(run.store.manifest)
    return SuiteOutcome(run.suite, tally_by_task(results, run.specs), task_names(run.suite), total, decided, csv, page)


def export(run: SuiteRun) -> tuple[pathlib.Path, list[EpisodeResult], Tally]:
    """Write CSV and JSON of the planned episodes. Return the CSV's path, its results, and the count."""
    csv_path, results, total = exports.write(run.store, run.specs, run.paths.results)
    run.store.note(planned=len(run.specs), complete=total.complete)
    return csv_path, results, total


def task_names(suite: str) -> dict[int, str]:
    return {task.task_id: task.language for task in suites.tasks(suite)}


def _rules(suite: str, metadata: Metadata, episodes: Episodes) -> Rules:
    asked = episodes.replan_steps
    replan_steps = asked if asked is not None else metadata.get("replan_steps", 5)
    if not isinstance(replan_steps, int):
        raise ProtocolError(f"the policy's metadata has replan_steps {replan_steps!r:.80}; expected a whole number")
    if replan_steps < 1:
        raise ConfigError(f"the policy's metadata has replan_steps {replan_steps}; at least 1 is needed")
    return suites.rules(suite, replan_steps=replan_steps, settle_steps=episodes.num_steps_wait)


def _configuration(suite: str, rules: Rules, shared: Shared) -> Configuration:
    """Return everything that can change what an episode is, and nothing else."""
    episodes = shared.episodes
    configuration = {
        "suite": suite,
        "policy": shared.policy.identity(shared.metadata),
        "policy_metadata": shared.metadata,
        "headless": shared.policy.is_headless,
        "seed": episodes.seed,
        "seeding": episodes.seeding,
        "max_steps": rules.max_policy_steps,
        "settle_steps": rules.settle_steps,
        "replan_steps": rules.replan_steps,
        "resize_size": episodes.resize_size,
        "gl": shared.gl,
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }
    return plain_json(configuration)


def _writable(folder: pathlib.Path) -> pathlib.Path:
    """Create the folder. Raises UnusableResource if nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as e:
        raise UnusableResource(f"cannot write to {folder}: {e.strerror}; choose another folder") from e
