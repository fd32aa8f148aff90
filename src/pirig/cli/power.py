"""Compute how many episodes detect a difference, and which difference so many episodes detect (`pirig power`)."""

import dataclasses
import json
import pathlib
from typing import Annotated, Any

from rich.console import Console
from rich.table import Table

from pirig.errors import ConfigError
from pirig.launch.settings import DEFAULT_IN_HELP, RESULTS
from pirig.results import runs
from pirig.results.comparison import compare
from pirig.results.statistics import power

_EPISODES = (50, 100, 200, 500, 1000, 2000)
_POINTS = (1.0, 2.0, 3.0, 5.0, 10.0)


@dataclasses.dataclass(frozen=True)
class PowerArgs:
    baseline: float = 97.0
    """Success rate of A [percent]."""
    difference: tuple[float, ...] = _POINTS
    """Drops of B's success rate to plan for [percentage points]."""
    episodes: tuple[int, ...] = _EPISODES
    """Numbers of episodes per policy to plan for."""
    discordance: Annotated[float | None, DEFAULT_IN_HELP] = None
    """Share of pairs in which exactly one policy succeeds [percent]; default: assumes that the two policies'
    successes are independent. They usually correlate, so fewer pairs are enough."""
    like: Annotated[tuple[str, ...], DEFAULT_IN_HELP] = ()
    """Two runs A B to take the success rate and the discordance from; default: --baseline and --discordance."""
    power: float = 80.0
    """Probability with which an existing difference is to be detected [percent]."""
    level: float = 5.0
    """Two-sided significance level [percent]."""
    json: bool = False
    """Print JSON. Rates are fractions of 1."""
    results: pathlib.Path = RESULTS
    """Results folder. Runs are looked up by name in its folder runs."""


def run(flags: PowerArgs) -> int:
    """Print both tables. Raises ConfigError for impossible figures."""
    flags = _like(flags) if flags.like else flags
    _check(flags)
    found = {**_assumed(flags), "needed": _needed(flags), "detectable": _detectable(flags)}
    if flags.json:
        print(json.dumps(found, indent=1))
    else:
        _show(found)
    return 0


def _like(flags: PowerArgs) -> PowerArgs:
    if len(flags.like) != 2:
        raise ConfigError(f"--like takes two runs, A and B; it was given {len(flags.like)}")
    a, b = ([runs.find(name, flags.results)] for name in flags.like)
    total = compare(a, b).total
    discordance = 100 * (total.only_a + total.only_b) / total.n
    if not discordance:
        raise ConfigError("A and B agree in all episodes, so they say nothing of the discordance; use --discordance")
    return dataclasses.replace(flags, baseline=100 * total.rates[0], discordance=discordance)


def _check(flags: PowerArgs) -> None:
    percent = {"--baseline": flags.baseline, "--power": flags.power, "--level": flags.level}
    for name, value in percent.items():
        if not (0 < value < 100 or (name == "--baseline" and value == 100)):
            raise ConfigError(f"{name} is {value:g} percent; it must lie between 0 and 100")
    for points in flags.difference:
        if not 0 < points <= flags.baseline:
            raise ConfigError(f"--difference is {points:g} points; it must lie between 0 and the baseline")
    if flags.discordance is not None and not 0 < flags.discordance <= 100:
        raise ConfigError(f"--discordance is {flags.discordance:g} percent; it must lie between 0 and 100")
    if min(flags.episodes, default=1) < 1:
        raise ConfigError(f"--episodes is {min(flags.episodes)}; at least 1 is needed")


def _assumed(flags: PowerArgs) -> dict[str, Any]:
    return {
        "baseline": flags.baseline / 100,
        "power": flags.power / 100,
        "level": flags.level / 100,
        "discordance": None if flags.discordance is None else flags.discordance / 100,
    }


def _discordance(flags: PowerArgs, drop: float) -> float:
    if flags.discordance is None:
        return power.independent_discordance(flags.baseline / 100, drop)
    return max(flags.discordance / 100, drop)


def _needed(flags: PowerArgs) -> list[dict[str, Any]]:
    """Return the number of episodes per policy that each difference needs."""
    base, aim, level = flags.baseline / 100, flags.power / 100, flags.level / 100
    rows = []
    for points in flags.difference:
        drop = points / 100
        share, equal = _discordance(flags, drop), _discordance(flags, 0.0)
        ways = {
            "unpaired": lambda n, d=drop: power.unpaired_power(n, base, d, level),
            "paired": lambda n, d=drop, s=share: power.paired_power(n, d, s, level),
            "margin": lambda n, d=drop, s=equal: power.margin_power(n, d, s, level),
        }
        rows.append({"difference": drop} | {name: power.episodes_needed(way, aim) for name, way in ways.items()})
    return rows


def _detectable(flags: PowerArgs) -> list[dict[str, Any]]:
    """Return the drop that each number of episodes per policy detects."""
    base, aim, level = flags.baseline / 100, flags.power / 100, flags.level / 100
    rows = []
    for n in flags.episodes:
        ways = {
            "unpaired": lambda drop, n=n: power.unpaired_power(n, base, drop, level),
            "paired": lambda drop, n=n: power.paired_power(n, drop, _discordance(flags, drop), level),
        }
        rows.append({"episodes": n} | {name: power.detectable(way, base, aim) for name, way in ways.items()})
    return rows


def _show(found: dict[str, Any]) -> None:
    console = Console(highlight=False)
    share = found["discordance"]
    pairs = "independent" if share is None else f"discordant in {100 * share:.3g} %"
    console.print(
        f"A succeeds at {100 * found['baseline']:.3g} %; shown with {100 * found['power']:g} % power at a two-sided "
        f"level of {100 * found['level']:g} %; pairs: {pairs}",
        soft_wrap=True,
    )
    needed = Table(title="episodes of each policy that show a drop", title_justify="left")
    for column in ("drop, points", "unpaired", "paired", "not worse by that, paired"):
        needed.add_column(column, justify="right")
    for row in found["needed"]:
        cells = (_count(row[way]) for way in ("unpaired", "paired", "margin"))
        needed.add_row(f"{100 * row['difference']:g}", *cells)
    console.print(needed)
    shown = Table(title="smallest drop that episodes show, in points", title_justify="left")
    for column in ("episodes", "unpaired", "paired"):
        shown.add_column(column, justify="right")
    for row in found["detectable"]:
        shown.add_row(str(row["episodes"]), *(_points(row[way]) for way in ("unpaired", "paired")))
    console.print(shown)
    console.print(
        "paired: the same episodes by both policies (pirig compare). not worse by that: pairs that show B not to be "
        "worse by so much (--margin), where there is no difference.",
        soft_wrap=True,
    )


def _count(episodes: int | None) -> str:
    return f"more than {power.MOST}" if episodes is None else str(episodes)


def _points(drop: float | None) -> str:
    return "-" if drop is None else f"{100 * drop:.1f}"
