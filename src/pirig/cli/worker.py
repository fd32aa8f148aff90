"""Builds what one worker process needs, in that process."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from pirig.cli.source import PolicySource
from pirig.evaluation.worker import EpisodeWorker, VideoChoice
from pirig.sim import boot
from pirig.sim.libero import LiberoEnvironment
from pirig.types import EpisodeSpec, Rules, Seeding, Simulator


@dataclasses.dataclass(frozen=True)
class LiberoWorkerFactory:
    """Implements interfaces.WorkerFactory; pickles."""

    settings: boot.Settings
    simulator: Simulator
    seeding: Seeding
    resize: int
    policy: PolicySource
    rules: Mapping[str, Rules]
    first: EpisodeSpec  # to warm up with
    video: VideoChoice
    videos: pathlib.Path

    def __call__(self, index: int) -> EpisodeWorker:
        env = LiberoEnvironment(self.settings, seeding=self.seeding, resize=self.resize, simulator=self.simulator)
        return EpisodeWorker(
            env,
            self.policy.open(),
            self.rules,
            self.first,
            video=self.video,
            save_video=self._save_video,
            describe=env.describe,
        )

    def _save_video(self, name: str, frames: Iterator[np.ndarray]) -> None:
        from pirig.sim.video import write_mp4  # where no video is wanted, imageio is not needed

        write_mp4(self.videos / name, frames)
