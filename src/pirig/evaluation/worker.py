"""Do a job in a worker process: run an episode, or make the video of one."""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np

from pirig.evaluation.episode import run_episode, warm_up
from pirig.evaluation.replay import frames
from pirig.interfaces import Environment, Policy
from pirig.types import EpisodeResult, EpisodeSpec, Job, Rules, Video

VideoChoice = Literal["none", "failures", "all"]
SaveVideo = Callable[[EpisodeSpec, str, Iterator[np.ndarray]], bytes]
"""Encodes an episode's frames as a video with the given file name.

The file is complete when this returns. Returns its content if the coordinator has to write the file, and else b"".
"""


class EpisodeWorker:
    """Run episodes and make videos. Implements interfaces.Worker.

    Construction warms up, and raises whatever would make every episode fail.
    """

    def __init__(
        self,
        env: Environment,
        policy: Policy,
        rules: Mapping[str, Rules],
        first: EpisodeSpec,
        *,
        save_video: SaveVideo | None = None,
        describe: Callable[[], dict[str, Any]] = dict,
    ):
        """Warm up with the episode `first`. `rules`: by suite. `describe`: returns further facts for the manifest."""
        self._env, self._policy, self._rules = env, policy, rules
        self._save_video = save_video
        warm_up_s = warm_up(first, env, policy, rules[first.suite])
        self.description = {"warm_up_s": round(warm_up_s, 3), "policy": dict(policy.metadata), **describe()}

    def __call__(self, job: Job) -> EpisodeResult | Video:
        if isinstance(job, EpisodeResult):
            return self._make_video(job)
        return run_episode(job, self._env, self._policy, self._rules[job.suite])

    def _make_video(self, result: EpisodeResult) -> Video:
        start, name = time.perf_counter(), video_name(result)
        if self._save_video is None:
            return Video(result.spec, name, error="this worker has no place for videos")
        try:
            data = self._save_video(result.spec, name, frames(result, self._env, self._rules[result.spec.suite]))
        except Exception:
            return Video(result.spec, name, time.perf_counter() - start, traceback.format_exc())
        return Video(result.spec, name, time.perf_counter() - start, data=data)

    def close(self) -> None:
        self._policy.close()
        self._env.close()


def wants_video(result: EpisodeResult, choice: VideoChoice) -> bool:
    return result.status != "error" and (choice == "all" or (choice == "failures" and result.status == "failure"))


def video_name(result: EpisodeResult) -> str:
    """Return a file name that is unique in a run, e.g. `libero_goal_task03_trial017_success.mp4`."""
    spec = result.spec
    return f"{spec.suite}_task{spec.task_id:02d}_trial{spec.trial:03d}_{result.status}.mp4"
