"""`pirig eval --dry-run`: says what the real run does, refuses what it refuses, and leaves no trace."""

import pytest

from pirig.launch import estimate
from pirig.launch.estimate import Means, Workload
from support import command, tiny
from support.command import call
from support.shared_runs import EPISODES

SCRIPTED = ["--policy", "scripted", "--suite", "libero_object", "--num-trials-per-task", "2"]


def run(folder, *words, **variables):
    return call(folder, "eval", *words, **{"PIRIG_CACHE": str(folder / "cache"), "PIRIG_OFFLINE": "", **variables})


def rows(said):
    """Text by head; several rows with one head are joined."""
    found = {}
    for line in said.splitlines():
        if line:
            found.setdefault(line[:11].strip(), []).append(line[11:])
    return found


def test_a_dry_run_leaves_nothing_behind(tmp_path):
    variables = {"PIRIG_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path), "PIRIG_OFFLINE": ""}
    done = command.run(tmp_path, "eval", *SCRIPTED, "--dry-run", **variables)
    assert done.code == 0, done.err
    assert list(tmp_path.iterdir()) == []
    said = rows(done.out)
    assert said["episodes"] == ["libero_object: 20 episodes, 10 tasks x 2 trials, at most 290 steps each"]
    assert said["left"][0].startswith("20 episodes, 3,020 to 5,800 steps")
    assert "is new" in said["run"][0]
    assert "no GPU-hours" in said["cost"][0]
    assert "nothing to download" in said["policy"][0]


def test_it_names_the_run_and_what_is_left_of_it(finished_run, tmp_path):
    finished = finished_run("scripted", tmp_path)
    words = [*EPISODES["scripted"][:-3], "--num-trials-per-task", "3", "--dry-run"]
    more = run(tmp_path, *words)
    assert rows(more.out)["run"] == [f"{finished.name}: goes on with it; 4 of 6 episodes are scored, 2 remain"]
    fresh = run(tmp_path, *words, "--fresh")
    assert "starts over" in rows(fresh.out)["run"][0]
    other = run(tmp_path, *words, "--run", finished.name, "--seed", "8")
    assert other.code == 2
    assert "seed: the run has 7, this command 8" in other.err


def test_a_published_checkpoint_is_named_with_its_size_and_not_fetched(tmp_path):
    done = run(tmp_path, "--policy", "pi05_libero", "--suite", "all", "--quantize", "w4a8", "--dry-run")
    assert done.code == 0, done.err
    said = rows(done.out)
    assert said["checkpoint"][0].startswith("TO DOWNLOAD: gs://openpi-assets/checkpoints/pi05_libero, 11.6 GB, into ")
    assert "TO DOWNLOAD" in said["tokenizer"][0]
    assert said["pack"][0].startswith("w4a8: ")
    assert len(said["episodes"]) == len(said["run"]) == 4
    assert list(tmp_path.iterdir()) == []
    offline = run(tmp_path, "--policy", "pi05_libero", "--dry-run", PIRIG_OFFLINE="1")
    assert offline.code == 4
    assert "is not in the cache" in offline.err


def test_a_checkpoint_that_is_here_is_looked_into(tmp_path):
    folder = tiny.workspace(tmp_path, "pi05_libero_tiny")
    before = sorted(folder.rglob("*"))
    words = ["--policy", "pi05_libero_tiny", "--policy-dir", "ckpt", "--dry-run"]
    done = run(folder, *words)
    assert done.code == 0, done.err
    said = rows(done.out)
    assert said["checkpoint"] == ["is in ckpt"]
    assert said["tokenizer"][0].startswith("is at ")
    assert sorted(folder.rglob("*")) == before
    wrong = run(folder, "--policy", "pi05_libero", "--policy-dir", "ckpt", "--dry-run")
    assert wrong.code == 2
    assert "not the model that was asked for" in wrong.err


def test_a_server_is_not_asked(tmp_path):
    done = run(tmp_path, "--policy", "ws://127.0.0.1:9", "--dry-run")
    assert done.code == 0, done.err
    assert "not asked now" in done.out
    assert "comes on top" in rows(done.out)["without"][0]


WORK = Workload({("libero_object", 290): 20}, 10, 5, 10, videos=False)


def test_more_cores_take_less_time_and_cost_their_start_more():
    one, four = (estimate.estimate(WORK, Means(n, n, estimate.WITHOUT_IMAGES)) for n in (1, 4))
    assert four.seconds[0] < one.seconds[0]
    assert four.seconds[1] < one.seconds[1]
    assert all(1 <= more / less < 2 for more, less in zip(four.core_hours, one.core_hours, strict=True))
    assert one.seconds[0] < one.seconds[1]
    assert one.gpu_hours == (0, 0)


def test_a_gpu_computes_beside_the_simulators_and_a_cpu_in_their_place():
    on_cpu = estimate.estimate(WORK, Means(4, 4, estimate.IN_SOFTWARE, estimate.ON_A_CPU, hosts=1))
    on_gpu = estimate.estimate(WORK, Means(4, 4, estimate.IN_SOFTWARE, estimate.ON_AN_H100, 1, hosts_have_gpus=True))
    assert on_gpu.seconds[1] < on_cpu.seconds[1]
    assert on_gpu.gpu_hours[1] == pytest.approx(on_gpu.seconds[1] / 3600)
    assert len(on_cpu.rates) == 2
    assert "not measured" in on_gpu.rates[1]


def test_nothing_left_takes_no_time():
    found = estimate.estimate(Workload({}, 10, 5, 0, videos=True), Means(1, 4, estimate.WITHOUT_IMAGES))
    assert found.seconds == found.core_hours == (0, 0)
