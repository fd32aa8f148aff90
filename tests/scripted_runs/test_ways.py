"""Four workers, one process and a server: the same files and final states, on 20 scripted and 4 model episodes."""

import pytest

from pirig.results.store import RunStore
from support import command, tiny

NAME = "pi05_libero_tiny"
SCRIPTED = ["--suite", "libero_object", "--num-trials-per-task", "2"]
MODEL = ["--suite", "libero_goal", "--task-ids", "1", "8", "--num-trials-per-task", "2"]
SERVES = {"scripted": ["policy:baseline", "--policy.name", "scripted"],
          NAME: ["policy:checkpoint", "--policy.config", NAME, "--policy.dir", "ckpt"]}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.workspace(tmp_path_factory.mktemp("ways"), NAME)


def evaluate(folder, way, words):
    """The suite's CSV, and each episode's outcome."""
    ended = command.run(folder, "eval", *words, "--results", way, "--run", "run", "--video", "none")
    assert ended.code == 0, ended.err
    (csv,) = (folder / way).glob("*_results.csv")
    return csv.read_bytes(), {r.spec: r.outcome() for r in RunStore.read(folder / way / "runs/run").results()}


def served(folder, policy, words):
    with command.serving(folder, *SERVES[policy]) as address:
        return evaluate(folder, f"served-{policy}", [*words, "--policy", address, "--workers", "2"])


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "words", "episodes"), [("scripted", SCRIPTED, 20), (NAME, MODEL, 4)])
def test_every_way_gives_the_same(folder, policy, words, episodes):
    here = [*words, "--policy", policy, *(["--policy-dir", "ckpt"] if policy == NAME else [])]
    many = evaluate(folder, f"many-{policy}", [*here, "--workers", "4"])
    one = evaluate(folder, f"one-{policy}", [*here, "--workers", "0"])
    assert many == one
    assert served(folder, policy, words) == one
    assert len(one[1]) == episodes
    assert len({state for _, _, state, _ in one[1].values()}) == episodes
