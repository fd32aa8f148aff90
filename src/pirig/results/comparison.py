"""Compare the runs of two policies episode by episode.

Law 1: An episode is compared only with the episode of the same spec; episodes without a counterpart are listed.
Law 2: Pairs that would be meaningless are refused, not averaged. Only the policy may differ between A and B.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from pirig.errors import ConfigError
from pirig.results import quantization
from pirig.results.runs import decided
from pirig.results.statistics.paired import Paired
from pirig.results.statistics.steps_to_success import StepsDifference, compare_time
from pirig.results.store import Configuration, RunStore, differing_fields
from pirig.types import EpisodeResult, EpisodeSpec

OF_THE_POLICY = {"policy", "policy_metadata", "headless"}
REMARKABLE = {"gl": "the images are drawn by another GL back end"}  # worth a warning, but pairs keep their meaning


@dataclasses.dataclass(frozen=True)
class Pair:
    """A `Pair` holds the two results of one spec that is scored in both runs."""

    a: EpisodeResult
    b: EpisodeResult

    @property
    def spec(self) -> EpisodeSpec:
        return self.a.spec

    @property
    def is_discordant(self) -> bool:
        return self.a.status != self.b.status


@dataclasses.dataclass(frozen=True)
class Unpaired:
    """`Unpaired` holds the specs of episodes that form no pair; each tuple is sorted."""

    only_a: tuple[EpisodeSpec, ...] = ()
    only_b: tuple[EpisodeSpec, ...] = ()
    errors: tuple[EpisodeSpec, ...] = ()  # ended in an error in A or in B; an error is not a failure of the policy

    def __len__(self) -> int:
        return len(self.only_a) + len(self.only_b) + len(self.errors)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A `Comparison` holds the pairs of two sets of runs, sorted by spec.

    `runs_a` and `runs_b` map each suite to the name of its run.
    """

    runs_a: dict[str, str]
    runs_b: dict[str, str]
    pairs: tuple[Pair, ...]
    unpaired: Unpaired
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()  # how the policies differ, as far as their runs record it

    @property
    def total(self) -> Paired:
        return count(self.pairs)

    @property
    def by_suite(self) -> dict[str, Paired]:
        return {suite: count(p for p in self.pairs if p.spec.suite == suite) for suite in self.runs_a}

    @property
    def by_task(self) -> dict[tuple[str, int], Paired]:
        """Return the counts by suite and task id, in ascending order."""
        keys = sorted({(pair.spec.suite, pair.spec.task_id) for pair in self.pairs})
        return {key: count(p for p in self.pairs if (p.spec.suite, p.spec.task_id) == key) for key in keys}

    @property
    def discordant(self) -> list[Pair]:
        return [pair for pair in self.pairs if pair.is_discordant]

    @property
    def steps(self) -> StepsDifference:
        return compare_time((pair.a, pair.b) for pair in self.pairs)


def compare(a: Sequence[RunStore], b: Sequence[RunStore], *, force: bool = False) -> Comparison:
    """Compare one run per suite on each side.

    `force` turns the reasons for a refusal into warnings.

    Raises ConfigError if suites or protocols differ, naming the fields, and if no episode is scored in both.
    """
    suites_a, suites_b = _by_suite(a, "A"), _by_suite(b, "B")
    if suites_a.keys() != suites_b.keys():
        raise ConfigError(
            f"A has {', '.join(sorted(suites_a))}, B has {', '.join(sorted(suites_b))}; "
            "name runs of the same suites on both sides"
        )
    refused = _several_policies(a, "A") + _several_policies(b, "B")
    warnings, notes, pairs, unpaired = [], [], [], Unpaired()
    for suite, store in suites_a.items():
        other = suites_b[suite]
        meaningless, remarkable = differences(store.configuration, other.configuration)
        refused += meaningless + _other_assets(store, other)
        warnings += remarkable + [line for side in (store, other) for line in _reservations(side)]
        notes.append(quantization.difference(store.configuration, other.configuration))
        found, left = pair_up(store.results(), other.results())
        pairs += found
        unpaired = Unpaired(unpaired.only_a + left.only_a, unpaired.only_b + left.only_b, unpaired.errors + left.errors)
    if refused and not force:
        raise ConfigError(
            "these runs differ in more than the policy, so that a pair of episodes says nothing about it:\n  "
            + "\n  ".join(refused)
            + "\nRun one of them again under the other's protocol; --force compares them all the same."
        )
    if not pairs:
        raise ConfigError("no episode is scored in both runs: tasks, trials or seeds differ; pirig runs shows them")
    names_a, names_b = ({suite: s.directory.name for suite, s in side.items()} for side in (suites_a, suites_b))
    told = tuple(dict.fromkeys(filter(None, notes)))
    ordered = tuple(sorted(pairs, key=lambda p: p.spec))
    return Comparison(names_a, names_b, ordered, unpaired, (*refused, *warnings), told)


def differences(a: Configuration, b: Configuration) -> tuple[list[str], list[str]]:
    """Return the fields in which A and B differ, with their values.

    The first list holds the differences that make pairs meaningless, the second those that are only worth a warning.
    Replan steps count as part of the policy if each side uses the number that its policy requests.
    """
    free = set(OF_THE_POLICY)
    if all(side.get("replan_steps") == _asked_replan_steps(side) for side in (a, b)):
        free.add("replan_steps")
    lines = {name: f"{name}: A has {x!r}, B {y!r}" for name, x, y in differing_fields(a, b) if name not in free}
    meaningless = [line for name, line in lines.items() if name not in REMARKABLE]
    return meaningless, [f"{line}; {REMARKABLE[name]}" for name, line in lines.items() if name in REMARKABLE]


def pair_up(a: Iterable[EpisodeResult], b: Iterable[EpisodeResult]) -> tuple[list[Pair], Unpaired]:
    """Pair the results of A and B by spec.

    Errors have no outcome, so they are paired with nothing.
    """
    by_a, by_b = {result.spec: result for result in a}, {result.spec: result for result in b}
    shared = sorted(by_a.keys() & by_b.keys())
    pairs = [Pair(by_a[s], by_b[s]) for s in shared if "error" not in (by_a[s].status, by_b[s].status)]
    errors = [s for s in shared if "error" in (by_a[s].status, by_b[s].status)]
    only_a, only_b = sorted(by_a.keys() - by_b.keys()), sorted(by_b.keys() - by_a.keys())
    return pairs, Unpaired(tuple(only_a), tuple(only_b), tuple(errors))


def count(pairs: Iterable[Pair]) -> Paired:
    outcomes = [(pair.a.status == "success", pair.b.status == "success") for pair in pairs]
    return Paired(*(outcomes.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))))


def _by_suite(stores: Sequence[RunStore], side: str) -> dict[str, RunStore]:
    found: dict[str, RunStore] = {}
    for store in stores:
        suite = str(store.configuration.get("suite", ""))
        if suite in found:
            both = f"{found[suite].directory.name} and {store.directory.name}"
            raise ConfigError(f"{side} has two runs of {suite}, {both}; name one, or join them with pirig merge")
        found[suite] = store
    return found


def _several_policies(stores: Sequence[RunStore], side: str) -> list[str]:
    names = sorted({str(store.configuration.get("policy")) for store in stores})
    return [f"policy: {side} has several: {', '.join(names)}"] if len(names) > 1 else []


def _other_assets(a: RunStore, b: RunStore) -> list[str]:
    """Return a line if the runs used different asset files.

    LIBERO's files are not part of a configuration; manifests record their hash.
    """
    both = a.manifest.get("assets"), b.manifest.get("assets")
    return [f"assets: A has {both[0]}, B {both[1]}"] if all(both) and both[0] != both[1] else []


def _reservations(store: RunStore) -> Iterator[str]:
    name, manifest = store.directory.name, store.manifest
    if why := decided(manifest):
        yield (
            f"{name} stopped early: {why}; that is its result, at the level it declared, and the interval and the "
            "p value here know nothing of the stopping"
        )
    elif not manifest.get("complete", False):
        yield f"{name} is incomplete: episodes that end early have more successes among them"


def _asked_replan_steps(configuration: Configuration) -> int:
    return int((configuration.get("policy_metadata") or {}).get("replan_steps", 5))
