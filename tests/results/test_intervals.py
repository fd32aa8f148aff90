"""Intervals of several rates, against published tables and by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from pirig.results.statistics.intervals import clustered, linear
from pirig.results.statistics.published import PUBLISHED, place, place_average
from pirig.results.statistics.tally import wilson
from pirig.results.summary import SuiteRow, complete_counts

NEWCOMBE = {  # R. G. Newcombe, Statistics in Medicine 17 (1998) 873-890, table II, method 10
    (56, 70, 48, 80): (0.0524, 0.3339),
    (9, 10, 3, 10): (0.1705, 0.8090),
    (6, 7, 2, 7): (0.0582, 0.8062),
    (5, 56, 0, 29): (-0.0381, 0.1926),
    (0, 10, 0, 20): (-0.1611, 0.2775),
    (0, 10, 0, 10): (-0.2775, 0.2775),
    (10, 10, 0, 20): (0.6791, 1.0),
}


@pytest.mark.parametrize(("counts", "published"), NEWCOMBE.items(), ids=str)
def test_a_difference_has_newcombes_interval(counts, published):
    a, m, b, n = counts
    found = linear([(a, m), (b, n)], [1, -1])
    assert found.value == pytest.approx(a / m - b / n)
    assert (found.low, found.high) == pytest.approx(published, abs=5e-5)


def counts(most=200):
    return st.integers(1, most).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts())
def test_of_one_rate_it_is_wilsons(count):
    found = linear([count], [1.0])
    assert (found.low, found.high) == pytest.approx(wilson(*count), abs=1e-12)


@given(counts(), counts())
def test_a_difference_turned_round_has_its_interval_turned_round(one, other):
    there, back = linear([one, other], [1, -1]), linear([other, one], [1, -1])
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.low <= there.value <= there.high


def test_a_rate_without_episodes_has_no_interval():
    with pytest.raises(ValueError, match="without scored episodes"):
        linear([(0, 0)], [1])
    with pytest.raises(ValueError, match="without scored episodes"):
        clustered([[(0, 0)]])


@pytest.mark.parametrize("rate", [0.8, 0.924, 0.98, 0.988])
def test_a_difference_is_covered_as_often_as_stated(rate):
    """Exact: all outcomes of two runs of 500 that differ by 0 or 2 points, weighted with their probabilities."""
    outcomes = np.arange(501)
    wilsons = np.array([wilson(x, 500) for x in outcomes])
    down, up = outcomes / 500 - wilsons[:, 0], wilsons[:, 1] - outcomes / 500
    apart = (outcomes[:, None] - outcomes[None, :]) / 500
    low, high = apart - np.hypot(down[:, None], up[None, :]), apart + np.hypot(up[:, None], down[None, :])
    for drop in (0, 0.02):
        likely = np.outer(binom.pmf(outcomes, 500, rate), binom.pmf(outcomes, 500, rate - drop))
        assert 0.94 < likely[(low <= drop) & (drop <= high)].sum() < 0.975


def test_tasks_that_agree_are_worth_all_their_episodes():
    """No variance between tasks: n counts in full, but for Student's t with 36 degrees of freedom."""
    found, effective = clustered([[(48, 50)] * 10] * 4), 2000 * (1.959964 / 2.028094) ** 2
    assert found.value == pytest.approx(0.96)
    assert (found.low, found.high) == pytest.approx(wilson(0.96 * effective, effective), abs=1e-6)


def test_tasks_that_differ_make_the_interval_wider():
    """By hand: one suite, rates 0.5 and 1.0 of 50 each: V = 2/1 (12.5^2 + 12.5^2) / 100^2, n* = 0.1875 / V = 3."""
    found = clustered([[(25, 50), (50, 50)]])
    effective = 3 * (1.959964 / 12.706205) ** 2
    assert (found.low, found.high) == pytest.approx(wilson(0.75 * effective, effective), abs=1e-6)
    same = clustered([[(37, 50), (38, 50)]])
    assert same.low > found.low
    assert same.high < found.high


def test_a_perfect_run_still_has_an_interval():
    found = clustered([[(50, 50)] * 10] * 4)
    assert found.value == 1.0
    assert found.low == pytest.approx(0.99794, abs=1e-5)
    assert found.high == 1.0


@pytest.mark.parametrize(("mean", "spread"), [(0.97, 0.03), (0.9, 0.08), (0.6, 0.2)])
def test_the_average_of_tasks_like_these_is_covered_as_often_as_stated(mean, spread):
    """3000 tables of 4 suites x 10 tasks x 50 trials, tasks drawn from a beta distribution around `mean`."""
    rng = np.random.default_rng(7)
    size = mean * (1 - mean) / spread**2 - 1
    rates = rng.beta(mean * size, (1 - mean) * size, (3000, 4, 10))
    tables = rng.binomial(50, rates)
    covered = 0
    for table in tables.tolist():
        found = clustered([[(x, 50) for x in suite] for suite in table])
        covered += found.low <= mean <= found.high
    assert 0.93 <= covered / 3000 <= 0.99


def test_the_published_row_is_counts_of_500_episodes():
    assert [rate * 5 for rate in PUBLISHED.values()] == pytest.approx([494, 491, 490, 462], abs=1e-9)


@pytest.mark.parametrize(
    ("successes", "scored", "verdict"),
    [
        (462, 500, "consistent"),
        (445, 500, "consistent"),
        (443, 500, "below"),
        (480, 500, "above"),
        (9, 10, "consistent"),
    ],
)
def test_a_rate_beside_the_published_one(successes, scored, verdict):
    """libero_10, 462 of 500 published. 445: -3.4 points, -7.0 to +0.2; 443: -3.8, -7.4 to -0.1."""
    found = place("libero_10", successes, scored)
    assert found
    assert found.verdict == verdict
    assert found.difference.value == pytest.approx(successes / scored - 0.924)


def test_where_nothing_is_published_nothing_is_said():
    assert place("libero_90", 10, 10) is None
    assert place("libero_10", 0, 0) is None


def rows(*successes, complete=True):
    return [SuiteRow(suite, x, 500, complete, "r") for suite, x in zip(PUBLISHED, successes, strict=True)]


def test_the_average_beside_the_published_one():
    same = place_average(complete_counts(rows(494, 491, 490, 462)))
    assert same
    assert same.verdict == "consistent"
    assert same.difference.value == pytest.approx(0, abs=1e-12)
    less = place_average(complete_counts(rows(484, 481, 480, 445)))
    assert less
    assert less.verdict == "below"
    assert less.difference.value == pytest.approx(-47 / 2000)
    assert place_average(complete_counts(rows(494, 491, 490, 462)[:3])) is None
    assert place_average(complete_counts(rows(494, 491, 490, 462, complete=False))) is None
