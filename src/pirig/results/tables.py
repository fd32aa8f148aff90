"""Write a report as JSON, CSV and Markdown, for programs, spreadsheets, papers and READMEs.

Law: Equal results give equal bytes, whatever the order in which episodes ended (except for manifests).
"""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from pirig.results import quantization, summary
from pirig.results.report import SCHEMA, Report, mean_inference_s, mean_seconds
from pirig.results.statistics import published
from pirig.results.statistics.tally import Tally
from pirig.types import EpisodeResult

COLUMNS = ("suite", "task_id", "task_name", "trial", "seed", "status", "steps", "max_steps", "wall_s", "reset_s",
           "simulation_s", "rendering_s", "inference_s", "chunks", "state_hash", "video", "error")  # fmt: skip


def episode_rows(report: Report) -> list[dict[str, Any]]:
    """Return one row per recorded episode, with the keys of COLUMNS, sorted by spec; errors are included."""
    return [_row(report, report.by_spec[spec]) for spec in report.planned if spec in report.by_spec]


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as docs/schema/report-1.json describes it."""
    inference_s = mean_inference_s(report.results)
    return {
        "schema": SCHEMA,
        "run": report.run,
        "suite": report.suite,
        "policy": report.policy,
        "complete": report.is_complete,
        "total": _counts(report.total),
        "published_success_rate": report.published,
        "difference_from_published": _difference(report.placement),
        "tasks": [
            {"task_id": task_id, "task_name": report.task_name(task_id), **_counts(tally)}
            for task_id, tally in report.by_task.items()
        ],
        "mean_seconds_per_episode": mean_seconds(report.results),
        "mean_inference_s": inference_s,
        "episodes": episode_rows(report),
        "manifest": dict(report.manifest),
        **({"quantization": quantization.as_json(report.quantization)} if report.quantization else {}),
    }


def json_text(report: Report) -> str:
    return json.dumps(as_json(report), indent=1, ensure_ascii=False) + "\n"


def csv_text(report: Report) -> str:
    """Return CSV text with one row per recorded episode.

    results/export.py writes the reference fork's columns instead.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(episode_rows(report))
    return text.getvalue()


def markdown(report: Report) -> str:
    """Return a Markdown table with one row per task and one for the run."""
    lines = ["| task | success | rate [%] | 95 % Wilson | steps of successes |", "|---|--:|--:|--:|--:|"]
    lines += [_markdown_row(f"{i} {report.task_name(i)}", tally) for i, tally in report.by_task.items()]
    lines.append(_markdown_row(f"**{report.suite}**", report.total))
    notes = [f"Run `{report.run}`, policy {_cell(report.policy)}."]
    if report.quantization:
        notes.append(f"Quantized: {_cell(report.quantization.in_words)}.")
    if report.stopped:
        notes.append(f"STOPPED EARLY, as declared: {report.stopped}")
    elif not report.is_complete:
        notes.append(f"INCOMPLETE: {report.total.errors} errors, {report.total.missing} missing.")
    if report.published is not None:
        notes.append(f"Published π0.5: {100 * report.published:.1f}.")
    if report.placement is not None:
        notes.append(f"Difference {difference_text(report.placement)}.")
    return "\n".join(lines) + f"\n\n{' '.join(notes)}\n"


def markdown_overview(rows: Sequence[summary.SuiteRow]) -> str:
    """Return a Markdown table with one row per suite, next to the published rate.

    A suite with missing episodes has no rate.
    """
    lines = ["| suite | success | rate [%] | 95 % Wilson | published π0.5 | difference (95 %) | run |"]
    lines.append("|---|--:|--:|--:|--:|--:|---|")
    for row in rows:
        (low, high), theirs = row.interval, published.PUBLISHED.get(row.suite)
        numbers = f"{100 * row.rate:.1f} | {100 * low:.1f} – {100 * high:.1f}" if row.complete else "incomplete | –"
        beside = "–" if theirs is None else f"{theirs:.1f}"
        apart = difference_text(published.place(row.suite, row.successes, row.scored) if row.complete else None)
        count = f"{row.successes}/{row.scored}"
        lines.append(f"| {row.suite} | {count} | {numbers} | {beside} | {apart} | {_cell(row.run)} |")
    mean, apart = summary.average(rows), difference_text(published.place_average(summary.complete_counts(rows)))
    average, spread = "–" if mean is None else f"**{100 * mean:.2f}**", summary.average_interval(rows)
    bounds = f" {100 * spread.low:.1f} – {100 * spread.high:.1f} *" if spread else ""
    lines.append(f"| average of four | | {average} |{bounds} | {published.PUBLISHED_AVERAGE:.2f} | {apart} | |")
    note = "\n\\* For tasks like these: tasks are counted as clusters.\n" if spread else ""
    return "\n".join(lines) + f"\n{note}"


def difference_text(placement: published.Placement | None) -> str:
    """Return the difference in percentage points, e.g. `−2.6 (−4.9 to −0.4), below`."""
    if placement is None:
        return "–"
    found = placement.difference
    return f"{points(found.value)} ({points(found.low)} to {points(found.high)}), {placement.verdict}"


def points(difference: float) -> str:
    """Return a difference of rates in percentage points, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def _difference(placement: published.Placement | None) -> dict[str, Any] | None:
    if placement is None:
        return None
    found = placement.difference
    return {"value": found.value, "interval_95": [found.low, found.high], "verdict": placement.verdict}


def _counts(tally: Tally) -> dict[str, Any]:
    return {
        "successes": tally.successes,
        "failures": tally.failures,
        "errors": tally.errors,
        "missing": tally.missing,
        "success_rate": tally.rate if tally.scored else None,
        "wilson_95": list(tally.interval),
        "mean_success_steps": tally.success_steps if tally.successes else None,
    }


def _row(report: Report, result: EpisodeResult) -> dict[str, Any]:
    spec, times = result.spec, result.timings
    episode = spec.suite, spec.task_id, report.task_name(spec.task_id), spec.trial, spec.seed
    outcome = result.status, result.steps, result.max_steps, result.wall_s
    spent = times.reset_s, times.simulation_s, times.rendering_s, times.inference_s, times.chunks
    values = (*episode, *outcome, *spent, result.state_hash, report.videos.get(spec, ""), result.error)
    return dict(zip(COLUMNS, values, strict=True))


def _markdown_row(name: str, tally: Tally) -> str:
    low, high = tally.interval
    rate = f"{100 * tally.rate:.1f}" if tally.scored else "–"
    steps = f"{tally.success_steps:.0f}" if tally.successes else "–"
    cells = _cell(name), f"{tally.successes}/{tally.scored}", rate, f"{100 * low:.1f} – {100 * high:.1f}", steps
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
