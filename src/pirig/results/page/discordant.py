"""Render the episodes in which only one of two policies succeeds, with both videos side by side."""

from collections.abc import Sequence

from pirig.results.comparison import Pair
from pirig.results.page.html import Html, element, section
from pirig.results.page.side import Side
from pirig.types import EpisodeResult, EpisodeSpec

_FOLDED_FROM = 25  # pairs from which a list is folded


def discordant(pairs: Sequence[Pair], a: Side, b: Side) -> Html:
    title = f"Discordant episodes ({len(pairs)})"
    if not pairs:
        return section("discordant", title, note="Both runs have the same outcome in every pair.")
    parts = [_missing(side, [p.spec for p in pairs if not side.video(p.spec)]) for side in (a, b)]
    for winner, loser in ((b, a), (a, b)):
        won = [p for p in pairs if (p.b if winner is b else p.a).status == "success"]
        if won:
            summary = element("summary", f"{winner.name} succeeds and {loser.name} fails ({len(won)})")
            shown = element("div", *(_pair(p, a, b) for p in won), class_="pairs")
            parts.append(element("details", summary, shown, open=len(won) < _FOLDED_FROM))
    return section("discordant", title, *parts)


def _missing(side: Side, specs: Sequence[EpisodeSpec]) -> Html | None:
    """Render the commands that make the missing videos."""
    if not specs:
        return None
    by_suite: dict[str, list[EpisodeSpec]] = {}
    for spec in specs:
        by_suite.setdefault(spec.suite, []).append(spec)
    commands = "\n".join(side.replays(*of_suite) for of_suite in by_suite.values())
    summary = element("summary", f"{len(specs)} videos of {side.name} have not been made; this makes them")
    return element("details", summary, element("pre", commands, tabindex=0), class_="screen")


def _pair(pair: Pair, a: Side, b: Side) -> Html:
    spec = pair.spec
    suite = f"{spec.suite} " if len(a.reports) > 1 else ""
    return element(
        "div",
        element("p", element("b", f"{suite}task {spec.task_id} trial {spec.trial}")),
        _episode(pair.a, a),
        _episode(pair.b, b),
        class_="pair",
        title=a.reports[spec.suite].task_name(spec.task_id),
    )


def _episode(result: EpisodeResult, side: Side) -> Html:
    said = f"{side.name}: {result.status}, {result.steps} steps"
    source = side.video(result.spec)
    if source:
        name = f"{said}, task {result.spec.task_id} trial {result.spec.trial}"
        video = element(
            "video", src=source, preload="none", controls=True, muted=True, playsinline=True, aria_label=name
        )
    else:
        video = element("div", element("code", side.replays(result.spec)), class_="blank")
    return element("figure", video, element("figcaption", said, class_=f"is-{result.status}"))
