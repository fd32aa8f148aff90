"""Laws that every implementation of an interface keeps. Subclass, and provide the object."""

import copy

import numpy as np

from pirig.types import EpisodeSpec


class PolicyLaws:
    """Provide fixtures `policy` and `observation` (one that the policy can read)."""

    BATCH_TOLERANCE = 1e-12

    def test_the_answer_depends_on_the_observation_alone(self, policy, observation):
        first = policy.infer(copy.deepcopy(observation))["actions"]
        policy.infer({**copy.deepcopy(observation), "noise_key": "another"})
        again = policy.infer(copy.deepcopy(observation))["actions"]
        assert np.array_equal(first, again), (
            "the same observation must give the same actions, whatever was asked before"
        )

    def test_an_observation_is_never_changed(self, policy, observation):
        given = copy.deepcopy(observation)
        policy.infer(given)
        np.testing.assert_equal(given, observation)

    def test_actions_are_a_chunk_of_finite_float64(self, policy, observation):
        actions = policy.infer(observation)["actions"]
        assert actions.dtype == np.float64
        assert actions.ndim == 2
        assert actions.shape[1] == 7
        assert len(actions) >= 1
        assert np.isfinite(actions).all()

    def test_a_batch_is_answered_row_by_row(self, policy, observation):
        others = [{**copy.deepcopy(observation), "noise_key": key} for key in ("first", "second", "third")]
        together = policy.infer_batch(others)
        assert len(together) == 3
        for obs, answer in zip(others, together, strict=True):
            alone = policy.infer(obs)["actions"]
            assert np.abs(answer["actions"] - alone).max() < self.BATCH_TOLERANCE


class EnvironmentLaws:
    """Provide fixtures `env` and `specs` (two different episodes)."""

    KEY = "observation/state"

    def rollout(self, env, spec: EpisodeSpec, look=(), steps=4):
        env.reset(spec, look)
        actions = np.random.default_rng(spec.trial).uniform(-0.5, 0.5, (steps, 7))
        seen = [env.step(action, look).observation for action in actions]
        return env.state_hash(), seen

    def test_an_episode_does_not_depend_on_what_ran_before(self, env, specs):
        alone, _ = self.rollout(env, specs[0])
        self.rollout(env, specs[1])
        assert self.rollout(env, specs[0])[0] == alone

    def test_looking_changes_nothing_that_happens(self, env, specs):
        blind, _ = self.rollout(env, specs[0])
        assert self.rollout(env, specs[0], (self.KEY, "observation/image"))[0] == blind

    def test_only_what_is_looked_at_is_made(self, env, specs):
        _, seen = self.rollout(env, specs[0], (self.KEY,))
        assert all(set(observation) == {self.KEY, "prompt"} for observation in seen)

    def test_different_episodes_differ(self, env, specs):
        assert self.rollout(env, specs[0])[0] != self.rollout(env, specs[1])[0]

    def test_actions_matter(self, env, specs):
        env.reset(specs[0])
        env.step(np.full(7, 0.3))
        moved = env.state_hash()
        env.reset(specs[0])
        env.step(np.full(7, -0.3))
        assert env.state_hash() != moved
