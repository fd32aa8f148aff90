"""Where an episode runs must not change what it does."""

import functools
import os
import signal

import pytest

from pirig.errors import ConfigError, StartError
from pirig.evaluation.episode import run_episode
from pirig.evaluation.executors import ProcessExecutor, SerialExecutor
from pirig.evaluation.plan import plan
from pirig.evaluation.run import run
from pirig.policies.baselines import RandomPolicy
from pirig.results.store import RunStore
from pirig.sim.fake import FakeEnvironment
from pirig.types import Rules

SPECS = plan("fake", range(4), range(3), seed=7)
RULES = Rules(max_steps=60, settle_action=(0,) * 7)


class Worker:
    def __init__(self, index, env=FakeEnvironment):
        self.description = {"index": index}
        self.env = env()

    def __call__(self, spec):
        return run_episode(spec, self.env, RandomPolicy(), RULES)


class DiesOnTask2(FakeEnvironment):
    def reset(self, spec, look=()):
        if spec.task_id == 2:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().reset(spec, look)


class AlwaysDies(FakeEnvironment):
    def reset(self, spec, look=()):
        os._exit(11)


def refuses(index):
    raise ConfigError("the assets are missing")


def breaks(index):
    raise ZeroDivisionError


def dies_at_start(index):
    os._exit(9)


def outcomes(results):
    return {result.spec: result.outcome() for result in results}


SERIAL = outcomes(SerialExecutor().run(SPECS, Worker))


@pytest.mark.parametrize("workers", [1, 3])
def test_processes_give_what_one_process_gives(workers):
    assert outcomes(ProcessExecutor(workers).run(SPECS, Worker)) == SERIAL
    assert {status for status, *_ in SERIAL.values()} == {"success", "failure"}


def test_each_started_worker_is_heard_of():
    heard = []
    list(ProcessExecutor(2, heard.append).run(SPECS, Worker))
    assert {description["index"] for description in heard} == {0, 1}


def test_a_dead_worker_costs_only_its_episode_and_says_how_it_died():
    found = {r.spec: r for r in ProcessExecutor(2).run(SPECS, functools.partial(Worker, env=DiesOnTask2))}
    errors = [r for r in found.values() if r.status == "error"]
    assert {r.spec for r in errors} == {s for s in SPECS if s.task_id == 2}
    assert "SIGSEGV" in errors[0].error and errors[0].spec.key in errors[0].error
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
        list(ProcessExecutor(2).run(SPECS, make))


def test_a_run_of_deaths_stops_the_run():
    results = ProcessExecutor(2).run(SPECS, functools.partial(Worker, env=AlwaysDies))
    with pytest.raises(StartError, match="in a row"):
        list(results)


def test_errors_run_once_more_and_in_the_next_session_and_nothing_else_does(tmp_path):
    bad = {spec for spec in SPECS if spec.task_id == 2}
    with RunStore.open(tmp_path / "run", {"suite": "fake"}) as store:
        first, again = [], []
        run(SPECS, store, ProcessExecutor(2), functools.partial(Worker, env=DiesOnTask2), first.append)
        assert sorted(r.spec for r in first) == sorted([*SPECS, *bad])
        run(SPECS, store, SerialExecutor(), Worker, again.append)
        assert {r.spec for r in again} == bad and len(again) == len(bad)
        assert outcomes(store.results()) == SERIAL


class AlwaysRaises(FakeEnvironment):
    def step(self, action, look=()):
        raise ConnectionError("the server is gone")


def test_nothing_but_errors_stops_the_run_with_the_last_one(tmp_path):
    with RunStore.open(tmp_path / "run", {"suite": "fake"}) as store:
        with pytest.raises(StartError, match=r"10 errors in a row[\s\S]*the server is gone"):
            run(SPECS, store, SerialExecutor(), functools.partial(Worker, env=AlwaysRaises))
        assert len(list(store.results())) == 10 and not store.finished()
