"""Hold what a command was asked to do, as six values. A function takes the one or two that it needs.

    Episodes      which episodes, and how each is run
    PolicyChoice  which policy, where it answers or which checkpoint it is loaded from
    ModelChoice   how a model is computed (policies/choice.py)
    Workers       who runs the episodes: processes, a Ray cluster, policy hosts
    Paths         where results and videos go
    StopRule      when a run may stop before its plan is done

Each is nested in a command's arguments without a prefix, so its fields are the command's flags. Names and defaults are
openpi's where its evaluator has them.

Law 1: A number out of range is refused in `__post_init__` and nowhere else, with a ConfigError that names the flag.
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
    """libero_spatial, libero_object, libero_goal, libero_10, libero_90, or all for the first four"""
    num_trials_per_task: int = TRIALS
    """Run trials 0 to N-1 of each task."""
    task_ids: Annotated[tuple[int, ...], DEFAULT_IN_HELP] = ()
    """Run only these tasks of the suite; default: all."""
    trials: Annotated[tuple[int, ...], DEFAULT_IN_HELP] = ()
    """Run only these trials; default: 0 to N-1, where N is --num-trials-per-task."""
    seed: int = 7
    """Base seed. With the trial it determines the initial scene; it also determines the policy's noise."""
    seeding: Seeding = "per-episode"
    """per-episode: the scene depends on seed and trial only. openpi: the scene is the one that openpi's sequential
    evaluator shows for this trial."""
    simulator: Simulator = "fast"
    """fast: pirig's stepping. reference: robosuite's own stepping, many times slower. The results are identical, bit
    for bit."""
    replan_steps: Annotated[int | None, DEFAULT_IN_HELP] = None
    """Execute this many actions of each chunk before the policy is asked again; default: what the policy asks for,
    else 5."""
    num_steps_wait: int = 10
    """Settle steps before the policy is asked for the first time, in which objects come to rest."""
    resize_size: int = 224
    """Width and height of the images that the policy receives [pixels]."""

    def __post_init__(self) -> None:
        _check(self, num_trials_per_task=(1, 10_000), seed=(0, 2**32 - 1), replan_steps=(1, _UNLIMITED),
               num_steps_wait=(0, 10_000), resize_size=(1, 4096))  # fmt: skip

    @property
    def suites(self) -> tuple[str, ...]:
        """Names of the suites: one, or the standard four."""
        return suites.STANDARD_SUITES if self.task_suite_name == "all" else (self.task_suite_name,)


@dataclasses.dataclass(frozen=True)
class PolicyChoice:
    policy: Annotated[str, DEFAULT_IN_HELP] = ""
    """scripted, zero, random, replay:RUN, a recipe, or ws://HOST:PORT (several servers of one policy: separate them
    by commas); default: the server at --host and --port."""
    host: str = "0.0.0.0"
    """Address of the policy server. 0.0.0.0 means this machine, as in openpi."""
    port: int = 8000
    """Port of the policy server."""
    connect_timeout_s: float = 600.0
    """Wait this long for the policy server to start, or for a full one to accept a connection [s]."""
    request_timeout_s: float = 3600.0
    """Wait this long for an answer of the policy server or of a policy host; 0: without a limit [s]."""
    max_frame_mib: float = 32.0
    """Largest answer that is accepted from the policy server [MiB]."""
    headless: bool = False
    """Run the recipe --policy-config with the checkpoint --policy-dir in this command, without a policy server."""
    policy_config: str = RECIPE
    """Recipe that --headless runs, such as pi05_libero or pi0_libero. --policy RECIPE does the same."""
    policy_dir: Annotated[str, DEFAULT_IN_HELP] = ""
    """Checkpoint of the recipe: a directory, or a gs://, hf:// or https:// address; default: the published one."""

    def __post_init__(self) -> None:
        _check(self, port=(1, 65535), connect_timeout_s=(0, _UNLIMITED), request_timeout_s=(0, _UNLIMITED),
               max_frame_mib=(0.001, 4096))  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Workers:
    workers: int | Literal["auto"] = "auto"
    """Number of simulator processes. 0 runs everything in this process. auto: as many as cores and memory allow."""
    executor: Literal["processes", "ray"] = "processes"
    """processes: run workers on this machine. ray: run workers and policy hosts on the nodes of a Ray cluster, one
    worker per core unless --workers sets a limit."""
    ray_address: str = "auto"
    """HOST:PORT of the cluster's head node. auto: the cluster that this machine belongs to. local: start a new one
    on this machine."""
    autotune: bool = True
    """With several workers: measure for one minute, then set the batch size, and the number of workers unless
    --workers gives it."""
    recycle_after: int = 200
    """Restart a simulator process after this many jobs."""
    max_worker_memory_gib: float = 4.0
    """Restart a simulator process between episodes once it uses more memory than this [GiB]."""
    episode_timeout_s: float = 14_400.0
    """Restart a worker that spends longer than this on an episode, on a video or on its start, because it probably
    hangs; 0: never [s]."""
    policy_hosts: int | Literal["auto"] = "auto"
    """Number of processes that compute the policy in headless mode. auto: one per GPU, else one."""
    max_batch: int | Literal["auto"] = "auto"
    """Largest number of observations that a policy host computes together. auto: the number of workers per policy
    host."""

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
    """Results folder, which contains runs, tables and reports."""
    videos: Annotated[pathlib.Path, tyro.conf.arg(aliases=["--video-out-path"])] = VIDEOS
    """Videos folder, which contains a folder for each run."""
    video: VideoChoice = "all"
    """Which episodes get a video. Videos are made from the recorded actions, after the episodes."""
    run: Annotated[str, DEFAULT_IN_HELP] = ""
    """Name of the run; default: a name derived from its configuration."""
    fresh: bool = False
    """Start the run over. The old one is kept under another name."""

    def __post_init__(self) -> None:
        if self.run in (".", "..") or "/" in self.run or "\0" in self.run:
            raise ConfigError(f"--run is {self.run!r}; expected a name without '/': a folder below the results")


@dataclasses.dataclass(frozen=True)
class StopRule:
    against: Annotated[str, DEFAULT_IN_HELP] = ""
    """Run A of a comparison that may stop early: its name or its folder; default: none."""
    stop_when: Literal["complete", "decided"] = "complete"
    """decided: stop as soon as a sequential test shows how this policy compares with --against. The rule is declared
    before the first episode and recorded in the manifest."""
    margin: float = 0.0
    """For --stop-when decided: test whether this policy is worse than run A by this much or more. 0 tests whether it
    is better or worse [percentage points]."""
    level: float = 5.0
    """For --stop-when decided: two-sided significance level [percent]."""

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
    """Return a command's arguments as a manifest records them: by flag, without the settings that group them."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(arguments):
        value = getattr(arguments, field.name)
        if isinstance(value, SETTINGS):
            found |= dataclasses.asdict(value)
        else:
            found[field.name] = dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value
    return found


def _check(settings: Any, **within: tuple[float, float]) -> None:
    """Refuse a number outside `within` (least, greatest). None and auto mean that the value is chosen later."""
    for name, (least, greatest) in within.items():
        value = getattr(settings, name)
        if value is None or value == "auto" or (math.isfinite(value) and least <= value <= greatest):
            continue
        bound = f"at most {greatest}" if value > greatest else f"at least {least}"
        raise ConfigError(f"--{name.replace('_', '-')} is {value}; {bound} is needed")
