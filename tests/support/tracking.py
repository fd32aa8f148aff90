"""Tracks a recorded run, and what a tracker must then show of it."""

from pirig.launch.observers.trackers import Tracking


def track(name, store, *, after=0):
    """All results but the first `after`, which are known already."""
    results = list(store.results())
    tracking = Tracking(name, store, results[:after])
    for result in results[after:]:
        tracking.result(result)
    tracking.close()


def rates(results):
    """(scored so far, success rate) after each scored episode."""
    scored = [result.status == "success" for result in results if result.status != "error"]
    return [(n, sum(scored[:n]) / n) for n in range(1, len(scored) + 1)]
