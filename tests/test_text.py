"""What people read is worded in one place."""

import pytest

from pirig import text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (40.4, "40 s"), (59.6, "1 min 0 s"), (103, "1 min 43 s"), (3600, "1 h 0 min"), (7830, "2 h 10 min")],
)
def test_a_duration_has_its_two_largest_units(seconds, words):
    assert text.duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0.00 MiB"), (2**20, "1.00 MiB"), (2**27, "0.12 GiB"), (3 * 2**29, "1.50 GiB")]
)
def test_a_size_is_in_binary_units(count, words):
    assert text.size(count) == words


def test_a_process_ends_with_a_signal_or_a_code():
    assert [text.process_end(code) for code in (-9, 0, 3)] == ["signal SIGKILL", "exit code 0", "exit code 3"]


def test_a_list_is_cut_only_where_it_is_longer():
    assert text.and_more(["a", "b"], 2) == "a, b"
    assert text.and_more(["a", "b", "c"], 2) == "a, b and 1 more"
    assert text.and_more(["a", "b", "c"], 1, "\n  ") == "a\n  and 2 more"
    assert text.and_more([], 2) == ""


def test_an_unknown_name_is_answered_with_the_known_ones():
    assert text.unknown("suite", "x", ["a", "b"]) == "unknown suite 'x'; there are: a, b"
    assert text.unknown("service", "x", []) == "unknown service 'x'; there are: none"
