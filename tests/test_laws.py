"""A broken law is found, and the failure states the law."""

import subprocess
import sys

import numpy as np
import pytest

from pirig.testing import EnvironmentLaws, FakeEnvironment, FakePolicy, PolicyLaws, StoreLaws
from pirig.types import EpisodeSpec

SPECS = EpisodeSpec("fake", 0, 0), EpisodeSpec("fake", 1, 2)


class KeepsFirst:
    """A store that keeps the first result of each episode instead of the latest."""

    def __init__(self):
        self.kept = {}

    def append(self, result):
        self.kept.setdefault(result.spec, result)

    def results(self):
        yield from self.kept.values()


class Counts(FakePolicy):
    def infer(self, obs):
        return {"actions": np.full((10, 7), float(len(self.requests)))} | {"carry": super().infer(obs)}


class Writes(FakePolicy):
    def infer(self, obs):
        obs["prompt"] = "mine"
        return super().infer(obs)


class Rounds(FakePolicy):
    def infer(self, obs):
        return {"actions": super().infer(obs)["actions"].astype(np.float32)}


class Drops(FakePolicy):
    def infer_batch(self, observations):
        return super().infer_batch(observations[:2])


class Wide(FakePolicy):
    max_batch = 0


class Remembers(FakeEnvironment):
    episodes = 0

    def reset(self, spec, look=()):
        step = super().reset(spec, look)
        self.episodes += 1
        self._position += self.episodes
        return step


class Moves(FakeEnvironment):
    def _step(self, look):
        self._position += len(look)
        return super()._step(look)


class Shows(FakeEnvironment):
    def _step(self, look):
        return super()._step((*look, "observation/image"))


class Adds(FakeEnvironment):
    rendering_s = 1.0


@pytest.mark.parametrize(
    ("made", "law", "message"),
    [
        (Counts, "the_answer_depends_on_the_observation_alone", "must give the same actions, whatever the policy was"),
        (Writes, "an_observation_is_never_changed", "must not change the observation"),
        (Rounds, "actions_are_a_chunk_of_finite_float64", "must be of dtype float64; found float32"),
        (Drops, "a_batch_is_answered_row_by_row", "3 observations must get 3 answers; found 2"),
        (Counts, "a_batch_is_answered_row_by_row", "Row 0 of a batch must be what the policy answers"),
        (Wide, "it_says_what_it_is_and_how_much_it_takes_at_once", "max_batch must be at least 1; found 0"),
        (Remembers, "an_episode_does_not_depend_on_what_ran_before", "whatever ran before it"),
        (Moves, "looking_changes_nothing_that_happens", "whether or not its observations are looked at"),
        (Shows, "only_what_is_looked_at_is_made", "found ..observation/image., .observation/state., .prompt"),
        (Adds, "the_time_spent_on_images_counts_from_the_reset", "must count from the latest reset"),
        (KeepsFirst, "an_episode_has_one_result_in_order_of_first_completion", "the latest result of each episode"),
    ],
)
def test_a_broken_law_is_found_and_stated(made, law, message):
    class Policy(PolicyLaws):
        def make_policy(self):
            return made()

    class Environment(EnvironmentLaws):
        def make_environment(self):
            return made()

        def make_specs(self):
            return SPECS

    class Store(StoreLaws):
        def make_store(self):
            return made()

    (laws,) = (kind for kind in (Policy, Environment, Store) if hasattr(kind, f"test_{law}"))
    with pytest.raises(AssertionError, match=message):
        getattr(laws(), f"test_{law}")()


def test_a_subclass_that_provides_nothing_is_told_what_to_provide():
    with pytest.raises(NotImplementedError, match="must override make_policy"):
        PolicyLaws().test_it_can_be_closed()


def test_the_laws_need_no_test_framework():
    code = "import sys; sys.modules['pytest'] = None; import pirig.testing"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
