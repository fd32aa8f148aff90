"""Which episodes a run consists of. Pure: no simulator, no policy, no clock."""

from collections.abc import Collection, Iterable, Sequence

from pirig.types import EpisodeSpec


def plan(suite: str, tasks: Iterable[int], trials: Iterable[int], seed: int) -> list[EpisodeSpec]:
    """Task by task, so that a worker seldom has to build another scene."""
    trials = list(trials)
    return [EpisodeSpec(suite, task, trial, seed) for task in tasks for trial in trials]


def remaining(specs: Sequence[EpisodeSpec], finished: Collection[EpisodeSpec]) -> list[EpisodeSpec]:
    """What is left to run, in plan order. Errors are not finished, so they run again."""
    return [spec for spec in specs if spec not in finished]


def next_for(todo: list[EpisodeSpec], last: EpisodeSpec | None, busy: Collection[EpisodeSpec]) -> EpisodeSpec:
    """Takes an episode out of `todo` for a worker that ran `last`, while the others run `busy`.

    Its own task first, since its scene is built; else the task with the most episodes left per worker on it.
    """

    def of(spec: EpisodeSpec) -> tuple[str, int]:
        return spec.suite, spec.task_id

    left: dict[tuple[str, int], int] = {}
    for spec in todo:
        left[of(spec)] = left.get(of(spec), 0) + 1
    if last is not None and of(last) in left:
        task = of(last)
    else:
        crowd = [of(spec) for spec in busy]
        task = max(left, key=lambda task: left[task] / (1 + crowd.count(task)))
    return todo.pop(next(i for i, spec in enumerate(todo) if of(spec) == task))
