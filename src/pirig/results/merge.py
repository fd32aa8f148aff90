"""Joins runs of one configuration that several machines made parts of.

Law 1: an episode is scored in one of them only; what was scored twice is refused, even where both agree.
Law 2: lines are copied as they stand, so that no bit changes. Law 3: the new run is there whole, or not at all.
"""

import os
import pathlib
from collections.abc import Sequence

from pirig.errors import ConfigError, UnusableResource
from pirig.files import replacing
from pirig.results.runs import decided
from pirig.results.store import RunStore, differing_fields
from pirig.text import and_more
from pirig.types import EpisodeSpec

_NAMED = 5  # duplicates in a message


def merge(out: pathlib.Path, sources: Sequence[RunStore]) -> RunStore:
    """Writes the folder `out` from runs that nobody is writing. Returns it, for reading.

    How many episodes were planned is known where each source is complete; otherwise `pirig eval --run` on the new run
    says what is missing, and goes on with it. Raises ConfigError for one run only, for mixed configurations, naming the
    fields that differ, for duplicates, for a run that stopped early, and where `out` is there or can't be written.
    """
    if len(sources) < 2:
        raise ConfigError(f"there is nothing to join in {len(sources)} run; name two or more")
    if out.exists():
        raise ConfigError(f"{out} is there already; choose another name for the joined run")
    _refuse_mixture(sources)
    _refuse_duplicates(sources)
    complete = all(source.manifest.get("complete", False) and "planned" in source.manifest for source in sources)
    manifest = {
        "complete": complete,
        "merged_from": [{"run": source.directory.name, "notes": _notes(source)} for source in sources],
    }
    manifest |= {key: sources[0].manifest[key] for key in ("protocol", "assets") if key in sources[0].manifest}
    if complete:
        manifest["planned"] = sum(source.manifest["planned"] for source in sources)
    try:
        with replacing(out) as partial, RunStore.open(partial, sources[0].configuration) as store:
            with (partial / "episodes.jsonl").open("wb") as file:
                for source in sources:
                    file.writelines(source.lines())
                file.flush()
                os.fsync(file.fileno())
            store.note(**manifest)
    except OSError as e:
        raise UnusableResource(f"cannot write {out}: {e.strerror}; choose another folder") from e
    return RunStore.read(out)


def _refuse_mixture(sources: Sequence[RunStore]) -> None:
    first = sources[0]
    for source in sources[1:]:
        differing = differing_fields(
            *({**s.configuration, "assets": s.manifest.get("assets")} for s in (first, source))
        )
        if differing:
            lines = [f"{name}: {a!r} and {b!r}" for name, a, b in differing]
            raise ConfigError(
                f"{first.directory.name} and {source.directory.name} are runs of different configurations:\n  "
                + "\n  ".join(lines)
                + "\nOnly parts of one run can be joined; pirig compare compares two policies."
            )
    for source in sources:
        if why := decided(source.manifest):
            raise ConfigError(f"{source.directory.name} stopped early ({why}), so it is whole as it is; leave it out")


def _refuse_duplicates(sources: Sequence[RunStore]) -> None:
    owner: dict[EpisodeSpec, str] = {}
    twice: list[str] = []
    for source in sources:
        for spec in sorted(source.scored()):
            if spec in owner:
                twice.append(f"{spec.key} in {owner[spec]} and {source.directory.name}")
            owner[spec] = source.directory.name
    if twice:
        raise ConfigError(
            f"{len(twice)} episodes are scored twice:\n  "
            + and_more(twice, _NAMED, "\n  ")
            + "\nGive each machine tasks or trials of its own; pirig compare says whether two runs agree."
        )


def _notes(source: RunStore) -> dict[str, object]:
    return {key: value for key, value in source.manifest.items() if key not in ("format", "configuration")}
