"""Pairs of outcomes, against published tables, SciPy and simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from pirig.results.statistics.paired import Paired
from pirig.results.statistics.steps_to_success import compare_time, time_to_success
from pirig.types import EpisodeResult, EpisodeSpec

# M. W. Fagerland, S. Lydersen, P. Laake, "Statistical Analysis of Contingency Tables" (2017), chapter 8; B is before
# and A is after, as their difference is (n12 - n21) / N. Digits: the authors' package contingencytables.
CAVO = Paired(59, 16, 6, 80)  # complete response before and after consolidation therapy (Cavo et al., 2012)
BENTUR = Paired(1, 7, 1, 12)  # airway hyper-responsiveness before and after transplantation (Bentur et al., 2009)

pairs = st.tuples(*[st.integers(0, 300)] * 4).filter(any).map(lambda counts: Paired(*counts))


def test_mcnemars_test_gives_the_published_p_values():
    assert CAVO.mcnemar() == pytest.approx(0.052479, abs=5e-7)
    assert BENTUR.mcnemar() == pytest.approx(0.0703, abs=5e-5)


@pytest.mark.parametrize(
    ("table", "confidence", "published"),
    [
        (CAVO, 0.95, (-0.1240, -0.0054)),
        (BENTUR, 0.95, (-0.517, -0.026)),
        (Paired(300, 25, 28, 265), 0.90, (-0.0148, 0.0247)),  # PropCIs::scoreci.mp(25, 28, 618, 0.9)
    ],
)
def test_the_difference_has_tangos_interval(table, confidence, published):
    found = table.difference(confidence)
    assert (found.low, found.high) == pytest.approx(published, abs=5e-5 if table is not BENTUR else 5e-4)


@given(pairs)
def test_the_test_is_scipys(table):
    if table.only_a + table.only_b:
        assert table.mcnemar() == binomtest(table.only_a, table.only_a + table.only_b, 0.5).pvalue


@given(pairs)
def test_turned_round_all_is_turned_round(table):
    back = Paired(table.both, table.only_b, table.only_a, table.neither)
    one, other = table.difference(), back.difference()
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)
    assert one.low <= one.value <= one.high
    assert table.mcnemar() == back.mcnemar()


@given(pairs)
def test_at_its_limits_the_score_is_at_its_quantiles(table):
    found = table.difference()
    if found.low > -1 + 1e-9:
        assert table.score(found.low) == pytest.approx(1.959964, abs=1e-4)
    if found.high < 1 - 1e-9:
        assert table.score(found.high) == pytest.approx(-1.959964, abs=1e-4)


@given(pairs)
def test_without_a_difference_the_score_is_mcnemars(table):
    apart, discordant = table.only_b - table.only_a, table.only_a + table.only_b
    if discordant:
        assert table.score(0) == pytest.approx(apart / discordant**0.5)


@given(pairs, st.floats(0.001, 0.3))
def test_the_margins_p_value_and_its_verdict_agree(table, margin):
    found = table.margin_p(margin)
    if abs(found - 0.025) > 1e-6 and abs(found - 0.975) > 1e-6:
        verdict = "non-inferior" if found < 0.025 else "inferior" if found > 0.975 else "undecided"
        assert table.margin_verdict(margin) == verdict


def test_pairs_that_agree_leave_as_much_room_as_wilson():
    """No discordant pair in 500: 0 of 500 has Wilson's upper limit z^2 / (n + z^2) = 0.00762."""
    found = Paired(490, 0, 0, 10).difference()
    assert (found.low, found.high) == pytest.approx((-0.007624, 0.007624), abs=1e-6)
    assert Paired(490, 0, 0, 10).margin_verdict(0.01) == "non-inferior"


def test_without_pairs_nothing_is_known():
    empty = Paired(0, 0, 0, 0)
    assert (empty.difference().low, empty.difference().high, empty.mcnemar()) == (-1, 1, 1)
    assert empty.margin_verdict(0.5) == "undecided"
    assert empty.verdict() == "no difference shown"


@pytest.mark.parametrize(
    ("table", "verdict"),
    [
        (Paired(450, 5, 20, 25), "better"),
        (Paired(450, 20, 5, 25), "worse"),
        (Paired(450, 12, 20, 18), "no difference shown"),
    ],
)
def test_the_verdict_is_mcnemars(table, verdict):
    assert table.verdict() == verdict


@pytest.mark.parametrize(("only_a", "only_b"), [(0.02, 0.02), (0.05, 0.02), (0.01, 0.03), (0.1, 0.1)])
def test_the_interval_covers_and_the_test_errs_as_often_as_stated(only_a, only_b):
    """10,000 comparisons of 500 pairs each, by simulation."""
    rng = np.random.default_rng(7)
    tables = rng.multinomial(500, [0.9 - only_a - only_b, only_a, only_b, 0.1], 10_000)
    kinds, times = np.unique(tables[:, 1:3], axis=0, return_counts=True)
    covered = rejected = 0
    for (a, b), count in zip(kinds.tolist(), times.tolist(), strict=True):
        table = Paired(500 - a - b, a, b, 0)
        found = table.difference()
        covered += count * (found.low <= only_b - only_a <= found.high)
        rejected += count * (table.verdict() != "no difference shown")
    assert 0.94 <= covered / 10_000 <= 0.97
    if only_a == only_b:
        assert rejected / 10_000 <= 0.05


def episode(trial, status, steps):
    return EpisodeResult(EpisodeSpec("fake", 0, trial), status, steps, 230)


def test_time_to_success_is_of_successes():
    results = [episode(i, "success", steps) for i, steps in enumerate((100, 110, 120, 150, 200))]
    found = time_to_success([*results, episode(5, "failure", 230), episode(6, "error", 3)])
    assert (found.count, found.lower, found.median, found.upper) == (5, 110, 120, 150)
    assert time_to_success([]).count == 0
    assert np.isnan(time_to_success([]).median)


def test_time_is_compared_on_trials_that_both_succeed_at():
    slow = [episode(i, "success", 100 + i) for i in range(12)] + [episode(12, "success", 10)]
    fast = [episode(i, "success", 90 + i % 2) for i in range(12)] + [episode(12, "failure", 230)]
    found = compare_time(zip(slow, fast, strict=True))
    assert (found.difference.count, found.difference.upper < 0, found.p < 0.001) == (12, True, True)
    same = compare_time(zip(slow, slow, strict=True))
    assert same.difference.median == 0
    assert np.isnan(same.p)
