"""Replays keep to the record, and what parts from it is named with its step."""

import dataclasses

import numpy as np
import pytest

from pirig.errors import PirigError
from pirig.evaluation.divergence import first_divergence
from pirig.evaluation.episode import run_episode
from pirig.evaluation.replay import frames, pictures
from pirig.policies.baselines import RandomPolicy
from pirig.testing import FakeEnvironment
from pirig.types import EpisodeSpec, Rules

RULES = Rules(max_policy_steps=60, settle_action=(0,) * 7, settle_steps=4)
RESULT = run_episode(EpisodeSpec("fake", 3, 1), FakeEnvironment(), RandomPolicy(), RULES)


def changed(**fields):
    return dataclasses.replace(RESULT, **fields)


def with_action(step, value):
    actions = RESULT.actions.copy()
    actions[step, 0] = value
    return actions


def test_a_replay_shows_each_state_that_the_policy_acted_on():
    shown = list(frames(RESULT, FakeEnvironment(), RULES))
    assert len(shown) == len(RESULT.actions)
    assert [image[0, 0, 0] for image in shown[:2]] == [4, 5]
    env = FakeEnvironment()
    assert list(pictures(RESULT, env, RULES, lambda: env._time)) == list(range(4, 4 + len(RESULT.actions)))


@pytest.mark.parametrize(
    ("record", "step"),
    [
        (changed(actions=with_action(7, 0.125)), 12),
        (changed(spec=EpisodeSpec("fake", 2, 1)), 1),
        (changed(trail=np.append(RESULT.trail[:-1], np.uint32(5))), RESULT.steps),
    ],
)
def test_a_tampered_record_is_detected_at_its_first_step(record, step):
    with pytest.raises(PirigError, match=f"the state after step {step} of {RESULT.steps} is not the recorded one"):
        list(frames(record, FakeEnvironment(), RULES))


def test_a_tampered_final_state_is_detected():
    with pytest.raises(PirigError, match="ended in another state"):
        list(frames(changed(state_hash="0" * 32), FakeEnvironment(), RULES))


def again(spec=RESULT.spec, policy=None):
    return run_episode(spec, FakeEnvironment(), policy or RandomPolicy(), RULES)


def test_the_same_episode_again_does_not_differ():
    assert first_divergence(RESULT, again()) is None


class ChangesOneAction(RandomPolicy):
    """In the third chunk, by the last bit."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def infer(self, obs):
        answer = super().infer(obs)
        self.calls += 1
        if self.calls == 3:
            answer["actions"][1, 4] = np.nextafter(answer["actions"][1, 4], 9.0)
        return answer


def test_one_changed_action_is_named_with_step_and_axis():
    found = first_divergence(RESULT, again(policy=ChangesOneAction()))
    assert (found.step, found.quantity) == (4 + 2 * 5 + 1 + 1, "action")
    assert "axis 4 of action 11 is" in found.found


def test_one_changed_seed_is_named_with_the_first_step():
    found = first_divergence(RESULT, dataclasses.replace(again(EpisodeSpec("fake", 3, 1, 8)), spec=RESULT.spec))
    assert (found.step, found.quantity) == (1, "state")


def test_a_state_that_parts_with_equal_actions_is_the_simulators():
    other = RESULT.trail.copy()
    other[20:] += 1
    found = first_divergence(RESULT, changed(trail=other))
    assert (found.step, found.quantity) == (21, "state")


@pytest.mark.parametrize(
    ("now", "quantity", "said"),
    [
        (changed(status="failure" if RESULT.status == "success" else "success"), "end", " after "),
        (changed(state_hash="0" * 32), "state", "the final state"),
        (changed(status="error", error="Traceback: boom"), "error", "boom"),
    ],
)
def test_every_part_of_an_outcome_is_compared(now, quantity, said):
    found = first_divergence(RESULT, now)
    assert found.quantity == quantity
    assert said in found.found
