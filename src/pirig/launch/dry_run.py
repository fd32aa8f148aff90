"""Describe what `pirig eval` would run, download and write, for `--dry-run`.

Law 1: Nothing is started, loaded, downloaded or written, and no server is asked.
Law 2: What the flags make impossible is refused with the message and the exit code of the real run.
Law 3: What only a loaded model or a server knows is called unknown.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from pirig import envvars, text
from pirig.errors import ConfigError
from pirig.files import free_bytes
from pirig.launch import estimate, fetch, packs, places, site, suite_run
from pirig.launch.estimate import Means, Rate, Workload
from pirig.launch.model_loading import ModelRequest
from pirig.launch.observers import early_stop
from pirig.launch.places import Places
from pirig.launch.policy import Baseline, HostedModel, RemoteServers, source_of
from pirig.launch.settings import Episodes, ModelChoice, Paths, PolicyChoice, StopRule, Workers
from pirig.launch.suite_run import Shared
from pirig.machine import resources
from pirig.models import weights
from pirig.results import runs
from pirig.results.store import Configuration, RunStore, refuse_mixture
from pirig.sim import boot, suites
from pirig.types import EpisodeSpec

_TOKENIZER_MB = 4
_REPLAN_STEPS = 5  # of a policy whose metadata has none
Rows = list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class _Policy:
    """The policy as far as it is known. `metadata` is None if only a loaded model or a server has it."""

    source: RemoteServers | HostedModel | Baseline
    metadata: Mapping | None
    rows: Rows

    @property
    def is_model(self) -> bool:
        return isinstance(self.source, HostedModel)

    @property
    def reads_images(self) -> bool:
        wanted = (self.metadata or {}).get("observations")
        return wanted is None or any("image" in name for name in wanted)


def would_do(
    planned: Mapping[str, Sequence[EpisodeSpec]],
    simulation: boot.Settings,
    episodes: Episodes,
    choice: PolicyChoice,
    model: ModelChoice,
    workers: Workers,
    paths: Paths,
    stop: StopRule,
) -> list[str]:
    """Return what the same command would do, line by line.

    Raises what the real run would raise before its first episode, as far as flags and files determine it.
    """
    source = source_of(choice, model, paths.results / "runs")
    policy = _policy(source)
    renderer = simulation.gl
    found = places.look(workers.policy_hosts, device=policy.source.device, renderer=renderer)
    shared = Shared(renderer, policy.source, policy.metadata or {}, episodes, paths, stop)
    rows, left = policy.rows, {}
    for suite, specs in planned.items():
        of_suite, left[suite] = _run(suite, specs, shared, policy)
        rows += of_suite
    total = sum(map(len, left.values()))
    count = site.worker_count(workers.workers, total)
    rows.append(("workers", _workers(workers, count, total)))
    rows.append(("renderer", renderer))
    rows.append(("assets", f"LIBERO's, in {simulation.assets}, as they must be"))
    rows.append(("results", f"{paths.results}; videos ({paths.video}) in {paths.videos}"))
    work = _workload(episodes, left, policy, has_videos=paths.video == "all")
    rows += _cost(work, policy, found, count, renderer, device=model.device)
    return [f"{head:<11}{line}" for head, line in rows] + ["", "nothing was started; without --dry-run this is run"]


def _policy(source: RemoteServers | HostedModel | Baseline) -> _Policy:
    if isinstance(source, Baseline):
        metadata = source.open().metadata
        return _Policy(source, metadata, [("policy", f"{source.name}, in each worker; no model, nothing to download")])
    if isinstance(source, RemoteServers):
        return _Policy(source, None, [("policy", f"asked of {source.name}; not asked now")])
    return _Policy(source, None, _model(source.model))


def _model(model: ModelRequest) -> Rows:
    from pirig.checkpoints import address, assets, download, read

    row, url, home = model.recipe, model.url(), envvars.data_home()
    pack = packs.checked(row.name, model.choice)
    rows = [("policy", f"{row.name}, computed here, without a socket")]
    if download.is_here(url, home) or "://" not in url:
        folder = fetch.bring(url, offline=True)
        weights.check(read.open_checkpoint(folder).arrays, row.model)
        rows.append(("checkpoint", f"is in {folder}"))
    else:
        is_published = url == row.checkpoint and row.checkpoint_gb
        size = f"{row.checkpoint_gb:g} GB" if is_published else "of a size that its server knows"
        rows.append(("checkpoint", _download(url, size, home)))
    file = assets.tokenizer_file(home)
    here = f"is at {file}" if file.is_file() else _download(address.TOKENIZER, f"{_TOKENIZER_MB} MB", home)
    rows.append(("tokenizer", here))
    if pack:
        rows.append(("pack", _pack(pack)))
    return rows


def _pack(pack: packs.Wanted) -> str:
    if pack.configuration is None:
        return f"is {pack.file}"
    return f"{pack.configuration.name}: found in {pack.folder}, or calibrated and made there first, once"


def _download(url: str, size: str, home: pathlib.Path) -> str:
    """Describe a download. Raises StartError if downloads are forbidden."""
    if fetch.is_offline():
        fetch.bring(url, offline=True)
    free = free_bytes(home) / 1e9
    return f"TO DOWNLOAD: {url}, {size}, into {home} ({free:.0f} GB free)"


def _run(suite: str, specs: Sequence[EpisodeSpec], shared: Shared, policy: _Policy) -> tuple[Rows, list[EpisodeSpec]]:
    """Return rows about one suite's run, and its episodes that remain."""
    paths, stop, folder = shared.paths, shared.stop, shared.paths.results / "runs"
    name, rules, configuration = suite_run.named(suite, shared)
    tasks, trials = len({spec.task_id for spec in specs}), len({spec.trial for spec in specs})
    plan = f"{suite}: {len(specs)} episodes, {tasks} tasks x {trials} trials, at most {rules.total_steps} steps each"
    if stop.stop_when == "decided" and policy.metadata is not None:
        early_stop.prepare(stop, specs, configuration, folder / name, paths.results)
    elif stop.stop_when == "decided":
        runs.find(stop.against, paths.results)
    is_named = policy.metadata is not None or bool(paths.run)
    find = _named if is_named else _alike
    known = _Known(configuration, policy, is_replan_given=shared.episodes.replan_steps is not None)
    store = find(folder / name, known, is_fresh=paths.fresh)
    if store is None:
        unnamed = f"new: no run in {folder} has these settings; the policy decides its name"
        return [("episodes", plan), ("run", f"{name}: is new" if is_named else unnamed)], list(specs)
    if paths.fresh:
        text = f"{store.directory.name}: starts over; the old one is kept beside it"
        return [("episodes", plan), ("run", text)], list(specs)
    scored = store.scored()
    left = [spec for spec in specs if spec not in scored]
    sure = "goes on with it" if policy.metadata is not None else "goes on with it, if the policy is the same"
    count = f"{len(specs) - len(left)} of {len(specs)} episodes are scored, {len(left)} remain"
    return [("episodes", plan), ("run", f"{store.directory.name}: {sure}; {count}")], left


@dataclasses.dataclass(frozen=True)
class _Known:
    """A run's configuration as far as it is known before the policy is asked."""

    configuration: Configuration
    policy: _Policy
    is_replan_given: bool

    def completed_from(self, store: RunStore) -> Configuration:
        """Copy from the stored run the fields that only a loaded policy can supply, to compare the rest."""
        if self.policy.metadata is not None:
            return self.configuration
        unknown = ["policy_metadata"]
        unknown += [] if self.is_replan_given else ["replan_steps"]
        unknown += [] if self.policy.is_model else ["policy"]
        return self.configuration | {name: store.configuration.get(name) for name in unknown}


def _named(folder: pathlib.Path, known: _Known, *, is_fresh: bool) -> RunStore | None:
    """Return the run in that folder, or None if there is none yet. Raises ConfigError if it has another
    configuration.
    """
    if not (folder / "manifest.json").exists():
        return None
    store = RunStore.read(folder)
    if not is_fresh:
        refuse_mixture(folder, store.configuration, known.completed_from(store))
    return store


def _alike(folder: pathlib.Path, known: _Known, *, is_fresh: bool) -> RunStore | None:
    """Return the latest run that may turn out to be this one once the policy is asked, or None."""
    alike = []
    for manifest in folder.parent.glob("*/manifest.json"):
        with contextlib.suppress(ConfigError):  # a damaged run must not stop a new one
            store = RunStore.read(manifest.parent)
            if store.configuration == known.completed_from(store):
                alike.append((runs.overview(store).date, store))
    return max(alike, key=lambda row: row[0])[1] if alike else None


def _workers(workers: Workers, count: int, episodes: int) -> str:
    if workers.executor == "ray":
        limit = "one on each core" if workers.workers == "auto" else f"at most {workers.workers}"
        return (
            f"{limit} of the Ray cluster {workers.ray_address}, which is not asked; the times below are this machine's"
        )
    if workers.workers != "auto":
        return f"{count}, as --workers says" if count else "none: everything in this process, as --workers 0 says"
    bounds = {"cores": resources.cores(), "simulators that memory has room for": resources.simulators()}
    told = ", ".join(f"{n} {what}" for what, n in bounds.items())
    return f"{count}: the least of {told}, {episodes} episodes left; at least 1"


def _workload(
    episodes: Episodes, left: Mapping[str, Sequence[EpisodeSpec]], policy: _Policy, *, has_videos: bool
) -> Workload:
    replan_steps = episodes.replan_steps or (policy.metadata or {}).get("replan_steps", _REPLAN_STEPS)
    settle_steps = episodes.num_steps_wait
    rules = {suite: suites.rules(suite, settle_steps=settle_steps) for suite in left}
    return Workload(
        {(suite, rules[suite].total_steps): len(specs) for suite, specs in left.items() if specs},
        settle_steps,
        replan_steps,
        len({(spec.suite, spec.task_id) for specs in left.values() for spec in specs}),
        has_videos,
    )


def _cost(work: Workload, policy: _Policy, found: Places, workers: int, renderer: str, *, device: str) -> Rows:
    gpus = bool(found.gpus) and not device.startswith("cpu")
    inference, unknown = _inference(policy, gpus=gpus)
    simulation = estimate.WITHOUT_IMAGES
    if policy.reads_images:
        simulation = estimate.ON_A_GPU if renderer == "egl" and found.gpus else estimate.IN_SOFTWARE
    hosts = len(found.hosts) if policy.is_model else 0
    means = Means(workers, resources.cores(), simulation, inference, hosts, gpus and bool(hosts))
    cost = estimate.estimate(work, means)
    episodes, steps, chunks = sum(work.episodes.values()), work.steps, work.chunks
    rows = [
        ("left", f"{episodes} episodes, {_span(steps)} steps, {_span(chunks)} chunks of actions"),
        ("time", f"{text.duration(cost.seconds[0])} to {text.duration(cost.seconds[1])}"),
        ("cost", f"{_hours(cost.core_hours)} core-hours, {_hours(cost.gpu_hours) if gpus else 'no'} GPU-hours"),
    ]
    rows += [("by", rate) for rate in cost.rates]
    if unknown:
        rows.append(("without", unknown))
    return rows


def _inference(policy: _Policy, *, gpus: bool) -> tuple[Rate | None, str]:
    """Return the rate of inference if a table has it, and a text about what no table has."""
    if policy.is_model and policy.source.name.endswith("_tiny"):
        return None, "inference of a tiny model, which takes little"
    if policy.is_model:
        return (estimate.ON_AN_H100 if gpus else estimate.ON_A_CPU), ""
    return None, "" if policy.metadata is not None else "the server's inference, which comes on top"


def _hours(least_most: tuple[float, float]) -> str:
    return " to ".join(f"{hours:.2g}" if hours < 10 else f"{hours:,.0f}" for hours in least_most)


def _span(least_most: tuple[float, float]) -> str:
    return " to ".join(f"{n:,.0f}" for n in least_most)
