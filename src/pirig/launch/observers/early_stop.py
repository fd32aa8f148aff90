"""Stop a run as soon as a sequential test is decided (`pirig eval --against RUN --stop-when decided`).

Law 1: The declaration is in the manifest, as `stopping`, before the first episode. A run continues only under the same
declaration.
Law 2: The test is fed with results in the store, so resuming changes no verdict.
"""

import dataclasses
import hashlib
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

from pirig.errors import ConfigError
from pirig.interfaces import Observer
from pirig.launch.settings import StopRule
from pirig.results import runs
from pirig.results.comparison import differences
from pirig.results.statistics.sequential import Declaration, SequentialTest, declared_order, in_words
from pirig.results.store import Configuration, RunStore
from pirig.types import EpisodeResult, EpisodeSpec

_log = logging.getLogger(__name__)
_BLOCKS_AHEAD = 5  # blocks that a worker may spend on one task, because another scene takes seconds to build


class EarlyStop(Observer):
    """The sequential test of one run, and its record in the manifest."""

    def __init__(self, test: SequentialTest, store: RunStore, declared: dict[str, Any]):
        self._test, self._store, self._declared = test, store, declared
        self.order = test.order
        self.ahead = _BLOCKS_AHEAD * len({spec.task_id for spec in self.order})
        self._planned = set(self.order)

    @property
    def is_decided(self) -> bool:
        return self._test.answer is not None

    @property
    def answer(self) -> str:
        """The verdict in words; empty before there is one."""
        return in_words(self._test)

    def result(self, result: EpisodeResult) -> None:
        """Feed the test. A verdict is in the manifest when this returns."""
        if self.is_decided or result.status == "error" or result.spec not in self._planned:
            return
        if self._test.feed(result.spec, result.status == "success"):
            look, interval = dataclasses.asdict(self._test.look), self._test.interval()
            answer = {"answer": self._test.answer, "decided": self.answer, "look": look, "interval": interval}
            self._store.note(stopping={**self._declared, **answer})
            _log.info("decided: %s", self.answer)


def prepare(
    rule: StopRule,
    specs: Sequence[EpisodeSpec],
    configuration: Configuration,
    directory: pathlib.Path,
    results: pathlib.Path,
) -> SequentialTest | None:
    """Return the test of a run in `directory`; None where no early stop was asked for. Writes nothing.

    `results`: where run A is looked up. Raises ConfigError where A cannot be compared with.
    """
    if rule.stop_when != "decided":
        return None
    a = runs.find(rule.against, results)
    if a.directory.resolve() == directory.resolve():
        raise ConfigError(f"--against {a.directory.name} is this run itself; name another")
    outcomes_a = _outcomes(a, specs, configuration)
    declaration = Declaration(a.directory.name, rule.margin / 100, rule.level / 100, configuration["seed"])
    try:
        blocks = declared_order(specs, declaration.order_seed)
    except ValueError as e:
        raise ConfigError(f"--stop-when decided: {e}; give all tasks the same trials") from e
    return SequentialTest(declaration, blocks, outcomes_a)


def declare(test: SequentialTest, store: RunStore) -> EarlyStop:
    """Record the declaration, and feed the test with the results that exist.

    Raises ConfigError if another declaration was recorded, or if episodes came before it.
    """
    declared = {
        **dataclasses.asdict(test.declaration),
        "episodes": len(test.order),
        "order": hashlib.blake2b("\n".join(s.key for s in test.order).encode(), digest_size=8).hexdigest(),
    }
    _hold(declared, test.order, store)
    found = EarlyStop(test, store, declared)
    for result in store.results():
        found.result(result)
    return found


def _outcomes(a: RunStore, specs: Sequence[EpisodeSpec], configuration: Configuration) -> dict[EpisodeSpec, bool]:
    meaningless, _ = differences(a.configuration, configuration)
    if meaningless:
        raise ConfigError(
            "the runs differ in more than the policy, so that a pair of episodes says nothing about it:\n  "
            + "\n  ".join(meaningless)
            + "\nwhere A is --against, and B this run."
        )
    outcomes = {result.spec: result.status == "success" for result in a.results() if result.status != "error"}
    missing = [spec for spec in specs if spec not in outcomes]
    if missing:
        raise ConfigError(
            f"{a.directory.name} has no score for {len(missing)} of the {len(specs)} planned episodes, "
            f"{missing[0].key} for one; run it to its end, or plan what it has: --num-trials-per-task, --task-ids"
        )
    return outcomes


def _hold(declared: dict[str, Any], specs: Sequence[EpisodeSpec], store: RunStore) -> None:
    """Record the declaration, or check that it equals the recorded one."""
    noted = store.manifest.get("stopping")
    if noted is None:
        there = len(store.scored().keys() & set(specs))
        if there:
            raise ConfigError(
                f"{there} episodes of run {store.directory.name} are there already, and when to stop is declared "
                "before the first one; name another --run, or start over with --fresh"
            )
        store.note(stopping=declared)
        return
    differing = [
        f"{name}: {noted.get(name)!r}, now {value!r}" for name, value in declared.items() if noted.get(name) != value
    ]
    if differing:
        raise ConfigError(
            f"run {store.directory.name} was declared to stop otherwise:\n  "
            + "\n  ".join(differing)
            + "\nRepeat the declaration, name another --run, or start over with --fresh."
        )
