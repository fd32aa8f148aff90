"""Runs that version 0.1.0 wrote are read, compared, resumed, replayed and merged as that version did.

The runs and its answers are in `tests/data/old_runs`; the README there says how they were made.
"""

import json
import re
import shutil

import pytest

from pirig.results.store import RunStore
from support import command, old_runs
from support.old_runs import BY_CONFIGURATION, MODEL, QUESTIONS, RUNS, SIMULATIONS, call, directory, manifest

OLD = old_runs.FOLDER
REMEDY = "if this is meant, write the answers anew: PYTHONPATH=src:tests python -m support.old_runs"
NOTHING_LEFT = (MODEL, "openpi-seeding", "part-1", "part-2", "stopped", BY_CONFIGURATION, "scripted")
EXPORTED = {MODEL: "libero_spatial", "openpi-seeding": "libero_goal", "scripted": "libero_object"}  # the latest of each
SETTLED = ("configuration", "protocol", "assets", "planned", "complete", "stopping")  # in the manifest of such a run


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory):
    """Return a working directory for tests that change nothing."""
    return old_runs.copy(tmp_path_factory.mktemp("old_runs"))


@pytest.fixture
def folder(unchanged, tmp_path):
    return shutil.copytree(unchanged, tmp_path, dirs_exist_ok=True)


def lines(folder, name):
    return (directory(folder, name) / "episodes.jsonl").read_bytes()


def export(folder, suite, ending="csv"):
    return (folder / f"results/libero/{suite}_results.{ending}").read_text()


def rows(csv):
    """Return the rows by task and trial."""
    return {tuple(row.split(",")[i] for i in (0, 2)): row for row in csv.splitlines()[1:]}


def stored(answer):
    return (old_runs.ANSWERS / answer).read_text()


def files(folder):
    """Return the content of all files below a folder by path."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("file", QUESTIONS)
def test_a_question_about_an_old_run_has_the_old_answer(unchanged, file):
    assert old_runs.answer(unchanged, QUESTIONS[file]) == stored(file), REMEDY


@pytest.mark.parametrize("name", RUNS)
def test_a_report_contains_the_manifest_as_it_was_written(unchanged, name):
    report = json.loads(call(unchanged, "report", name, "--format", "json", "--out", "-").out)
    assert report["manifest"] == manifest(OLD, name)


def test_every_old_run_is_asked_about_and_every_old_answer_has_its_question():
    assert {path.name for path in directory(OLD, "").iterdir()} == set(RUNS)
    assert {path.as_posix() for path in files(old_runs.ANSWERS)} == {*QUESTIONS, *SIMULATIONS}


def test_a_question_writes_nothing(folder):
    for file in ("runs.json", "overview.md", "page.txt", "comparisons/merged--stopped.json", "resume/interrupted.txt"):
        old_runs.answer(folder, QUESTIONS[file])
    assert files(folder / "results") == files(OLD / "results")


@pytest.mark.parametrize("name", NOTHING_LEFT)
def test_the_command_of_an_old_run_finds_it_and_runs_nothing_that_it_has(folder, name):
    """The run's configuration, its protocol and the name that follows from them are what they were."""
    ended = call(folder, *old_runs.resume(name))
    assert ended.code == 0, ended.err
    assert {path.name for path in directory(folder, "").iterdir()} == set(RUNS)
    assert lines(folder, name) == lines(OLD, name)
    before, after = manifest(OLD, name), manifest(folder, name)
    assert {key: after.get(key) for key in SETTLED} == {key: before.get(key) for key in SETTLED}
    assert after["sessions"][:-1] == before["sessions"]
    assert after["sessions"][-1]["episodes"] == 0
    if suite := EXPORTED.get(name):
        for ending in ("csv", "json"):
            assert export(folder, suite, ending) == export(OLD, suite, ending)


def check_resumed(folder, name):
    """Check that old lines stay and that all episodes equal those of the complete run `scripted` bit by bit."""
    assert lines(folder, name).startswith(lines(OLD, name))
    resumed, complete = (rows(export(root, "libero_object")) for root in (folder, OLD))
    assert resumed == {key: complete[key] for key in (("0", "0"), ("2", "0"))}
    outcomes, expected = command.outcomes(folder, name), command.outcomes(OLD, "scripted")
    assert len(outcomes) == 2
    assert outcomes == {spec: expected[spec] for spec in outcomes}
    before, after = manifest(OLD, name), manifest(folder, name)
    assert (after["configuration"], after["protocol"]) == (before["configuration"], before["protocol"])
    assert (after["planned"], after["complete"]) == (2, True)


def test_an_old_run_that_was_interrupted_is_completed_by_its_command(folder):
    ended = call(folder, *old_runs.resume("interrupted"))
    assert ended.code == 0, ended.err
    assert "1 of 2 episodes are there already" in ended.err
    check_resumed(folder, "interrupted")


def test_an_old_run_with_errors_is_completed_with_a_server_that_answers(folder):
    with command.serving(folder, "policy:baseline", "--policy.name", "scripted", **old_runs.MACHINE) as address:
        ended = call(folder, *old_runs.resume("errors"), "--policy", address)
    assert ended.code == 0, ended.err
    assert "1 of 2 episodes are there already" in ended.err
    check_resumed(folder, "errors")


@pytest.mark.parametrize("file", SIMULATIONS)
def test_an_old_episode_is_run_again_to_its_recorded_states(unchanged, file):
    ended = old_runs.simulated(unchanged, SIMULATIONS[file])
    assert old_runs.last_line(ended) == stored(file), ended.err


def test_old_parts_are_merged_to_the_old_merged_run(folder):
    shutil.rmtree(directory(folder, "merged"))
    ended = call(folder, "merge", "merged", "part-1", "part-2")
    assert ended.code == 0, ended.err
    assert lines(folder, "merged") == lines(OLD, "merged")
    assert manifest(folder, "merged") == manifest(OLD, "merged")
    assert rows(export(folder, "libero_object")).items() >= rows(export(OLD, "libero_object")).items()


@pytest.mark.parametrize("name", RUNS)
def test_an_old_manifest_is_written_back_byte_by_byte(folder, name):
    with RunStore.open(directory(folder, name), manifest(OLD, name)["configuration"]) as store:
        store.note()
    assert files(directory(folder, name)) == files(directory(OLD, name))


def test_the_old_runs_are_small_and_name_no_machine():
    sizes = [len(content) for content in files(OLD).values()]
    assert max(sizes) < 100_000
    assert sum(sizes) < 400_000
    names = re.compile(rb"(?<![\w./+])/(?!usr/src/pirig-0\.1\.0\b|usr/bin/env)(home|mnt|opt|root|srv|tmp|usr|work)/")
    assert [path for path, content in files(OLD).items() if names.search(content)] == []
