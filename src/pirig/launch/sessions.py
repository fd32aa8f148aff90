"""Record in a run's manifest, as `sessions`, what each command used and where its time went.

What determines a run's episodes is its configuration, which the store checks. A session determines nothing; it answers
later questions about the run.
"""

import dataclasses
import datetime
import hashlib
import json
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pirig import __version__, envvars
from pirig.files import plain_json
from pirig.interfaces import Observer
from pirig.machine import gpus, resources, versions
from pirig.results.store import RunStore
from pirig.serving.batching import BatchTimes
from pirig.sim.suites import MAX_STEPS, SETTLE_ACTION
from pirig.types import EpisodeResult

_PACKAGES = (
    "mujoco",
    "robosuite",
    "hf-libero",
    "bddl",
    "numba",
    "numpy",
    "scipy",
    "jax",
    "jaxlib",
    "torch",
    "websockets",
)
_PROTOCOL = ("seed", "seeding", "settle_steps", "replan_steps", "resize_size", "gl", "versions")
_SECRETS = ("HF_TOKEN", "PIRIG_API_KEY")
_CHECKOUT = pathlib.Path(__file__).parents[3]


def protocol(configuration: Mapping[str, Any], assets: str) -> dict[str, str]:
    """Return id and hash of the protocol: how episodes are made, independent of the policy.

    Runs with the same hash can be compared episode by episode. `assets`: hash of LIBERO's files.
    """
    rules = {"max_steps": dict(MAX_STEPS), "settle_action": SETTLE_ACTION, "assets": assets}
    told = json.dumps(rules | {key: configuration[key] for key in _PROTOCOL}, sort_keys=True)
    digest = hashlib.blake2b(told.encode(), digest_size=16).hexdigest()
    return {"id": f"libero/{configuration['seeding']}/{digest[:8]}", "hash": digest}


class Session:
    """One command's work on one run, recorded in the manifest when it begins and when it ends."""

    def __init__(self, store: RunStore, flags: Mapping[str, Any], *, assets: str, workers: int):
        """Record the beginning. `flags`: the command's flags, by name. `assets`: hash of LIBERO's files."""
        self._store, self._workers, self._start = store, workers, time.monotonic()
        self._earlier: Sequence[Mapping[str, Any]] = store.manifest.get("sessions", [])
        self._said = {
            "began": _now(),
            "pirig": __version__,
            "revision": revision(),
            **_image(),
            "python": platform.python_version(),
            "packages": versions.installed(_PACKAGES),
            "machine": _machine(),
            "gpus": [dataclasses.asdict(gpu) for gpu in gpus.gpus()],
            "flags": plain_json(flags),
            "variables": variables(),
            "command": sys.argv[1:],
            "workers": workers,
            "quantization": store.manifest["configuration"]["policy_metadata"].get("quantization"),
        }
        self._started: list[Mapping[str, Any]] = []
        store.note(protocol=protocol(store.manifest["configuration"], assets), assets=assets)
        self._note()

    def worker_is_ready(self, description: Mapping[str, Any]) -> None:
        """Record what a worker reports about itself: simulator, GL renderer, warm-up time, policy."""
        if not self._started:
            self._said["setup_s"] = round(time.monotonic() - self._start, 3)
        self._started.append(plain_json(dict(description)))
        self._note()

    def tuned(self, found: Mapping[str, Any]) -> None:
        self._said["autotune"] = plain_json(dict(found))
        self._note()

    def end(
        self, results: Sequence[EpisodeResult], batches: Sequence[Mapping[int, BatchTimes]] = (), share: float = 1.0
    ) -> None:
        """Record the end. `results`: of this session. `batches`: of each policy host. `share`: the part of the
        workers' time that this run used.
        """
        wall_s = time.monotonic() - self._start
        spent = _spent(results)
        idle_s = share * max(1, self._workers) * wall_s - sum(spent.values())
        timings = {"wall_s": wall_s, **spent, "idle_s": idle_s}
        self._said |= {
            "ended": _now(),
            "episodes": len(results),
            "timings": {name: round(seconds, 3) for name, seconds in timings.items()},
            "policy_hosts": [_batches(times) for times in batches],
        }
        self._note()

    def _note(self) -> None:
        self._store.note(sessions=[*self._earlier, self._said | {"started_workers": self._started}])


class Sessions(Observer):
    """One command's work on the runs of several suites that share a queue."""

    def __init__(
        self,
        stores: Sequence[RunStore],
        flags: Mapping[str, Any],
        *,
        assets: str,
        workers: int,
        batches: Callable[[], Sequence[Mapping[int, BatchTimes]]],
    ):
        """Begin a session of each run. `batches`: called at the end for the batch times of each policy host."""
        self._batches = batches
        self._sessions = {
            store.configuration["suite"]: Session(store, flags, assets=assets, workers=workers) for store in stores
        }
        self._stores = {store.configuration["suite"]: (store, store.count()) for store in stores}

    def tuned(self, found: Mapping[str, Any]) -> None:
        """Record `found`: what --autotune measured and set."""
        for session in self._sessions.values():
            session.tuned(found)

    def worker_ready(self, description: Mapping[str, Any]) -> None:
        for session in self._sessions.values():
            session.worker_is_ready(description)

    def close(self) -> None:
        """Record the end. The results are read from the stores, which have one that an interrupt hid from observers."""
        batches = self._batches()
        appended = {suite: store.appended_after(count) for suite, (store, count) in self._stores.items()}
        busy_s = {suite: sum(_spent(results).values()) for suite, results in appended.items()}
        all_s = sum(busy_s.values())
        for suite, session in self._sessions.items():
            session.end(appended[suite], batches, busy_s[suite] / all_s if all_s else 1 / len(busy_s))


def _batches(times: Mapping[int, BatchTimes]) -> dict[str, dict[str, float]]:
    """Return the number of batches and their mean time [ms], by batch size."""
    return {
        str(size): {"batches": count, "ms": round(1e3 * total_s / count, 3)}
        for size, (count, total_s) in sorted(times.items())
    }


def _spent(results: Sequence[EpisodeResult]) -> dict[str, float]:
    """Return where the workers' time went [s]. The parts do not overlap."""
    spent = {
        name: sum(getattr(result.timings, name) for result in results)
        for name in ("reset_s", "simulation_s", "rendering_s", "inference_s")
    }
    spent["simulation_s"] -= spent["rendering_s"]  # rendering is part of simulation
    return spent


def revision() -> str:
    """Return the revision of the source: git's, with `+changes` if files differ; or that of the image; or unknown."""
    if built := envvars.get("PIRIG_REVISION"):
        return built
    said = [_git("rev-parse", "HEAD"), _git("status", "--porcelain")]
    return said[0] + ("+changes" if said[1] else "") if said[0] else "unknown"


def variables() -> dict[str, str]:
    """Return the environment variables that pirig reads and that are set. Of a secret, only whether it is set."""
    found = {row.name: envvars.get(row.name) for row in envvars.TABLE} | envvars.starting_with("OPENPI_DUQUANT_")
    return {name: "(set)" if name in _SECRETS else value for name, value in found.items() if value}


def _image() -> dict[str, str]:
    """Return the id of the container image, if this is a container that knows it."""
    image = envvars.get("PIRIG_IMAGE")
    return {"image": image} if image else {}


def _git(*words: str) -> str:
    if not (_CHECKOUT / ".git").exists():
        return ""
    try:
        return subprocess.run(
            ["git", "-C", str(_CHECKOUT), *words], capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _machine() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "processor": resources.processor(),
        "cores": resources.cores(),
        "memory_gib": round(resources.memory_gib(), 1),
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
