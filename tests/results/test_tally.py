import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from pirig.results.statistics.tally import tally, tally_by_task, wilson
from pirig.types import EpisodeResult, EpisodeSpec


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(case):
    successes, n = case
    found = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson(successes, n) == pytest.approx((found.low, found.high), abs=1e-12)


def test_wilson_is_newcombes():
    """R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3."""
    for (x, n), published in {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0, 0.1611)}.items():
        assert wilson(x, n) == pytest.approx(published, abs=5e-5)


def test_nothing_is_known_without_episodes():
    assert wilson(0, 0) == (0, 1)


def spec(task, trial):
    return EpisodeSpec("fake", task, trial, 7)


PLANNED = [spec(task, trial) for task in range(2) for trial in range(3)]
RESULTS = [
    EpisodeResult(spec(0, 0), "success", 100, 230),
    EpisodeResult(spec(0, 1), "success", 120, 230),
    EpisodeResult(spec(0, 2), "failure", 230, 230),
    EpisodeResult(spec(1, 0), "error", 3, 230),
    EpisodeResult(spec(5, 0), "success", 3, 230),
]


def test_errors_and_missing_episodes_are_no_failures():
    total = tally(RESULTS, PLANNED)
    assert (total.successes, total.failures, total.errors, total.missing) == (2, 1, 1, 2)
    assert total.rate == pytest.approx(2 / 3)
    assert not total.complete
    assert total.success_steps == 110


def test_tasks_are_counted_apart():
    by_task = tally_by_task(RESULTS, PLANNED)
    assert list(by_task) == [0, 1]
    assert by_task[0].complete
    assert by_task[1].scored == 0
