"""What a command was asked to do, as six values. A function takes the one or two that it needs.

    Episodes      which episodes, and how each is run
    PolicyChoice  which policy, where it answers or which checkpoint it is loaded from
    ModelChoice   how a model is computed (policies/choice.py)
    Workers       who runs the episodes: processes, a Ray cluster, policy hosts
    Paths         where results and videos go
    StopRule      when a run may stop before its plan is done

Each is nested in a command's arguments without a prefix, so its fields are the command's flags; names and defaults are
those of openpi's evaluator where it has them. Law: a number that cannot be meant is refused when the value is made, in
`__post_init__` and nowhere else, with ConfigError that names the flag.
"""

import dataclasses
import math
import pathlib
from typing import Annotated, Any, Literal

import tyro

from pirig.errors import ConfigError
from pirig.evaluation.worker import VideoChoice
from pirig.policies.choice import DEFAULT_IN_HELP, ModelChoice
from pirig.sim import suites
from pirig.types import Seeding, Simulator

__all__ = ["DEFAULT_IN_HELP", "Episodes", "ModelChoice", "Paths", "PolicyChoice", "StopRule", "Workers"]
SUITE, RECIPE, TRIALS = "libero_spatial", "pi05_libero", 50  # .env has them for make, compose and scripts
RESULTS, VIDEOS = pathlib.Path("results/libero"), pathlib.Path("data/libero/videos")
_UNLIMITED = math.inf


@dataclasses.dataclass(frozen=True)
class Episodes:
    task_suite_name: Annotated[str, tyro.conf.arg(aliases=["--suite"])] = SUITE
    """libero_spatial, libero_object, libero_goal, libero_10, libero_90, or all (the first four)"""
    num_trials_per_task: int = TRIALS
    """trials 0 to N-1 of each task"""
    task_ids: Annotated[tuple[int, ...], DEFAULT_IN_HELP] = ()
    """only these tasks of the suite; default: all"""
    trials: Annotated[tuple[int, ...], DEFAULT_IN_HELP] = ()
    """only these trials; default: as --num-trials-per-task says"""
    seed: int = 7
    """decides, with the trial, how a scene begins, and a policy's noise"""
    seeding: Seeding = "per-episode"
    """per-episode: the scene depends on seed and trial; openpi: as the reference's sequential evaluator shows it"""
    simulator: Simulator = "fast"
    """fast, or reference: robosuite's own stepping, many times slower; the results are the same, bit for bit"""
    replan_steps: Annotated[int | None, DEFAULT_IN_HELP] = None
    """actions executed of each chunk; default: what the policy asks for, else 5"""
    num_steps_wait: int = 10
    """settle steps, before the policy is asked: objects come to rest"""
    resize_size: int = 224
    """width and height of the images that the policy gets [pixels]"""

    def __post_init__(self) -> None:
        _check(self, num_trials_per_task=(1, 10_000), seed=(0, 2**32 - 1), replan_steps=(1, _UNLIMITED),
               num_steps_wait=(0, 10_000), resize_size=(1, 4096))  # fmt: skip

    @property
    def suites(self) -> tuple[str, ...]:
        """Names of the suites, one or the standard four."""
        return suites.STANDARD_SUITES if self.task_suite_name == "all" else (self.task_suite_name,)


@dataclasses.dataclass(frozen=True)
class PolicyChoice:
    policy: Annotated[str, DEFAULT_IN_HELP] = ""
    """scripted, zero, random, replay:RUN, a recipe or ws://HOST:PORT (several with commas: servers of one policy);
    default: the server at --host and --port"""
    host: str = "0.0.0.0"
    """of the policy server; 0.0.0.0 means this machine"""
    port: int = 8000
    """of the policy server"""
    connect_timeout_s: float = 600.0
    """how long to wait for the policy server, or for room on it [s]"""
    request_timeout_s: float = 3600.0
    """how long the policy server, or a policy host, may take for an answer; 0: for ever [s]"""
    max_frame_mib: float = 32.0
    """of an answer of the policy server [MiB]"""
    headless: bool = False
    """run the policy of --policy-config and --policy-dir here, without a socket"""
    policy_config: str = RECIPE
    """recipe that --headless runs: pi05_libero, pi0_libero; --policy names it as well"""
    policy_dir: Annotated[str, DEFAULT_IN_HELP] = ""
    """checkpoint of the recipe: a directory, gs://, hf:// or https://; default: the published one"""

    def __post_init__(self) -> None:
        _check(self, port=(1, 65535), connect_timeout_s=(0, _UNLIMITED), request_timeout_s=(0, _UNLIMITED),
               max_frame_mib=(0.001, 4096))  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Workers:
    workers: int | Literal["auto"] = "auto"
    """simulator processes; 0 runs everything in this process; auto: as cores and memory allow"""
    executor: Literal["processes", "ray"] = "processes"
    """ray: workers and policy hosts on the nodes of a Ray cluster, a worker on each core unless --workers says fewer"""
    ray_address: str = "auto"
    """HOST:PORT of the cluster's head; auto: the one that this machine belongs to; local: a new one on this machine"""
    autotune: bool = True
    """with several workers: measure for a minute, then set their number (unless --workers gives it) and the batch"""
    recycle_after: int = 200
    """jobs in the life of a simulator process; then another takes its place"""
    max_worker_memory_gib: float = 4.0
    """of a simulator process, beyond which another takes its place between two episodes [GiB]"""
    episode_timeout_s: float = 14_400.0
    """for an episode, a video, or the start of a simulator process; what takes longer is taken for hung, and another
    takes its place; 0: for ever [s]"""
    policy_hosts: int | Literal["auto"] = "auto"
    """processes that compute the policy, in headless mode; auto: one for each GPU, else one"""
    max_batch: int | Literal["auto"] = "auto"
    """most observations that are computed together, in headless mode; auto: as many as a policy host has workers"""

    def __post_init__(self) -> None:
        _check(self, workers=(0, 4096), recycle_after=(1, _UNLIMITED), max_worker_memory_gib=(0.1, _UNLIMITED),
               episode_timeout_s=(0, _UNLIMITED), policy_hosts=(1, _UNLIMITED), max_batch=(1, 4096))  # fmt: skip
        if self.executor == "processes":
            return
        if self.workers == 0:
            raise ConfigError(
                "--workers 0 runs everything in this process, which --executor ray does not; leave one out"
            )
        if self.policy_hosts != "auto":
            raise ConfigError("--policy-hosts is of one machine; on a Ray cluster each GPU, or each node, has one")


@dataclasses.dataclass(frozen=True)
class Paths:
    results: Annotated[pathlib.Path, tyro.conf.arg(aliases=["--results-out-path"])] = RESULTS
    """results folder, for runs, tables and reports"""
    videos: Annotated[pathlib.Path, tyro.conf.arg(aliases=["--video-out-path"])] = VIDEOS
    """videos folder, which has a folder for each run"""
    video: VideoChoice = "all"
    """made from the recorded actions by workers that no episode is left for"""
    run: Annotated[str, DEFAULT_IN_HELP] = ""
    """name of the run; default: made from its configuration"""
    fresh: bool = False
    """start over; the old run is kept beside the new one"""

    def __post_init__(self) -> None:
        if self.run in (".", "..") or "/" in self.run or "\0" in self.run:
            raise ConfigError(f"--run is {self.run!r}; expected a name without '/': a folder below the results")


@dataclasses.dataclass(frozen=True)
class StopRule:
    against: Annotated[str, DEFAULT_IN_HELP] = ""
    """run A of a comparison that may stop early: its name or its folder; default: none"""
    stop_when: Literal["complete", "decided"] = "complete"
    """decided: as soon as a test that is valid at any time says how this policy compares with --against; declared
    before the first episode, recorded in the manifest"""
    margin: float = 0.0
    """of --stop-when decided: is this policy worse by so much or more? 0: is it better or worse? [percentage points]"""
    level: float = 5.0
    """two-sided level of --stop-when decided [percent]"""

    def __post_init__(self) -> None:
        if bool(self.against) != (self.stop_when == "decided"):
            raise ConfigError(
                "--against RUN and --stop-when decided go together; a run that goes to its end is compared afterwards: "
                "pirig compare RUN THIS_RUN"
            )
        if not 0 <= self.margin < 100 or not 0 < self.level < 100:
            raise ConfigError(f"--margin is {self.margin:g} and --level {self.level:g}; both lie between 0 and 100")


SETTINGS = (Episodes, PolicyChoice, Workers, Paths, StopRule)
"""Nested in a command's arguments without a prefix. ModelChoice has been recorded under `model` from the beginning."""


def recorded(arguments: Any) -> dict[str, Any]:
    """Return a command's arguments as a manifest records them: by flag, whichever setting a flag belongs to."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(arguments):
        value = getattr(arguments, field.name)
        if isinstance(value, SETTINGS):
            found |= dataclasses.asdict(value)
        else:
            found[field.name] = dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value
    return found


def _check(settings: Any, **within: tuple[float, float]) -> None:
    """Refuse a number outside `within` (least, greatest). None and auto stand for a choice that is made later."""
    for name, (least, greatest) in within.items():
        value = getattr(settings, name)
        if value is None or value == "auto" or (math.isfinite(value) and least <= value <= greatest):
            continue
        bound = f"at most {greatest}" if value > greatest else f"at least {least}"
        raise ConfigError(f"--{name.replace('_', '-')} is {value}; {bound} is needed")
