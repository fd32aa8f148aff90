"""`pirig report` as a command: what it writes where, what it links to, what it refuses."""

import csv
import io
import json
import os

import pytest

from pirig.cli import main
from pirig.errors import ConfigError
from pirig.evaluation.worker import video_name
from pirig.launch import reports
from pirig.results.export import export
from pirig.results.store import RunStore
from pirig.types import EpisodeSpec
from support.page_text import parse
from support.recorded_runs import make_run


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder with a complete run of libero_goal and the exports of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")
    folder = tmp_path / "results/libero"
    flags = {"num_trials_per_task": 3, "task_ids": [0, 4], "trials": []}
    make_run(folder / "runs/one", tasks=1, trials=3, manifest={"sessions": [{"flags": flags}]})
    store = RunStore.read(folder / "runs/one")
    names = reports.task_names(store.manifest)
    extra = {"complete": True, "run": "one"}
    export(folder, "libero_goal", store.results(), task_names=names, seed=7, headless=True, extra=extra)
    return folder


def test_without_a_run_it_is_about_the_latest_of_all_suites(results, capsys):
    assert main.run(["report"]) == 0
    shown = capsys.readouterr()
    assert "libero_goal" in shown.out
    assert "96.85" in shown.out
    assert shown.err.splitlines() == [
        "report: results/libero/runs/one/report.html",
        "report: results/libero/report.html",
    ]
    (link,) = parse((results / "report.html").read_text()).find("a")
    assert (results / link.attributes["href"]).resolve() == results / "runs/one/report.html"


def test_what_the_commands_on_a_run_asked_for_is_what_is_planned(results):
    found = reports.planned(RunStore.read(results / "runs/one").manifest)
    assert found == [EpisodeSpec("libero_goal", task, trial, 7) for task in (0, 4) for trial in range(3)]
    main.run(["report", "one"])
    text = parse((results / "runs/one/report.html").read_text()).one("section", id="headline").text
    assert "incomplete: 3 of 6 scored, 3 missing" in text
    part = {"notes": {"sessions": [{"flags": {"task_ids": [9], "trials": [8]}}]}}
    manifest = {"configuration": {"suite": "libero_goal", "seed": 7}, "merged_from": [part]}
    assert reports.planned(manifest) == [EpisodeSpec("libero_goal", 9, 8, 7)]


def test_videos_that_are_there_are_linked_from_where_the_page_is(results, tmp_path):
    store = RunStore.read(results / "runs/one")
    result = next(iter(store.results()))
    file = tmp_path / "data/libero/videos/one" / video_name(result)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    for words, page in ((["one"], results / "runs/one/report.html"), (["one", "--out", "a b/x.html"], "a b/x.html")):
        main.run(["report", *words])
        (video,) = parse((tmp_path / page).read_text()).find("video")
        assert os.path.samefile((tmp_path / page).parent / video.attributes["src"], file)


def test_every_format_is_written_beside_the_run(results, capsys):
    main.run(["report", "one", "--format", "html", "json", "csv", "md"])
    folder = results / "runs/one"
    assert json.loads((folder / "report.json").read_text())["run"] == "one"
    assert len(list(csv.DictReader(io.StringIO((folder / "report.csv").read_text())))) == 3
    assert (folder / "report.md").read_text().startswith("| task | success |")
    capsys.readouterr()
    main.run(["report", "one", "--format", "json", "--out", "-"])
    assert json.loads(capsys.readouterr().out)["total"]["missing"] == 3
    main.run(["report", "--format", "md", "--out", "-"])
    assert capsys.readouterr().out.startswith("| suite | success |")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["two"], "no run in results/libero/runs/two; there are: one"),
        (["one", "--format", "html", "md", "--out", "x"], "--out names one file, but 1 runs in 2 formats"),
        (["--format", "csv", "--out", "x"], "a file about all suites is html or md, not csv; name a RUN"),
        (["--results", "nowhere"], "no results in nowhere; pirig eval makes some"),
        (
            ["one", "--out", "/dev/null/x.html"],
            "cannot write the report /dev/null/x.html: .*; choose a file",
        ),
    ],
)
def test_what_cannot_be_done_is_said(results, words, message):
    with pytest.raises(ConfigError, match=message):
        main.run(["report", *words])
