"""Checks examples/skypilot/pirig.yaml with SkyPilot's own parser, in SkyPilot's own environment: `make lint-sky`.

The parser knows fields and types; what `setup` and `run` call, and which variables it reads, is looked up here.
"""

import importlib
import os
import pathlib
import re
import tempfile

ROOT = pathlib.Path(__file__).parents[2]
TASK = ROOT / "examples/skypilot/pirig.yaml"


def main() -> None:
    with tempfile.TemporaryDirectory() as home:  # SkyPilot keeps a folder in it
        os.environ |= {"HOME": home, "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
        sky = importlib.import_module("sky")
        task = sky.Task.from_yaml(str(TASK))
        refuses_a_slip(sky, pathlib.Path(home))
    wanted = [list(choice.accelerators.items()) for choice in task.resources]
    assert isinstance(task.resources, list), "an order of preference is a list"
    assert wanted == [[("L4", 1)], [("A100", 1)], [("H100", 1)]], wanted
    assert all(choice.disk_size >= 100 for choice in task.resources), "images, checkpoint and results: preflight.sh"
    for command in (task.setup, task.run):
        script = ROOT / command.strip()
        assert os.access(script, os.X_OK), f"{command.strip()} is no script of this checkout"
    understood = set(re.findall(r"\$\{([A-Z_]+):-", (ROOT / "scripts/vm/reproduce.sh").read_text()))
    understood |= set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env").read_text(), re.M))
    assert set(task.envs) <= understood, f"reproduce.sh reads {sorted(understood)}; found {sorted(task.envs)}"
    print(f"SkyPilot {sky.__version__} reads {TASK.relative_to(ROOT)}: {len(task.resources)} choices of a machine")


def refuses_a_slip(sky, folder: pathlib.Path) -> None:
    """So that the check above is one."""
    slip = folder / "slip.yaml"
    slip.write_text(TASK.read_text().replace("disk_size:", "disk_sizes:"))
    try:
        sky.Task.from_yaml(str(slip))
    except ValueError as e:
        assert "disk_sizes" in str(e), e
    else:
        raise AssertionError("SkyPilot reads disk_sizes: what does it check?")


if __name__ == "__main__":
    main()
