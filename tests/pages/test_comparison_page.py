"""Pages about comparisons in a real browser: numbers, words, videos, and whether they can be read anywhere."""

import itertools

import pytest

from pirig.cli import main
from pirig.evaluation.worker import video_name
from pirig.results.store import RunStore
from support.browser import assert_readable
from support.recorded_runs import make_run

SIZES = {"desk": 1280, "phone": 390, "small phone": 320}
SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
METADATA = {"name": "pi05_libero", "backend": "torch", "checkpoint": "77aa0b2e7a41d8c3", "quantization": "W4A8 <x>"}


def session(revision, **more):
    worker = {"gl_renderer": "llvmpipe", "warm_up_s": 3.2}
    return {"sessions": [{"began": "at noon", "revision": revision, "started_workers": [worker], **more}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`one`: 500 pairs of one suite, some with videos. `four`: 2000 of four, none without a pair of videos."""
    top = tmp_path_factory.mktemp("compared")
    runs = top / "results/libero/runs"
    make_run(runs / "a", manifest=session("1" * 40), seed=1)
    make_run(runs / "b", manifest=session("2" * 40, gpus=[{"name": "H100"}]), seed=2, policy_metadata=METADATA)
    for suite, (side, chance) in itertools.product(SUITES, (("a", 1), ("b", 3))):
        name = f"{suite}-{side}-with-a-name-as-long-as-they-are"
        make_run(runs / name, suite=suite, policy=f"policy {side}", seed=chance, actions=False)
    for name in ("a", "b"):
        write_videos(top, name, list(RunStore.read(runs / name).results())[:200])
    return top


def write_videos(top, run, results):
    for result in results:
        path = top / "data/libero/videos" / run / video_name(result)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


@pytest.fixture(scope="module")
def pages(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main.run(["compare", "a", "b", "--margin", "2", "--out", "results/one.html"])
        sides = (",".join(f"{suite}-{side}-with-a-name-as-long-as-they-are" for suite in SUITES) for side in "ab")
        main.run(["compare", *sides, "--out", "results/four.html"])
    return folder / "results"


def pairs_of(folder):
    a, b = ({r.spec: r for r in RunStore.read(folder / "results/libero/runs" / name).results()} for name in "ab")
    return [(a[spec], b[spec]) for spec in sorted(a)]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["one", "four"])
def test_a_page_is_readable_anywhere(tab, pages, tmp_path, name, size, dark):
    picture = tmp_path / f"{name}.png"
    assert_readable(tab, f"{pages}/{name}.html", width=SIZES[size], dark=dark, texts=100, images=24, picture=picture)


def test_the_numbers_on_the_screen_are_the_stores(tab, pages, folder):
    pairs = [(a.status == "success", b.status == "success") for a, b in pairs_of(folder)]
    only_a, only_b = pairs.count((True, False)), pairs.count((False, True))
    tab.open(f"{pages}/one.html", width=1280)
    assert tab.text("#headline .number") == f"{(only_b - only_a) / 5:+.1f} points".replace("-", "−")
    assert "500 pairs of episodes" in tab.text("#headline")
    assert "by 2 points" in tab.text("#headline")
    counts = tab.evaluate("[...document.querySelectorAll('#fourfold td')].map(cell => +cell.innerText)")
    both, neither = pairs.count((True, True)), pairs.count((False, False))
    expected = [both, only_a, both + only_a, only_b, neither, only_b + neither, both + only_b, only_a + neither, 500]
    assert counts == expected
    rates = tab.evaluate("[...document.querySelectorAll('#rates td.rate')].map(cell => cell.innerText)")
    assert rates == [f"{(both + only) / 5:.1f}" for only in (only_a, only_b)]
    by_task = [[b - a for (a, b) in pairs[50 * i : 50 * i + 50]] for i in range(10)]
    shown = tab.evaluate("[...document.querySelectorAll('#tasks td.rate')].map(cell => cell.innerText)")
    assert shown == [f"{2 * sum(mine):+.1f}".replace("-", "−") for mine in by_task]
    marks = "[...document.querySelectorAll('#tasks tbody tr')].map(r => r.querySelectorAll('rect.only-{0}').length)"
    assert tab.evaluate(marks.format("b")) == [mine.count(1) for mine in by_task]
    assert tab.evaluate(marks.format("a")) == [mine.count(-1) for mine in by_task]


def test_a_difference_is_drawn_where_its_number_says(tab, pages):
    """Measured on the screen, against the axis' own ticks."""
    tab.open(f"{pages}/one.html", width=1280)
    rows = tab.evaluate("""[...document.querySelectorAll('#tasks tbody tr')].map(row => {
        const middle = e => { const r = e.getBoundingClientRect(); return r.x + r.width / 2; };
        const lines = row.querySelectorAll('line.grid');
        return [+row.querySelector('td.rate').innerText.replace('−', '-'), middle(row.querySelector('circle')),
                middle(row.querySelector('line.zero')), middle(lines[0]), middle(lines[lines.length - 1])]; })""")
    names = tab.evaluate("[...document.querySelectorAll('#tasks .scale text')].map(t => t.textContent)")
    low, high = (float(name.replace("−", "-")) for name in (names[0], names[-1]))
    for difference, dot, zero, first, last in rows:
        assert (dot - first) / (last - first) == pytest.approx((difference - low) / (high - low), abs=0.01)
        assert (zero - first) / (last - first) == pytest.approx(-low / (high - low), abs=0.01)


def test_discordant_episodes_stand_side_by_side_with_videos_or_the_way_to_them(tab, pages, folder):
    discordant = [(a, b) for a, b in pairs_of(folder) if a.status != b.status]
    tab.open(f"{pages}/one.html", width=1280)
    shown = tab.evaluate("""[...document.querySelectorAll('.pair')].map(pair => [pair.querySelector('b').textContent,
        [...pair.querySelectorAll('figure')].map(side => [side.querySelector('figcaption').textContent,
            side.querySelector('video')?.src ?? side.querySelector('code').textContent])])""")
    assert len(shown) == len(discordant)
    made = lacking = 0
    by_name = {f"task {a.spec.task_id} trial {a.spec.trial}": (a, b) for a, b in discordant}
    for name, sides in shown:
        for side, result, (said, source) in zip("ab", by_name[name], sides, strict=True):
            assert said == f"{side.upper()}: {result.status}, {result.steps} steps"
            file = folder / "data/libero/videos" / side / video_name(result)
            if file.exists():
                assert source == file.as_uri()
            else:
                assert source == f"pirig replay {side} {result.spec.task_id}/{result.spec.trial}"
            made, lacking = made + file.exists(), lacking + (not file.exists())
    assert made
    assert lacking
    assert "pirig replay a " in tab.evaluate("document.querySelector('#discordant').textContent")


def test_what_the_two_were_made_with_is_marked_where_it_differs(tab, pages):
    tab.open(f"{pages}/one.html", width=1280)
    rows = tab.evaluate("""[...document.querySelectorAll('#provenance .beside')].map(table =>
        [...table.querySelectorAll('tbody tr')].map(row => [...row.children].map(cell => cell.textContent)))""")
    different, same = ({name: sides for name, *sides in table} for table in rows)
    assert different["≠ configuration policy metadata quantization"] == ["–", "W4A8 <x>"]
    assert different["≠ session revision"] == ["1" * 40, "2" * 40]
    assert all(name[0] == "≠" for name in different)
    assert different["≠ session gpus 1 name"] == ["–", "H100"]
    assert same["configuration versions mujoco"] == ["3.2.3", "3.2.3"]
    assert all(a == b for a, b in same.values())


def test_on_paper_outcomes_stay_and_videos_do_not(tab, pages):
    tab.open(f"{pages}/one.html", width=800, media="print")
    assert tab.evaluate("document.querySelector('.pair figcaption').checkVisibility()")
    assert not tab.evaluate("document.querySelector('.pair video').checkVisibility()")


def test_2000_episodes_are_a_small_page(pages, folder, tmp_path, monkeypatch):
    """Even where all are discordant and have a video."""
    assert (pages / "four.html").stat().st_size < 2e6
    sides = []
    for side, status in (("a", "success"), ("b", "failure")):
        names = [f"{suite}-{side}-with-a-name-as-long-as-they-are" for suite in SUITES]
        for suite, name in zip(SUITES, names, strict=True):
            make_run(tmp_path / "runs" / name, suite=suite, policy=side, actions=False, always=status)
            write_videos(tmp_path, name, RunStore.read(tmp_path / "runs" / name).results())
        sides.append(",".join(names))
    monkeypatch.chdir(tmp_path)
    main.run(["compare", *sides, "--results", ".", "--out", "a/b/c/worst.html"])
    text = (tmp_path / "a/b/c/worst.html").read_text()
    assert text.count("<video") == 4000, len(text.encode())
    assert len(text.encode()) < 2e6, len(text.encode())
