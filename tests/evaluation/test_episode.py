"""The loop, on a scene without physics."""

import numpy as np
import pytest

from pirig.errors import PolicyError
from pirig.evaluation.episode import check_actions, run_episode, warm_up
from pirig.evaluation.replay import frames
from pirig.policies.baselines import RandomPolicy, ZeroPolicy
from pirig.testing import EnvironmentLaws, FakeEnvironment, FakePolicy, PolicyLaws
from pirig.types import EpisodeSpec, Rules

SPEC = EpisodeSpec("fake", 0, 3, 7)
RULES = Rules(max_policy_steps=22, settle_action=(0, 0, 0, 0, 0, 0, -1), settle_steps=4, replan_steps=5)


class TestFakeEnvironment(EnvironmentLaws):
    def make_environment(self):
        return FakeEnvironment()

    def make_specs(self):
        return EpisodeSpec("fake", 0, 0, 7), EpisodeSpec("fake", 1, 2, 7)


class TestFakePolicy(PolicyLaws):
    def make_policy(self):
        return FakePolicy(0.5)


def test_a_failure_takes_all_steps_and_counts_the_settle_steps():
    result = run_episode(SPEC, FakeEnvironment(), ZeroPolicy(), RULES)
    assert (result.status, result.steps, result.max_steps) == ("failure", 26, 26)
    assert result.actions.shape == (22, 7)
    assert result.timings.chunks == 5


def test_a_success_ends_the_episode_in_the_middle_of_a_chunk():
    result = run_episode(SPEC, FakeEnvironment(), FakePolicy(push=1.0), RULES)
    assert result.status == "success"
    assert result.steps == 4 + len(result.actions) < 10


def test_a_success_while_settling_does_not_count():
    rules = Rules(5, settle_action=(9.0, 0, 0, 0, 0, 0, -1), settle_steps=4)
    assert run_episode(SPEC, FakeEnvironment(), FakePolicy(push=-100.0), rules).status == "failure"


def test_the_first_replan_steps_actions_are_executed_and_then_the_policy_is_asked():
    policy = FakePolicy()
    run_episode(SPEC, FakeEnvironment(), policy, RULES)
    assert [obs["noise_key"] for obs in policy.requests] == [f"{SPEC.key}/call{i}" for i in range(5)]


def test_only_what_the_policy_looks_at_is_rendered():
    FakeEnvironment.looked = 0
    policy = FakePolicy()
    run_episode(SPEC, FakeEnvironment(), policy, RULES)
    assert FakeEnvironment.looked == 3 * len(policy.requests)
    FakeEnvironment.looked = 0
    run_episode(SPEC, FakeEnvironment(), ZeroPolicy(), RULES)
    assert FakeEnvironment.looked == 0


def test_carry_comes_back_with_the_next_request():
    policy = FakePolicy(carry={"calls": 1})
    run_episode(SPEC, FakeEnvironment(), policy, RULES)
    assert "carry" not in policy.requests[0]
    assert all(obs["carry"] == {"calls": 1} for obs in policy.requests[1:])


def test_equal_specs_give_equal_episodes():
    first, again = (run_episode(SPEC, FakeEnvironment(), RandomPolicy(), RULES) for _ in range(2))
    other = run_episode(EpisodeSpec("fake", 0, 4, 7), FakeEnvironment(), RandomPolicy(), RULES)
    assert first.outcome() == again.outcome() != other.outcome()


def test_the_recorded_actions_are_what_was_executed():
    result = run_episode(SPEC, FakeEnvironment(), RandomPolicy(), RULES)
    assert len(list(frames(result, FakeEnvironment(), RULES))) == len(result.actions)


BAD_ANSWERS = {
    "no actions": ({"action": 1}, "found keys ['action']"),
    "no dict": ([1], "found list"),
    "wrong width": ({"actions": np.zeros((10, 6))}, "found float64[10, 6]"),
    "one action": ({"actions": np.zeros(7)}, "found float64[7]"),
    "text": ({"actions": np.array([["a"] * 7])}, "must be numbers"),
    "NaN": ({"actions": np.full((10, 7), np.nan)}, "answered with nan in action 0, axis 0"),
    "short chunk": ({"actions": np.zeros((3, 7))}, "replan_steps is 5, but the policy's chunk has 3 actions"),
}


@pytest.mark.parametrize(("answer", "message"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_a_bad_answer_is_an_error_of_ours_and_never_a_failure(answer, message):
    with pytest.raises(PolicyError) as caught:
        check_actions(answer, RULES)
    assert message in str(caught.value)
    policy = FakePolicy()
    policy.infer = lambda obs: answer
    result = run_episode(SPEC, FakeEnvironment(), policy, RULES)
    assert result.status == "error"
    assert message in result.error
    with pytest.raises(PolicyError):
        warm_up(SPEC, FakeEnvironment(), policy, RULES)


def test_what_an_error_left_behind_is_kept():
    class FailsLater(FakePolicy):
        def infer(self, obs):
            if len(self.requests) == 2:
                raise RuntimeError("out of memory")
            return super().infer(obs)

    result = run_episode(SPEC, FakeEnvironment(), FailsLater(), RULES)
    assert result.status == "error"
    assert "out of memory" in result.error
    assert len(result.actions) == 10
