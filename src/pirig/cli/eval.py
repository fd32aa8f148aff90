"""`pirig eval`: LIBERO episodes with a policy, results on disk, success rates with intervals.

Several suites are one queue, the longest episodes first, and no worker waits for the end of a suite; each suite is a
run of its own (`cli/suite_runs.py`).
"""

import contextlib
import logging
from collections.abc import Sequence

from pirig import envvars
from pirig.cli import args, console, pages, provenance, signals, source, stopping, suite_runs
from pirig.cli.eval_args import EvalArgs
from pirig.cli.live import Followed, Watch, watching
from pirig.cli.places import Places, look
from pirig.cli.suite_runs import Asked, SuiteRun
from pirig.cli.worker import LiberoWorkerFactory
from pirig.errors import ConfigError, Interrupted
from pirig.evaluation.executors import ProcessExecutor, SerialExecutor
from pirig.evaluation.plan import longest_first, plan
from pirig.evaluation.run import run as run_episodes
from pirig.interfaces import Executor
from pirig.results.shelf import Shelf
from pirig.serving.host import Hosts
from pirig.sim import assets, boot, gl, suites
from pirig.stack import machine
from pirig.stack.placement import WorkerPlace
from pirig.types import EpisodeResult, EpisodeSpec, Film, Job

_log = logging.getLogger(__name__)
_INCOMPLETE = 3  # exit code


def run(argv: Sequence[str]) -> int:
    """Returns the exit code: 0 complete or decided as declared, 3 episodes missing.

    Raises PirigError, and Interrupted on SIGINT or SIGTERM, when all that was finished is in the store.
    """
    console.log_to_stderr()
    flags = args.parse(EvalArgs, argv, prog="pirig eval", description=__doc__ or "")
    signals.raise_interrupted()
    stopping.check(flags)
    names = suites.STANDARD_SUITES if flags.task_suite_name == "all" else (flags.task_suite_name,)
    planned = {suite: _plan(suite, flags) for suite in names}
    settings = _settings()
    workers = _workers(flags, sum(map(len, planned.values())))
    in_process = workers == 0 and settings.gl != "egl"  # CUDA and EGL must not share a process
    with contextlib.ExitStack() as resources:
        places = look(flags, renderer=settings.gl, has_model=source.is_model(_policy_name(flags)))
        chosen = _source(flags, -(-workers // max(1, len(places.hosts))))
        started = chosen.started(in_process=in_process, places=places.hosts)
        policy, metadata, hosts = resources.enter_context(started)
        watch = resources.enter_context(watching(flags.live_host, flags.live)) if flags.live is not None else None
        asked = Asked(settings.gl, policy, metadata, flags)
        runs = [resources.enter_context(suite_runs.opened(suite, specs, asked)) for suite, specs in planned.items()]
        try:
            _run_remaining(runs, settings, asked, places, hosts, watch)
        except Interrupted as signal_:
            _log.warning("%s: stopped; what was finished is kept", signal_)
            _report(runs, flags)
            raise
        return 0 if _report(runs, flags) else _INCOMPLETE


def _plan(suite: str, flags: EvalArgs) -> list[EpisodeSpec]:
    """Raises ConfigError for an unknown suite or task, and for a trial without an initial state."""
    trials = flags.trials or range(flags.num_trials_per_task)
    specs = plan(suite, flags.task_ids or [task.task_id for task in suites.tasks(suite)], trials, flags.seed)
    if not specs:
        raise ConfigError(f"--num-trials-per-task is {flags.num_trials_per_task}; at least 1 is needed")
    for spec in specs:
        suites.initial_state(spec)
    return specs


def _settings() -> boot.Settings:
    choice = gl.choose(envvars.get("MUJOCO_GL"))
    _log.info("rendering with %s (%s)", choice.backend, choice.reason)
    folder = assets.locate(envvars.get("PIRIG_LIBERO_ASSETS"))
    _log.info("LIBERO's assets in %s are as they must be (list %s)", folder, assets.verify(folder)[:12])
    return boot.Settings(choice.backend, folder, envvars.cache_dir())


def _policy_name(flags: EvalArgs) -> str:
    return source.choose(
        flags.policy, headless=flags.headless, policy_config=flags.policy_config, host=flags.host, port=flags.port
    )


def _source(flags: EvalArgs, workers: int) -> source.PolicySource:
    """`workers`: of one policy host."""
    name, model = _policy_name(flags), None
    if source.is_model(name):
        auto = flags.max_batch == "auto"
        most = max(1, workers) if flags.max_batch == "auto" else flags.max_batch
        model = source.model_source(name, flags.policy_dir, flags.model, max_batch=most, auto=auto)
    policy = source.PolicySource(name, flags.results_out_path / "runs", flags.connect_timeout_s, model)
    if policy.headless:
        _log.info("Running in HEADLESS mode - no WebSocket connection")
    return policy


def _run_remaining(
    runs: Sequence[SuiteRun],
    settings: boot.Settings,
    asked: Asked,
    places: Places,
    hosts: Hosts | None,
    watch: Watch | None,
) -> None:
    flags, by_suite = asked.flags, {run.suite: run for run in runs}
    queue = longest_first((spec for run in runs for spec in run.order), lambda s: by_suite[s.suite].rules.total_steps)
    finished = {run.suite: run.finished() for run in runs}
    workers = _workers(flags, len(queue) - sum(map(len, finished.values())))
    envvars.export(boot.PROCESS_VARIABLES, override=False)  # inherited by the workers
    places_of_workers = places.workers(workers)
    sessions = provenance.Sessions([run.store for run in runs], flags, assets=assets.digest(), workers=workers)
    factory = LiberoWorkerFactory(
        settings=settings,
        simulator=flags.simulator,
        seeding=flags.seeding,
        resize=flags.resize_size,
        policy=asked.policy,
        rules={run.suite: run.rules for run in runs},
        first=queue[0],
        videos={run.suite: run.videos for run in runs},
        egl=tuple(place.egl for place in places.workers(max(1, workers))),
        frames=watch.frames if watch else None,
    )
    if watch:
        watch.begin([Followed(run.store, run.specs, suite_runs.task_names(run.suite)) for run in runs])
    early = runs[0].early  # of an only suite
    with console.EpisodeProgress({run.suite: (len(run.specs), finished[run.suite]) for run in runs}) as progress:

        def observe(found: EpisodeResult | Film) -> None:
            progress.show(found)
            if watch:
                watch.hears(found)
            if isinstance(found, EpisodeResult):
                sessions.hears(found)
                if early:
                    early.feed(found)
                run = by_suite[found.spec.suite]
                if progress.scored[run.suite] == len(run.specs):  # videos may still be made
                    suite_runs.export(run)

        try:
            run_episodes(
                queue,
                Shelf({run.suite: run.store for run in runs}),
                _executor(flags, places_of_workers, sessions, watch),
                factory,
                observe,
                lambda result: by_suite[result.spec.suite].lacks_video(result),
                is_decided=lambda: early is not None and early.is_decided,
                ahead=early.ahead if early else None,
            )
        finally:
            sessions.end(hosts.batches() if hosts else [])
    if progress.films_failed:
        _log.warning("%d videos could not be made; the same command tries again", progress.films_failed)
    if early and not early.is_decided:
        _log.info("not decided; pirig compare %s %s says what the pairs show", flags.against, runs[0].name)


def _executor(
    flags: EvalArgs, places: Sequence[WorkerPlace], sessions: provenance.Sessions, watch: Watch | None
) -> Executor:
    def on_start(worker: int, job: Job) -> None:
        if watch:
            watch.starts(worker, job)

    if not places:
        return SerialExecutor(sessions.worker_is_ready, on_start)
    return ProcessExecutor(
        len(places),
        sessions.worker_is_ready,
        on_start,
        cores=[place.core for place in places if place.core is not None],
        recycle_after=flags.recycle_after,
        max_memory_gib=flags.max_worker_memory_gib,
    )


def _workers(flags: EvalArgs, episodes: int) -> int:
    if flags.workers != "auto":
        return flags.workers
    return max(1, min(machine.cores(), machine.simulators(), episodes))


def _report(runs: Sequence[SuiteRun], flags: EvalArgs) -> bool:
    """Of each suite, and of all that there are. Returns whether nothing is missing."""
    complete = [suite_runs.report(run) for run in runs]
    pages.write_overview(flags.results_out_path, tuple(suites.MAX_STEPS))
    return all(complete)
