"""Laws of the scripted policy, in a hand-made scene. Its known answers are in tests/sim/test_conformance.py."""

import copy
import itertools

import numpy as np
import pytest

from pirig.errors import PolicyError
from pirig.policies.scripted import ScriptedPolicy
from pirig.testing import PolicyLaws
from pirig.wire import codec

CUBE, PLATE = np.array([0.1, 0.2, 0.92]), np.array([0.0, -0.2, 0.91])


def scene(hand, goal=("on", "cube", "plate")):
    """A 4 cm cube and a plate; the hand looks down and its fingers open along y."""
    return {
        "goal": [list(goal)],
        "owners": ["cube", "plate"],
        "boxes": {
            "center": np.array([CUBE, PLATE]),
            "rotation": np.array([np.eye(3)] * 2),
            "half": np.array([[0.02, 0.02, 0.02], [0.08, 0.08, 0.01]]),
            "owner": np.array([0, 1]),
        },
        "bodies": {"cube": CUBE, "plate": PLATE},
        "sites": {"spot": {"position": np.array([0.2, 0.0, 0.9]), "of": "table"}},
        "gripper": {"position": np.array(hand), "rotation": np.diag([1.0, -1.0, -1.0]), "axis": np.array([0.0, 1, 0])},
    }


def steps_of(policy, over_the_wire=False):
    """A hand that goes where it is told, 5 cm for an action of 1; the cube stays. Yields position and gripper."""
    hand, carry = np.array([0.0, 0.0, 1.2]), None
    while True:
        answer = policy.infer({"privileged": scene(hand), **({"carry": carry} if carry else {})})
        if over_the_wire:
            answer = codec.unpack(codec.pack(answer))
        carry, action = answer["carry"], answer["actions"][0]
        hand = hand + 0.05 * action[:3]
        yield *hand, action[6]


def follow(policy, steps, over_the_wire=False):
    return np.array(list(itertools.islice(steps_of(policy, over_the_wire), steps)))


class TestScripted(PolicyLaws):
    def make_policy(self):
        return ScriptedPolicy()

    def make_observation(self):
        return {"privileged": scene([0.0, 0.0, 1.2])}

    def test_it_goes_above_the_object_first_with_an_open_gripper(self):
        path = follow(ScriptedPolicy(), 7)
        closest = np.argmin(np.linalg.norm(path[:, :2] - CUBE[:2], axis=1))
        assert np.linalg.norm(path[closest, :2] - CUBE[:2]) < 0.02
        assert (path[:, 3] == -1).all()
        assert (path[:, 2] > CUBE[2]).all()

    def test_then_it_closes_on_it_lifts_it_and_tries_again_when_it_missed(self):
        path = follow(ScriptedPolicy(), 160)
        closing = np.flatnonzero(np.diff(path[:, 3]) > 0)
        assert np.linalg.norm(path[closing[0], :3] - CUBE) < 0.03
        assert len(closing) == 3, "the cube stays on the table, so there are three attempts"

    def test_memory_survives_the_wire_bit_for_bit(self):
        policy = ScriptedPolicy()
        assert np.array_equal(follow(policy, 160), follow(policy, 160, over_the_wire=True))

    def test_one_instance_serves_episodes_that_interleave(self):
        policy = ScriptedPolicy()
        alone = follow(policy, 30)
        early, late = steps_of(policy), steps_of(policy)
        paths = [next(early) for _ in range(10)], []
        for _ in range(20):
            paths[1].append(next(late))
            paths[0].append(next(early))
        assert np.array_equal(paths[0], alone)
        assert np.array_equal(paths[1], alone[:20])

    def test_a_memory_is_never_changed(self):
        policy, observation = ScriptedPolicy(), self.make_observation()
        carry = policy.infer(observation)["carry"]
        kept = copy.deepcopy(carry)
        policy.infer({**observation, "carry": carry})
        np.testing.assert_equal(carry, kept)


@pytest.mark.parametrize("goal", [(), ("turnon", "stove"), ("on", "cube", "nowhere"), ("on", "spot", "plate")])
def test_it_holds_still_where_it_has_no_script(goal):
    answer = ScriptedPolicy().infer({"privileged": scene([0.0, 0.0, 1.2], goal)})
    assert answer["actions"].tolist() == [[0, 0, 0, 0, 0, 0, -1]]


def test_it_holds_still_where_more_than_one_thing_must_hold():
    both = {**scene([0.0, 0.0, 1.2]), "goal": [["on", "cube", "plate"], ["on", "plate", "spot"]]}
    assert ScriptedPolicy().infer({"privileged": both})["actions"].tolist() == [[0, 0, 0, 0, 0, 0, -1]]


def test_without_privileged_poses_it_says_what_it_needs():
    with pytest.raises(PolicyError, match="needs the observation 'privileged'"):
        ScriptedPolicy().infer({"prompt": "put the cube on the plate"})
