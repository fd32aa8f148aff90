"""`pirig eval --executor ray` on a simulated cluster, as a user runs it."""

import contextlib
import json

import pytest

from support import command, tiny
from support.shared_runs import EPISODES

pytest.importorskip("ray", reason="make setup-ray")

NAME = "pi05_libero_tiny"


@contextlib.contextmanager
def cluster_of(nodes):
    """A head without a core, and nodes of one core each."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": 200 * 2**20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.workers = [made.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(nodes)]
    try:
        yield made
    finally:
        with contextlib.suppress(Exception):
            made.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.workspace(tmp_path_factory.mktemp("ray"), NAME)


@pytest.fixture(scope="module")
def cluster(folder):
    """Its nodes have a tokenizer and may not fetch another."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("OPENPI_DATA_HOME", str(folder / "home"))
        yield stack.enter_context(cluster_of(2))


def on(cluster):
    return ["--executor", "ray", "--ray-address", cluster.address]


def finished(process):
    _, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    return err


@pytest.mark.slow
def test_forty_episodes_on_three_nodes_of_which_one_is_lost_are_those_of_one_process(tmp_path):
    episodes = ["--suite", "libero_object", "--policy", "scripted", "--num-trials-per-task", "4", "--video", "none"]
    with cluster_of(3) as cluster:
        running = command.start(tmp_path, "eval", *episodes, "--run", "ray", *on(cluster))
        command.wait_for_results(tmp_path, 8, running)
        cluster.remove_node(cluster.workers[1], allow_graceful=False)
        assert "is lost" in finished(running)
    finished(command.start(tmp_path, "eval", *episodes, "--run", "one", "--workers", "0"))
    found = command.outcomes(tmp_path, "ray")
    assert len(found) == 40
    assert found == command.outcomes(tmp_path, "one")
    lines = (tmp_path / "results/libero/runs/ray/episodes.jsonl").read_bytes().splitlines()
    assert not [line for line in lines if json.loads(line)["status"] == "error"], "a lost node is nobody's error"


@pytest.fixture(scope="module")
def stopped(cluster, tmp_path_factory):
    """Folder of a run that was stopped on the cluster, and how it ended."""
    folder = tmp_path_factory.mktemp("stopped")
    words = [*EPISODES["scripted"], "--video", "none", "--run", "ray", *on(cluster)]
    running = command.start(folder, "eval", *words)
    command.wait_for_results(folder, 1, running)
    return folder, command.stop(running)


def test_a_signal_stops_a_run_on_a_cluster(stopped):
    _, ended = stopped
    assert ended.code == 143, ended.err
    assert "SIGTERM: stopped" in ended.err
    assert "Traceback" not in ended.err


def test_a_run_that_was_stopped_on_a_cluster_goes_on_here(stopped, finished_run, tmp_path):
    folder, _ = stopped
    words = [*EPISODES["scripted"], "--video", "none", "--run", "ray", "--workers", "1"]
    ended = command.call(folder, "eval", *words)
    assert ended.code == 0, ended.err
    assert "of 4 episodes are there already" in ended.err
    here = finished_run("scripted", tmp_path)
    assert command.outcomes(folder, "ray") == command.outcomes(tmp_path, here.name)


@pytest.fixture(scope="module")
def model(cluster, folder):
    """Working directory in which a model was evaluated on the cluster, with videos."""
    episodes = ["--suite", "libero_spatial", "--policy", NAME, "--policy-dir", "ckpt", "--task-ids", "0",
                "--trials", "0", "--backend", "torch", "--replan-steps", "10"]  # fmt: skip
    finished(command.start(folder, "eval", *episodes, "--run", "ray", *on(cluster), "--workers", "1"))
    finished(command.start(folder, "eval", *episodes, "--run", "one", "--workers", "1", "--video", "none"))
    return folder


def test_a_model_on_a_cluster_gives_what_it_gives_here(model):
    found = command.outcomes(model, "ray")
    assert len(found) == 1
    assert found == command.outcomes(model, "one")


def test_videos_come_home_from_a_cluster(model):
    (video,) = (model / "data/libero/videos/ray").glob("*.mp4")
    assert video.stat().st_size > 10_000


def test_the_manifest_names_the_node_of_each_worker(model):
    session = json.loads((model / "results/libero/runs/ray/manifest.json").read_text())["sessions"][0]
    (worker,) = session["started_workers"]
    assert worker["node"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workers", "0"], "--executor ray does not"),
        (["--policy-hosts", "2"], "--policy-hosts is of one machine"),
        (["--ray-address", "127.0.0.1:1"], "no Ray cluster at 127.0.0.1:1"),
    ],
)
def test_what_a_cluster_cannot_do_is_refused(tmp_path, words, message):
    ended = command.run(tmp_path, "eval", "--policy", "zero", "--executor", "ray", *words)
    assert ended.code in (2, 4)
    assert message in ended.text
    assert "Traceback" not in ended.err
