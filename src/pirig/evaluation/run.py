"""The coordinator's loop: what is left to run goes to the executor, what comes back goes to the store first.

Videos are made from what is in the store, so that one which is missing is made by whoever asks next.
"""

import logging
from collections.abc import Callable, Sequence

from pirig.errors import StartError
from pirig.evaluation.plan import Work, remaining
from pirig.interfaces import Executor, ResultStore, WorkerFactory
from pirig.types import EpisodeResult, EpisodeSpec, Video

_ERRORS_IN_A_ROW = 10
_log = logging.getLogger(__name__)

Observer = Callable[[EpisodeResult | Video], object]


def run(
    specs: Sequence[EpisodeSpec],
    store: ResultStore,
    executor: Executor,
    make_worker: WorkerFactory,
    observer: Observer = lambda found: None,
    lacks_video: Callable[[EpisodeResult], bool] = lambda result: False,
    is_decided: Callable[[], bool] = lambda: False,
    ahead: int | None = None,
) -> None:
    """Runs what the store has not finished, and what ended in an error once more; has the videos made that lack.

    Once `is_decided`, which is asked after the observer has heard a result, no other episode starts; those that run
    are finished. `ahead`: see Work; with it, what ended in an error runs again at once, as the decision waits for it.

    Raises StartError when workers cannot start, or when nothing but errors comes back. Every result that came is in
    the store then.
    """
    finished = _finished(store)
    todo = [] if is_decided() else remaining(specs, finished)
    if finished & set(specs):
        _log.info("%d of %d episodes are there already; going on with the rest", len(finished & set(specs)), len(specs))
    planned = set(specs)
    without_video = [result for result in store.results() if result.spec in planned and lacks_video(result)]
    in_a_row = 0
    for again in (False, True):
        if again and todo:
            _log.warning("%d episodes ended in an error; running them once more", len(todo))
        work = Work(todo, ahead)
        put_back: set[EpisodeSpec] = set()
        for result in without_video if not again else ():
            work.add_video(result)
        for found in executor.run(work, make_worker):
            if isinstance(found, Video):
                observer(found)
                continue
            store.append(found)
            observer(found)
            if found.status == "error" and ahead is not None and found.spec not in put_back:
                put_back.add(found.spec)
                work.put_back(found.spec)
            if is_decided():
                work.drop_episodes()
            if lacks_video(found):
                work.add_video(found)
            in_a_row = in_a_row + 1 if found.status == "error" else 0
            if in_a_row == _ERRORS_IN_A_ROW:
                raise StartError(f"{in_a_row} errors in a row, so the run stops; the last one:\n{found.error}")
        todo = [] if is_decided() else remaining(specs, _finished(store))


def _finished(store: ResultStore) -> set[EpisodeSpec]:
    """Episodes that need not run again."""
    return {result.spec for result in store.results() if result.status != "error"}
