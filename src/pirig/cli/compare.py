"""Compare policies A and B on the same episodes (`pirig compare A B`)."""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from pirig.errors import ConfigError
from pirig.evaluation.worker import video_name
from pirig.launch import reports
from pirig.launch.settings import DEFAULT_IN_HELP, RESULTS, VIDEOS
from pirig.results import comparison, conclusion, runs
from pirig.results.comparison import Comparison
from pirig.results.statistics.paired import Paired
from pirig.sim import suites
from pirig.types import EpisodeResult, EpisodeSpec

_LISTED = 10  # number of unpaired episodes to name


@dataclasses.dataclass(frozen=True)
class CompareArgs:
    a: Annotated[str, tyro.conf.Positional]
    """Run to compare with: its name or its folder. Separate the runs of several suites by commas."""
    b: Annotated[str, tyro.conf.Positional]
    """Run that is compared with it."""
    margin: Annotated[float | None, DEFAULT_IN_HELP] = None
    """Test whether B is worse than A by this much or more [percentage points]; default: test whether there is a
    difference."""
    level: float = 5.0
    """Two-sided significance level [percent]. Intervals have the confidence 100 minus this."""
    force: bool = False
    """Compare runs even if more than the policy differs."""
    json: bool = False
    """Print JSON. Rates are fractions of 1."""
    page: bool = True
    """Write a page about the comparison."""
    out: Annotated[pathlib.Path | None, DEFAULT_IN_HELP] = None
    """File of the page; default: A--B.html in the folder comparisons of --results."""
    results: pathlib.Path = RESULTS
    """Results folder. Runs are looked up by name in its folder runs."""
    videos: pathlib.Path = VIDEOS
    """Videos folder. The page links to the videos that each run has in the folder of its name."""


def run(flags: CompareArgs) -> int:
    """Print the comparison. Return 0 whatever the verdict. Raises ConfigError if the runs cannot be compared."""
    level, margin = _fractions(flags)
    sides = [[runs.find(name, flags.results) for name in names.split(",") if name] for names in (flags.a, flags.b)]
    found = comparison.compare(*sides, force=flags.force)
    discordant = [_side_by_side(pair, found, flags.videos) for pair in found.discordant]
    if flags.json:
        print(json.dumps({**conclusion.to_json(found, level=level, margin=margin), "discordant": discordant}, indent=1))
    else:
        _show(found, discordant, level, margin, flags.videos)
    if flags.page:
        path = reports.write_comparison(
            found, sides, flags.results, flags.videos, level=level, margin=margin, out=flags.out
        )
        print(f"page: {path}", file=sys.stderr)
    return 0


def _fractions(flags: CompareArgs) -> tuple[float, float | None]:
    if not 0 < flags.level < 100:
        raise ConfigError(f"--level is {flags.level:g} percent; it must lie between 0 and 100, as 5 does")
    if flags.margin is not None and not 0 < flags.margin < 100:
        raise ConfigError(f"--margin is {flags.margin:g} points; it must lie between 0 and 100, as 2 does")
    return flags.level / 100, None if flags.margin is None else flags.margin / 100


def _side_by_side(pair: comparison.Pair, found: Comparison, videos: pathlib.Path) -> dict[str, Any]:
    suite = pair.spec.suite
    return {
        "episode": pair.spec.key,
        "task_id": pair.spec.task_id,
        "trial": pair.spec.trial,
        "a": _one_side(pair.a, videos / found.runs_a[suite]),
        "b": _one_side(pair.b, videos / found.runs_b[suite]),
    }


def _one_side(result: EpisodeResult, folder: pathlib.Path) -> dict[str, Any]:
    """Return one policy's result of an episode. `video`: path of the video, or None if it has not been made."""
    path = folder / video_name(result)
    return {"status": result.status, "steps": result.steps, "video": str(path) if path.exists() else None}


def _show(
    found: Comparison, discordant: list[dict[str, Any]], level: float, margin: float | None, videos: pathlib.Path
) -> None:
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(width=130, highlight=False)
    for side, names in (("A", found.runs_a), ("B", found.runs_b)):
        console.print(f"{side}: {', '.join(names.values())}", soft_wrap=True, markup=False)
    for note in found.notes:
        console.print(note, soft_wrap=True, markup=False)
    for warning in found.warnings:
        console.print(f"warning: {warning}", soft_wrap=True, markup=False)
    console.print(_by_task(found, level))
    if discordant:
        console.print(_episodes(discordant, found, videos))
    for line in _unpaired(found):
        console.print(line, soft_wrap=True, markup=False)
    for line in [conclusion.time_in_words(found.steps), *conclusion.in_words(found.total, level=level, margin=margin)]:
        console.print(line, soft_wrap=True, markup=False)


def _by_task(found: Comparison, level: float) -> Table:
    table = Table()
    limits = f"B - A, {100 * (1 - level):g} %"
    for column in ("task", "pairs", "A", "B", "only A", "only B", "both", "neither", limits):
        table.add_column(column, justify="left" if column == "task" else "right", overflow="fold")
    for suite, of_suite in found.by_suite.items():
        for (other, task_id), paired in found.by_task.items():
            if other == suite:
                table.add_row(f"{task_id} {suites.task(suite, task_id).language}", *_row(paired, level))
        table.add_section()
        table.add_row(suite, *_row(of_suite, level))
        table.add_section()
    if len(found.by_suite) > 1:
        table.add_row("all suites", *_row(found.total, level))
    return table


def _row(paired: Paired, level: float) -> list[str]:
    if not paired.n:
        return ["0", *["-"] * 7]
    estimate, (a, b) = paired.difference(1 - level), paired.rates
    return [
        str(paired.n),
        f"{100 * a:.1f}",
        f"{100 * b:.1f}",
        *(str(count or "") for count in (paired.only_a, paired.only_b, paired.both, paired.neither)),
        f"{100 * estimate.value:+.1f} ({100 * estimate.low:+.1f} – {100 * estimate.high:+.1f})",
    ]


def _episodes(discordant: list[dict[str, Any]], found: Comparison, videos: pathlib.Path) -> Table:
    table = Table(title=f"{len(discordant)} discordant episodes; videos in {videos}/<run>", title_justify="left")
    for column in ("episode", "A", "B"):
        table.add_column(column, overflow="fold")
    for row in discordant:
        table.add_row(row["episode"], *(_outcome(row[side]) for side in ("a", "b")))
    return table


def _outcome(side: dict[str, Any]) -> str:
    video = pathlib.PurePath(side["video"]).name if side["video"] else "no video here"
    return f"{side['status']}, {side['steps']} steps\n{video}"


def _unpaired(found: Comparison) -> list[str]:
    kinds = (
        ("only A has", found.unpaired.only_a),
        ("only B has", found.unpaired.only_b),
        ("no score, because of an error in A or B, for", found.unpaired.errors),
    )
    return [f"unpaired: {what} {len(specs)} episodes: {_some(specs)}" for what, specs in kinds if specs]


def _some(specs: Sequence[EpisodeSpec]) -> str:
    names = ", ".join(spec.key for spec in specs[:_LISTED])
    return names + (f" and {len(specs) - _LISTED} more" if len(specs) > _LISTED else "")
