import numpy as np
import pytest

from pirig.errors import ConfigError, PolicyError
from pirig.policies import baselines
from pirig.policies.wrappers import DefaultPrompt, OneByOne
from pirig.testing import PolicyLaws
from pirig.types import EpisodeSpec

SPEC = EpisodeSpec("libero_goal", 3, 1, 7)
RECORDED = {SPEC: np.arange(21.0).reshape(3, 7)}


def make(name):
    return baselines.make(name, lambda run: RECORDED)


class TestZero(PolicyLaws):
    def make_policy(self):
        return make("zero")

    def make_observation(self):
        return {"prompt": ""}

    def test_it_holds_still_with_an_open_gripper(self):
        assert np.array_equal(make("zero").infer({"prompt": ""})["actions"][3], [0, 0, 0, 0, 0, 0, -1])


class TestRandom(PolicyLaws):
    def make_policy(self):
        return make("random")

    def make_observation(self):
        return {"noise_key": "libero_goal/task03/trial001/seed7/call2"}

    def test_another_key_gives_other_actions(self):
        policy = make("random")
        other = policy.infer({"noise_key": "another"})["actions"]
        assert not np.array_equal(policy.infer(self.make_observation())["actions"], other)


class TestReplay(PolicyLaws):
    def make_policy(self):
        return make("replay:run")

    def make_observation(self):
        return {"episode": ["libero_goal", 3, 1, 7, 2]}

    def test_it_does_what_was_recorded(self):
        policy = make("replay:run")
        found = [policy.infer({"episode": ["libero_goal", 3, 1, 7, i]})["actions"][0] for i in range(3)]
        assert np.array_equal(found, RECORDED[SPEC])

    def test_another_episode_is_an_error(self):
        with pytest.raises(PolicyError, match="no finished episode libero_goal/task03/trial002/seed7"):
            make("replay:run").infer({"episode": ["libero_goal", 3, 2, 7, 0]})


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
