"""Export a suite's latest run as CSV and JSON in the reference fork's format.

Law 1: Equal results give equal bytes, whatever the order in which episodes ended.
Law 2: Errors have no row.
"""

import csv
import io
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from pirig.errors import UnusableResource
from pirig.files import write_atomically
from pirig.types import EpisodeResult

COLUMNS = ("task_id", "task_name", "episode_idx", "success", "steps", "max_steps")


def rows(results: Iterable[EpisodeResult], task_names: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return the scored episodes as rows, sorted by task and trial.

    `task_names` maps task ids to language instructions.
    """
    scored = sorted((result for result in results if result.status != "error"), key=lambda result: result.spec)
    return [
        {
            "task_id": result.spec.task_id,
            "task_name": task_names[result.spec.task_id],
            "episode_idx": result.spec.trial,
            "success": result.status == "success",
            "steps": result.steps,
            "max_steps": result.max_steps,
        }
        for result in scored
    ]


def export(
    directory: pathlib.Path,
    suite: str,
    results: Iterable[EpisodeResult],
    *,
    task_names: Mapping[int, str],
    seed: int,
    headless: bool,
    extra: Mapping[str, Any],
) -> tuple[pathlib.Path, pathlib.Path]:
    """Write `{suite}_results.csv` and `{suite}_results.json` into `directory`, each completely or not at all.

    `extra` holds further JSON keys.

    Raises ConfigError if the folder cannot be written.
    """
    table = rows(results, task_names)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    successes = sum(row["success"] for row in table)
    summary = {
        "task_suite": suite,
        "total_episodes": len(table),
        "total_successes": successes,
        "success_rate": successes / len(table) if table else None,
        "seed": seed,
        "headless": headless,
        "results": table,
        **extra,
    }
    paths = directory / f"{suite}_results.csv", directory / f"{suite}_results.json"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_atomically(paths[0], text.getvalue())
        write_atomically(paths[1], json.dumps(summary, indent=1) + "\n")
    except OSError as e:
        raise UnusableResource(f"cannot write results to {directory}: {e.strerror}") from e
    return paths
