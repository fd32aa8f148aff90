"""Render the sections of a run's page about single episodes: errors, videos, and the table of all."""

from pirig.results.page.html import Html, element, join, section
from pirig.results.report import Report
from pirig.types import EpisodeResult, EpisodeSpec

_FOLDED_FROM = 31  # rows from which the table is folded


def errors(report: Report) -> Html | None:
    found = report.with_status("error")
    if not found:
        return None
    items = []
    for result in found:
        lines = result.error.rstrip().splitlines() or ["no traceback"]
        summary = element("summary", element("b", _name(result.spec)), " ", element("code", lines[-1]))
        items.append(element("details", summary, element("pre", result.error.rstrip())))
    note = "Ours, not the policy's: never scored. The same command runs these episodes again."
    return section("errors", f"Errors ({len(found)})", *items, note=note)


def videos(report: Report) -> Html:
    failures = [_video(report, r) for r in report.with_status("failure") if r.spec in report.videos]
    successes = [_video(report, r) for r in report.with_status("success") if r.spec in report.videos]
    if not failures and not successes:
        note = "There are none beside this run. pirig replay makes them from the recorded actions."
        return section("videos", "Videos", note=note)
    parts = []
    if failures:
        parts += [element("h3", f"Failures ({len(failures)})"), element("div", *failures, class_="gallery")]
    if successes:
        summary = element("summary", f"Successes ({len(successes)})")
        folded = len(successes) > 12 or failures
        parts.append(element("details", summary, element("div", *successes, class_="gallery"), open=not folded))
    return section("videos", "Videos", *parts, class_="screen")


def episodes(report: Report) -> Html:
    heads = ("task", "trial", "outcome", "steps", "wall [s]", "chunks", "ms a chunk", "video")
    head = element("tr", *(element("th", text, scope="col") for text in heads))
    rows = [_episode_row(report, report.by_spec[spec]) for spec in report.planned if spec in report.by_spec]
    choices = []
    for word in ("all", "success", "failure", "error"):
        choices.append(element("input", type="radio", name="only", id=f"only-{word}", checked=word == "all"))
        choices.append(element("label", word, for_=f"only-{word}"))
    table = element("table", element("thead", head), element("tbody", *rows), class_="episodes")
    content = join(
        element("div", *choices, class_="choices"),
        element("div", table, class_="wide", tabindex=0, role="region", aria_label="episodes"),
    )
    folded = element("details", element("summary", f"{len(rows)} episodes"), content, open=len(rows) < _FOLDED_FROM)
    return section("episodes", "Episodes", folded, class_="screen")


def _video(report: Report, result: EpisodeResult) -> Html:
    source, name = report.videos[result.spec], _name(result.spec)
    video = element("video", src=source, preload="none", controls=True, muted=True, playsinline=True, aria_label=name)
    said = join(element("a", name, href=source), f" {result.steps} steps")
    return element("figure", video, element("figcaption", said, title=report.task_name(result.spec.task_id)))


def _episode_row(report: Report, result: EpisodeResult) -> Html:
    times, link = result.timings, report.videos.get(result.spec)
    numbers = (
        str(result.steps),
        f"{result.wall_s:.1f}",
        str(times.chunks),
        f"{1e3 * times.inference_s / times.chunks:.3g}" if times.chunks else "–",
    )
    return element(
        "tr",
        element("td", str(result.spec.task_id)),
        element("td", str(result.spec.trial)),
        element("td", result.status, class_=f"is-{result.status}"),
        *(element("td", number) for number in numbers),
        element("td", element("a", "watch", href=link) if link else ""),
        class_=result.status,
    )


def _name(spec: EpisodeSpec) -> str:
    return f"task {spec.task_id} trial {spec.trial}"
