"""Does anything grow? Long work of three kinds, looked at from outside while it goes on.

    python benchmarks/soak.py
    python benchmarks/soak.py --parts requests --requests 5000

`fake`: episodes without physics, over worker processes that ask a policy host; none is replaced, so that nothing hides
a leak. `real`: `pirig eval` on LIBERO with the scripted policy and videos of failures. `requests`: LIBERO observations
to `pirig serve` from several clients, each of which connects anew now and then. Of each process: resident memory,
open files, threads; beside them, temporary files of all. Medians over the second and the last quarter of the time are
compared, as caches fill in the first. Prints a table and writes JSON.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from pirig.evaluation.episode import run_episode
from pirig.evaluation.executors import ProcessExecutor
from pirig.evaluation.plan import Plan, plan
from pirig.evaluation.run import run
from pirig.policies.baselines import RandomPolicy
from pirig.results.store import RunStore
from pirig.serving.client import RemotePolicy
from pirig.serving.host import host
from pirig.serving.host_policy import HostPolicy
from pirig.testing import FakeEnvironment, FunctionWorker
from pirig.types import EpisodeResult, Job, Rules, Video

ROOT = pathlib.Path(__file__).parents[1]
Part = Literal["fake", "real", "requests"]
_LOOKS_EVERY_S = 0.5
_MIB = 2**20
_CONNECTS_ANEW_AFTER = 250  # requests


@dataclasses.dataclass(frozen=True)
class Args:
    parts: tuple[Part, ...] = ("fake", "real", "requests")
    fake_episodes: int = 20_000
    real_trials: int = 30
    """of each of the ten tasks of libero_object"""
    requests: int = 100_000
    workers: int = 4
    clients: int = 8
    output: pathlib.Path = ROOT / "benchmarks/results/soak.json"
    be: str = ""
    """folder: this process is the coordinator of `fake`"""


def main() -> None:
    flags = tyro.cli(Args, description=__doc__)
    if flags.be:
        return fake_evaluation(flags, pathlib.Path(flags.be))
    parts: Mapping[Part, Callable[[Args, pathlib.Path], list[dict]]] = {
        "fake": fake,
        "real": real,
        "requests": requests,
    }
    found = {}
    for name in flags.parts:
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            found[name] = parts[name](flags, pathlib.Path(folder))
            show(f"{name}: {time.monotonic() - start:.0f} s", found[name])
    about = {"benchmark": "soak", "machine": platform.machine(), "cores": os.cpu_count(), "workers": flags.workers,
             "fake_episodes": flags.fake_episodes, "real_episodes": 10 * flags.real_trials,
             "requests": flags.requests, "clients": flags.clients}  # fmt: skip
    flags.output.parent.mkdir(parents=True, exist_ok=True)
    flags.output.write_text(json.dumps(about | found, indent=1) + "\n")
    return None


def fake(flags: Args, folder: pathlib.Path) -> list[dict]:
    words = [sys.executable, __file__, "--be", str(folder), "--fake-episodes", str(flags.fake_episodes)]
    with watched([*words, "--workers", str(flags.workers)], folder) as (process, watch):
        assert process.wait() == 0, (folder / "log").read_text()[-3000:]
    assert len(list(RunStore.read(folder / "run").results())) == flags.fake_episodes
    return watch.rows()


class FakeWorker:
    """Implements interfaces.WorkerFactory."""

    def __init__(self, address: str):
        self._address = address

    def __call__(self, index: int) -> FunctionWorker:
        env, policy, rules = (
            FakeEnvironment(),
            HostPolicy(self._address),
            Rules(max_policy_steps=50, settle_action=(0.0,) * 7),
        )

        def work(job: Job) -> EpisodeResult | Video:
            assert not isinstance(job, EpisodeResult)
            return run_episode(job, env, policy, rules)

        return FunctionWorker(work)


def fake_evaluation(flags: Args, folder: pathlib.Path) -> None:
    specs = plan("fake", range(40), range(flags.fake_episodes // 40), seed=7)
    executor = ProcessExecutor(flags.workers, recycle_after=len(specs))
    with host(RandomPolicy) as (address, _), RunStore.open(folder / "run", {"suite": "fake"}) as store:
        run(Plan(specs), store, executor, FakeWorker(address))


def real(flags: Args, folder: pathlib.Path) -> list[dict]:
    words = [sys.executable, "-m", "pirig", "eval", "--suite", "libero_object", "--policy", "scripted"]
    words += ["--num-trials-per-task", str(flags.real_trials), "--workers", str(flags.workers), "--no-autotune"]
    words += ["--recycle-after", "1000000", "--video", "failures"]
    words += ["--results", str(folder / "results"), "--videos", str(folder / "videos")]
    with watched(words, folder) as (process, watch):
        assert process.wait() == 0, (folder / "log").read_text()[-3000:]
    return watch.rows()


def requests(flags: Args, folder: pathlib.Path) -> list[dict]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        sys.executable,
        "-m",
        "pirig.cli.main",
        "serve",
        "--port",
        str(port),
        "policy:baseline",
        "--policy.name",
        "random",
    ]
    with watched(words, folder) as (process, watch):
        with ThreadPoolExecutor(flags.clients) as clients:
            shares = [flags.requests // flags.clients] * flags.clients
            list(clients.map(lambda numbered: ask(port, *numbered), enumerate(shares)))
        process.send_signal(signal.SIGTERM)
        process.wait()
    return watch.rows()


def ask(port: int, client: int, times: int) -> None:
    draw = np.random.default_rng(client)
    cameras = ("observation/image", "observation/wrist_image")
    pictures = {name: draw.integers(0, 256, (224, 224, 3), np.uint8) for name in cameras}
    for i in range(0, times, _CONNECTS_ANEW_AFTER):
        policy = RemotePolicy("127.0.0.1", port, connect_timeout_s=60)
        for j in range(i, min(times, i + _CONNECTS_ANEW_AFTER)):
            rest = {"observation/state": np.zeros(8), "prompt": "pick up the milk", "noise_key": f"{client}/{j}"}
            assert np.shape(policy.infer(pictures | rest)["actions"])[1:] == (7,)
        policy.close()


@contextlib.contextmanager
def watched(words: Sequence[str], folder: pathlib.Path) -> "Generator[tuple[subprocess.Popen, Watch]]":
    """A command with a folder of its own for temporary files, looked at until the block ends."""
    (folder / "tmp").mkdir()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(words, env={**os.environ, "TMPDIR": str(folder / "tmp")}, stdout=log, stderr=log)
    watch = Watch(process.pid, folder / "tmp")
    with ThreadPoolExecutor(1) as looking:
        looks = looking.submit(watch.look_on)
        try:
            yield process, watch
        finally:
            watch.is_over = True
            process.kill()
            process.wait()
            looks.result()


class Watch:
    """Of a process and all below it. Those that live as long as it does have a row each."""

    def __init__(self, pid: int, temporary: pathlib.Path):
        self._pid, self._temporary, self.is_over = pid, temporary, False
        self._names = {pid: "parent"}
        self._looks: list[dict[str, tuple[float, int, int]]] = []
        self._files: list[int] = []

    def look_on(self) -> None:
        while not self.is_over:
            look = {}
            for pid in (self._pid, *descendants(self._pid)):
                with contextlib.suppress(OSError):  # it has just ended
                    name = self._names.setdefault(pid, f"{kind(pid)} {len(self._names)}")
                    look[name] = usage(pid)
            self._looks.append(look)
            self._files.append(sum(len(files) for _, _, files in os.walk(self._temporary)))
            time.sleep(_LOOKS_EVERY_S)

    def rows(self) -> list[dict]:
        quarter = len(self._looks) // 4
        parts = {"second": slice(quarter, 2 * quarter), "last": slice(3 * quarter, 4 * quarter)}
        rows = []
        for name in self._names.values():
            found = {part: [look[name] for look in self._looks[which] if name in look] for part, which in parts.items()}
            if min(map(len, found.values())) > quarter // 2:
                row: dict = {"process": name}
                for part, triples in found.items():
                    mib, files, threads = (statistics.median(numbers) for numbers in zip(*triples, strict=True))
                    row |= {f"mib_{part}": mib, f"files_{part}": files, f"threads_{part}": threads}
                rows.append(row)
        whole = {f"temporary_files_{part}": statistics.median(self._files[which]) for part, which in parts.items()}
        return [*rows, {"process": "all", "processes_seen": len(self._names), **whole}]


def usage(pid: int) -> tuple[float, int, int]:
    """Resident memory [MiB], open files, threads."""
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    files, threads = (len(os.listdir(f"/proc/{pid}/{what}")) for what in ("fd", "task"))
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB, files, threads


def kind(pid: int) -> str:
    """What a child is for, as far as its command line tells."""
    words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    if any("resource_tracker" in word for word in words):
        return "resource tracker"
    return "child" if any("spawn_main" in word for word in words) else pathlib.Path(words[0]).name


def descendants(pid: int) -> list[int]:
    below = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            for child in pathlib.Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
                below += [int(child), *descendants(int(child))]
    return below


def show(title: str, rows: list[dict]) -> None:
    table = Table(title=title, title_justify="left")
    for column in ("process", "memory [MiB]", "open files", "threads", "temporary files"):
        table.add_column(column, justify="left" if column == "process" else "right")
    for row in rows:
        cells = []
        for what in ("mib", "files", "threads", "temporary_files"):
            then, now = row.get(f"{what}_second"), row.get(f"{what}_last")
            cells.append("" if then is None or now is None else f"{then:.0f} → {now:.0f}")
        table.add_row(row["process"], *cells)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
