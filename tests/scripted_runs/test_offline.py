"""`PIRIG_OFFLINE=1`: a run asks nobody. Shown without a network: not even the loopback device is up."""

import os
import subprocess
import sys

import pytest

ALONE = ["unshare", "--net"]


def can_be_alone():
    try:
        return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not can_be_alone(), reason="needs root, or the right to make a network namespace")
def test_a_scripted_run_with_videos_and_report_needs_no_network(tmp_path):
    line = "eval --policy scripted --suite libero_object --task-ids 0 1 --num-trials-per-task 1 --workers 2"
    env = {**os.environ, "PIRIG_OFFLINE": "1", "HOME": str(tmp_path), "PIRIG_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [*ALONE, sys.executable, "-m", "pirig.cli.main", *line.split()],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "libero_object: complete, 2 of 2 episodes succeeded" in done.stdout
    assert len(list(tmp_path.rglob("*.mp4"))) == 2
    assert list(tmp_path.rglob("report.html"))
    assert "WARNING" not in done.stderr
    assert "Warning" not in done.stderr
