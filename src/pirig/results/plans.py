"""Record what a run's commands planned, as data in its manifest.

    "plan": [{"tasks": [0, 1, …], "trials": [0, 1, …]}, …]

A block stands for all its trials of all its tasks. A command whose episodes are already in the plan adds no block; a
command that plans more (further trials, further tasks) adds one, because the tasks and trials of several commands need
not form one block. Older runs have no plan; the flags of their commands, which the manifest also records, contain the
same information.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from pirig.types import EpisodeSpec

Block = dict[str, list[int]]


def extended(manifest: Mapping[str, Any], specs: Iterable[EpisodeSpec], all_tasks: Sequence[int]) -> list[Block]:
    """Return the manifest's plan, with a block added for `specs` unless the plan already contains them.

    `specs` contains all its trials of all its tasks. `all_tasks`: task ids of the suite.
    """
    specs = list(specs)
    blocks = _own_blocks(manifest, all_tasks)
    known = {pair for block in blocks for pair in _pairs(block)}
    if any((spec.task_id, spec.trial) not in known for spec in specs):
        tasks, trials = {spec.task_id for spec in specs}, {spec.trial for spec in specs}
        blocks.append({"tasks": sorted(tasks), "trials": sorted(trials)})
    return blocks


def planned(manifest: Mapping[str, Any], suite: str, all_tasks: Sequence[int]) -> list[EpisodeSpec]:
    """Return the episodes that commands planned for a run, or for the runs that it was merged from, sorted."""
    seed = manifest["configuration"]["seed"]
    parts = [manifest, *(part.get("notes", {}) for part in manifest.get("merged_from", []))]
    pairs = {pair for part in parts for block in _own_blocks(part, all_tasks) for pair in _pairs(block)}
    return sorted(EpisodeSpec(suite, task, trial, seed) for task, trial in pairs)


def is_plan(value: object) -> bool:
    """Return whether `value` is a valid plan for a manifest."""
    return isinstance(value, list) and all(
        isinstance(block, dict)
        and block.keys() == {"tasks", "trials"}
        and all(isinstance(numbers, list) and all(type(n) is int for n in numbers) for numbers in block.values())
        for block in value
    )


def _own_blocks(manifest: Mapping[str, Any], all_tasks: Sequence[int]) -> list[Block]:
    if "plan" in manifest:
        return list(manifest["plan"])
    return [_from_flags(session.get("flags", {}), all_tasks) for session in manifest.get("sessions", [])]


def _from_flags(flags: Mapping[str, Any], all_tasks: Sequence[int]) -> Block:
    """Return the block that a command of an older version planned."""
    tasks = flags.get("task_ids") or all_tasks
    return {"tasks": list(tasks), "trials": list(flags.get("trials") or range(flags.get("num_trials_per_task", 0)))}


def _pairs(block: Mapping[str, Collection[int]]) -> set[tuple[int, int]]:
    return {(task, trial) for task in block["tasks"] for trial in block["trials"]}
