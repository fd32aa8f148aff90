"""A coordinator that is killed: what it started must end by itself."""

import os
import pathlib
import subprocess
import sys
import time

_PROGRAM = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("started", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["started"] = module  # where spawned processes look for what the coordinator sends them
spec.loader.exec_module(module)
if __name__ == "__main__":
    getattr(module, sys.argv[2])(*sys.argv[3:])
"""


def outlives(folder: pathlib.Path, file: str, function: str, *words: str, within_s: float) -> bool:
    """Whether a process still runs `within_s` after the coordinator that started it was killed.

    The coordinator is a process that calls `function` of `file` with `words`; it prints the id of the process.
    """
    program = folder / "coordinator.py"
    program.write_text(_PROGRAM)
    command = [sys.executable, program, file, function, *words]
    path = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}
    ) as coordinator:
        assert coordinator.stdout is not None
        process = pathlib.Path(f"/proc/{int(coordinator.stdout.readline())}/exe")  # a zombie has none
        assert process.exists()
        coordinator.kill()
        deadline = time.monotonic() + within_s
        while process.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    return process.exists()
