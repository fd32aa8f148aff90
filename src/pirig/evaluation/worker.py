"""What one process does with a spec: the episode, then its video."""

import dataclasses
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np

from pirig.evaluation.episode import run_episode, warm_up
from pirig.evaluation.replay import frames
from pirig.interfaces import Environment, Policy
from pirig.types import EpisodeResult, EpisodeSpec, Rules

VideoChoice = Literal["none", "failures", "all"]
SaveVideo = Callable[[str, Iterator[np.ndarray]], None]
"""Writes frames under a file name. The file is there, whole, when this returns."""


class EpisodeWorker:
    """Implements interfaces.Worker. Construction warms up: it raises whatever would stop every episode."""

    def __init__(
        self,
        env: Environment,
        policy: Policy,
        rules: Mapping[str, Rules],
        first: EpisodeSpec,
        *,
        video: VideoChoice = "none",
        save_video: SaveVideo | None = None,
        describe: Callable[[], dict[str, Any]] = dict,
    ):
        """`rules`: by suite. `first`: an episode to warm up with. `describe`: facts for the manifest."""
        self._env, self._policy, self._rules = env, policy, rules
        self._video, self._save_video = video, save_video
        warm_up_s = warm_up(first, env, policy, rules[first.suite])
        self.description = {"warm_up_s": round(warm_up_s, 3), "policy": dict(policy.metadata), **describe()}

    def __call__(self, spec: EpisodeSpec) -> EpisodeResult:
        rules = self._rules[spec.suite]
        result = run_episode(spec, self._env, self._policy, rules)
        wanted = self._video == "all" or (self._video == "failures" and result.status == "failure")
        if not wanted or result.status == "error" or self._save_video is None:
            return result
        start, name = time.perf_counter(), video_name(result)
        try:
            self._save_video(name, frames(result, self._env, rules))
        except Exception:
            return dataclasses.replace(result, status="error", error=traceback.format_exc())
        timings = dataclasses.replace(result.timings, video_s=time.perf_counter() - start)
        return dataclasses.replace(result, video=name, timings=timings)

    def close(self) -> None:
        for part in (self._policy, self._env):
            if close := getattr(part, "close", None):
                close()


def video_name(result: EpisodeResult) -> str:
    """Unique in a run, e.g. `libero_goal_task03_trial017_success.mp4`."""
    spec = result.spec
    return f"{spec.suite}_task{spec.task_id:02d}_trial{spec.trial:03d}_{result.status}.mp4"
