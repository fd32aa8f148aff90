"""Where an episode runs must not change what it does."""

import functools
import os
import signal
import time

import numpy as np
import pytest

from pirig.errors import ConfigError, StartError
from pirig.evaluation import executors
from pirig.evaluation.episode import run_episode
from pirig.evaluation.executors import ProcessExecutor, SerialExecutor
from pirig.evaluation.plan import Plan, Work, plan
from pirig.evaluation.run import Observers, run
from pirig.interfaces import Observer
from pirig.policies.baselines import RandomPolicy
from pirig.results.store import RunStore
from pirig.testing import FakeEnvironment, FunctionWorker
from pirig.types import EpisodeResult, Rules, Video
from support.killed import outlives

SPECS = plan("fake", range(4), range(3), seed=7)
RULES = Rules(max_policy_steps=60, settle_action=(0,) * 7)


class Worker:
    def __init__(self, index, env=FakeEnvironment):
        self.description = {"index": index}
        self.env = env()

    def __call__(self, job):
        if isinstance(job, EpisodeResult):
            return Video(job.spec, f"by {os.getpid()}")
        return run_episode(job, self.env, RandomPolicy(), RULES)

    def close(self):
        self.env.close()


class DiesOnTask2(FakeEnvironment):
    def reset(self, spec, look=()):
        if spec.task_id == 2:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().reset(spec, look)


class AlwaysDies(FakeEnvironment):
    def reset(self, spec, look=()):
        os._exit(11)


class Recorder(Observer):
    """Keeps results and videos in the order in which they came."""

    def __init__(self, found):
        self.result = self.video = found.append


def refuses(index):
    raise ConfigError("the assets are missing")


def breaks(index):
    raise ZeroDivisionError


def dies_at_start(index):
    os._exit(9)


def outcomes(results):
    return {result.spec: result.outcome() for result in results}


SERIAL = outcomes(SerialExecutor().run(Work(SPECS), Worker))


@pytest.mark.parametrize("workers", [1, 3])
def test_processes_give_what_one_process_gives(workers):
    assert outcomes(ProcessExecutor(workers).run(Work(SPECS), Worker)) == SERIAL
    assert {status for status, *_ in SERIAL.values()} == {"success", "failure"}


class TakesItsTime(Worker):
    def __call__(self, job):
        time.sleep(0.3)
        return super().__call__(job)


def test_each_started_worker_is_heard_of():
    heard = []
    list(ProcessExecutor(2, heard.append).run(Work(SPECS), TakesItsTime))
    assert {description["index"] for description in heard} == {0, 1}


def test_a_dead_worker_costs_only_its_episode_and_says_how_it_died():
    found = {r.spec: r for r in ProcessExecutor(2).run(Work(SPECS), functools.partial(Worker, env=DiesOnTask2))}
    errors = [r for r in found.values() if r.status == "error"]
    assert {r.spec for r in errors} == {s for s in SPECS if s.task_id == 2}
    assert "SIGSEGV" in errors[0].error
    assert errors[0].spec.key in errors[0].error
    assert {s: r.outcome() for s, r in found.items() if s.task_id != 2} == {
        s: o for s, o in SERIAL.items() if s.task_id != 2
    }


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (refuses, "the assets are missing"),
        (breaks, "ZeroDivisionError"),
        (dies_at_start, "exit code 9 while it started"),
    ],
)
def test_workers_that_cannot_start_stop_the_run_with_the_reason(make, reason):
    with pytest.raises(StartError, match=reason):
        list(ProcessExecutor(2).run(Work(SPECS), make))


class HangsOnTask2(FakeEnvironment):
    def reset(self, spec, look=()):
        if spec.task_id == 2:
            os.kill(os.getpid(), signal.SIGSTOP)
        return super().reset(spec, look)


def test_a_worker_that_hangs_is_ended_and_costs_only_its_episode():
    executor = ProcessExecutor(2, job_timeout_s=8.0)
    specs = [spec for spec in SPECS if spec.task_id != 2 or spec.trial == 0]
    found = {r.spec: r for r in executor.run(Work(specs), functools.partial(Worker, env=HangsOnTask2))}
    errors = [r for r in found.values() if r.status == "error"]
    assert [r.spec.task_id for r in errors] == [2]
    assert "gave no sign for 8 s" in errors[0].error
    assert {s: found[s].outcome() for s in specs if s.task_id != 2} == {
        s: o for s, o in SERIAL.items() if s.task_id != 2
    }


def busy(index):
    """A worker that prints its process id when it has a job, and is at that job for ten minutes."""
    executors._CLOSES_WITHIN_S = 0.5

    def work(job):
        print(os.getpid(), flush=True)
        time.sleep(600)

    return FunctionWorker(work)


def run_busy_worker():
    list(ProcessExecutor(1).run(Work(SPECS), busy))


def test_a_worker_in_the_middle_of_a_job_ends_with_a_coordinator_that_was_killed(tmp_path):
    assert not outlives(tmp_path, __file__, "run_busy_worker", within_s=20)


def test_a_run_of_deaths_stops_the_run():
    results = ProcessExecutor(2).run(Work(SPECS), functools.partial(Worker, env=AlwaysDies))
    with pytest.raises(StartError, match="in a row"):
        list(results)


def test_errors_run_once_more_and_in_the_next_session_and_nothing_else_does(tmp_path):
    bad = {spec for spec in SPECS if spec.task_id == 2}
    with RunStore.open(tmp_path / "run", {"suite": "fake"}) as store:
        first, again = [], []
        run(Plan(SPECS), store, ProcessExecutor(2), functools.partial(Worker, env=DiesOnTask2), Recorder(first))
        assert sorted(r.spec for r in first) == sorted([*SPECS, *bad])
        run(Plan(SPECS), store, SerialExecutor(), Worker, Recorder(again))
        assert {r.spec for r in again} == bad
        assert len(again) == len(bad)
        assert outcomes(store.results()) == SERIAL


class Closes(Observer):
    def __init__(self, closed, name, error=None):
        self.closed, self.name, self.error = closed, name, error

    def close(self):
        self.closed.append(self.name)
        if self.error:
            raise self.error


def test_every_observer_is_closed_in_order_whatever_another_does(tmp_path):
    closed = []
    observers = Observers(Closes(closed, 1), Closes(closed, 2, KeyboardInterrupt()), Closes(closed, 3))
    with RunStore.open(tmp_path / "run", {"suite": "fake"}) as store, pytest.raises(KeyboardInterrupt):
        run(Plan(SPECS[:1]), store, SerialExecutor(), Worker, observers)
    assert closed == [1, 2, 3]


class AlwaysRaises(FakeEnvironment):
    def step(self, action, look=()):
        raise ConnectionError("the server is gone")


def test_nothing_but_errors_stops_the_run_with_the_last_one(tmp_path):
    with RunStore.open(tmp_path / "run", {"suite": "fake"}) as store:
        with pytest.raises(StartError, match=r"10 errors in a row[\s\S]*the server is gone"):
            run(Plan(SPECS), store, SerialExecutor(), functools.partial(Worker, env=AlwaysRaises))
        assert len(list(store.results())) == 10
        assert not store.scored()


class Hoards(Worker):
    """Keeps 64 MiB of each episode."""

    def __init__(self, index):
        super().__init__(index)
        self.kept = []

    def __call__(self, job):
        self.kept.append(np.ones(8 * 2**20))
        return super().__call__(job)


@pytest.mark.parametrize(
    ("make", "limits", "lives"),
    [(Worker, {"recycle_after": 5}, 3), (Worker, {"recycle_after": 100}, 1), (Hoards, {"max_memory_gib": 0.4}, 2)],
)
def test_a_worker_that_has_done_its_share_or_has_grown_is_replaced(make, limits, lives):
    heard = []
    assert outcomes(ProcessExecutor(1, heard.append, **limits).run(Work(SPECS), make)) == SERIAL
    assert len(heard) >= lives, heard
    assert lives > 1 or len(heard) == 1, heard


def test_each_worker_has_a_core_of_its_own_where_there_are_enough():
    cores = sorted(os.sched_getaffinity(0))
    found = []
    list(ProcessExecutor(len(cores), found.append).run(Work(SPECS), TellsItsCores))
    assert all(len(description["cores"]) == 1 for description in found)
    assert len({core for description in found for core in description["cores"]}) == len(found)
    crowded = []
    list(ProcessExecutor(len(cores) + 1, crowded.append).run(Work(SPECS), TellsItsCores))
    assert all(description["cores"] == cores for description in crowded)


class TellsItsCores(Worker):
    def __init__(self, index):
        super().__init__(index)
        self.description["cores"] = sorted(os.sched_getaffinity(0))


@pytest.mark.parametrize("executor", [SerialExecutor(), ProcessExecutor(1), ProcessExecutor(3)])
def test_videos_are_made_of_every_result_and_after_the_episodes(executor, tmp_path):
    order = []
    with RunStore.open(tmp_path / "run", {"suite": "fake"}) as store:
        run(Plan(SPECS, wants_video=lambda result: True), store, executor, Worker, Recorder(order))
    videos = [found for found in order if isinstance(found, Video)]
    assert sorted(video.spec for video in videos) == sorted(SPECS)
    assert not any(video.error for video in videos)
    if isinstance(executor, SerialExecutor):
        assert [isinstance(found, Video) for found in order] == [False] * len(SPECS) + [True] * len(SPECS)


def test_videos_that_lack_are_made_by_whoever_asks_next(tmp_path):
    with RunStore.open(tmp_path / "run", {"suite": "fake"}) as store:
        run(Plan(SPECS), store, SerialExecutor(), Worker)
        found = []
        whole = Plan(SPECS, wants_video=lambda result: result.status == "failure")
        run(whole, store, ProcessExecutor(2), Worker, Recorder(found))
    assert {video.spec for video in found} == {spec for spec, (status, *_) in SERIAL.items() if status == "failure"}


class DiesMakingVideos(Worker):
    def __call__(self, job):
        if isinstance(job, EpisodeResult) and job.spec.trial == 1:
            os._exit(7)
        return super().__call__(job)


def test_a_worker_that_dies_making_a_video_costs_the_video_alone(tmp_path):
    found = []
    with RunStore.open(tmp_path / "run", {"suite": "fake"}) as store:
        whole = Plan(SPECS, wants_video=lambda result: True)
        run(whole, store, ProcessExecutor(2), DiesMakingVideos, Recorder(found))
        assert outcomes(store.results()) == SERIAL
    videos = {video.spec: video for video in found if isinstance(video, Video)}
    assert {spec for spec, video in videos.items() if video.error} == {spec for spec in SPECS if spec.trial == 1}
    assert "exit code 7 during" in videos[SPECS[1]].error


@pytest.mark.parametrize("executor", [SerialExecutor(), ProcessExecutor(2)], ids=["serial", "processes"])
def test_a_run_that_is_decided_starts_nothing_else(tmp_path, executor):
    """What runs is finished and kept; asked again, it still starts nothing."""
    seen = []
    with RunStore.open(tmp_path / "run", {"suite": "fake"}) as store:
        for _ in range(2):
            whole = Plan(SPECS, is_decided=lambda: len(seen) >= 4, ahead=3)
            run(whole, store, executor, Worker, Recorder(seen))
        assert 4 <= len(seen) <= 5
        assert len(list(store.results())) == len(seen)


class InCompany(Worker):
    """Once there is a file `resized`, ends no episode before as many workers have come as are wanted."""

    def __init__(self, index, folder, wanted):
        super().__init__(index)
        self.folder, self.wanted = folder, wanted
        (folder / f"worker{index}").touch()

    def __call__(self, job):
        patience = time.monotonic() + 60
        while (self.folder / "resized").exists() and len(list(self.folder.glob("worker*"))) < self.wanted:
            assert time.monotonic() < patience, "no more workers have come"
            time.sleep(0.02)
        return super().__call__(job)


@pytest.mark.parametrize(("first", "then"), [(1, 3), (3, 1), (2, 6)])
def test_the_number_of_workers_may_change_between_jobs_and_results_do_not(tmp_path, first, then):
    heard, found = [], []
    executor = ProcessExecutor(first, heard.append)
    make = functools.partial(InCompany, folder=tmp_path, wanted=max(first, then))
    for result in executor.run(Work(SPECS), make):
        found.append(result)
        if len(found) == 2:
            executor.resize(then)
            (tmp_path / "resized").touch()
    assert outcomes(found) == SERIAL
    assert len(found) == len(SPECS)
    assert len({description["index"] for description in heard}) == max(first, then)
