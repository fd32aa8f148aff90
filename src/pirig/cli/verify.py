"""Run a sample of a run's episodes again, in another order and with other workers, and compare (`pirig verify RUN`).

For each episode it reports that it is identical, or the first step at which it differs and what differs: the policy's
action or the simulator's state.
"""

import dataclasses
import logging
import pathlib
import random
from typing import Annotated, Literal

import tyro

from pirig import envvars
from pirig.errors import ConfigError
from pirig.evaluation.divergence import first_divergence
from pirig.evaluation.executors import ProcessExecutor, SerialExecutor
from pirig.evaluation.plan import Work
from pirig.launch import logs, packs, recorded, signals
from pirig.launch.policy import HostedModel, Room, source_of
from pirig.launch.settings import DEFAULT_IN_HELP, RESULTS, ModelChoice, PolicyChoice
from pirig.launch.site import worker_count
from pirig.launch.worker import LiberoWorkerFactory
from pirig.machine.placement import ANYWHERE
from pirig.results import runs
from pirig.results.store import RunStore
from pirig.sim import boot
from pirig.types import EpisodeResult, Metadata

_log = logging.getLogger(__name__)
_DIFFERS = 1  # exit code


@dataclasses.dataclass(frozen=True)
class VerifyArgs:
    run: tyro.conf.Positional[str]
    """Name or folder of a run."""
    episodes: Annotated[tyro.conf.Positional[tuple[str, ...]], DEFAULT_IN_HELP] = ()
    """Episodes to run again: TASK/TRIAL, keys, failures or all; default: a random sample."""
    sample: int = 10
    """Size of the random sample."""
    sample_seed: int = 0
    """Seed of the random sample and of the order in which it runs."""
    workers: int | Literal["auto"] = "auto"
    """Number of simulator processes. 0 runs everything in this process. auto: as many as cores and memory allow."""
    policy: Annotated[str, DEFAULT_IN_HELP] = ""
    """Policy, as for pirig eval; default: the policy of the run."""
    policy_dir: Annotated[str, DEFAULT_IN_HELP] = ""
    """Checkpoint: a directory or an address; default: the published one."""
    model: tyro.conf.OmitArgPrefixes[ModelChoice] = dataclasses.field(default_factory=ModelChoice)
    connect_timeout_s: float = 600.0
    """Wait this long for a policy server [s]."""
    force: bool = False
    """Compare even if the policy's metadata differ from the run's."""
    results: pathlib.Path = RESULTS
    """Results folder. Runs are looked up by name in its folder runs."""


def run(flags: VerifyArgs) -> int:
    """Run the episodes and compare. Return 0 if all are identical, else 1. Raises PirigError."""
    logs.log_to_stderr()
    signals.raise_interrupted()
    store = runs.find(flags.run, flags.results)
    chosen = _choose(store, flags)
    configuration = store.manifest["configuration"]
    workers = worker_count(flags.workers, len(chosen))
    settings = recorded.simulator_of(store)
    in_process = workers == 0 and settings.gl != "egl"
    name = flags.policy or configuration["policy"]
    choice = PolicyChoice(name, policy_dir=flags.policy_dir, connect_timeout_s=flags.connect_timeout_s)
    source = source_of(choice, flags.model, flags.results / "runs")
    if isinstance(source, HostedModel) and (listing := packs.requested_listing(source.name, flags.model)):
        print(listing)
        return 0
    with source.start(Room((ANYWHERE,), workers, in_process)) as policy:
        _refuse_another_policy(configuration["policy_metadata"], policy.metadata, force=flags.force)
        factory = LiberoWorkerFactory(
            settings=settings,
            simulator="fast",
            seeding=configuration["seeding"],
            resize=configuration["resize_size"],
            policy=policy.source,
            rules={configuration["suite"]: recorded.rules_of(store)},
            first=chosen[0].spec,
            videos={},
        )
        envvars.export(boot.PROCESS_VARIABLES, override=False)
        executor = ProcessExecutor(workers) if workers else SerialExecutor()
        was = {result.spec: result for result in chosen}
        wrong = 0
        for found in executor.run(Work(result.spec for result in chosen), factory):
            assert isinstance(found, EpisodeResult)
            wrong += not _tell(was[found.spec], found)
    print(f"{len(chosen)} episodes run again: {len(chosen) - wrong} identical, {wrong} not")
    return _DIFFERS if wrong else 0


def _choose(store: RunStore, flags: VerifyArgs) -> list[EpisodeResult]:
    """Return the chosen episodes, in another order than the run had."""
    chosen = recorded.choose_episodes(store, flags.episodes or ("all",))
    if not chosen:
        raise ConfigError(f"run {store.directory.name} has no such episodes to verify; name TASK/TRIAL, all, or none")
    random.Random(flags.sample_seed).shuffle(chosen)
    return chosen if flags.episodes else chosen[: max(1, flags.sample)]


def _refuse_another_policy(was: Metadata, now: Metadata, *, force: bool) -> None:
    changed = [f"{key}: {was.get(key)!r} there, {now.get(key)!r} here" for key in sorted({*was, *now})
               if was.get(key) != now.get(key)]  # fmt: skip
    if changed and not force:
        raise ConfigError(
            "this is not the policy of the run (--force compares all the same):\n  " + "\n  ".join(changed)
        )
    if changed:
        _log.warning("another policy: %s", "; ".join(changed))


def _tell(was: EpisodeResult, now: EpisodeResult) -> bool:
    difference = first_divergence(was, now)
    if difference is None:
        _log.info("%s: identical, %d steps, %d chunks", was.spec.key, now.steps, now.timings.chunks)
        return True
    print(f"{was.spec.key}: DIFFERS at {difference}")
    return False
