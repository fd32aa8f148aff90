"""A policy in a process of its own."""

import concurrent.futures
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from pirig.errors import ConfigError, MissingExtra, RemotePolicyError, StartError
from pirig.policies.wrappers import OneByOne
from pirig.serving.host import host, hosts
from pirig.serving.host_policy import HostPolicy
from support.killed import outlives

OBS = {"n": 1.5, "image": np.arange(12, dtype=np.uint8).reshape(2, 2, 3)}


class Doubling(OneByOne):
    metadata = {"name": "doubling", "observations": []}

    def infer(self, obs):
        if obs["n"] < 0:
            raise ValueError("not for others' eyes")
        return {"actions": np.full((1, 7), 2 * obs["n"]), "pid": os.getpid(), "image": obs.get("image")}


def doubling():
    return Doubling()


def no_checkpoint():
    raise ConfigError("there is no checkpoint")


def no_jax():
    raise MissingExtra("jax", "jax")


def bug():
    raise ZeroDivisionError("in the loader")


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def test_it_answers_from_another_process():
    with host(doubling) as (address, metadata):
        policy = HostPolicy(address)
        assert metadata == policy.metadata == Doubling.metadata
        answer = policy.infer(OBS)
        assert answer["actions"][0, 0] == 3.0
        assert answer["pid"] != os.getpid()
        assert np.array_equal(answer["image"], OBS["image"])
        assert [a["actions"][0, 0] for a in policy.infer_batch([{"n": 1.0}, {"n": 2.0}])] == [2.0, 4.0]
        policy.close()


def test_several_clients_at_once():
    with host(doubling) as (address, _):

        def ask(n):
            policy = HostPolicy(address)
            return [policy.infer({"n": float(n + i)})["actions"][0, 0] for i in range(20)]

        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            found = list(threads.map(ask, range(8)))
    assert found == [[2.0 * (n + i) for i in range(20)] for n in range(8)]


def test_what_the_policy_raises_reaches_the_caller_and_costs_nothing_else():
    with host(doubling) as (address, _):
        policy = HostPolicy(address)
        with pytest.raises(RemotePolicyError, match="ValueError: the policy failed") as error:
            policy.infer({"n": -1.0})
        assert "eyes" not in str(error.value)
        assert policy.infer({"n": 1.0})["actions"][0, 0] == 2.0


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (no_checkpoint, ConfigError, "there is no checkpoint"),
        (no_jax, MissingExtra, r"jax is not installed; get it with: make setup-models"),
        (bug, StartError, "the policy could not be loaded:\n(.|\n)*ZeroDivisionError: in the loader"),
        (killed, StartError, "died with signal SIGKILL while it loaded the policy; SIGKILL often means"),
    ],
)
def test_a_policy_that_cannot_be_loaded_stops_with_its_reason(make, kind, message):
    with pytest.raises(kind, match=message), host(make):
        pass


def test_a_host_that_dies_is_started_again_and_costs_no_request():
    with host(doubling) as (address, _):
        policy, other = HostPolicy(address), HostPolicy(address)
        first = policy.infer({"n": 0.0})["pid"]
        os.kill(first, signal.SIGKILL)
        again = policy.infer({"n": 3.0})
        assert again["actions"][0, 0] == 6.0
        assert again["pid"] != first
        assert other.infer({"n": 4.0})["pid"] == again["pid"]
    with pytest.raises(StartError, match="no policy host at"):
        HostPolicy(address)
    with pytest.raises(RemotePolicyError, match="the policy host is gone: whoever started it has ended"):
        policy.infer({"n": 0.0})


def test_several_hosts_of_one_policy_stand_in_for_each_other(monkeypatch):
    """While one is started again, another has its clients; then they go home."""
    monkeypatch.setattr("pirig.serving.host_policy._HOME_EVERY_S", 0.1)
    with hosts([doubling, doubling]) as running:
        a, b = running.addresses
        first, second = HostPolicy(a, b), HostPolicy(b, a)
        pids = [policy.infer({"n": 0.0})["pid"] for policy in (first, second)]
        assert pids[0] != pids[1]
        assert first.metadata == running.metadata
        os.kill(pids[0], signal.SIGKILL)
        assert first.infer({"n": 2.0})["actions"][0, 0] == 4.0
        deadline = time.monotonic() + 30
        while first.infer({"n": 0.0})["pid"] in pids and time.monotonic() < deadline:
            time.sleep(0.05)
        assert first.infer({"n": 0.0})["pid"] not in pids
        assert second.infer({"n": 0.0})["pid"] == pids[1]
    with pytest.raises(RemotePolicyError, match="whoever started it has ended"):
        first.infer({"n": 0.0})


def test_a_host_that_is_gone_for_good_is_missed_only_where_it_was_the_last(monkeypatch):
    monkeypatch.setattr("pirig.serving.host._RESTARTS", 0)
    with hosts([doubling, doubling]) as running:
        policy = HostPolicy(*running.addresses)
        first = policy.infer({"n": 0.0})["pid"]
        os.kill(first, signal.SIGKILL)
        last = policy.infer({"n": 0.0})["pid"]
        assert last != first
        os.kill(last, signal.SIGKILL)
        with pytest.raises(RemotePolicyError, match="gone: it died 1 times, the last time with signal SIGKILL"):
            policy.infer({"n": 0.0})


def test_hosts_that_are_not_one_policy_are_refused():
    with pytest.raises(ConfigError, match="the policy hosts are not one policy"), hosts([changes, changes]):
        pass


def test_one_host_that_cannot_start_stops_all_with_its_reason():
    with pytest.raises(ConfigError, match="there is no checkpoint"), hosts([doubling, no_checkpoint]):
        pass


def test_hosts_tell_how_long_batches_take_and_can_be_told_to_make_smaller_ones():
    with hosts([batching, batching]) as running:
        policies = [HostPolicy(running.addresses[0]) for _ in range(8)]
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda policy: policy.infer({"n": 1.0}), policies))
            together, none = running.batches()
            assert none == {}
            assert sum(size * count for size, (count, _) in together.items()) == 8
            assert max(together) > 2
            assert all(total_s >= 0.1 * count for count, total_s in together.values())
            running.limit_batches(2)
            list(threads.map(lambda policy: policy.infer({"n": 1.0}), policies))
        after = running.batches()[0]
        assert sum(size * count for size, (count, _) in after.items()) == 16
        assert {size: after[size] for size in after if size > 2} == {s: together[s] for s in together if s > 2}


class Batching(Doubling):
    max_batch = 8

    def infer_batch(self, observations):
        time.sleep(0.1)
        return super().infer_batch(observations)


def batching():
    return Batching()


class Threaded(Doubling):
    def infer(self, obs):
        return {**super().infer(obs), "threads": os.environ.get("OMP_NUM_THREADS", "")}


def threaded():
    return Threaded()


def test_a_host_that_is_started_again_has_the_threads_that_the_first_one_had(monkeypatch):
    """The coordinator caps those of its workers meanwhile; another number of threads rounds otherwise."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with host(threaded) as (address, _):
        policy = HostPolicy(address)
        first = policy.infer({"n": 0.0})
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        os.kill(first["pid"], signal.SIGKILL)
        again = policy.infer({"n": 0.0})
        assert again["pid"] != first["pid"]
        assert again["threads"] == first["threads"] == ""


def test_hosts_of_one_machine_have_the_same_number_of_threads(monkeypatch):
    """As many as one host alone would have."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with hosts([threaded, threaded]) as running:
        answers = [HostPolicy(address).infer({"n": 0.0}) for address in running.addresses]
    assert answers[0]["pid"] != answers[1]["pid"]
    assert [answer["threads"] for answer in answers] == ["", ""]


class Poisonable(Doubling):
    def infer(self, obs):
        if obs["n"] == 13.0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().infer(obs)


def poisonable():
    return Poisonable()


def test_a_request_that_kills_the_host_is_an_error_and_the_next_one_is_not():
    with host(poisonable) as (address, _):
        policy = HostPolicy(address)
        with pytest.raises(RemotePolicyError, match="died 2 times during one request"):
            policy.infer({"n": 13.0})
        assert policy.infer({"n": 1.0})["actions"][0, 0] == 2.0
        with pytest.raises(RemotePolicyError, match="gone: it died 4 times, the last time with signal SIGKILL"):
            policy.infer({"n": 13.0})


class Changes(Doubling):
    """Another policy in each process."""

    def __init__(self):
        self.metadata = {"name": f"policy of {os.getpid()}"}


def changes():
    return Changes()


def test_a_host_that_comes_back_as_another_policy_is_gone():
    with host(changes) as (address, _):
        policy = HostPolicy(address)
        os.kill(policy.infer({"n": 0.0})["pid"], signal.SIGKILL)
        with pytest.raises(RemotePolicyError, match="came back as another policy"):
            policy.infer({"n": 0.0})


def run_host():
    with host(doubling) as (address, _):
        print(HostPolicy(address).infer({"n": 0.0})["pid"], flush=True)
        time.sleep(60)


def run_worker_that_waits(address):
    """For a policy host that does not come."""
    process = multiprocessing.get_context("spawn").Process(target=HostPolicy, args=(address,))
    process.start()
    print(process.pid, flush=True)
    time.sleep(60)


def test_a_policy_host_ends_with_the_coordinator_that_was_killed(tmp_path):
    assert not outlives(tmp_path, __file__, "run_host", within_s=10)


def test_a_worker_that_waits_for_a_policy_host_ends_with_the_coordinator_that_was_killed(tmp_path):
    assert not outlives(tmp_path, __file__, "run_worker_that_waits", str(tmp_path / "socket"), within_s=10)
