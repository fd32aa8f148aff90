"""Join runs of one configuration whose parts were made on several machines.

Law 1: An episode is scored in only one of the runs; duplicates are refused, even if their results agree.
Law 2: Lines are copied unchanged, so that no bit changes.
Law 3: The new run appears completely or not at all.
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

_NAMED = 5  # duplicates that a message lists


def merge(out: pathlib.Path, sources: Sequence[RunStore]) -> RunStore:
    """Write the folder `out` from runs that no process is writing, and return it for reading.

    The number of planned episodes is known only if each source is complete; otherwise `pirig eval --run` on the new run
    reports what is missing, and continues the run.

    Raises ConfigError for a single run, for mixed configurations, naming the fields that differ, for duplicates, for a
    run that stopped early, and if `out` exists or cannot be written.
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
