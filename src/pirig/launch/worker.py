"""Build a worker in its own process: simulator and policy."""

import dataclasses
import pathlib
import tempfile
from collections.abc import Iterator, Mapping

import numpy as np

from pirig import envvars
from pirig.evaluation.frame_recorder import FrameRecorder
from pirig.evaluation.worker import EpisodeWorker
from pirig.launch.policy import PolicySource
from pirig.serving.heap import keep_freed_memory
from pirig.sim import boot, compiled
from pirig.sim.libero import LiberoEnvironment
from pirig.types import EpisodeSpec, Rules, Seeding, Simulator


@dataclasses.dataclass(frozen=True)
class LiberoWorkerFactory:
    """Build the worker with a given index. Implements interfaces.WorkerFactory; pickles."""

    settings: boot.Settings
    simulator: Simulator
    seeding: Seeding
    resize: int
    policy: PolicySource
    rules: Mapping[str, Rules]
    first: EpisodeSpec  # the episode to warm up with
    videos: Mapping[str, pathlib.Path]  # by suite; empty: they are sent home
    egl: tuple[int | None, ...] = ()  # EGL device by index of the worker; None: the first
    frames: pathlib.Path | None = None  # folder for the live page's images, one per worker; None: no page

    def __call__(self, index: int) -> EpisodeWorker:
        keep_freed_memory()
        device = self.egl[index % len(self.egl)] if self.egl else None
        if device is not None:
            envvars.export({"MUJOCO_EGL_DEVICE_ID": str(device)})
        env = LiberoEnvironment(self.settings, seeding=self.seeding, resize=self.resize, simulator=self.simulator)
        compiled.once(self.settings.cache, lambda: self._use_everything(env))
        policy = self.policy.open(index)
        return EpisodeWorker(
            env,
            FrameRecorder(policy, self.frames / f"{index}.png") if self.frames else policy,
            self.rules,
            self.first,
            save_video=self._save_video,
            describe=env.describe,
        )

    def _use_everything(self, env: LiberoEnvironment) -> None:
        env.reset(self.first)
        env.step(np.array(self.rules[self.first.suite].settle_action))

    def _save_video(self, spec: EpisodeSpec, name: str, frames: Iterator[np.ndarray]) -> bytes:
        from pirig.sim.video import write_mp4  # imageio is needed for videos only

        if self.videos:
            write_mp4(self.videos[spec.suite] / name, frames)
            return b""
        with tempfile.TemporaryDirectory() as folder:
            write_mp4(pathlib.Path(folder) / name, frames)
            return (pathlib.Path(folder) / name).read_bytes()
