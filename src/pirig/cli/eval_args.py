"""The flags of `pirig eval`."""

import dataclasses
import math
import pathlib
from typing import Annotated, Literal

import tyro

from pirig.cli.args import SAID
from pirig.cli.model_args import ModelArgs
from pirig.cli.tracking import TrackerName
from pirig.errors import ConfigError
from pirig.evaluation.worker import VideoChoice
from pirig.types import Seeding, Simulator


@dataclasses.dataclass(frozen=True)
class EvalArgs:
    """Names and defaults are those of the reference's evaluator; `--args.seed` and `--seed` are the same flag."""

    task_suite_name: Annotated[str, tyro.conf.arg(aliases=["--suite"])] = "libero_spatial"
    """libero_spatial, libero_object, libero_goal, libero_10, libero_90, or all (the first four)"""
    policy: Annotated[str, SAID] = ""
    """scripted, zero, random, replay:RUN, a recipe or ws://HOST:PORT (several with commas: servers of one policy);
    default: the server at --host and --port"""
    num_trials_per_task: int = 50
    """trials 0 to N-1 of each task"""
    task_ids: Annotated[tuple[int, ...], SAID] = ()
    """only these tasks of the suite; default: all"""
    trials: Annotated[tuple[int, ...], SAID] = ()
    """only these trials; default: as --num-trials-per-task says"""
    seed: int = 7
    """decides, with the trial, how a scene begins, and a policy's noise"""
    seeding: Seeding = "per-episode"
    """per-episode: the scene depends on seed and trial; openpi: as the reference's sequential evaluator shows it"""
    simulator: Simulator = "fast"
    """fast, or reference: robosuite's own stepping, many times slower; the results are the same, bit for bit"""
    replan_steps: Annotated[int | None, SAID] = None
    """actions executed of each chunk; default: what the policy asks for, else 5"""
    num_steps_wait: int = 10
    """settle steps, before the policy is asked: objects come to rest"""
    resize_size: int = 224
    """width and height of the images that the policy gets [pixels]"""
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
    video: VideoChoice = "all"
    """made from the recorded actions by workers that no episode is left for"""
    live: Annotated[int | None, SAID] = None
    """serve a page that shows the run while it goes on, on this port; 0: any that is free; default: none"""
    live_host: str = "127.0.0.1"
    """address that the live page listens on"""
    track: TrackerName = "none"
    """tensorboard, trackio or wandb: success rates, steps and timings as curves"""
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
    policy_config: str = "pi05_libero"
    """recipe that --headless runs: pi05_libero, pi0_libero; --policy names it as well"""
    policy_dir: Annotated[str, SAID] = ""
    """checkpoint of the recipe: a directory, gs://, hf:// or https://; default: the published one"""
    policy_hosts: int | Literal["auto"] = "auto"
    """processes that compute the policy, in headless mode; auto: one for each GPU, else one"""
    max_batch: int | Literal["auto"] = "auto"
    """most observations that are computed together, in headless mode; auto: as many as a policy host has workers"""
    model: tyro.conf.OmitArgPrefixes[ModelArgs] = dataclasses.field(default_factory=ModelArgs)
    run: Annotated[str, SAID] = ""
    """name of the run; default: made from its configuration"""
    against: Annotated[str, SAID] = ""
    """run A of a comparison that may stop early: a name under results/libero/runs, or a folder;
    default: none"""
    stop_when: Literal["complete", "decided"] = "complete"
    """decided: as soon as a test that is valid at any time says how this policy compares with --against; declared
    before the first episode, recorded in the manifest"""
    margin: float = 0.0
    """of --stop-when decided: is this policy worse by so much or more? 0: is it better or worse? [percentage points]"""
    level: float = 5.0
    """two-sided level of --stop-when decided [percent]"""
    fresh: bool = False
    """start over; the old run is kept beside the new one"""
    dry_run: bool = False
    """say what would be run, downloaded and written, and how long it may take, and stop"""
    results_out_path: pathlib.Path = pathlib.Path("results/libero")
    """folder for runs, tables and reports"""
    video_out_path: pathlib.Path = pathlib.Path("data/libero/videos")
    """folder for videos, a folder of each run in it"""


_WITHIN = {  # flag -> least, most
    "num_trials_per_task": (1, 10_000),
    "seed": (0, 2**32 - 1),  # what NumPy's own generator takes
    "replan_steps": (1, math.inf),
    "num_steps_wait": (0, 10_000),
    "resize_size": (1, 4096),
    "workers": (0, 4096),
    "recycle_after": (1, math.inf),
    "max_worker_memory_gib": (0.1, math.inf),
    "episode_timeout_s": (0, math.inf),
    "live": (0, 65535),
    "port": (1, 65535),
    "connect_timeout_s": (0, math.inf),
    "request_timeout_s": (0, math.inf),
    "max_frame_mib": (0.001, 4096),
    "max_batch": (1, 4096),
}


def check(flags: EvalArgs) -> None:
    """Raises ConfigError for a number that cannot be meant, naming its flag."""
    for name, (least, most) in _WITHIN.items():
        value = getattr(flags, name)
        if value is not None and value != "auto" and not (math.isfinite(value) and least <= value <= most):
            bound = f"at most {most}" if value > most else f"at least {least}"
            raise ConfigError(f"--{name.replace('_', '-')} is {value}; {bound} is needed")
    if flags.run in (".", "..") or "/" in flags.run or "\0" in flags.run:
        raise ConfigError(f"--run is {flags.run!r}; expected a name without '/': a folder below the results")
