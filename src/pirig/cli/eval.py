"""`pirig eval`: LIBERO episodes with a policy, results on disk, success rates with intervals.

Several suites are one queue, the longest episodes first, and no worker waits for the end of a suite; each suite is a
run of its own (`cli/suite_runs.py`).
"""

import contextlib
import logging
from collections.abc import Mapping, Sequence

from pirig import envvars
from pirig.cli import (
    args,
    console,
    pages,
    provenance,
    quantizing,
    signals,
    simulator,
    sites,
    stopping,
    suite_runs,
    tracking,
)
from pirig.cli.autotune import Autotune
from pirig.cli.dry_run import would_do
from pirig.cli.eval_args import EvalArgs, check
from pirig.cli.live import Followed, Watch, watching
from pirig.cli.sites import Site
from pirig.cli.suite_runs import Asked, SuiteRun
from pirig.cli.worker import LiberoWorkerFactory
from pirig.errors import ConfigError
from pirig.evaluation.executors import ignore
from pirig.evaluation.plan import longest_first, plan
from pirig.evaluation.run import Observer
from pirig.evaluation.run import run as run_episodes
from pirig.results.store import write_atomically
from pirig.results.suite_stores import SuiteStores
from pirig.sim import assets, boot, suites
from pirig.types import EpisodeResult, EpisodeSpec, Video

_log = logging.getLogger(__name__)
_INCOMPLETE = 3  # exit code


def run(argv: Sequence[str]) -> int:
    """Returns the exit code: 0 complete or decided as declared, or a dry run; 3 episodes missing.

    Raises PirigError, and Interrupted on SIGINT or SIGTERM, when all that was finished is in the store.
    """
    console.log_to_stderr()
    flags = args.parse(EvalArgs, argv, "eval")
    signals.raise_interrupted()
    check(flags)
    stopping.check(flags)
    tracking.check(flags.track)
    names = suites.STANDARD_SUITES if flags.task_suite_name == "all" else (flags.task_suite_name,)
    planned = {suite: _plan(suite, flags) for suite in names}
    settings = simulator.settings()
    if flags.dry_run:
        print("\n".join(would_do(flags, planned, settings)))
        return 0
    with contextlib.ExitStack() as resources:
        site = resources.enter_context(sites.at(flags, settings, sum(map(len, planned.values()))))
        quantizing.check_done(flags.model, site.metadata)
        watch = resources.enter_context(watching(flags.live_host, flags.live)) if flags.live is not None else None
        asked = Asked(settings.gl, site.policy, site.metadata, flags)
        runs = [resources.enter_context(suite_runs.opened(suite, specs, asked)) for suite, specs in planned.items()]
        try:
            _run_remaining(runs, settings, asked, site, watch)
        except KeyboardInterrupt as e:
            signal_ = signals.named(e)
            _log.warning("%s: stopped; what was finished is kept", signal_)
            _report(runs, flags)
            raise signal_ from None
        is_complete = _report(runs, flags)
        if watch:
            for run in runs:
                watch.ends(run.store.directory / "report.html")
        return 0 if is_complete else _INCOMPLETE


def _plan(suite: str, flags: EvalArgs) -> list[EpisodeSpec]:
    """Raises ConfigError for an unknown suite or task, and for a trial without an initial state."""
    trials = flags.trials or range(flags.num_trials_per_task)
    specs = plan(suite, flags.task_ids or [task.task_id for task in suites.tasks(suite)], trials, flags.seed)
    if not specs:
        raise ConfigError(f"--num-trials-per-task is {flags.num_trials_per_task}; at least 1 is needed")
    for spec in specs:
        suites.initial_state(spec)
    return specs


def _run_remaining(
    runs: Sequence[SuiteRun], settings: boot.Settings, asked: Asked, site: Site, watch: Watch | None
) -> None:
    by_suite = {run.suite: run for run in runs}
    queue = longest_first((spec for run in runs for spec in run.order), lambda s: by_suite[s.suite].rules.total_steps)
    finished = {run.suite: run.finished() for run in runs}
    workers = site.workers(len(queue) - sum(map(len, finished.values())))
    envvars.export(boot.PROCESS_VARIABLES, override=False)  # inherited by the workers
    sessions = provenance.Sessions([run.store for run in runs], asked.flags, assets=assets.digest(), workers=workers)
    if watch:
        watch.begin([Followed(run.store, run.specs, suite_runs.task_names(run.suite)) for run in runs])
    executor = site.executor(workers, sessions.worker_is_ready, watch.starts if watch else ignore)
    early = runs[0].early  # of an only suite
    with contextlib.ExitStack() as shown:
        counts = {run.suite: (len(run.specs), finished[run.suite]) for run in runs}
        progress = shown.enter_context(console.EpisodeProgress(counts))
        observers: list[Observer] = [progress.show, lambda found: _bring_home(found, by_suite), sessions.hears]
        tracks = {
            run.suite: shown.enter_context(tracking.tracking(asked.flags.track, run.store, finished[run.suite]))
            for run in runs
        }
        observers.append(lambda found: tracks[found.spec.suite](found))
        if watch:
            observers.append(watch.hears)
        if early:
            observers.append(early.hears)
        if levers := site.levers(workers, executor):
            done = {result.spec for results in finished.values() for result in results}
            left = {spec: by_suite[spec.suite].rules.total_steps for spec in queue if spec not in done}
            observers.append(Autotune(levers, left, sessions.tuned).hears)
        observers.append(lambda found: _export_when_scored(found, by_suite, progress.scored))
        try:
            run_episodes(
                queue,
                SuiteStores({run.suite: run.store for run in runs}),
                executor,
                site.factory(_factory(runs, settings, asked, queue[0], watch), workers),
                lambda found: [hears(found) for hears in observers],
                lambda result: by_suite[result.spec.suite].lacks_video(result),
                is_decided=lambda: early is not None and early.is_decided,
                ahead=early.ahead if early else None,
            )
        finally:
            sessions.end(site.batches())
    if progress.videos_failed:
        _log.warning("%d videos could not be made; the same command tries again", progress.videos_failed)
    if early and not early.is_decided:
        _log.info("not decided; pirig compare %s %s says what the pairs show", asked.flags.against, runs[0].name)


def _factory(
    runs: Sequence[SuiteRun], settings: boot.Settings, asked: Asked, first: EpisodeSpec, watch: Watch | None
) -> LiberoWorkerFactory:
    return LiberoWorkerFactory(
        settings=settings,
        simulator=asked.flags.simulator,
        seeding=asked.flags.seeding,
        resize=asked.flags.resize_size,
        policy=asked.policy,
        rules={run.suite: run.rules for run in runs},
        first=first,
        videos={run.suite: run.videos for run in runs},
        frames=watch.frames if watch else None,
    )


def _bring_home(found: EpisodeResult | Video, by_suite: Mapping[str, SuiteRun]) -> None:
    """Writes a video that was made where the folder is not."""
    if isinstance(found, Video) and found.data:
        write_atomically(by_suite[found.spec.suite].videos / found.name, found.data)


def _export_when_scored(
    found: EpisodeResult | Video, by_suite: Mapping[str, SuiteRun], scored: Mapping[str, int]
) -> None:
    """Of the whole suite; videos may still be made."""
    run = by_suite[found.spec.suite]
    if isinstance(found, EpisodeResult) and scored[run.suite] == len(run.specs):
        suite_runs.export(run)


def _report(runs: Sequence[SuiteRun], flags: EvalArgs) -> bool:
    """Of each suite, and of all that there are. Returns whether nothing is missing."""
    complete = [suite_runs.report(run) for run in runs]
    pages.write_overview(flags.results_out_path, tuple(suites.MAX_STEPS))
    return all(complete)
