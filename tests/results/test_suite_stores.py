import pytest

from pirig.results.store import RunStore
from pirig.results.suite_stores import SuiteStores
from pirig.types import EpisodeResult, EpisodeSpec


def test_each_result_goes_to_its_suites_run(tmp_path):
    with RunStore.open(tmp_path / "a", {"suite": "a"}) as a, RunStore.open(tmp_path / "b", {"suite": "b"}) as b:
        shelf = SuiteStores({"a": a, "b": b})
        for suite, trial in [("b", 0), ("a", 0), ("b", 1)]:
            shelf.append(EpisodeResult(EpisodeSpec(suite, 0, trial), "success", 3, 9))
        assert [r.spec.trial for r in a.results()] == [0]
        assert [r.spec.trial for r in b.results()] == [0, 1]
        assert {(r.spec.suite, r.spec.trial) for r in shelf.results()} == {("a", 0), ("b", 0), ("b", 1)}
        with pytest.raises(KeyError):
            shelf.append(EpisodeResult(EpisodeSpec("c", 0, 0), "success", 3, 9))
