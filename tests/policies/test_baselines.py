import numpy as np
import pytest

from pirig.errors import ConfigError, PolicyError
from pirig.policies import baselines
from pirig.policies.wrappers import DefaultPrompt, OneByOne
from pirig.types import EpisodeSpec
from support import contracts

SPEC = EpisodeSpec("libero_goal", 3, 1, 7)
RECORDED = {SPEC: np.arange(21.0).reshape(3, 7)}


def make(name):
    return baselines.make(name, lambda run: RECORDED)


class TestZero(contracts.PolicyLaws):
    policy = pytest.fixture(lambda self: make("zero"))
    observation = pytest.fixture(lambda self: {"prompt": ""})

    def test_it_holds_still_with_an_open_gripper(self, policy, observation):
        assert np.array_equal(policy.infer(observation)["actions"][3], [0, 0, 0, 0, 0, 0, -1])


class TestRandom(contracts.PolicyLaws):
    policy = pytest.fixture(lambda self: make("random"))
    observation = pytest.fixture(lambda self: {"noise_key": "libero_goal/task03/trial001/seed7/call2"})

    def test_another_key_gives_other_actions(self, policy, observation):
        other = policy.infer({"noise_key": "another"})["actions"]
        assert not np.array_equal(policy.infer(observation)["actions"], other)


class TestReplay(contracts.PolicyLaws):
    policy = pytest.fixture(lambda self: make("replay:run"))
    observation = pytest.fixture(lambda self: {"episode": ["libero_goal", 3, 1, 7, 2]})

    def test_it_does_what_was_recorded(self, policy):
        found = [policy.infer({"episode": ["libero_goal", 3, 1, 7, i]})["actions"][0] for i in range(3)]
        assert np.array_equal(found, RECORDED[SPEC])

    def test_another_episode_is_an_error(self, policy):
        with pytest.raises(PolicyError, match="no finished episode libero_goal/task03/trial002/seed7"):
            policy.infer({"episode": ["libero_goal", 3, 2, 7, 0]})


def test_an_unknown_policy_names_those_there_are():
    with pytest.raises(ConfigError, match="unknown policy 'scirpted'; there are: scripted, zero, random, replay:RUN"):
        make("scirpted")


def test_a_default_prompt_is_given_only_where_there_is_none():
    class Says(OneByOne):
        metadata = {"name": "says"}

        def infer(self, obs):
            return {"prompt": obs["prompt"]}

    policy = DefaultPrompt(Says(), "wait")
    assert policy.infer({})["prompt"] == "wait"
    assert policy.infer({"prompt": "go"})["prompt"] == "go"
    assert policy.max_batch == 1
