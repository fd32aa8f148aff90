"""`make fuzz`: spoiled frames by the million into codec and protocol, by the ten thousand into a live server.

    python tests/fuzz/long_run.py --frames 1000000 --sent 10000 --seed 0

Prints what became of them, the slowest, and what the process had at a tenth of the way and at the end. Exits with 1
where memory, files or threads have grown, or a well-behaved client was not served.
"""

import argparse
import collections
import faulthandler
import pathlib
import random
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from pirig.serving.client import RemotePolicy  # noqa: E402
from support import frames  # noqa: E402

GROWTH_MIB = 16.0  # that the allocator may take
STUCK_S = 60.0
SERVER = """
import sys
sys.path[:0] = sys.argv[1:]
from support.frames import Tolerant
from pirig.serving.server import PolicyServer
PolicyServer(Tolerant(), port=0).run(lambda port: print(port, flush=True))
"""


def held(pid: int | str) -> dict[str, float]:
    """What a process has."""
    status = dict(re.findall(r"^(\w+):\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M))
    files = len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))
    return {"MiB": int(status["VmRSS"]) / 1024, "threads": int(status["Threads"]), "files": files}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--sent", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    good = [read(flags.frames, flags.seed), send(flags.sent, flags.seed)]
    return 0 if all(good) else 1


def read(count: int, seed: int) -> bool:
    draw, seen, slowest, start = random.Random(seed), collections.Counter[str](), 0.0, time.monotonic()
    early: dict[str, float] = held("self")
    for number, (outcome, took_s) in enumerate(frames.feed(count, draw)):
        seen[outcome] += 1
        slowest = max(slowest, took_s)
        if number % 10_000 == 0:
            faulthandler.dump_traceback_later(STUCK_S, exit=True)  # a hang ends the run, and says where
        if number == count // 10:
            early = held("self")
    faulthandler.cancel_dump_traceback_later()
    shown = f"{count} frames read in {time.monotonic() - start:.0f} s, the slowest in {1e3 * slowest:.1f} ms"
    return report(shown, seen, early, held("self"))


def send(count: int, seed: int) -> bool:
    draw, seen, start = random.Random(seed), collections.Counter[str](), time.monotonic()
    words = [sys.executable, "-c", SERVER, str(ROOT / "tests")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            client = RemotePolicy("127.0.0.1", port, request_timeout_s=STUCK_S)
            early: dict[str, float] = held(server.pid)
            for tenth in range(10):
                seen.update(frames.hammer(port, count // 10, draw))
                if client.infer({"x": "abc"})["actions"][0, 0] != 3:
                    return False
                if tenth == 0:
                    early = held(server.pid)
            settle(server.pid, early)
            return report(f"{count} frames sent in {time.monotonic() - start:.0f} s", seen, early, held(server.pid))
        finally:
            server.kill()


def settle(pid: int, early: dict[str, float]) -> None:
    """Connections that were dropped in a handshake go within its time."""
    for _ in range(30):
        if held(pid)["files"] <= early["files"]:
            return
        time.sleep(0.5)


def report(title: str, seen: collections.Counter[str], early: dict[str, float], late: dict[str, float]) -> bool:
    grown = late["MiB"] - early["MiB"]
    flat = grown < GROWTH_MIB and late["threads"] <= early["threads"] and late["files"] <= early["files"] + 2
    print(f"{title}: " + ", ".join(f"{count} {what}" for what, count in sorted(seen.items())))
    print(f"  {'':10}{'at a tenth':>12}{'at the end':>12}")
    for what in early:
        print(f"  {what:10}{early[what]:12.1f}{late[what]:12.1f}")
    print("  flat" if flat else f"  GROWN by {grown:.1f} MiB, or in threads or files", flush=True)
    return flat


if __name__ == "__main__":
    sys.exit(main())
