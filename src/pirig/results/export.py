"""CSV and JSON of a suite's latest run, in the reference fork's form, for spreadsheets and scripts.

Law: equal results give equal bytes, whatever the order in which episodes ended. Errors have no row.
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
    """Scored episodes, sorted by task and trial. `task_names`: language instruction by task id."""
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
    """Writes `{suite}_results.csv` and `.json` into `directory`, whole or not at all. `extra`: more JSON keys.

    Raises ConfigError where the folder can't be written.
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
