"""The laws of the interfaces, as tests to be inherited.

Subclass, provide the object under test by a method, and get each law as a test method. A subclass needs no test
framework but one that calls methods named `test_…`: pytest does, and so does unittest for a subclass of its TestCase.

    class TestMyPolicy(PolicyLaws):
        def make_policy(self):
            return MyPolicy()
"""

import copy
import dataclasses
from collections.abc import Collection, Mapping

import numpy as np

from pirig.interfaces import Environment, Policy, ResultStore
from pirig.types import EpisodeResult, EpisodeSpec, Observation, Status, Timings


class PolicyLaws:
    """Laws of interfaces.Policy. A subclass provides the policy, and an observation that it can read."""

    ACTION_SIZE = 7
    BATCH_TOLERANCE = 1e-12  # between a row of a batch and the same observation alone

    def make_policy(self) -> Policy:
        raise NotImplementedError(f"{type(self).__name__} must override make_policy to return the policy under test")

    def make_observation(self) -> Observation:
        """What every openpi policy for LIBERO reads, with black images."""
        image = np.zeros((224, 224, 3), np.uint8)
        images = {"observation/image": image, "observation/wrist_image": image.copy()}
        return {**images, "observation/state": np.zeros(8), "prompt": "wait", "noise_key": "suite/task/trial/call0"}

    def test_the_answer_depends_on_the_observation_alone(self) -> None:
        policy = self.make_policy()
        first = policy.infer(self.make_observation())["actions"]
        policy.infer({**self.make_observation(), "noise_key": "another"})
        again = policy.infer(self.make_observation())["actions"]
        assert np.array_equal(first, again), (
            "The same observation must give the same actions, whatever the policy was asked before."
        )

    def test_an_observation_is_never_changed(self) -> None:
        observation = self.make_observation()
        before = copy.deepcopy(observation)
        self.make_policy().infer(observation)
        np.testing.assert_equal(observation, before, "A policy must not change the observation that it is given.")

    def test_actions_are_a_chunk_of_finite_float64(self) -> None:
        actions = self.make_policy().infer(self.make_observation())["actions"]
        assert isinstance(actions, np.ndarray), f"Actions must be a NumPy array; found {type(actions).__name__}."
        assert actions.dtype == np.float64, f"Actions must be of dtype float64; found {actions.dtype}."
        assert actions.ndim == 2, f"Actions must be a chunk of shape [T, A]; found shape {list(actions.shape)}."
        assert actions.shape[1] == self.ACTION_SIZE, (
            f"An action must have {self.ACTION_SIZE} coordinates; found {actions.shape[1]}."
        )
        assert len(actions) >= 1, "A chunk must have at least one action."
        assert np.isfinite(actions).all(), "Actions must be finite numbers."

    def test_a_batch_is_answered_row_by_row(self) -> None:
        policy = self.make_policy()
        observations = [{**self.make_observation(), "noise_key": key} for key in ("first", "second", "third")]
        answers = policy.infer_batch(observations)
        assert len(answers) == 3, f"A batch of 3 observations must get 3 answers; found {len(answers)}."
        for row, (obs, answer) in enumerate(zip(observations, answers, strict=True)):
            difference = np.abs(answer["actions"] - policy.infer(obs)["actions"]).max()
            assert difference <= self.BATCH_TOLERANCE, (
                f"Row {row} of a batch must be what the policy answers to that observation alone; they differ by "
                f"{difference:.3g}, and {self.BATCH_TOLERANCE:.3g} is allowed."
            )

    def test_it_says_what_it_is_and_how_much_it_takes_at_once(self) -> None:
        policy = self.make_policy()
        assert isinstance(policy.metadata, Mapping), "A policy's metadata must be a mapping."
        assert isinstance(policy.max_batch, int), "A policy's max_batch must be an integer."
        assert policy.max_batch >= 1, f"A policy's max_batch must be at least 1; found {policy.max_batch}."

    def test_it_can_be_closed(self) -> None:
        policy = self.make_policy()
        policy.infer(self.make_observation())
        assert policy.close() is None, "A policy's close must return nothing."


class EnvironmentLaws:
    """Laws of interfaces.Environment. A subclass provides the environment, and two different episodes of it."""

    STATE, IMAGE = "observation/state", "observation/image"  # two observations that it has
    ACTION_SIZE = 7

    def make_environment(self) -> Environment:
        raise NotImplementedError(f"{type(self).__name__} must override make_environment to return the one under test")

    def make_specs(self) -> tuple[EpisodeSpec, EpisodeSpec]:
        raise NotImplementedError(f"{type(self).__name__} must override make_specs to return two different episodes")

    def rollout(self, env: Environment, spec: EpisodeSpec, look: Collection[str] = ()) -> tuple[str, list[Observation]]:
        """Takes four steps. Returns the final state's hash, and the observation after each step."""
        env.reset(spec, look)
        actions = np.random.default_rng(spec.trial).uniform(-0.5, 0.5, (4, self.ACTION_SIZE))
        observations = [env.step(action, look).observation for action in actions]
        return env.state_hash(), observations

    def test_an_episode_does_not_depend_on_what_ran_before(self) -> None:
        env, (first, second) = self.make_environment(), self.make_specs()
        alone, _ = self.rollout(env, first)
        self.rollout(env, second)
        assert self.rollout(env, first)[0] == alone, (
            "The same episode with the same actions must end in the same state, whatever ran before it."
        )

    def test_looking_changes_nothing_that_happens(self) -> None:
        env, (spec, _) = self.make_environment(), self.make_specs()
        blind, _ = self.rollout(env, spec)
        assert self.rollout(env, spec, (self.STATE, self.IMAGE))[0] == blind, (
            "An episode must end in the same state whether or not its observations are looked at."
        )

    def test_only_what_is_looked_at_is_made(self) -> None:
        env, (spec, _) = self.make_environment(), self.make_specs()
        for observation in self.rollout(env, spec, (self.STATE,))[1]:
            assert set(observation) == {self.STATE, "prompt"}, (
                f"An observation must hold the prompt and the keys that were asked for; found {sorted(observation)}."
            )

    def test_different_episodes_differ(self) -> None:
        env, (first, second) = self.make_environment(), self.make_specs()
        assert self.rollout(env, first)[0] != self.rollout(env, second)[0], (
            "Two different episodes must not end in the same state."
        )

    def test_actions_matter(self) -> None:
        env, (spec, _) = self.make_environment(), self.make_specs()
        hashes = set()
        for action in (0.3, -0.3):
            env.reset(spec)
            env.step(np.full(self.ACTION_SIZE, action))
            hashes.add(env.state_hash())
        assert len(hashes) == 2, "Opposite actions must lead to different states."

    def test_the_time_spent_on_images_counts_from_the_reset(self) -> None:
        env, (spec, _) = self.make_environment(), self.make_specs()
        self.rollout(env, spec, (self.IMAGE,))
        spent_s = env.rendering_s
        assert spent_s >= 0, "The time spent on images must not be negative."
        env.reset(spec)
        assert env.rendering_s < spent_s or not spent_s, "The time spent on images must count from the latest reset."


class StoreLaws:
    """Laws of interfaces.ResultStore. A subclass provides an empty store, and another reader of the same record."""

    def make_store(self) -> ResultStore:
        raise NotImplementedError(f"{type(self).__name__} must override make_store to return an empty store")

    def read_again(self, store: ResultStore) -> ResultStore:
        """A store that reads the record of `store` from where it is kept, while `store` is open."""
        raise NotImplementedError(f"{type(self).__name__} must override read_again to return another reader")

    def result(self, trial: int, status: Status = "success") -> EpisodeResult:
        actions = np.random.default_rng(trial).normal(size=(3, 7))
        error = "Traceback: größer" if status == "error" else ""
        spec, timings = EpisodeSpec("fake", 0, trial), Timings(0.1, 0.2, 0.05, 0.3, 5)
        return EpisodeResult(spec, status, 13, 230, 0.1, timings, actions, "abc", np.arange(13, dtype=np.uint32), error)

    def test_what_was_appended_is_kept_when_append_returns(self) -> None:
        store = self.make_store()
        given = [self.result(0), self.result(1, "failure"), self.result(2, "error")]
        for count, one in enumerate(given, start=1):
            store.append(one)
            found = list(self.read_again(store).results())
            assert len(found) == count, "A result must be on disk, for every reader, when append returns."
        for one, kept in zip(given, self.read_again(store).results(), strict=True):
            for field in dataclasses.fields(one):
                np.testing.assert_equal(
                    getattr(kept, field.name), getattr(one, field.name), f"A store must keep {field.name} exactly."
                )

    def test_an_episode_has_one_result_in_order_of_first_completion(self) -> None:
        store = self.make_store()
        for one in (self.result(1, "error"), self.result(0), self.result(1), self.result(0, "failure")):
            store.append(one)
        assert [(one.spec.trial, one.status) for one in store.results()] == [(1, "success"), (0, "failure")], (
            "A store must return the latest result of each episode, in order of first completion."
        )

    def test_only_errors_run_again(self) -> None:
        store = self.make_store()
        for one in (self.result(0), self.result(1, "failure"), self.result(2, "error")):
            store.append(one)
        assert {spec.trial: one.status for spec, one in store.scored().items()} == {0: "success", 1: "failure"}, (
            "scored must return the successes and failures by episode, and no error, because an error runs again."
        )

    def test_an_error_never_replaces_a_score(self) -> None:
        store = self.make_store()
        for one in (self.result(0, "failure"), self.result(0, "error")):
            store.append(one)
        assert [one.status for one in store.results()] == ["failure"], (
            "A success or a failure must outrank every error of the same episode."
        )
