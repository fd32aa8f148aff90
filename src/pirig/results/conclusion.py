"""State what a comparison shows, in words for a person and as JSON for a program."""

import dataclasses
import math
from typing import Any

from pirig.results.comparison import Comparison, Unpaired
from pirig.results.statistics.paired import Paired
from pirig.results.statistics.steps_to_success import StepsDifference

SCHEMA = 1


def in_words(found: Paired, *, level: float, margin: float | None) -> list[str]:
    """Return sentences that state what the pairs show.

    `margin` is a fraction of 1.
    """
    confidence, estimate = f"{100 * (1 - level):g} %", found.difference(1 - level)
    points, p = 100 * estimate.value, found.mcnemar()
    how = "as often as" if not points else f"{abs(points):.1f} points {'more' if points > 0 else 'less'} often than"
    lines = [
        f"B succeeds {how} A: {confidence} interval {100 * estimate.low:+.1f} to {100 * estimate.high:+.1f} points, "
        f"{found.n} pairs",
        {
            "better": f"B is better than A (exact McNemar p = {p:.3g}, at most {level:g})",
            "worse": f"B is worse than A (exact McNemar p = {p:.3g}, at most {level:g})",
            "no difference shown": f"no difference is shown (exact McNemar p = {p:.3g}, more than {level:g}), "
            "which is no proof that there is none",
        }[found.verdict(level)],
    ]
    if margin is None:
        return lines
    limit = f"{100 * margin:g} points"
    verdict = {
        "non-inferior": f"B is not worse than A by {limit} or more: the whole interval lies above -{limit}",
        "inferior": f"B is worse than A by more than {limit}: the whole interval lies below -{limit}",
        "undecided": f"whether B is worse than A by {limit} is undecided: the interval holds -{limit}; "
        "more episodes would tell (pirig power)",
    }[found.margin_verdict(margin, level)]
    return [*lines, f"{verdict} (one-sided level {level / 2:g})"]


def time_in_words(found: StepsDifference) -> str:
    steps = found.difference
    if not steps.count:
        return "time to success: no episode that both succeed at"
    p = "" if math.isnan(found.p) else f", Wilcoxon p = {found.p:.3g}"
    return (
        f"time to success on {steps.count} episodes that both succeed at: median {found.a.median:g} steps of A, "
        f"{found.b.median:g} of B; B - A: median {steps.median:+g}, quartiles {steps.lower:+g} and {steps.upper:+g}{p}"
    )


def to_json(found: Comparison, *, level: float, margin: float | None) -> dict[str, Any]:
    """Return the comparison as a JSON object.

    Rates and limits are fractions of 1; differences are B minus A.
    """
    steps = found.steps
    return {
        "schema": SCHEMA,
        "a": found.runs_a,
        "b": found.runs_b,
        "level": level,
        "margin": margin,
        "total": _counts(found.total, level, margin),
        "suites": {suite: _counts(paired, level, margin) for suite, paired in found.by_suite.items()},
        "tasks": [
            {"suite": suite, "task_id": task, **_counts(paired, level, margin)}
            for (suite, task), paired in found.by_task.items()
        ],
        "steps": _finite(
            {
                **dataclasses.asdict(steps.difference),
                "p": steps.p,
                "median_a": steps.a.median,
                "median_b": steps.b.median,
            }
        ),
        "in_words": in_words(found.total, level=level, margin=margin),
        "unpaired": {
            field.name: [spec.key for spec in getattr(found.unpaired, field.name)]
            for field in dataclasses.fields(Unpaired)
        },
        "warnings": list(found.warnings),
        "notes": list(found.notes),
    }


def _counts(found: Paired, level: float, margin: float | None) -> dict[str, Any]:
    estimate = found.difference(1 - level)
    row = {
        **dataclasses.asdict(found),
        "pairs": found.n,
        "rate_a": found.rates[0],
        "rate_b": found.rates[1],
        "difference": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "mcnemar_p": found.mcnemar(),
        "verdict": found.verdict(level),
    }
    if margin is not None:
        row |= {"margin_p": found.margin_p(margin), "margin_verdict": found.margin_verdict(margin, level)}
    return _finite(row)


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """Replace NaN by None, because JSON has no NaN."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
