"""One suite's run in a command: opened in its folder, and written out as if it were the only one.

Law: what a run's folder, its CSV, its JSON and its page hold does not depend on the other suites of the command.
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import logging
import pathlib
import tempfile
from collections.abc import Generator, Sequence

from pirig.cli import console, exports, pages, source, stopping
from pirig.cli.eval_args import EvalArgs
from pirig.errors import ConfigError, ProtocolError
from pirig.evaluation.worker import video_name, wants_video
from pirig.results import runs
from pirig.results.statistics.tally import Tally, tally_by_task
from pirig.results.store import Configuration, RunStore, run_id
from pirig.sim import suites
from pirig.types import EpisodeResult, EpisodeSpec, Metadata, Rules

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the suites of one command share."""

    gl: str
    policy: source.PolicySource
    metadata: Metadata
    flags: EvalArgs


@dataclasses.dataclass(frozen=True)
class SuiteRun:
    suite: str
    specs: Sequence[EpisodeSpec]  # planned
    order: Sequence[EpisodeSpec]  # in which they are run: the same, where nothing else was declared
    rules: Rules
    store: RunStore
    videos: pathlib.Path
    early: stopping.Stopping | None
    asked: Asked

    @property
    def name(self) -> str:
        return self.store.directory.name

    def finished(self) -> list[EpisodeResult]:
        """What of the plan is scored already."""
        planned = set(self.specs)
        return [result for result in self.store.results() if result.status != "error" and result.spec in planned]

    def lacks_video(self, result: EpisodeResult) -> bool:
        return wants_video(result, self.asked.flags.video) and not (self.videos / video_name(result)).exists()


@contextlib.contextmanager
def opened(suite: str, specs: Sequence[EpisodeSpec], asked: Asked) -> Generator[SuiteRun]:
    """Starts the run or goes on with it; this process is its writer while the block runs.

    Raises ConfigError where it can't be written, or where it was made or declared otherwise.
    """
    flags = asked.flags
    name, rules, configuration = named(suite, asked)
    directory = _writable(flags.results_out_path) / "runs" / name
    videos = flags.video_out_path / name
    if flags.video != "none":
        _writable(videos)
    test = stopping.prepare(flags, specs, configuration, directory)
    with RunStore.open(directory, configuration, fresh=flags.fresh) as store:
        _log.info("run %s: %d episodes, results in %s", name, len(specs), directory)
        early = stopping.declare(test, store) if test else None
        yield SuiteRun(suite, specs, early.order if early else specs, rules, store, videos, early, asked)


def named(suite: str, asked: Asked) -> tuple[str, Rules, Configuration]:
    """Name, rules and configuration of the run. Raises as `opened`; looks at no folder."""
    rules = _rules(suite, asked.metadata, asked.flags)
    configuration = _configuration(suite, rules, asked)
    if not asked.flags.run:
        return run_id(configuration), rules, configuration
    ending = f"-{suite}" if asked.flags.task_suite_name == "all" else ""
    return asked.flags.run + ending, rules, configuration


def report(run: SuiteRun) -> bool:
    """Prints the table, writes exports and page. Returns whether all that was planned is scored, or it was decided."""
    csv_path, results, total = export(run)
    decided = runs.decided(run.store.manifest)
    console.print_table(run.suite, tally_by_task(results, run.specs), task_names(run.suite))
    _log.info("results: %s", csv_path)
    _log.info("report: %s", pages.write_run(run.store, run.asked.flags.video_out_path))
    print(console.stopped(run.suite, total, decided) if decided else console.verdict(run.suite, total), flush=True)
    return total.complete or bool(decided)


def export(run: SuiteRun) -> tuple[pathlib.Path, list[EpisodeResult], Tally]:
    """CSV and JSON of the planned episodes; returns where, what they hold, and the count."""
    csv_path, results, total = exports.write(run.store, run.specs, run.asked.flags.results_out_path)
    run.store.note(planned=len(run.specs), complete=total.complete)
    return csv_path, results, total


def task_names(suite: str) -> dict[int, str]:
    return {task.task_id: task.language for task in suites.tasks(suite)}


def _rules(suite: str, metadata: Metadata, flags: EvalArgs) -> Rules:
    replan_steps = flags.replan_steps if flags.replan_steps is not None else metadata.get("replan_steps", 5)
    if not isinstance(replan_steps, int):
        raise ProtocolError(f"the policy's metadata has replan_steps {replan_steps!r:.80}; expected a whole number")
    if replan_steps < 1 or flags.num_steps_wait < 0:
        raise ConfigError("--replan-steps must be at least 1, and --num-steps-wait at least 0")
    return suites.rules(suite, replan_steps=replan_steps, settle_steps=flags.num_steps_wait)


def _configuration(suite: str, rules: Rules, asked: Asked) -> Configuration:
    """Everything that can change what an episode is, and nothing else."""
    policy, flags = asked.policy, asked.flags
    versions = {name: importlib.metadata.version(name) for name in ("mujoco", "robosuite", "hf-libero", "numba")}
    configuration = {
        "suite": suite,
        "policy": policy.identity(asked.metadata),
        "policy_metadata": asked.metadata,
        "headless": policy.headless,
        "seed": flags.seed,
        "seeding": flags.seeding,
        "max_steps": rules.max_policy_steps,
        "settle_steps": rules.settle_steps,
        "replan_steps": rules.replan_steps,
        "resize_size": flags.resize_size,
        "gl": asked.gl,
        "versions": versions,
    }
    return json.loads(json.dumps(configuration, default=lambda x: x.tolist() if hasattr(x, "tolist") else str(x)))


def _writable(folder: pathlib.Path) -> pathlib.Path:
    """Makes the folder. Raises ConfigError where nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as e:
        raise ConfigError(f"cannot write to {folder}: {e.strerror}; choose another folder") from e
