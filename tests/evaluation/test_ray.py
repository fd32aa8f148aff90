"""On a Ray cluster of three nodes, simulated on this machine: a node that is lost costs nothing."""

import contextlib
import functools
import pathlib
import time

import pytest

from pirig.errors import ConfigError, StartError
from pirig.evaluation.executors import SerialExecutor
from pirig.evaluation.plan import Work, plan
from pirig.types import EpisodeResult
from support import ray_workers

pytest.importorskip("ray", reason="make setup-ray")
from pirig.evaluation.ray_executor import RayExecutor
from pirig.evaluation.ray_nodes import Nodes, connected

SPECS = plan("fake", range(4), range(6), seed=7)
TESTS = str(pathlib.Path(__file__).parents[1])


def outcomes(results):
    return {result.spec: result.outcome() for result in results}


SERIAL = outcomes(SerialExecutor().run(Work(SPECS), functools.partial(ray_workers.Worker, pause_s=0)))


def add_node(cluster, **resources):
    return cluster.add_node(**{"num_cpus": 1, "object_store_memory": 80 * 2**20, **resources})


@contextlib.contextmanager
def three_nodes():
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": 200 * 2**20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.workers = [add_node(made) for _ in range(3)]
    try:
        with connected(made.address, {"PYTHONPATH": TESTS}):
            yield made
    finally:
        with contextlib.suppress(Exception):
            made.shutdown()


@pytest.fixture
def own_cluster():
    """For tests that remove nodes. They come first, because a process is connected to one cluster at a time."""
    with three_nodes() as made:
        yield made


@pytest.fixture(scope="module")
def cluster():
    """For tests that leave its nodes alone; starting one takes ten seconds."""
    with three_nodes() as made:
        yield made


@contextlib.contextmanager
def nodes(open_host=None):
    there = Nodes(open_host)
    try:
        if open_host:
            there.wait()
        yield there
    finally:
        there.close()


def as_it_is(factory, addresses):
    return factory


def test_a_lost_node_costs_nothing_and_a_new_one_is_used(own_cluster, tmp_path):
    """No result is an error: what the lost node was at is run again, and every result is the serial run's."""
    heard, found = [], []
    with nodes() as there:
        executor = RayExecutor(there, as_it_is, heard.append)
        for result in executor.run(Work(SPECS), functools.partial(ray_workers.WaitsForFour, folder=tmp_path)):
            found.append(result)
            if len(found) == 4:
                own_cluster.remove_node(own_cluster.workers[0], allow_graceful=False)
                add_node(own_cluster)
    assert outcomes(found) == SERIAL
    assert len(found) == len(SPECS)
    assert len({description["pid"] for description in heard}) >= 4, "the fourth node has worked too"


def test_nodes_without_a_gpu_ask_the_hosts_of_those_that_have_one(own_cluster):
    """And do so again when the only host was lost, and another has come."""
    gpu = add_node(own_cluster, num_gpus=2)
    heard, found = [], []
    with nodes(ray_workers.open_host) as there:
        executor = RayExecutor(there, asking, heard.append, settle_s=1.0)
        for result in executor.run(Work(SPECS), ray_workers.Asking):
            found.append(result)
            if len(found) == 4:
                assert {node.gpus: len(node.addresses) for node in there.usable()} == {2: 2, 0: 1}
                own_cluster.remove_node(gpu, allow_graceful=False)
                add_node(own_cluster, num_gpus=1)
    assert {result.spec for result in found} == set(SPECS)
    assert not [r.error for r in found if r.error]
    asked = {description["asks"] for description in heard}
    assert len([address for address in asked if "://" in address]) >= 2, asked


def test_a_job_that_kills_its_workers_is_an_error_and_the_others_are_done(cluster):
    specs = [spec for spec in SPECS if spec.task_id < 2] + [spec for spec in SPECS if spec.task_id == 2][:1]
    with nodes() as there:
        executor = RayExecutor(there, as_it_is, settle_s=1.0)
        found = {result.spec: result for result in executor.run(Work(specs), ray_workers.DiesOnTask2)}
    assert "was lost 3 times" in found[specs[-1]].error
    assert found[specs[-1]].status == "error"
    assert {s: found[s].outcome() for s in specs[:-1]} == {s: SERIAL[s] for s in specs[:-1]}


def test_workers_that_cannot_start_stop_the_run_with_the_reason(cluster):
    with nodes() as there, pytest.raises(StartError, match="the assets are missing"):
        list(RayExecutor(there, as_it_is).run(Work(SPECS), ray_workers.refuses))


def test_videos_come_home_and_workers_are_replaced_in_time(cluster):
    heard, results = [], [EpisodeResult(spec, "success", 3, 9) for spec in SPECS[:4]]
    work = Work()
    for result in results:
        work.add_video(result)
    with nodes() as there:
        executor = RayExecutor(there, as_it_is, heard.append, workers=1, recycle_after=2)
        videos = list(executor.run(work, ray_workers.Worker))
    assert {video.spec for video in videos} == set(SPECS[:4])
    assert {video.data for video in videos} == {b"video"}
    assert len({description["pid"] for description in heard}) == 2
    assert {d["index"] for d in heard} == {0}


def test_each_node_has_its_policy_host_and_a_host_that_is_lost_costs_nothing(cluster):
    with nodes(ray_workers.open_host) as there:
        assert there.metadata == ray_workers.Doubling.metadata
        executor = RayExecutor(there, asking, settle_s=1.0)
        work, found = Work(SPECS), []
        for result in executor.run(work, ray_workers.Asking):
            found.append(result)
            if len(found) == 4:
                _kill_one_host(there)
        deadline = time.monotonic() + 60
        while len(there.usable()) < 3 and time.monotonic() < deadline:
            time.sleep(0.5)
        places = {node.id: node.addresses for node in there.usable()}
    assert len(places) == 3
    assert all(len(addresses) == 1 for addresses in places.values())
    assert {result.spec for result in found} == set(SPECS)
    assert not [r.error for r in found if r.error]


def asking(factory, addresses):
    return functools.partial(factory, addresses=addresses)


def _kill_one_host(there):
    import ray

    ray.kill(next(iter(there._hosts.values()))._actors[0])
    time.sleep(2.5)


def test_a_policy_that_no_node_can_load_stops_with_its_reason(cluster):
    with pytest.raises(ConfigError, match="there is no checkpoint"), nodes(ray_workers.refuses_to_host):
        pass


def test_a_cluster_that_does_not_answer_is_named():
    with pytest.raises(StartError, match="no Ray cluster at 127.0.0.1:9: .*; start one"), connected("127.0.0.1:9", {}):
        pass
