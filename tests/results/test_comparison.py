"""Two runs with a known difference, and those that must not be compared."""

import json

import pytest

from pirig.errors import ConfigError
from pirig.results.comparison import compare, differences
from pirig.results.conclusion import in_words, to_json
from pirig.results.statistics.paired import Paired
from support.run_folders import CONFIGURATION, outcomes, write

FAILS_A = {(0, 1), (0, 2), (1, 3)}
FAILS_B = {(0, 2), (1, 4), (1, 5), (1, 6), (1, 7), (1, 8), (1, 9)}


@pytest.fixture
def runs(tmp_path):
    a = write(tmp_path / "a", outcomes(FAILS_A))
    return a, write(tmp_path / "b", outcomes(FAILS_B), steps=110, policy="two", policy_metadata={"name": "two"})


def test_a_known_difference_is_found(runs):
    found = compare([runs[0]], [runs[1]])
    assert found.total == Paired(both=11, only_a=6, only_b=2, neither=1)
    assert found.by_task == {("libero_object", 0): Paired(8, 0, 1, 1), ("libero_object", 1): Paired(3, 6, 1, 0)}
    assert {(p.spec.task_id, p.spec.trial) for p in found.discordant} == FAILS_A ^ FAILS_B
    assert found.steps.difference.median == 10
    assert found.steps.difference.count == 11
    assert not found.unpaired
    assert not found.warnings


def test_the_order_of_completion_changes_nothing(tmp_path, runs):
    turned = dict(reversed(outcomes(FAILS_B).items()))
    other = write(tmp_path / "turned", turned, steps=110, policy="two", policy_metadata={"name": "two"})
    ways = [compare([runs[0]], [b]) for b in (runs[1], other)]
    one, two = ([(pair.spec, pair.a.status, pair.b.status) for pair in way.pairs] for way in ways)
    assert one == two
    assert ways[0].total == ways[1].total


def test_episodes_without_a_partner_are_named(tmp_path):
    a = write(tmp_path / "a", outcomes((), trials=4) | {(0, 3): "error"})
    b = write(tmp_path / "b", outcomes((), trials=5) | {(1, 0): "error"})
    found = compare([a], [b])
    assert found.total.n == 6
    assert len(found.unpaired) == 4
    assert [spec.key[14:29] for spec in found.unpaired.only_b] == ["task00/trial004", "task01/trial004"]
    assert not found.unpaired.only_a
    assert len(found.unpaired.errors) == 2


MEANINGLESS = {
    "seeding": "openpi",
    "max_steps": 520,
    "settle_steps": 0,
    "replan_steps": 10,
    "resize_size": 256,
    "versions": {"mujoco": "3.9.0"},
    "seed": 8,
    "a_field_of_tomorrow": 1,
}


@pytest.mark.parametrize(("field", "value"), MEANINGLESS.items(), ids=MEANINGLESS)
def test_another_protocol_is_refused_by_name(tmp_path, runs, field, value):
    other = write(tmp_path / "other", outcomes(()), **{field: value})
    with pytest.raises(ConfigError, match="differ in more than the policy") as error:
        compare([runs[0]], [other])
    assert f"{field}: A has {CONFIGURATION.get(field)!r}, B {value!r}" in str(error.value)


def test_other_assets_are_another_protocol(runs):
    runs[0].note(assets="abc")
    assert not compare([runs[0]], [runs[1]]).warnings  # nobody noted B's
    runs[1].note(assets="def")
    with pytest.raises(ConfigError, match="assets: A has abc, B def"):
        compare([runs[0]], [runs[1]])


def test_force_goes_on_with_a_warning(tmp_path, runs):
    other = write(tmp_path / "other", outcomes(()), max_steps=520)
    assert compare([runs[0]], [other], force=True).warnings == ("max_steps: A has 280, B 520",)


def test_no_pair_is_made_up_of_other_seeds(tmp_path, runs):
    other = write(tmp_path / "other", outcomes(()), seed=8)
    with pytest.raises(ConfigError, match="no episode is scored in both"):
        compare([runs[0]], [other], force=True)


def test_replan_steps_may_differ_where_each_policy_asks_for_its_own():
    asks = {**CONFIGURATION, "policy_metadata": {"replan_steps": 1}, "replan_steps": 1}
    assert differences(CONFIGURATION, asks) == ([], [])
    told = {**asks, "replan_steps": 8}
    assert differences(CONFIGURATION, told)[0] == ["replan_steps: A has 5, B 8"]


def test_another_renderer_is_worth_a_word():
    meaningless, remarkable = differences(CONFIGURATION, {**CONFIGURATION, "gl": "egl"})
    assert not meaningless
    assert remarkable == ["gl: A has 'osmesa', B 'egl'; the images are drawn by another GL back end"]


def test_incomplete_and_stopped_runs_are_compared_with_a_word(tmp_path, runs):
    partly = write(tmp_path / "partly", outcomes((), trials=5), complete=False)
    assert "partly is incomplete" in compare([runs[0]], [partly]).warnings[0]
    partly.note(stopping={"decided": "B is worse than A"})
    assert "partly stopped early: B is worse than A" in compare([runs[0]], [partly]).warnings[0]


def test_several_suites_are_compared_together(tmp_path, runs):
    goal = [write(tmp_path / name, outcomes(fails), suite="libero_goal", policy=policy) for name, fails, policy in (
        ("goal_a", {(0, 0)}, "one"), ("goal_b", {(0, 1)}, "two"))]  # fmt: skip
    found = compare([runs[0], goal[0]], [goal[1], runs[1]])
    assert found.by_suite == {"libero_object": Paired(11, 6, 2, 1), "libero_goal": Paired(18, 1, 1, 0)}
    assert found.total == Paired(29, 7, 3, 1)
    with pytest.raises(ConfigError, match="A has libero_goal, libero_object, B has libero_object"):
        compare([runs[0], goal[0]], [runs[1]])
    with pytest.raises(ConfigError, match="A has two runs of libero_object, a and b"):
        compare(runs, [runs[1]])
    with pytest.raises(ConfigError, match="policy: A has several: one, two"):
        compare([runs[0], goal[1]], [runs[1], goal[1]])


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (Paired(470, 5, 20, 5), ["3.0 points more often", "B is better than A", "not worse than A by 3 points"]),
        (Paired(430, 50, 10, 10), ["8.0 points less", "B is worse than A (", "worse than A by more than 3 points"]),
        (Paired(470, 12, 10, 8), ["0.4 points less", "no difference is shown", "not worse than A by 3 points"]),
        (Paired(46, 2, 2, 0), ["as often as A", "which is no proof", "is undecided"]),
    ],
)
def test_the_words_say_what_the_numbers_say(table, words):
    found = in_words(table, level=0.05, margin=0.03)
    assert len(found) == 3, found
    assert all(part in line for part, line in zip(words, found, strict=True)), found
    assert in_words(table, level=0.05, margin=None) == found[:2]


def test_json_holds_the_same_numbers(runs):
    found = compare([runs[0]], [runs[1]])
    row = json.loads(json.dumps(to_json(found, level=0.05, margin=0.1), allow_nan=False))
    assert (row["a"], row["total"]["only_a"], row["total"]["pairs"]) == ({"libero_object": "a"}, 6, 20)
    assert row["total"]["mcnemar_p"] == pytest.approx(2 * (1 + 8 + 28) / 2**8)
    assert row["tasks"][1]["difference"] == pytest.approx(-0.5)
    assert row["total"]["margin_verdict"] == "undecided"
    assert len(row["in_words"]) == 3
