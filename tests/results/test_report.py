"""What a report says is what the store holds: counted here again, from the results alone."""

import csv
import dataclasses
import io
import json
import pathlib
import re

import pytest

from pirig.results import summary, tables
from pirig.results.export import export
from pirig.results.page import charts, overview, run
from pirig.results.page.html import Html, element, resource
from pirig.results.report import TIMES, make_report, mean_seconds, seconds
from pirig.results.statistics import published
from pirig.results.statistics.intervals import clustered
from pirig.results.statistics.tally import wilson
from pirig.results.store import RunStore
from pirig.types import EpisodeResult, EpisodeSpec, Timings
from support.json_schema import faults
from support.page_text import parse
from support.recorded_runs import make_run

NAMES = {i: f"put {i} <bowls> & \"plates\" 'away'" for i in range(10)}
SCHEMA = json.loads((pathlib.Path(__file__).parents[2] / "docs/schema/report-1.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    planned = make_run(folder)
    return make_report(RunStore.read(folder), planned=planned, names=NAMES)


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """412 of 500 episodes recorded, 3 of them errors."""
    folder = tmp_path_factory.mktemp("runs") / "cut"
    planned = make_run(folder, recorded=412, errors=3)
    return make_report(RunStore.read(folder), planned=planned, names=NAMES)


def count(results, *status):
    return sum(result.status in status for result in results)


def test_the_headline_is_the_stores(whole):
    page = parse(run.page(whole)).one("section", id="headline")
    successes = count(whole.results, "success")
    low, high = wilson(successes, 500)
    assert page.one("p", class_="number").text == f"{successes / 5:.1f}%"
    assert f"{successes} of 500 episodes succeeded" in page.text
    assert "complete, 500 episodes" in page.text
    assert f"95 % Wilson interval {100 * low:.1f} – {100 * high:.1f}" in page.text
    strip = page.one("svg", class_="chart")
    assert strip.attributes["aria-label"] == (
        f"success rate {successes / 5:.1f} %, 95 % Wilson interval {100 * low:.1f} – {100 * high:.1f}; "
        "published π0.5 98.0 %"
    )


@pytest.mark.parametrize(
    ("suite", "successes", "verdict"),
    [("libero_goal", 50, "consistent with"), ("libero_goal", 40, "below"), ("libero_10", 200, "above")],
)
def test_the_published_rate_stands_beside_ours(tmp_path, suite, successes, verdict):
    """The numbers are those of results/statistics/published.py, which is tested by itself."""
    with RunStore.open(tmp_path / "run", {"suite": suite, "policy": "zero"}) as store:
        for trial in range(max(50, successes)):
            status = "success" if trial < successes else "failure"
            store.append(EpisodeResult(EpisodeSpec(suite, 0, trial), status, 99, 310))
    report = make_report(store)
    found = published.place(suite, successes, max(50, successes)).difference
    said = parse(run.page(report)).one("p", class_="comparison").text
    assert (
        f"Published π0.5: {published.PUBLISHED[suite]} % of 500. Difference {tables.points(found.value)} points" in said
    )
    assert f"(95 % {tables.points(found.low)} to {tables.points(found.high)}): {verdict} the published rate" in said
    assert tables.as_json(report)["difference_from_published"]["verdict"] == verdict.split()[0]


def test_a_run_that_stopped_early_says_why_and_has_no_headline_number(tmp_path):
    planned = make_run(tmp_path / "run", recorded=60, manifest={"stopping": {"decided": "B is better, p < 0.05"}})
    page = parse(run.page(make_report(RunStore.read(tmp_path / "run"), planned=planned))).one("section", id="headline")
    assert page.one("p", class_="number").text == "Stopped early"
    assert "B is better, p < 0.05" in page.text
    assert "stopped early, as declared: 60 of 500 scored" in page.text


def test_a_run_with_episodes_missing_has_no_headline_number(cut):
    page = parse(run.page(cut)).one("section", id="headline")
    assert page.one("p", class_="number").text == "Incomplete"
    assert not page.find("svg")
    assert "incomplete: 409 of 500 scored, 3 errors, 88 missing" in page.text


def test_each_task_has_its_numbers_and_a_tick_for_each_trial(cut):
    table = parse(run.page(cut)).one("section", id="tasks")
    rows = table.one("tbody").find("tr")
    assert len(rows) == 10
    for task_id, row in enumerate(rows):
        mine = [result for result in cut.results if result.spec.task_id == task_id]
        good, scored = count(mine, "success"), count(mine, "success", "failure")
        assert row.one("td", class_="of").text == f"{good}/{scored}"
        assert row.one("td", class_="rate").text == (f"{100 * good / scored:.1f}" if scored else "–")
        assert row.one("th").text.endswith(NAMES[task_id])
        ticks = row.one("svg", class_="trials")
        shown = {
            status: len(ticks.find("rect", class_=status)) for status in ("success", "failure", "error", "missing")
        }
        recorded = {status: count(mine, status) for status in ("success", "failure", "error")}
        assert shown == {**recorded, "missing": 50 - len(mine)}


def test_a_dot_stands_where_the_rate_is():
    axis = charts.Axis(0.6, 1.0, (0.6, 0.8, 1.0))
    assert [axis.x(value) for value in (0.6, 0.8, 1.0, 0.1)] == ["2.500%", "50.000%", "97.500%", "2.500%"]
    drawn = parse(charts.rate_strip(0.9, (0.8, 0.95), axis, "label"))
    assert drawn.one("circle").attributes["cx"] == "73.750%"
    bar = drawn.one("rect").attributes
    assert (bar["x"], bar["width"]) == ("50.000%", "35.625%")


@pytest.mark.parametrize("lows", [[0.0], [0.93], [0.899], [1.0], [0.55, 0.7], []])
def test_a_rate_axis_holds_every_interval_and_few_ticks(lows):
    axis = charts.rate_axis(lows)
    assert axis.low <= min(lows, default=0)
    assert axis.ticks[-1] == 1.0
    assert 2 <= len(axis.ticks) <= 6
    assert axis.ticks[0] >= axis.low - 1e-9


def test_the_histogram_counts_every_success_once(whole):
    chart = parse(run.page(whole)).one("section", id="steps").one("svg", role="img")
    bars = {}
    for group in chart.find("g"):
        low, high, number = map(int, re.fullmatch(r"(\d+) to (\d+) steps: (\d+)", group.one("title").text).groups())
        bars[low, high] = number
    steps = [result.steps for result in whole.results if result.status == "success"]
    assert bars == {pair: n for pair in bars if (n := sum(pair[0] <= s <= pair[1] for s in steps))}
    assert sum(bars.values()) == len(steps)


def test_the_times_add_up_to_an_episodes_wall_time(whole):
    for result in whole.results:
        parts = seconds(result)
        assert tuple(parts) == TIMES
        assert min(parts.values()) >= 0
        assert sum(parts.values()) == pytest.approx(result.wall_s)
    mean = mean_seconds(whole.results)
    section = parse(run.page(whole)).one("section", id="time")
    assert [float(b.text.removesuffix(" s")) for b in section.find("b")] == [round(mean[name], 2) for name in TIMES]


def test_rendering_is_not_counted_twice():
    spec = EpisodeSpec("libero_goal", 0, 0)
    result = EpisodeResult(spec, "success", 9, 310, wall_s=5.0, timings=Timings(1.0, 2.0, 2.5, 0.25, 4))
    assert seconds(result) == {"reset": 0.5, "simulation": 0, "rendering": 2.5, "inference": 0.25, "other": 1.75}


def test_errors_are_shown_with_their_tracebacks_and_never_scored(cut):
    section = parse(run.page(cut)).one("section", id="errors")
    folded = section.find("details")
    assert [node.one("pre").text for node in folded] == [" ".join(r.error.split()) for r in cut.with_status("error")]
    assert all("server & network <gone>" in node.one("summary").text for node in folded)
    assert len(folded) == 3


def test_what_the_store_says_never_becomes_markup(tmp_path):
    evil = "</style><script>alert(1)</script><img src=x onerror='alert(2)'>"
    with RunStore.open(tmp_path / "run", {"suite": evil, "policy": evil, evil: [{evil: evil}, [evil]]}) as store:
        store.append(EpisodeResult(EpisodeSpec(evil, 0, 0), "error", 0, 9, error=evil))
        store.append(EpisodeResult(EpisodeSpec(evil, 0, 1), "success", 3, 9))
        store.note(planned=2, sessions=[{evil: evil}])
    report = make_report(store, names={0: evil}, videos={EpisodeSpec(evil, 0, 1): f'"{evil}'})
    page = parse(run.page(report))
    assert not page.find("script")
    assert not page.find("img")
    assert page.text.count(evil) > 10
    assert page.one("video").attributes["src"] == f'"{evil}'


def test_whatever_a_manifest_says_is_shown(whole):
    deep = [{"renderer": "llvmpipe (LLVM 15)"}, {"renderer": None}]
    manifest = {**whole.manifest, "later": {"deep": deep, "order": [[i, 2 * i] for i in range(500)]}}
    shown = parse(run.page(make_like(whole, manifest=manifest))).one("section", id="provenance").text
    for word in ("llvmpipe (LLVM 15)", "deep", "5f0c9b2e7a41d8c3", "robosuite", "1.4.1", "per-episode", "[499, 998]"):
        assert word in shown


def test_videos_are_links_that_load_only_when_they_are_played(whole):
    bad, good = whole.with_status("failure")[0], whole.with_status("success")[0]
    videos = {bad.spec: "../videos/bad.mp4", good.spec: "../videos/good.mp4"}
    section = parse(run.page(make_like(whole, videos=videos))).one("section", id="videos")
    videos = section.find("video")
    assert [video.attributes["src"] for video in videos] == ["../videos/bad.mp4", "../videos/good.mp4"]
    assert all(video.attributes["preload"] == "none" and "autoplay" not in video.attributes for video in videos)
    assert "There are none" in parse(run.page(whole)).one("section", id="videos").text


def test_a_page_needs_nothing_but_itself(whole):
    text = run.page(whole)
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert not [node for node in parse(text).find() if node.tag in ("script", "link", "img", "iframe")]


def test_every_chart_has_a_name(whole):
    for drawing in parse(run.page(whole)).find("svg"):
        named = drawing.has("role", "img") and drawing.attributes["aria-label"] and drawing.find("title")
        assert named or drawing.has("aria-hidden", "true") or ("role" not in drawing.attributes and inner(drawing))


def inner(drawing):
    """A drawing inside another one, which has the name."""
    return "x" in drawing.attributes and not drawing.find("text")


def test_the_episodes_table_is_the_store(cut):
    rows = parse(run.page(cut)).one("table", class_="episodes").one("tbody").find("tr")
    shown = [[cell.text for cell in row.find("td")][:4] for row in rows]
    found = sorted(cut.results, key=lambda result: result.spec)
    assert shown == [[str(r.spec.task_id), str(r.spec.trial), r.status, str(r.steps)] for r in found]


def test_2000_episodes_stay_below_2_megabytes(tmp_path):
    make_run(tmp_path / "run", tasks=40, trials=50, suite="libero_90")
    report = make_report(RunStore.read(tmp_path / "run"))
    assert len(report.results) == 2000
    assert len(run.page(report).encode()) < 2_000_000


def test_an_empty_run_has_a_page(tmp_path):
    RunStore.open(tmp_path / "run", {"suite": "libero_goal", "policy": "zero"}).close()
    page = parse(run.page(make_report(RunStore.read(tmp_path / "run")))).one("main")
    assert page.one("p", class_="number").text == "Incomplete"
    assert not re.search(r"\bnan\b", page.text)


def test_the_json_keeps_to_its_schema_and_to_the_store(whole, cut):
    for report in (whole, cut):
        found = json.loads(tables.json_text(report))
        assert list(faults(found, SCHEMA)) == []
        for count_ in (found["total"], *found["tasks"]):
            scored = count_["successes"] + count_["failures"]
            assert count_["wilson_95"] == list(wilson(count_["successes"], scored))
            assert count_["success_rate"] == (count_["successes"] / scored if scored else None)
        assert found["total"]["successes"] == count(report.results, "success")
        assert [row["state_hash"] for row in found["episodes"]] == [r.state_hash for r in sorted_results(report)]
    assert found["complete"] is False
    assert found["published_success_rate"] == 0.98


def test_the_schema_check_finds_what_is_wrong(whole):
    found = tables.as_json(whole)
    found["episodes"][0]["status"], found["total"]["wilson_95"] = "won", [0.5]
    del found["tasks"][3]["errors"]
    found["tasks"][2]["successes"] = 1.5
    assert len(list(faults(found, SCHEMA))) == 4


def test_the_csv_has_every_episode(cut):
    rows = list(csv.DictReader(io.StringIO(tables.csv_text(cut))))
    assert list(rows[0]) == list(tables.COLUMNS)
    assert len(rows) == 412
    for row, result in zip(rows, sorted_results(cut), strict=True):
        assert (row["status"], int(row["steps"]), float(row["wall_s"])) == (result.status, result.steps, result.wall_s)
        assert row["task_name"] == NAMES[result.spec.task_id]
        assert row["error"] == result.error


def test_the_order_of_completion_does_not_show(whole):
    other = make_like(whole, results=whole.results[::-1])
    for write in (tables.json_text, tables.csv_text, tables.markdown):
        assert write(other) == write(whole) or write is tables.json_text
    a, b = tables.as_json(other), tables.as_json(whole)
    assert a["episodes"] == b["episodes"]
    assert a["tasks"] == b["tasks"]
    assert a["total"] == b["total"]


def test_the_markdown_table_has_the_same_numbers(whole, cut):
    lines = tables.markdown(whole).splitlines()
    successes, (low, high) = count(whole.results, "success"), whole.total.interval
    total = f"| **libero_goal** | {successes}/500 | {successes / 5:.1f} | {100 * low:.1f} – {100 * high:.1f} | "
    assert lines[12].startswith(total)
    assert len({line.count("|") for line in lines[:13]}) == 1
    assert "INCOMPLETE: 3 errors, 88 missing." in tables.markdown(cut)


ROWS = [
    summary.SuiteRow("libero_spatial", 494, 500, True, "run-s"),
    summary.SuiteRow("libero_object", 470, 500, True, "run-o"),
    summary.SuiteRow("libero_goal", 490, 500, True, "run-g"),
    summary.SuiteRow("libero_10", 230, 250, False, "run-10"),
]


DONE = [*ROWS[:3], summary.SuiteRow("libero_10", 460, 500, True, "run-10")]
MEAN = (494 + 470 + 490 + 460) / 20  # percent


def test_the_overview_has_each_suite_beside_its_published_rate():
    page = parse(overview.page(ROWS, {"run-s": "runs/run-s/report.html"}))
    rows = [[cell.text for cell in row.find("td")][1:] for row in page.one("tbody").find("tr")]
    assert rows[0] == ["98.8", "97.4 – 99.4", "98.8"]
    assert rows[1] == ["94.0", "91.6 – 95.8", "98.2"]
    assert [link.attributes["href"] for link in page.find("a")] == ["runs/run-s/report.html"]


def test_an_incomplete_suite_has_no_number_in_the_overview():
    page = parse(overview.page(ROWS, {}))
    rows = [[cell.text for cell in row.find("td")][1:] for row in page.one("tbody").find("tr")]
    assert rows[3] == ["–", "–", "92.4"]
    assert "| libero_10 | 230/250 | incomplete | – | 92.4 | – | run-10 |" in tables.markdown_overview(ROWS)


def test_there_is_no_average_while_a_suite_is_incomplete():
    page = parse(overview.page(ROWS, {}))
    assert page.one("p", class_="number").text == "No average yet"
    assert "missing or incomplete: libero_10" in page.text


def test_the_average_of_all_suites_stands_beside_the_published_one():
    assert parse(overview.page(DONE, {})).one("p", class_="number").text == f"{MEAN:.2f}%"
    assert published.place_average(summary.complete_counts(DONE)).difference.value == pytest.approx(
        (MEAN - 96.85) / 100
    )
    difference = tables.difference_text(published.place_average(summary.complete_counts(DONE)))
    assert f"| average of four | | **{MEAN:.2f}** | | 96.85 | {difference} | |" in tables.markdown_overview(DONE)


@pytest.fixture
def exported(tmp_path):
    """Rows of all suites, read from their exports, where the tasks are; and (successes, episodes) of each task."""
    names, by_suite = {i: f"task {i}" for i in range(10)}, []
    for number, suite in enumerate(published.PUBLISHED):
        made = [
            EpisodeResult(
                EpisodeSpec(suite, task, trial), "failure" if trial < (task + number) % 4 else "success", 9, 9
            )
            for task in range(10)
            for trial in range(50)
        ]
        export(tmp_path, suite, made, task_names=names, seed=7, headless=True, extra={"complete": True, "run": suite})
        by_suite.append([(50 - (task + number) % 4, 50) for task in range(10)])
    return summary.latest(tmp_path, tuple(published.PUBLISHED)), by_suite


def test_the_average_has_the_interval_of_tasks_that_are_clusters(exported):
    rows, by_suite = exported
    found, expected = summary.average_interval(rows), clustered(by_suite)
    assert found == expected
    assert found.value == pytest.approx(summary.average(rows))
    text = f"{100 * expected.low:.1f} – {100 * expected.high:.1f}"
    page = parse(overview.page(rows, {})).one("section", id="headline")
    assert f"95 % interval {text}, for tasks like these" in page.text
    assert text in page.one("svg", role="img").text
    assert f"| {text} * | 96.85 |" in tables.markdown_overview(rows)


def test_the_average_of_fewer_suites_has_no_interval(exported):
    rows, _ = exported
    assert summary.average_interval(rows) is not None
    assert summary.average_interval(rows[:3]) is None
    assert summary.average_interval([dataclasses.replace(row, complete=False) for row in rows]) is None


def test_only_element_makes_markup():
    made = element("p", "<b>", element("i", "&"), title='"<>', hidden=True, lang=None)
    assert made == '<p title="&quot;&lt;&gt;" hidden>&lt;b&gt;<i>&amp;</i></p>'
    assert isinstance(made, Html)


def test_no_number_is_not_a_number(cut):
    assert cut.by_task[9].scored == 0
    assert not re.search(r"\bnan\b", run.page(cut), re.I)


def luminance(colour):
    """Relative luminance, W3C WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_colours_can_be_told_from_their_background_in_both_schemes():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") > 4.5
    blocks = re.findall(r":root \{(.*?)\}", resource("style.css"), re.S)
    assert len(blocks) == 2
    for block in blocks:
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
        assert len(colours) == 20
        for text in ("ink", "muted", "accent", "success", "failure", "error"):
            assert contrast(colours[text], colours["card"]) >= 4.5, text
        for text in ("ink", "muted"):
            assert contrast(colours[text], colours["paper"]) >= 4.5, text
        for text, ground in (("success", "good"), ("failure", "bad"), ("accent", "going")):
            assert contrast(colours[text], colours[f"{ground}-soft"]) >= 4.5, text
        for mark in (name for name in colours if name.startswith("t-") or name == "missing"):
            assert contrast(colours[mark], colours["card"]) >= 3, mark


def make_like(report, **change):
    fields = {name: getattr(report, name) for name in ("run", "manifest", "results", "planned", "names", "videos")}
    return type(report)(**{**fields, **change})


def sorted_results(report):
    return sorted(report.results, key=lambda result: result.spec)
