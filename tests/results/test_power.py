"""Power, against published figures, SciPy and simulation."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from pirig.results.statistics.paired import Paired
from pirig.results.statistics.power import (
    detectable,
    episodes_needed,
    independent_discordance,
    margin_power,
    paired_power,
    unpaired_power,
)


@pytest.mark.parametrize(("n", "points"), [(200, 6.8), (500, 3.8), (2000, 1.7)])
def test_what_so_many_episodes_show_unpaired(n, points):
    """The field's figures for a drop from 97 % with 80 % power."""
    found = detectable(lambda drop: unpaired_power(n, 0.97, drop), 0.97, 0.8)
    assert found
    assert 100 * found == pytest.approx(points, abs=0.05)


def test_episodes_needed_are_fleisss():
    """J. L. Fleiss, table A.3, power 0.80, level 0.05, adds a continuity correction (n/4)(1 + sqrt(1 + 4/(n d)))^2:
    with it 0.5 against 0.3 needs 103 a side, and 0.9 against 0.8 needs 219."""
    for a, b, published in ((0.5, 0.3, 103), (0.9, 0.8, 219)):
        n = episodes_needed(lambda n, a=a, b=b: unpaired_power(n, a, a - b), 0.8)
        assert n
        assert n / 4 * (1 + (1 + 4 / (n * (a - b))) ** 0.5) ** 2 == pytest.approx(published, abs=1)


@pytest.mark.parametrize(("n", "drop", "discordance"), [(30, 0.2, 0.4), (50, 0.1, 0.1), (40, 0, 0.3)])
def test_paired_power_is_summed_over_all_that_can_happen(n, drop, discordance):
    """By SciPy's test, outcome by outcome."""
    share, expected = (discordance + drop) / (2 * discordance), 0.0
    for d in range(n + 1):
        for wins in range(d + 1):
            if d and binomtest(wins, d).pvalue <= 0.05:
                expected += binom.pmf(d, n, discordance) * binom.pmf(wins, d, share)
    assert paired_power(n, drop, discordance) == pytest.approx(expected, abs=1e-9)


def test_paired_power_is_what_simulated_comparisons_have():
    rng = np.random.default_rng(7)
    tables = rng.multinomial(500, [0.04, 0.015, 0.945], 10_000)
    kinds, times = np.unique(tables[:, :2], axis=0, return_counts=True)
    shown = sum(
        count * (Paired(500 - a - b, a, b, 0).verdict() == "worse")
        for (a, b), count in zip(kinds.tolist(), times.tolist(), strict=True)
    )
    assert paired_power(500, 0.025, 0.055) == pytest.approx(shown / 10_000, abs=0.015)


def test_margin_power_is_what_simulated_comparisons_have():
    rng = np.random.default_rng(7)
    tables = rng.multinomial(500, [0.02, 0.02, 0.96], 10_000)
    kinds, times = np.unique(tables[:, :2], axis=0, return_counts=True)
    shown = sum(
        count * (Paired(500 - a - b, a, b, 0).margin_verdict(0.02) == "non-inferior")
        for (a, b), count in zip(kinds.tolist(), times.tolist(), strict=True)
    )
    assert 0.3 < shown / 10_000 < 0.9
    assert margin_power(500, 0.02, 0.04) == pytest.approx(shown / 10_000, abs=0.015)


def test_pairing_helps_where_policies_find_the_same_hard():
    needed = [episodes_needed(lambda n, d=d: paired_power(n, 0.02, d), 0.8) for d in (0.03, 0.06)]
    alone = episodes_needed(lambda n: unpaired_power(n, 0.97, 0.02), 0.8)
    assert needed[0]
    assert needed[1]
    assert alone
    assert needed[0] < needed[1] < alone


def test_the_number_needed_is_the_first_that_is_enough():
    n = episodes_needed(lambda n: unpaired_power(n, 0.97, 0.02), 0.8)
    assert n
    assert unpaired_power(n, 0.97, 0.02) >= 0.8 > unpaired_power(n - 1, 0.97, 0.02)
    assert episodes_needed(lambda n: unpaired_power(n, 0.97, 0.0), 0.8) is None


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="cannot hold a difference"):
        paired_power(100, 0.1, 0.05)
    assert detectable(lambda drop: unpaired_power(3, 0.97, drop), 0.1, 0.8) is None


def test_independent_policies_differ_most():
    assert independent_discordance(0.97, 0.0) == pytest.approx(2 * 0.97 * 0.03)
    assert independent_discordance(1.0, 0.1) == pytest.approx(0.1)
