"""`pirig eval`: LIBERO episodes with a policy, results on disk, success rates with intervals."""

import contextlib
import dataclasses
import importlib.metadata
import json
import logging
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

from pirig import envvars
from pirig.cli import args, console, pages, provenance, quantizing, signals, source, stopping
from pirig.cli.eval_args import EvalArgs, check
from pirig.cli.live import Watch, watching
from pirig.cli.worker import LiberoWorkerFactory
from pirig.errors import ConfigError, Interrupted, ProtocolError
from pirig.evaluation.executors import ProcessExecutor, SerialExecutor, ignore
from pirig.evaluation.plan import plan
from pirig.evaluation.run import run as run_episodes
from pirig.evaluation.worker import video_name, wants_video
from pirig.results import runs
from pirig.results.export import export
from pirig.results.statistics import Tally, tally, tally_by_task
from pirig.results.store import RunStore, run_id
from pirig.sim import assets, boot, gl, suites
from pirig.stack import machine
from pirig.types import EpisodeResult, EpisodeSpec, Film, Metadata, Rules

_log = logging.getLogger(__name__)
_INCOMPLETE = 3  # exit code


def run(argv: Sequence[str]) -> int:
    """Returns the exit code: 0 complete or decided as declared, 3 episodes missing.

    Raises PirigError, and Interrupted on SIGINT or SIGTERM, when all that was finished is in the store.
    """
    console.log_to_stderr()
    flags = args.parse(EvalArgs, argv, prog="pirig eval", description=__doc__ or "")
    signals.raise_interrupted()
    check(flags)
    stopping.check(flags)
    names = suites.STANDARD_SUITES if flags.task_suite_name == "all" else (flags.task_suite_name,)
    planned = {suite: _plan(suite, flags) for suite in names}
    settings = _settings()
    workers = _workers(flags, max(map(len, planned.values())))
    in_process = workers == 0 and settings.gl != "egl"  # CUDA and EGL must not share a process
    with contextlib.ExitStack() as resources:
        policy, metadata = resources.enter_context(_source(flags, workers).started(in_process=in_process))
        quantizing.check_done(flags.model, metadata)
        watch = resources.enter_context(watching(flags.live_host, flags.live)) if flags.live is not None else None
        run = _Run(settings, policy, metadata, flags, watch)
        complete = [_run_suite(suite, specs, run) for suite, specs in planned.items()]
    return 0 if all(complete) else _INCOMPLETE


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
    choice = gl.choose(envvars.get("MUJOCO_GL"), envvars.get("MUJOCO_EGL_DEVICE_ID"))
    _log.info("rendering with %s (%s)", choice.backend, choice.reason)
    folder = assets.locate(envvars.get("PIRIG_LIBERO_ASSETS"))
    _log.info("LIBERO's assets in %s are as they must be (list %s)", folder, assets.verify(folder)[:12])
    return boot.Settings(choice.backend, folder, envvars.cache_dir())


@dataclasses.dataclass(frozen=True)
class _Run:
    """What the suites of one call share."""

    settings: boot.Settings
    policy: source.PolicySource
    metadata: Metadata
    flags: EvalArgs
    watch: Watch | None


def _run_suite(suite: str, specs: list[EpisodeSpec], run: _Run) -> bool:
    """Returns whether every planned episode is scored, or the run was decided before."""
    flags = run.flags
    rules = _rules(suite, run.metadata, flags)
    configuration = _configuration(suite, rules, run)
    name = flags.run or run_id(configuration)
    if flags.run and flags.task_suite_name == "all":
        name += f"-{suite}"
    directory = _writable(flags.results_out_path) / "runs" / name
    videos = flags.video_out_path / name
    if flags.video != "none":
        _writable(videos)
    test = stopping.prepare(flags, specs, configuration, directory)
    with RunStore.open(directory, configuration, fresh=flags.fresh) as store:
        _log.info("run %s: %d episodes, results in %s", name, len(specs), directory)
        early = stopping.declare(test, store) if test else None
        factory = LiberoWorkerFactory(
            settings=run.settings,
            simulator=flags.simulator,
            seeding=flags.seeding,
            resize=flags.resize_size,
            policy=run.policy,
            rules={suite: rules},
            first=specs[0],
            videos=videos,
            frames=run.watch.frames if run.watch else None,
        )
        try:
            _run_remaining(suite, early.order if early else specs, store, factory, run, early)
        except Interrupted as signal_:
            _log.warning("%s: stopped; what was finished is kept", signal_)
            _report(suite, specs, store, run.policy, flags)
            raise
        if early and not early.is_decided:
            _log.info("not decided; pirig compare %s %s says what the pairs show", flags.against, name)
        return _report(suite, specs, store, run.policy, flags)


def _source(flags: EvalArgs, workers: int) -> source.PolicySource:
    name = source.choose(
        flags.policy, headless=flags.headless, policy_config=flags.policy_config, host=flags.host, port=flags.port
    )
    model = None
    if source.is_model(name):
        auto = flags.max_batch == "auto"
        most = max(1, workers) if flags.max_batch == "auto" else flags.max_batch
        model = source.model_source(name, flags.policy_dir, flags.model, max_batch=most, auto=auto)
    policy = source.PolicySource(
        name,
        flags.results_out_path / "runs",
        flags.connect_timeout_s,
        model,
        request_timeout_s=flags.request_timeout_s,
        max_frame_mib=flags.max_frame_mib,
    )
    if policy.headless:
        _log.info("Running in HEADLESS mode - no WebSocket connection")
    return policy


def _rules(suite: str, metadata: Metadata, flags: EvalArgs) -> Rules:
    replan_steps = flags.replan_steps if flags.replan_steps is not None else metadata.get("replan_steps", 5)
    if not isinstance(replan_steps, int):
        raise ProtocolError(f"the policy's metadata has replan_steps {replan_steps!r:.80}; expected a whole number")
    if replan_steps < 1 or flags.num_steps_wait < 0:
        raise ConfigError("--replan-steps must be at least 1, and --num-steps-wait at least 0")
    return suites.rules(suite, replan_steps=replan_steps, settle_steps=flags.num_steps_wait)


def _configuration(suite: str, rules: Rules, run: _Run) -> dict[str, Any]:
    """Everything that can change what an episode is, and nothing else."""
    policy, flags = run.policy, run.flags
    versions = {name: importlib.metadata.version(name) for name in ("mujoco", "robosuite", "hf-libero", "numba")}
    configuration = {
        "suite": suite,
        "policy": policy.identity(run.metadata),
        "policy_metadata": run.metadata,
        "headless": policy.headless,
        "seed": flags.seed,
        "seeding": flags.seeding,
        "max_steps": rules.max_steps,
        "settle_steps": rules.settle_steps,
        "replan_steps": rules.replan_steps,
        "resize_size": flags.resize_size,
        "gl": run.settings.gl,
        "versions": versions,
    }
    return json.loads(json.dumps(configuration, default=lambda x: x.tolist() if hasattr(x, "tolist") else str(x)))


def _run_remaining(
    suite: str,
    specs: list[EpisodeSpec],
    store: RunStore,
    factory: LiberoWorkerFactory,
    run: _Run,
    early: stopping.Stopping | None,
) -> None:
    flags, watch = run.flags, run.watch
    finished = [result for result in store.results() if result.status != "error" and result.spec in set(specs)]
    workers = _workers(flags, len(specs) - len(finished))
    envvars.export(boot.PROCESS_VARIABLES, override=False)  # inherited by the workers
    session = provenance.Session(store, flags, assets=assets.digest(), workers=workers)
    on_ready, on_start = session.worker_is_ready, watch.starts if watch else ignore
    if watch:
        watch.begin(store, specs, _task_names(suite))

    def lacks_video(result: EpisodeResult) -> bool:
        return wants_video(result, flags.video) and not (factory.videos / video_name(result)).exists()

    executor = (
        ProcessExecutor(
            workers, on_ready, on_start, recycle_after=flags.recycle_after, max_memory_gib=flags.max_worker_memory_gib
        )
        if workers
        else SerialExecutor(on_ready, on_start)
    )
    successes = sum(result.status == "success" for result in finished)
    results: list[EpisodeResult] = []
    with console.EpisodeProgress(suite, len(specs), len(finished), successes) as progress:

        def observe(found: EpisodeResult | Film) -> None:
            progress.show(found)
            if watch:
                watch.hears(found)
            if isinstance(found, EpisodeResult):
                results.append(found)
                if early:
                    early.feed(found)
            if isinstance(found, EpisodeResult) and progress.scored == len(specs):  # videos may still be made
                _export(suite, specs, store, headless=factory.policy.headless, flags=flags)

        try:
            run_episodes(
                specs,
                store,
                executor,
                factory,
                observe,
                lacks_video,
                is_decided=lambda: early is not None and early.is_decided,
                ahead=early.ahead if early else None,
            )
        finally:
            session.end(results)
    if progress.films_failed:
        _log.warning("%d videos could not be made; the same command tries again", progress.films_failed)


def _workers(flags: EvalArgs, episodes: int) -> int:
    if flags.workers != "auto":
        return flags.workers
    return max(1, min(machine.cores(), machine.simulators(), episodes))


def _report(
    suite: str, specs: list[EpisodeSpec], store: RunStore, policy: source.PolicySource, flags: EvalArgs
) -> bool:
    """Prints the table, writes exports and pages. Returns whether all that was planned is scored, or it was decided."""
    csv_path, results, total = _export(suite, specs, store, headless=policy.headless, flags=flags)
    decided = runs.decided(store.manifest)
    console.print_table(suite, tally_by_task(results, specs), _task_names(suite))
    _log.info("results: %s", csv_path)
    _log.info("report: %s", pages.write_run(store, flags.video_out_path))
    pages.write_overview(flags.results_out_path, tuple(suites.MAX_STEPS))
    print(console.stopped(suite, total, decided) if decided else console.verdict(suite, total), flush=True)
    return total.complete or bool(decided)


def _export(
    suite: str, specs: list[EpisodeSpec], store: RunStore, *, headless: bool, flags: EvalArgs
) -> tuple[pathlib.Path, list[EpisodeResult], Tally]:
    """CSV and JSON of the planned episodes; returns where, what they hold, and the count."""
    planned = set(specs)
    results = [result for result in store.results() if result.spec in planned]
    total = tally(results, specs)
    store.note(planned=len(specs), complete=total.complete)
    low, high = total.interval
    extra = {
        "complete": total.complete,
        "planned_episodes": len(specs),
        "errors": total.errors,
        "wilson_95": [low, high],
        "run": store.directory.name,
        "stopped_early": runs.decided(store.manifest) or None,
    }
    csv_path, _ = export(
        flags.results_out_path,
        suite,
        results,
        task_names=_task_names(suite),
        seed=flags.seed,
        headless=headless,
        extra=extra,
    )
    return csv_path, results, total


def _task_names(suite: str) -> dict[int, str]:
    return {task.task_id: task.language for task in suites.tasks(suite)}


def _writable(folder: pathlib.Path) -> pathlib.Path:
    """Makes the folder. Raises ConfigError where nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as e:
        raise ConfigError(f"cannot write to {folder}: {e.strerror}; choose another folder") from e
