"""The test that may be looked at at any time: its errors by simulation, its order, its answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pirig.results.statistics.sequential import Declaration, SequentialTest, declared_order, in_words, wealth
from pirig.types import EpisodeSpec

LEVEL = 0.05
LIMIT = 2 / LEVEL
EVEN = np.zeros(10)
UNEVEN = np.array([-0.2, -0.1, -0.05, 0, 0, 0, 0, 0.05, 0.1, 0.2])  # by task; 0 on the average


def simulate(means, discordance, margin, runs=10_000, trials=50):
    """Shares of runs of 10 tasks x 50 trials in which B is ever found above -margin, and below; and pairs used."""
    rng = np.random.default_rng(7)
    draws = rng.random((runs, trials, len(means)))
    win, lose = (discordance + means) / 2, (discordance - means) / 2
    wins = np.cumsum((draws < win).sum(-1), axis=1)
    losses = np.cumsum(((draws >= win) & (draws < win + lose)).sum(-1), axis=1)
    pairs = np.arange(1, trials + 1)[None] * len(means)
    above = wealth(wins, losses, pairs, -margin) >= LIMIT
    below = wealth(losses, wins, pairs, margin) >= LIMIT
    ended = np.where((above | below).any(1), (above | below).argmax(1) + 1, trials) * len(means)
    return above.any(1).mean(), below.any(1).mean(), ended.mean()


@pytest.mark.parametrize(
    ("means", "discordance"),
    [(EVEN, 0.06), (EVEN, 0.5), (EVEN, 1.0), (UNEVEN, np.maximum(np.abs(UNEVEN), 0.05))],
    ids=["alike", "coins", "all discordant", "uneven tasks"],
)
def test_without_a_difference_one_is_found_at_most_as_often_as_stated(means, discordance):
    """10,000 runs, looked at after each block."""
    better, worse, _ = simulate(means, discordance, 0.0)
    assert better <= LEVEL / 2
    assert worse <= LEVEL / 2


@pytest.mark.parametrize("margin", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("spread", [EVEN, UNEVEN], ids=["even tasks", "uneven tasks"])
def test_just_at_the_margin_either_answer_errs_at_most_as_often_as_stated(margin, spread):
    means = spread - margin
    found = simulate(means, np.maximum(np.abs(means), 0.1), margin)
    assert found[0] <= LEVEL / 2
    assert found[1] <= LEVEL / 2


def test_a_difference_that_is_there_ends_the_run_early():
    _, worse, pairs = simulate(EVEN - 0.1, 0.14, 0.0)
    assert worse > 0.99
    assert pairs < 200
    fine, _, pairs = simulate(EVEN, 0.06, 0.1)
    assert fine > 0.99
    assert pairs < 200


def test_the_interval_holds_the_truth_at_all_times_together():
    """2000 runs: the share in which the true difference is ever refuted, at any of 50 looks."""
    above, below, _ = simulate(EVEN - 0.03, 0.09, 0.03, runs=2000)
    assert above + below <= LEVEL


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 100), st.floats(-0.5, 0.5))
def test_wealth_is_what_the_bets_give_one_by_one(wins, losses, ties, null):
    each = np.ones(8)
    for outcome in [1] * wins + [-1] * losses + [0] * ties:
        each *= 1 + np.geomspace(0.1, 0.9, 8) / (1 + null) * (outcome - null)
    assert wealth(wins, losses, wins + losses + ties, null) == pytest.approx(each.mean(), rel=1e-6)


@given(st.floats(-0.9, 0.9), st.floats(0, 1))
def test_no_bet_gains_on_the_average_under_the_null(null, discordance):
    """One pair, over its three outcomes, with the mean at the null."""
    share = max(discordance, abs(null))
    win, lose = (share + null) / 2, (share - null) / 2
    mean = win * wealth(1, 0, 1, null) + lose * wealth(0, 1, 1, null) + (1 - win - lose) * wealth(0, 0, 1, null)
    assert mean == pytest.approx(1)


SPECS = [EpisodeSpec("libero_goal", task, trial) for task in range(3) for trial in range(12)]


def test_each_block_has_a_trial_of_each_task():
    blocks = declared_order(SPECS, 7)
    assert [sorted(spec.task_id for spec in block) for block in blocks] == [[0, 1, 2]] * 12
    assert sorted(spec for block in blocks for spec in block) == SPECS
    assert blocks == declared_order(reversed(SPECS), 7) != declared_order(SPECS, 8)


def test_uneven_plans_have_no_blocks():
    with pytest.raises(ValueError, match="different numbers of trials"):
        declared_order(SPECS[1:], 7)


def make(outcome_a, margin=0.0):
    blocks = declared_order(SPECS, 7)
    return SequentialTest(Declaration("a", margin), blocks, dict.fromkeys(SPECS, outcome_a))


def test_a_plain_case_has_the_plain_answer():
    worse = make(True)
    answers = [worse.feed(spec, False) for spec in worse.order]
    first = answers.index("worse")
    assert first == 8
    assert set(answers[:first]) == {None}
    assert set(answers[first:]) == {"worse"}
    assert worse.look.losses == worse.look.pairs == 9  # 1.9^9 / 8 = 40.3: the end of the third block
    low, high = worse.interval()
    assert low == pytest.approx(-0.999)
    assert -0.9 < high < 0
    assert "worse than a (declared level 0.05, 9 pairs in the declared order, 0 won and 9 lost" in in_words(worse)
    better = make(False)
    assert [better.feed(spec, True) for spec in better.order][-1] == "better"


def test_with_a_margin_the_answer_is_about_the_margin():
    same = make(True, margin=0.3)
    assert [same.feed(spec, True) for spec in same.order][-1] == "non-inferior"
    assert "not worse than a by 30 points or more" in in_words(same)
    far = make(True, margin=0.3)
    assert [far.feed(spec, False) for spec in far.order][-1] == "inferior"


@settings(max_examples=50)
@given(st.permutations(range(len(SPECS))), st.lists(st.booleans(), min_size=36, max_size=36))
def test_the_answer_does_not_depend_on_the_order_of_completion(order, outcomes):
    """Nor does anything the answer rests on."""
    straight, shuffled = make(True), make(True)
    for spec, success in zip(SPECS, outcomes, strict=True):
        straight.feed(spec, success)
    for i in order:
        shuffled.feed(SPECS[i], outcomes[i])
    assert (straight.answer, straight.look) == (shuffled.answer, shuffled.look)


def test_what_ends_first_decides_nothing():
    """B is as good as a coin that A beats half the time; its successes, which end early, come in first."""
    rng = np.random.default_rng(1)
    test = make(False, margin=0.0)
    good = {spec: bool(rng.random() < 0.5) for spec in SPECS}
    gaps = {block[0] for block in declared_order(SPECS, 7)}
    for spec in sorted(SPECS, key=lambda spec: not good[spec]):
        if spec not in gaps:  # each block lacks an episode that is still running
            assert test.feed(spec, good[spec]) is None
    assert test.look.pairs == 0
