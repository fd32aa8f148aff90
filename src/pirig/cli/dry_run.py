"""`pirig eval --dry-run`: what the same command would run, fetch and write, and what that takes.

Law 1: nothing is started, loaded, fetched or written, and nobody is asked. Law 2: what the flags alone make impossible
is refused, with the message and the exit code of the real run. Law 3: what only a loaded model or a server knows is
called unknown.
"""

import contextlib
import dataclasses
import pathlib
import shutil
from collections.abc import Mapping, Sequence

from pirig import envvars
from pirig.cli import estimate, fetching, places, quantizing, sites, source, stopping, suite_runs
from pirig.cli.estimate import Means, Rate, Workload
from pirig.cli.eval_args import EvalArgs
from pirig.cli.places import Places
from pirig.cli.source import PolicySource
from pirig.cli.suite_runs import Asked
from pirig.errors import ConfigError
from pirig.machine import resources
from pirig.models import weights
from pirig.policies.recipes import recipe
from pirig.results import runs
from pirig.results.store import Configuration, RunStore, refuse_mixture
from pirig.sim import boot, suites
from pirig.types import EpisodeSpec

_TOKENIZER_MB = 4
_REPLAN_STEPS = 5  # of a policy that says nothing of it
Rows = list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class _Policy:
    """`metadata`: None where only a loaded model or a server has it."""

    source: PolicySource
    metadata: Mapping | None
    rows: Rows

    @property
    def is_model(self) -> bool:
        return source.is_model(self.source.name)

    @property
    def reads_images(self) -> bool:
        wanted = (self.metadata or {}).get("observations")
        return wanted is None or any("image" in name for name in wanted)


def would_do(flags: EvalArgs, planned: Mapping[str, Sequence[EpisodeSpec]], settings: boot.Settings) -> list[str]:
    """Raises what the real run would raise before its first episode, as far as flags and files decide it."""
    sites.check(flags)
    name = source.chosen(flags)
    found = places.look(flags, renderer=settings.gl, has_model=source.is_model(name))
    policy = _policy(name, flags)
    asked = Asked(settings.gl, policy.source, policy.metadata or {}, flags)
    rows, left = policy.rows, {}
    for suite, specs in planned.items():
        of_suite, left[suite] = _run(suite, specs, asked, policy)
        rows += of_suite
    total = sum(map(len, left.values()))
    workers = sites.worker_count(flags, total)
    rows.append(("workers", _workers(flags, workers, total)))
    rows.append(("renderer", settings.gl))
    rows.append(("assets", f"LIBERO's, in {settings.assets}, as they must be"))
    rows.append(("results", f"{flags.results_out_path}; videos ({flags.video}) in {flags.video_out_path}"))
    rows += _cost(flags, left, policy, found, workers, settings.gl)
    return [f"{head:<11}{text}" for head, text in rows] + ["", "nothing was started; without --dry-run this is run"]


def _policy(name: str, flags: EvalArgs) -> _Policy:
    folder = flags.results_out_path / "runs"
    if "://" in name:
        return _Policy(PolicySource(name, folder), None, [("policy", f"asked of {name}; not asked now")])
    if not source.is_model(name):
        with PolicySource(name, folder).started(in_process=True) as (opened, metadata, _):
            return _Policy(opened, metadata, [("policy", f"{name}, in each worker; no model, nothing to download")])
    return _Policy(PolicySource(name, folder), None, _model(name, flags))


def _model(name: str, flags: EvalArgs) -> Rows:
    from pirig.checkpoints import assets, download, read

    most = 1 if flags.max_batch == "auto" else flags.max_batch
    url, home = source.checkpoint_of(name, flags.policy_dir, most), envvars.data_home()
    pack = quantizing.checked(name, flags.model)
    row, rows = recipe(name), [("policy", f"{name}, computed here, without a socket")]
    if download.is_here(url, home) or "://" not in url:
        folder = fetching.bring(url, offline=True)
        weights.check(read.open_checkpoint(folder).arrays, row.model)
        rows.append(("checkpoint", f"is in {folder}"))
    else:
        is_published = url == row.checkpoint and row.checkpoint_gb
        size = f"{row.checkpoint_gb:g} GB" if is_published else "of a size that its server knows"
        rows.append(("checkpoint", _download(url, size, home)))
    file = assets.tokenizer_file(home)
    here = f"is at {file}" if file.is_file() else _download(assets.TOKENIZER, f"{_TOKENIZER_MB} MB", home)
    rows.append(("tokenizer", here))
    if pack:
        rows.append(("pack", _pack(pack)))
    return rows


def _pack(pack: quantizing.Wanted) -> str:
    if pack.configuration is None:
        return f"is {pack.file}"
    return f"{pack.configuration.name}: found in {pack.folder}, or calibrated and made there first, once"


def _download(url: str, size: str, home: pathlib.Path) -> str:
    """Raises StartError where downloads are forbidden."""
    if fetching.is_offline():
        fetching.bring(url, offline=True)
    place = home
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    return f"TO DOWNLOAD: {url}, {size}, into {home} ({free:.0f} GB free)"


def _run(suite: str, specs: Sequence[EpisodeSpec], asked: Asked, policy: _Policy) -> tuple[Rows, list[EpisodeSpec]]:
    """Rows about one suite's run, and what of it is left to do."""
    flags, folder = asked.flags, asked.flags.results_out_path / "runs"
    name, rules, configuration = suite_runs.named(suite, asked)
    tasks, trials = len({spec.task_id for spec in specs}), len({spec.trial for spec in specs})
    plan = f"{suite}: {len(specs)} episodes, {tasks} tasks x {trials} trials, at most {rules.total_steps} steps each"
    if flags.stop_when == "decided" and policy.metadata is not None:
        stopping.prepare(flags, specs, configuration, folder / name)
    elif flags.stop_when == "decided":
        runs.find(flags.against, flags.results_out_path)
    is_named = policy.metadata is not None or bool(flags.run)
    find = _named if is_named else _alike
    store = find(folder / name, configuration, policy, flags)
    if store is None:
        unnamed = f"new: no run in {folder} has these settings; the policy decides its name"
        return [("episodes", plan), ("run", f"{name}: is new" if is_named else unnamed)], list(specs)
    if flags.fresh:
        text = f"{store.directory.name}: starts over; the old one is kept beside it"
        return [("episodes", plan), ("run", text)], list(specs)
    scored = store.finished()
    left = [spec for spec in specs if spec not in scored]
    sure = "goes on with it" if policy.metadata is not None else "goes on with it, if the policy is the same"
    count = f"{len(specs) - len(left)} of {len(specs)} episodes are scored, {len(left)} remain"
    return [("episodes", plan), ("run", f"{store.directory.name}: {sure}; {count}")], left


def _named(folder: pathlib.Path, configuration: Configuration, policy: _Policy, flags: EvalArgs) -> RunStore | None:
    """The run of that folder; None: there is none yet. Raises ConfigError for one that is another."""
    if not (folder / "manifest.json").exists():
        return None
    store = RunStore.read(folder)
    if not flags.fresh:
        refuse_mixture(folder, store.configuration, _as_far_as_known(configuration, store, policy, flags))
    return store


def _alike(folder: pathlib.Path, configuration: Configuration, policy: _Policy, flags: EvalArgs) -> RunStore | None:
    """The latest run beside that folder that may turn out to be this one, once the policy has said what it is."""
    alike = []
    for manifest in folder.parent.glob("*/manifest.json"):
        with contextlib.suppress(ConfigError):  # a damaged run is no business of a new one
            store = RunStore.read(manifest.parent)
            if store.configuration == _as_far_as_known(configuration, store, policy, flags):
                alike.append((runs.overview(store).date, store))
    return max(alike, key=lambda row: row[0])[1] if alike else None


def _as_far_as_known(configuration: Configuration, store: RunStore, policy: _Policy, flags: EvalArgs) -> Configuration:
    """With what nobody knows before the policy has been asked as the run has it."""
    if policy.metadata is not None:
        return configuration
    unknown = ["policy_metadata"]
    unknown += [] if flags.replan_steps else ["replan_steps"]
    unknown += [] if policy.is_model else ["policy"]
    return configuration | {name: store.configuration.get(name) for name in unknown}


def _workers(flags: EvalArgs, workers: int, episodes: int) -> str:
    if flags.executor == "ray":
        count = "one on each core" if flags.workers == "auto" else f"at most {flags.workers}"
        return f"{count} of the Ray cluster {flags.ray_address}, which is not asked; the times below are this machine's"
    if flags.workers != "auto":
        return f"{workers}, as --workers says" if workers else "none: everything in this process, as --workers 0 says"
    bounds = {"cores": resources.cores(), "simulators that memory has room for": resources.simulators()}
    told = ", ".join(f"{n} {what}" for what, n in bounds.items())
    return f"{workers}: the least of {told}, {episodes} episodes left; at least 1"


def _cost(
    flags: EvalArgs,
    left: Mapping[str, Sequence[EpisodeSpec]],
    policy: _Policy,
    found: Places,
    workers: int,
    renderer: str,
) -> Rows:
    replan = flags.replan_steps or (policy.metadata or {}).get("replan_steps", _REPLAN_STEPS)
    rules = {suite: suites.rules(suite, settle_steps=flags.num_steps_wait) for suite in left}
    work = Workload(
        {(suite, rules[suite].total_steps): len(specs) for suite, specs in left.items() if specs},
        flags.num_steps_wait,
        replan,
        len({(spec.suite, spec.task_id) for specs in left.values() for spec in specs}),
        flags.video == "all",
    )
    gpus = bool(found.gpus) and not flags.model.device.startswith("cpu")
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
        ("time", f"{estimate.duration(cost.seconds[0])} to {estimate.duration(cost.seconds[1])}"),
        ("cost", f"{_hours(cost.core_hours)} core-hours, {_hours(cost.gpu_hours) if gpus else 'no'} GPU-hours"),
    ]
    rows += [("by", rate) for rate in cost.rates]
    if unknown:
        rows.append(("without", unknown))
    return rows


def _inference(policy: _Policy, *, gpus: bool) -> tuple[Rate | None, str]:
    """Its rate, and what of it no table has."""
    if policy.is_model and policy.source.name.endswith("_tiny"):
        return None, "inference of a tiny model, which takes little"
    if policy.is_model:
        return (estimate.ON_AN_H100 if gpus else estimate.ON_A_CPU), ""
    return None, "" if policy.metadata is not None else "the server's inference, which comes on top"


def _hours(least_most: tuple[float, float]) -> str:
    return " to ".join(f"{hours:.2g}" if hours < 10 else f"{hours:,.0f}" for hours in least_most)


def _span(least_most: tuple[float, float]) -> str:
    return " to ".join(f"{n:,.0f}" for n in least_most)
