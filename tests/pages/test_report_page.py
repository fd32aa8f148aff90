"""Reports in a real browser, at a desk, on a phone, in the dark and on paper."""

import pytest

from pirig.results import summary
from pirig.results.page import overview, run
from pirig.results.report import make_report
from pirig.results.store import RunStore
from support.browser import assert_readable
from support.recorded_runs import make_run, quantized

SIZES = {"desk": 1280, "phone": 390, "small phone": 320}
NAMES = {i: "put the white mug on the plate and put the chocolate pudding to the right of the plate" for i in range(10)}
MANIFEST = {"sessions": [{"command": ["eval", "x" * 300], "machine": {"cores": 4}}], "assets": "0f" * 64}
KINDS = {"whole": {}, "cut": {"recorded": 412, "errors": 3}, "quantized": {"policy_metadata": quantized()}}
ROWS = [
    summary.SuiteRow("libero_spatial", 494, 500, True, "libero_spatial-pi05_libero-0123abcd"),
    summary.SuiteRow("libero_10", 230, 250, False, "libero_10-pi05_libero-4567abcd"),
]


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("results"), {}
    for name, options in KINDS.items():
        planned = make_run(folder / name, manifest=MANIFEST, **options)
        store = RunStore.read(folder / name)
        bare = make_report(store, planned=planned, names=NAMES)
        videos = {result.spec: "missing.mp4" for result in bare.with_status("failure")}
        made[name] = make_report(store, planned=planned, names=NAMES, videos=videos)
        (folder / f"{name}.html").write_text(run.page(made[name]))
    (folder / "overview.html").write_text(overview.page(ROWS, {ROWS[0].run: "whole.html"}))
    return folder, made


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [*KINDS, "overview"])
def test_a_page_is_readable_anywhere(tab, reports, tmp_path, name, size, dark):
    picture = tmp_path / f"{name}.png"
    assert_readable(tab, f"{reports[0]}/{name}.html", width=SIZES[size], dark=dark, texts=20, images=2, picture=picture)


def test_the_numbers_on_the_screen_are_the_stores(tab, reports):
    folder, made = reports
    tab.open(f"{folder}/whole.html", width=1280)
    results = made["whole"].results
    good = sum(result.status == "success" for result in results)
    assert tab.text(".number") == f"{good / 5:.1f}%"
    assert f"{good} of 500 episodes succeeded" in tab.text("#headline")
    rates = tab.evaluate("[...document.querySelectorAll('#tasks td.rate')].map(cell => cell.innerText)")
    by_task = [[r.status == "success" for r in results if r.spec.task_id == i] for i in range(10)]
    assert rates == [f"{100 * sum(mine) / len(mine):.1f}" for mine in by_task]


def test_a_dot_is_drawn_where_its_number_says(tab, reports):
    """Measured on the screen, against the axis' own ticks."""
    tab.open(f"{reports[0]}/whole.html", width=1280)
    rows = tab.evaluate("""[...document.querySelectorAll('#tasks tbody tr')].map(row => {
        const middle = e => { const r = e.getBoundingClientRect(); return r.x + r.width / 2; };
        const lines = row.querySelectorAll('line.grid');
        return [+row.querySelector('td.rate').innerText, middle(row.querySelector('circle')),
                middle(lines[0]), middle(lines[lines.length - 1])]; })""")
    names = tab.evaluate("[...document.querySelectorAll('#tasks .scale text')].map(t => parseFloat(t.textContent))")
    for rate, dot, first, last in rows:
        assert (dot - first) / (last - first) == pytest.approx((rate - names[0]) / (100 - names[0]), abs=0.01)


def test_the_episodes_can_be_sifted_without_a_script(tab, reports):
    folder, made = reports
    tab.open(f"{folder}/cut.html", width=390)
    tab.evaluate("document.querySelector('#episodes details').open = true")
    shown = "[...document.querySelectorAll('.episodes tbody tr')].filter(row => row.checkVisibility()).length"
    assert tab.evaluate(shown) == 412
    for status in ("failure", "error", "success"):
        tab.evaluate(f"document.querySelector('label[for=only-{status}]').click()")
        assert tab.evaluate(shown) == len(made["cut"].with_status(status))


def test_on_paper_tracebacks_are_unfolded_and_videos_left_out(tab, reports):
    tab.open(f"{reports[0]}/cut.html", width=800, media="print")
    assert tab.evaluate("document.querySelector('#errors pre').getBoundingClientRect().height") > 30
    assert not tab.evaluate("document.querySelector('#videos').checkVisibility()")
    tab.open(f"{reports[0]}/cut.html", width=800)  # no medium is left behind
    assert tab.evaluate("document.querySelector('#videos').checkVisibility()")
