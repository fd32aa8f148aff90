"""Run recorded episodes again from their actions, check every state, and make videos (`pirig replay RUN EPISODE…`)."""

import dataclasses
import logging
import pathlib
from collections.abc import Iterator
from typing import Annotated

import numpy as np
import tyro

from pirig.errors import ConfigError, PirigError
from pirig.evaluation.replay import frames, pictures, steps
from pirig.evaluation.worker import video_name
from pirig.launch import logs, recorded, signals
from pirig.launch.settings import DEFAULT_IN_HELP, RESULTS, VIDEOS
from pirig.results import runs
from pirig.sim.libero import LiberoEnvironment
from pirig.types import EpisodeResult, Rules

_log = logging.getLogger(__name__)
_POLICYS_VIEW = ("agentview", 0)  # camera and size of the images that the policy received


@dataclasses.dataclass(frozen=True)
class ReplayArgs:
    run: tyro.conf.Positional[str]
    """Name or folder of a run."""
    episodes: tyro.conf.Positional[tuple[str, ...]] = ("failures",)
    """Episodes to replay: TASK/TRIAL, keys, failures or all."""
    video: bool = True
    """Make an mp4 of each episode."""
    camera: str = "agentview"
    """Camera: agentview, robot0_eye_in_hand, frontview, birdview, sideview, …"""
    size: int = 0
    """Width and height of the video [pixels]; 0: the image of agentview that the policy received."""
    out: Annotated[pathlib.Path | None, DEFAULT_IN_HELP] = None
    """Folder to write the videos to; default: the folder in --videos that has the run's name."""
    videos: pathlib.Path = VIDEOS
    """Videos folder, which contains a folder for each run."""
    results: pathlib.Path = RESULTS
    """Results folder. Runs are looked up by name in its folder runs."""


def run(flags: ReplayArgs) -> int:
    """Replay the episodes. Return 0 if every episode ends as recorded, else 1. Raises ConfigError."""
    logs.log_to_stderr()
    signals.raise_interrupted()
    if flags.size < 0 or flags.size > 4096 or (flags.camera != "agentview" and not flags.size):
        raise ConfigError(f"--size is {flags.size}; expected 1 to 4096, or 0 for agentview as the policy saw it")
    store = runs.find(flags.run, flags.results)
    chosen = recorded.choose_episodes(store, flags.episodes)
    if not chosen:
        print("no such episodes: nothing to do")
        return 0
    folder = flags.out or flags.videos / store.directory.name
    found = store.manifest["configuration"]
    env = LiberoEnvironment(recorded.simulator_of(store), seeding=found["seeding"], resize=found["resize_size"])
    wrong = 0
    try:
        for result in chosen:
            wrong += not _replay(result, env, recorded.rules_of(store), flags, folder)
    finally:
        env.close()
    print(f"{len(chosen)} episodes replayed: {len(chosen) - wrong} as recorded, {wrong} not")
    return 1 if wrong else 0


def _replay(
    result: EpisodeResult, env: LiberoEnvironment, rules: Rules, flags: ReplayArgs, folder: pathlib.Path
) -> bool:
    path = folder / _file_name(result, flags)
    try:
        if flags.video:
            from pirig.sim.video import write_mp4

            folder.mkdir(parents=True, exist_ok=True)
            write_mp4(path, _seen(result, env, rules, flags))
        else:
            for _ in steps(result, env, rules, ()):
                pass
    except ConfigError:
        raise
    except PirigError as e:
        _log.error("%s", e)
        return False
    _log.info("%s: %d states as recorded%s", result.spec.key, result.steps, f"; {path}" if flags.video else "")
    return True


def _seen(result: EpisodeResult, env: LiberoEnvironment, rules: Rules, flags: ReplayArgs) -> Iterator[np.ndarray]:
    if (flags.camera, flags.size) == _POLICYS_VIEW:
        return frames(result, env, rules)
    return pictures(result, env, rules, lambda: env.picture(flags.camera, flags.size, flags.size))


def _file_name(result: EpisodeResult, flags: ReplayArgs) -> str:
    name = video_name(result)
    if (flags.camera, flags.size) == _POLICYS_VIEW:
        return name
    return f"{name.removesuffix('.mp4')}_{flags.camera}_{flags.size}.mp4"
