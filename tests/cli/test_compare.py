"""`pirig compare` and its neighbours as a user runs them, on runs that the store wrote."""

import json
import os

import pytest

from support.command import call, run
from support.page_text import parse
from support.run_folders import outcomes, write


@pytest.fixture
def folder(tmp_path):
    runs = tmp_path / "results/libero/runs"
    write(runs / "a", outcomes({(0, 1)}))
    write(runs / "b", outcomes({(0, 2), (1, 3), (1, 4)}), policy="two")
    video = tmp_path / "data/libero/videos/b/libero_object_task01_trial003_failure.mp4"
    video.parent.mkdir(parents=True)
    video.write_bytes(b"video")
    return tmp_path


def test_two_runs_are_compared_by_name(folder):
    """In a process of its own, which prints nothing else."""
    found = run(folder, "compare", "a", "b", "--margin", "40")
    text = " ".join(found.out.split())
    assert (found.code, found.err) == (0, "page: results/libero/comparisons/a--b.html\n")
    assert "4 discordant episodes" in text
    assert "pick up the alphabet soup" in text
    assert "libero_object_task01_trial003_failure.mp4" in text
    assert "no video here" in text
    assert "B succeeds 10.0 points less often than A: 95 % interval -32.6 to +12.4 points, 20 pairs" in text
    assert "time to success on 16 episodes that both succeed at: median 100 steps of A, 100 of B" in text
    assert "no difference is shown (exact McNemar p = 0.625" in text
    assert "not worse than A by 40 points" in text


def test_the_page_is_where_it_is_asked_for(folder):
    default = folder / "results/libero/comparisons"
    assert call(folder, "compare", "a", "b", "--no-page").err == ""
    assert not default.exists()
    assert call(folder, "compare", "a", "b", "--out", "some/page.html").err == "page: some/page.html\n"
    page = parse((folder / "some/page.html").read_text())
    assert "no difference shown" in page.one("section", id="headline").text
    assert not default.exists()
    (video,) = page.find("video")
    assert os.path.samefile(folder / "some" / video.attributes["src"], next(folder.glob("data/libero/videos/b/*")))
    refused = call(folder, "compare", "a", "b", "--out", "/dev/null/page.html")
    assert refused.code == 2
    assert "choose a file with --out" in refused.err


def test_a_page_says_how_to_make_videos_from_where_its_runs_are(folder):
    b = folder / "results/libero/runs/b"
    call(folder, "compare", "a", "b", "--results", str(folder / "results/libero"), "--videos", "clips")
    text = (folder / "results/libero/comparisons/a--b.html").read_text()
    assert f"pirig replay --videos clips --results {folder}/results/libero a 0/1" in text
    call(folder, "compare", "a", str(b), "--out", "page.html")
    assert f"pirig replay {b} 0/1" in (folder / "page.html").read_text()


def test_json_names_the_videos_side_by_side(folder):
    found = call(folder, "compare", str(folder / "results/libero/runs/a"), "b", "--json")
    row = json.loads(found.out)
    episode = next(e for e in row["discordant"] if (e["task_id"], e["trial"]) == (1, 3))
    assert episode["b"]["video"] == "data/libero/videos/b/libero_object_task01_trial003_failure.mp4"
    assert episode["a"] == {"status": "success", "steps": 100, "video": None}
    assert row["total"]["mcnemar_p"] == 0.625
    assert row["margin"] is None


BAD = {
    "no run": ("a c", "no run in results/libero/runs/c; there are: a, b"),
    "margin": ("a b --margin 0", "--margin is 0 points; it must lie between 0 and 100"),
    "level": ("a b --level 100", "--level is 100 percent; it must lie between 0 and 100"),
    "twice": ("a,b b", "A has two runs of libero_object, a and b"),
}


@pytest.mark.parametrize(("words", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_a_clear_error(folder, words, message):
    found = call(folder, "compare", *words.split())
    assert (found.code, "Traceback" in found.err) == (2, False), found.err
    assert message in " ".join(found.err.split())


def test_power_says_what_so_many_episodes_show(folder):
    row = json.loads(call(folder, "power", "--episodes", "200", "500", "--difference", "2", "--json").out)
    assert [round(100 * entry["unpaired"], 1) for entry in row["detectable"]] == [6.8, 3.8]
    assert row["needed"][0]["unpaired"] == 1506
    assert row["discordance"] is None
    like = json.loads(call(folder, "power", "--like", "a", "b", "--json").out)
    assert (like["baseline"], like["discordance"]) == (0.95, 0.2)
    text = call(folder, "power").out
    assert "A succeeds at 97 %" in text
    assert "1506" in text


def test_power_refuses_what_cannot_be(folder):
    for words, message in {
        "--baseline 0": "--baseline is 0 percent",
        "--difference 98": "--difference is 98 points; it must lie between 0 and the baseline",
        "--episodes 0": "--episodes is 0; at least 1 is needed",
        "--like a a": "A and B agree in all episodes",
        "--like a": "--like takes two runs",
    }.items():
        found = call(folder, "power", *words.split())
        assert found.code == 2, found.err
        assert message in found.err, found.err


def test_runs_lists_and_merge_joins(folder):
    runs = folder / "results/libero/runs"
    write(runs / "c", {(2, 0): "success"})
    listed = json.loads(call(folder, "runs", "--json").out)
    assert {row["run"]: (row["successes"], row["scored"], row["planned"]) for row in listed} == {
        "a": (19, 20, 20),
        "b": (17, 20, 20),
        "c": (1, 1, 1),
    }
    joined = call(folder, "merge", "whole", "a", "c")
    assert joined.code == 0, joined.err
    assert "whole: 21 episodes of libero_object, 20 succeeded" in joined.out, joined.err
    rows = (folder / "results/libero/libero_object_results.csv").read_text().splitlines()
    assert len(rows) == 22
    assert rows[-1].startswith("2,pick up the salad dressing")
    exported = json.loads((folder / "results/libero/libero_object_results.json").read_text())
    assert (exported["run"], exported["complete"], exported["total_successes"]) == ("whole", True, 20)
    page = parse((runs / "whole/report.html").read_text())
    assert "20 of 21 episodes succeeded" in page.one("section", id="headline").text
    overview = parse((folder / "results/libero/report.html").read_text())
    assert overview.find("a", href="runs/whole/report.html")
    text = call(folder, "runs").out
    assert "21/21" in text
    assert "complete" in text
    for words, message in {"b2 a b": "policy: 'one' and 'two'", "x/y a c": "is no name of a run"}.items():
        refused = call(folder, "merge", *words.split())
        assert refused.code == 2
        assert message in refused.err
        assert "Traceback" not in refused.err
