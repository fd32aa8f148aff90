"""Many callers of one policy."""

import concurrent.futures
import threading

import numpy as np
import pytest

from pirig.errors import PolicyError, StartError
from pirig.serving.batching import Batcher

WITHIN_S = 20


class Gate:
    """A policy that waits for `open`, and notes the batches that it was given."""

    metadata = {"name": "gate"}
    max_batch = 3

    def __init__(self):
        self.open, self.busy, self.batches = threading.Event(), threading.Event(), []

    def infer(self, obs):
        return self.infer_batch([obs])[0]

    def infer_batch(self, observations):
        self.busy.set()
        assert self.open.wait(WITHIN_S)
        self.batches.append([obs["n"] for obs in observations])
        if any(obs["n"] < 0 for obs in observations):
            raise PolicyError("a negative one")
        return [{"actions": np.full((1, 7), obs["n"])} for obs in observations]

    def close(self):
        pass


@pytest.fixture
def gate():
    policy = Gate()
    batcher = Batcher(policy)
    yield policy, batcher
    policy.open.set()
    batcher.close()


def first_then(gate, numbers):
    """Futures of `numbers`, submitted while the policy is busy with another request."""
    policy, batcher = gate
    held = batcher.submit({"n": 0})
    assert policy.busy.wait(WITHIN_S)
    waiting = [batcher.submit({"n": n}) for n in numbers]
    return held, waiting


def value(future):
    return future.result(WITHIN_S)[0]["actions"][0, 0]


def test_what_waits_becomes_a_batch(gate):
    held, waiting = first_then(gate, range(1, 6))
    gate[0].open.set()
    assert [value(future) for future in [held, *waiting]] == [0, 1, 2, 3, 4, 5]
    assert gate[0].batches == [[0], [1, 2, 3], [4, 5]]


def test_a_request_that_fails_costs_only_its_own(gate):
    _, waiting = first_then(gate, [1, -2, 3])
    gate[0].open.set()
    assert (value(waiting[0]), value(waiting[2])) == (1, 3)
    with pytest.raises(PolicyError, match="a negative one"):
        waiting[1].result(WITHIN_S)


def test_a_request_that_was_given_up_is_not_computed(gate):
    _, waiting = first_then(gate, [1, 2])
    assert waiting[0].cancel()
    gate[0].open.set()
    assert value(waiting[1]) == 2
    assert gate[0].batches == [[0], [2]]


def test_who_waits_when_it_closes_is_told(gate):
    policy, batcher = gate
    held, waiting = first_then(gate, [1, 2])
    batcher.close(wait=False)
    policy.open.set()
    assert value(held) == 0
    for future in [*waiting, batcher.submit({"n": 3})]:
        with pytest.raises(StartError, match="the policy has been closed"):
            future.result(WITHIN_S)


def test_a_policy_that_answers_too_few_is_an_error_and_not_the_end(gate):
    policy, batcher = gate
    policy.open.set()
    policy.infer_batch = lambda observations: []
    for _ in range(2):
        with pytest.raises(PolicyError, match="answered 0 of 1 observations"):
            batcher.submit({"n": 1}).result(WITHIN_S)


def test_many_threads_get_their_own_answers():
    policy = Gate()
    policy.open.set()
    batcher = Batcher(policy)
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda n: value(batcher.submit({"n": n})), range(400)))
    batcher.close()
    assert found == list(range(400))
    assert all(len(batch) <= 3 for batch in policy.batches)
