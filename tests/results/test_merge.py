"""Runs are listed, and joined where they are parts of one."""

import pytest

from pirig.errors import ConfigError
from pirig.results.merge import merge
from pirig.results.runs import find, overviews
from pirig.results.store import RunStore
from support.run_folders import CONFIGURATION, episode, outcomes, write


def part(every, task):
    return {key: status for key, status in every.items() if key[0] == task}


@pytest.fixture
def parts(tmp_path):
    every = outcomes({(0, 1), (1, 3)})
    return [write(tmp_path / f"part{task}", part(every, task)) for task in (0, 1)]


def test_parts_are_joined_bit_by_bit(tmp_path, parts):
    found = merge(tmp_path / "whole", parts)
    lines = b"".join((source.directory / "episodes.jsonl").read_bytes() for source in parts)
    assert (tmp_path / "whole/episodes.jsonl").read_bytes() == lines
    assert (found.configuration, found.manifest["planned"], found.manifest["complete"]) == (CONFIGURATION, 20, True)
    assert [row["run"] for row in found.manifest["merged_from"]] == ["part0", "part1"]
    assert not list(tmp_path.glob(".*"))
    with RunStore.open(tmp_path / "whole", CONFIGURATION) as store:
        assert len(store.scored()) == 20  # it goes on as the run that it is


def test_an_error_of_one_machine_is_no_duplicate_of_a_score(tmp_path, parts):
    failed = write(tmp_path / "failed", {(1, 3): "error"}, complete=False)
    found = merge(tmp_path / "whole", [failed, *parts])
    assert [r.status for r in found.results()].count("error") == 0
    assert not found.manifest["complete"]
    assert "planned" not in found.manifest


def test_duplicates_are_refused_by_name(tmp_path, parts):
    again = write(tmp_path / "again", {(0, 1): "failure", (5, 0): "success"})
    with pytest.raises(ConfigError, match=r"1 episodes are scored twice") as error:
        merge(tmp_path / "whole", [*parts, again])
    assert "libero_object/task00/trial001/seed7 in part0 and again" in str(error.value)
    assert not (tmp_path / "whole").exists()


def test_mixed_configurations_are_refused_by_field(tmp_path, parts):
    other = write(tmp_path / "other", {(3, 0): "success"}, gl="egl", versions={"mujoco": "3.9.0"})
    with pytest.raises(ConfigError, match="part0 and other are runs of different configurations") as error:
        merge(tmp_path / "whole", [*parts, other])
    assert "gl: 'osmesa' and 'egl'" in str(error.value)
    assert "versions: {'mujoco': '3.2.3'}" in str(error.value)


def test_mixed_assets_are_refused(tmp_path, parts):
    parts[0].note(assets="abc")
    parts[1].note(assets="def")
    with pytest.raises(ConfigError, match="assets: 'abc' and 'def'"):
        merge(tmp_path / "whole", parts)
    parts[1].note(assets="abc")
    assert merge(tmp_path / "whole", parts).manifest["assets"] == "abc"


def test_what_cannot_be_joined_says_so(tmp_path, parts):
    with pytest.raises(ConfigError, match="part1 is there already"):
        merge(tmp_path / "part1", parts)
    with pytest.raises(ConfigError, match="nothing to join in 1 run"):
        merge(tmp_path / "whole", parts[:1])
    parts[1].note(stopping={"decided": "B is worse"}, complete=False)
    with pytest.raises(ConfigError, match=r"part1 stopped early \(B is worse\)"):
        merge(tmp_path / "whole", parts)


def test_runs_are_listed_with_what_is_known(tmp_path):
    folder = tmp_path / "runs"
    write(folder / "one", outcomes({(0, 1)}) | {(1, 0): "error"}, complete=False)
    with RunStore.open(folder / "bare", CONFIGURATION) as store:
        store.append(episode("libero_object", 0, 0, "success"))
    found = {row.run: row for row in overviews(tmp_path)}
    one = found["one"]
    assert (one.successes, one.scored, one.errors, one.planned, one.complete) == (18, 19, 1, 20, False)
    assert (one.suite, one.policy) == ("libero_object", "one")
    assert one.interval[0] < 18 / 19 < one.interval[1]
    assert found["bare"].planned is None
    assert not found["bare"].complete
    assert find("one", tmp_path).directory == find(str(folder / "one"), tmp_path / "elsewhere").directory


def test_no_runs_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no runs in"):
        overviews(tmp_path)
