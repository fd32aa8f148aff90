"""Put an evaluation together from suites, policy, site, stores, workers and observers.

Several suites form one queue with the longest episodes first, so no worker waits for the end of a suite. Each suite is
a run of its own (`suite_run.py`).
"""

import contextlib
import dataclasses
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from pirig import envvars
from pirig.errors import ConfigError
from pirig.evaluation.plan import Plan, longest_first
from pirig.evaluation.plan import plan as plan_episodes
from pirig.evaluation.run import Observers
from pirig.evaluation.run import run as run_episodes
from pirig.files import write_atomically
from pirig.interfaces import Observer
from pirig.launch import packs, reports, site, suite_run
from pirig.launch.observers.autotune import Autotune
from pirig.launch.observers.live import Followed, Watch, watching
from pirig.launch.observers.progress import EpisodeProgress
from pirig.launch.observers.trackers import TrackerName, Tracking
from pirig.launch.policy import source_of
from pirig.launch.sessions import Sessions
from pirig.launch.settings import Episodes, ModelChoice, Paths, PolicyChoice, StopRule, Workers
from pirig.launch.suite_run import Shared, SuiteOutcome, SuiteRun
from pirig.launch.worker import LiberoWorkerFactory
from pirig.results.suite_stores import SuiteStores
from pirig.sim import assets, boot, suites
from pirig.types import EpisodeResult, EpisodeSpec, Video


@dataclasses.dataclass(frozen=True)
class Following:
    """How a run is followed, besides its progress bar."""

    live_host: str
    live_port: int | None  # of the live page; None: no page
    tracker: TrackerName


def planned(episodes: Episodes, stop: StopRule) -> dict[str, list[EpisodeSpec]]:
    """Return the planned episodes of each suite.

    Raises ConfigError for an unknown suite or task, for a trial without an initial state, and for a stop rule that
    several suites cannot have.
    """
    if stop.against and episodes.task_suite_name == "all":
        raise ConfigError("--stop-when decided takes one --suite; a run of each suite decides for itself")
    return {suite: _planned(suite, episodes) for suite in episodes.suites}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Runs that are open, a policy that answers, and a site that waits for work."""

    runs: Sequence[SuiteRun]
    site: site.Site
    shared: Shared
    simulation: boot.Settings
    tracker: TrackerName
    watch: Watch | None
    flags: Mapping[str, Any]  # recorded in the manifest

    def run(self) -> None:
        """Run the remaining episodes until the plan is done or decided. Raises PirigError, and Interrupted on a
        signal.
        """
        runs, by_suite = self.runs, {run.suite: run for run in self.runs}
        queue = longest_first(
            (spec for run in runs for spec in run.order), lambda spec: by_suite[spec.suite].rules.total_steps
        )
        scored = {run.suite: run.scored() for run in runs}
        workers = self.site.count_workers(len(queue) - sum(map(len, scored.values())))
        envvars.export(boot.PROCESS_VARIABLES, override=False)  # inherited by the workers
        sessions = Sessions(
            [run.store for run in runs],
            self.flags,
            assets=assets.digest(),
            workers=workers,
            batches=self.site.batches,
        )
        observers = Observers(sessions)
        try:
            self._observe(observers, scored)
            executor = self.site.executor(workers, observers)
            if levers := self.site.levers(workers, executor):
                done = {result.spec for results in scored.values() for result in results}
                left = {spec: by_suite[spec.suite].rules.total_steps for spec in queue if spec not in done}
                observers.add(Autotune(levers, left, sessions.tuned))
            factory = self.site.factory(self._factory(queue[0]), workers)
        except BaseException:
            observers.close()
            raise
        early = runs[0].early  # set only if there is one suite
        plan = Plan(
            queue,
            wants_video=lambda result: by_suite[result.spec.suite].lacks_video(result),
            is_decided=lambda: early is not None and early.is_decided,
            ahead=early.ahead if early else None,
        )
        store = SuiteStores({run.suite: run.store for run in runs})
        run_episodes(plan, store, executor, factory, observers)

    def report(self) -> list[SuiteOutcome]:
        """Write the tables and the page of each suite, and the page about all suites."""
        outcomes = [suite_run.report(run) for run in self.runs]
        reports.write_overview(self.shared.paths.results, tuple(suites.MAX_STEPS))
        return outcomes

    def end_live_page(self) -> None:
        """Show the runs' reports on the live page, if there is one."""
        for run in self.runs if self.watch else ():
            assert self.watch
            self.watch.ends(run.store.directory / "report.html")

    def _observe(self, observers: Observers, scored: Mapping[str, Sequence[EpisodeResult]]) -> None:
        """Add the observers that this evaluation has. One that is added is closed, whatever happens then."""
        runs = self.runs
        observers.add(EpisodeProgress({run.suite: (len(run.specs), scored[run.suite]) for run in runs}))
        observers.add(FileWriter(runs))
        for run in runs:
            if run.early:
                observers.add(run.early)
            if self.tracker != "none":
                observers.add(Tracking(self.tracker, run.store, scored[run.suite]))
        if self.watch:
            self.watch.begin([Followed(run.store, run.specs, suite_run.task_names(run.suite)) for run in runs])
            observers.add(self.watch)

    def _factory(self, first: EpisodeSpec) -> LiberoWorkerFactory:
        episodes = self.shared.episodes
        return LiberoWorkerFactory(
            settings=self.simulation,
            simulator=episodes.simulator,
            seeding=episodes.seeding,
            resize=episodes.resize_size,
            policy=self.shared.policy,
            rules={run.suite: run.rules for run in self.runs},
            first=first,
            videos={run.suite: run.videos for run in self.runs},
            frames=self.watch.frames if self.watch else None,
        )


@contextlib.contextmanager
def opened(
    specs: Mapping[str, Sequence[EpisodeSpec]],
    simulation: boot.Settings,
    episodes: Episodes,
    policy: PolicyChoice,
    model: ModelChoice,
    workers: Workers,
    paths: Paths,
    stop: StopRule,
    following: Following,
    flags: Mapping[str, Any],
) -> Generator[Evaluation]:
    """Yield an evaluation that is ready to run.

    `specs`: the planned episodes, by suite. `simulation`: the simulator of this machine. `flags`: the command's flags,
    which the manifest records. Raises PirigError if the policy, the machine or the folders cannot be used.
    """
    with contextlib.ExitStack() as resources:
        count = sum(map(len, specs.values()))
        source = source_of(policy, model, paths.results / "runs")
        here = resources.enter_context(site.at(source, workers, simulation, count))
        packs.check_done(model, here.metadata)
        watch = None
        if following.live_port is not None:
            watch = resources.enter_context(watching(following.live_host, following.live_port))
        shared = Shared(simulation.gl, here.policy, here.metadata, episodes, paths, stop)
        runs = [resources.enter_context(suite_run.opened(suite, of_suite, shared)) for suite, of_suite in specs.items()]
        yield Evaluation(runs, here, shared, simulation, following.tracker, watch, flags)


class FileWriter(Observer):
    """Write the files of runs: videos that were made on another machine, and the tables of a suite once it is
    scored.
    """

    def __init__(self, runs: Sequence[SuiteRun]):
        self._runs = {run.suite: run for run in runs}
        self._left = {run.suite: len(run.specs) - len(run.scored()) for run in runs}

    def result(self, result: EpisodeResult) -> None:
        suite = result.spec.suite
        self._left[suite] -= result.status != "error"
        if not self._left[suite]:  # videos may still be made
            suite_run.export(self._runs[suite])

    def video(self, video: Video) -> None:
        if video.data:
            write_atomically(self._runs[video.spec.suite].videos / video.name, video.data)


def _planned(suite: str, episodes: Episodes) -> list[EpisodeSpec]:
    trials = episodes.trials or range(episodes.num_trials_per_task)
    tasks = episodes.task_ids or [task.task_id for task in suites.tasks(suite)]
    specs = plan_episodes(suite, tasks, trials, episodes.seed)
    for spec in specs:
        suites.initial_state(spec)
    return specs
