"""What Ray's processes import in tests: workers of scenes without physics, and a policy for hosts."""

import os
import signal
import time

import numpy as np

from pirig.errors import ConfigError
from pirig.evaluation.episode import run_episode
from pirig.policies.baselines import RandomPolicy
from pirig.policies.wrappers import OneByOne
from pirig.serving.client import RemotePolicy
from pirig.serving.host import host_for_others
from pirig.serving.host_policy import HostPolicy
from pirig.serving.host_process import Door
from pirig.testing import FakeEnvironment
from pirig.types import EpisodeResult, Rules, Video

RULES = Rules(max_policy_steps=60, settle_action=(0,) * 7)


class Worker:
    """Takes its time, so that a node can be lost in the middle."""

    def __init__(self, index, pause_s=0.2):
        self.description, self._pause_s = {"index": index, "pid": os.getpid()}, pause_s

    def __call__(self, job):
        time.sleep(self._pause_s)
        if isinstance(job, EpisodeResult):
            return Video(job.spec, "a.mp4", data=b"video")
        return run_episode(job, FakeEnvironment(), RandomPolicy(), RULES)

    def close(self):
        pass


class WaitsForFour(Worker):
    """From a task's third trial on, each job waits until four workers have started: nodes may take their time."""

    def __init__(self, index, folder):
        super().__init__(index)
        self._folder = folder
        (folder / str(os.getpid())).touch()

    def __call__(self, job):
        over = time.monotonic() + 120
        while job.trial >= 2 and len(os.listdir(self._folder)) < 4 and time.monotonic() < over:
            time.sleep(0.1)
        return super().__call__(job)


class DiesOnTask2(Worker):
    def __call__(self, job):
        if job.task_id == 2:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().__call__(job)


def refuses(index):
    raise ConfigError("the assets are missing")


class Doubling(OneByOne):
    metadata = {"name": "doubling", "observations": []}

    def infer(self, obs):
        return {"actions": np.full((10, 7), 0.02), "pid": os.getpid()}


def open_host():
    return host_for_others(Doubling, Door("secret"))


def refuses_to_host():
    raise ConfigError("there is no checkpoint")


class Asking:
    """A worker that asks the host of its node."""

    def __init__(self, index, addresses=()):
        own = index % len(addresses)
        self.description = {"asks": addresses[own]}
        if "://" in addresses[own]:
            self._policy = RemotePolicy(addresses[own], None, api_key="secret", connect_timeout_s=30)
        else:
            self._policy = HostPolicy(*addresses[own:], *addresses[:own])

    def __call__(self, job):
        time.sleep(0.2)
        return run_episode(job, FakeEnvironment(), self._policy, RULES)

    def close(self):
        self._policy.close()
