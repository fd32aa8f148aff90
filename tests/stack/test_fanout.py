"""Who asks whom, and what is started next: `pirig stack` without an engine. scripts/ci/check_fanout.py has one."""

import pytest
import yaml

from pirig.errors import ConfigError
from pirig.stack import fanout
from pirig.stack.supervision import RESTARTS, History, State, next_step

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
TWO = fanout.spread(SUITES[:2], fanout.servers((0, 1), None, 8000))


def seen(**states):
    """`server_0` means server-0; a word is a status, a number an exit code, healthy and starting run."""
    rows = {}
    for name, value in states.items():
        service = name.replace("server_", "server-")
        if isinstance(value, int):
            rows[service] = State(service, "exited", exit_code=value, says="its last words")
        elif value in ("healthy", "starting"):
            rows[service] = State(service, "running", health=value)
        else:
            rows[service] = State(service, value)
    return rows


@pytest.mark.parametrize("gpus", [1, 2, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_gpu_has_a_server_and_every_server_a_suite(gpus, count):
    plan = fanout.spread(SUITES[:count], fanout.servers(range(gpus), None, 8000))
    assert sorted(server.gpu for server in plan.servers) == list(range(gpus))
    assert {server for runtime in plan.runtimes for server in runtime.servers} == set(plan.servers[: max(count, gpus)])
    assert tuple(runtime.suite for runtime in plan.runtimes) == SUITES[:count]
    assert all(runtime.servers for runtime in plan.runtimes)
    assert len({server.port for server in plan.servers}) == gpus


def test_more_gpus_than_suites_share_a_suite_out():
    plan = fanout.spread(SUITES, fanout.servers(range(8), None, 8000))
    assert plan.runtimes[0].policy == "ws://server-0:8000,ws://server-4:8000"
    assert plan.runtimes[3].gpus == (3, 7)


def test_no_server_is_not_a_number_of_servers():
    with pytest.raises(ConfigError, match="--servers is 0; at least 1 is needed"):
        fanout.servers((), 0, 8000)


def test_the_compose_file_asks_for_the_gpus_of_the_plan():
    class Loader(yaml.SafeLoader):
        """Knows compose's own tags."""

    Loader.add_constructor("!override", plain)
    Loader.add_constructor("!reset", lambda *_: None)
    found = yaml.load(fanout.compose_file(TWO, workers=3), Loader)["services"]
    assert set(found) == {"server-0", "server-1", "libero_spatial", "libero_object"}
    devices = {name: s["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] for name, s in found.items()}
    assert devices == {"server-0": ["0"], "server-1": ["1"], "libero_spatial": ["0"], "libero_object": ["1"]}
    assert found["libero_object"]["depends_on"] == {"server-1": {"condition": "service_healthy"}}
    assert "--policy ws://server-1:8000 --suite libero_object --workers 3" in found["libero_object"]["command"]
    assert found["server-1"]["ports"] == ["127.0.0.1:8001:8000"]
    assert found["server-1"]["depends_on"] is None, "the pack is there when servers are created"
    without = fanout.compose_file(fanout.spread(SUITES[:1], fanout.servers((), None, 8000)), workers=1)
    assert yaml.load(without, Loader)["services"]["server-0"]["deploy"] is None


def plain(loader, node):
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)


def test_simulators_wait_for_the_servers_that_they_ask():
    fresh = seen(server_0="created", server_1="created", libero_spatial="created", libero_object="created")
    assert next_step(TWO, fresh, History()).start == ("server-0", "server-1")
    one = seen(server_0="healthy", server_1="starting", libero_spatial="created", libero_object="created")
    assert next_step(TWO, one, History()).start == ("libero_spatial",)


def test_what_dies_is_started_again_a_few_times():
    history = History({"server-0": 1, "libero_spatial": 1}, frozenset({"server-0"}))
    dead = seen(server_0=137, server_1="healthy", libero_spatial="running", libero_object="running")
    for _ in range(RESTARTS):
        step = next_step(TWO, dead, history)
        assert step.start == ("server-0",)
        assert not step.codes
        history = history.after(dead, step.start)
    step = next_step(TWO, dead, history)
    assert not step.start
    assert "server-0" in step.reasons
    assert not step.is_last(TWO)


@pytest.mark.parametrize("code", [3, 4, 137, 143])
def test_an_evaluation_that_can_go_on_goes_on(code):
    found = seen(server_0="healthy", server_1="healthy", libero_spatial=code, libero_object="running")
    assert next_step(TWO, found, History({"libero_spatial": 1})).start == ("libero_spatial",)
    given_up = next_step(TWO, found, History({"libero_spatial": RESTARTS + 1}))
    assert given_up.codes == {"libero_spatial": code}
    assert "its last words" in given_up.reasons["libero_spatial"]


def test_wrong_flags_are_not_tried_again():
    found = seen(server_0="healthy", server_1="healthy", libero_spatial=2, libero_object=0)
    step = next_step(TWO, found, History({"libero_spatial": 1, "libero_object": 1}))
    assert step.codes == {"libero_spatial": 2, "libero_object": 0}
    assert step.is_last(TWO)
    assert step.reasons == {"libero_spatial": "its last words"}


def test_a_server_that_never_was_healthy_ends_its_suites_and_no_others():
    found = seen(server_0=2, server_1="healthy", libero_spatial="created", libero_object="running")
    step = next_step(TWO, found, History({"server-0": 1, "server-1": 1, "libero_object": 1}))
    assert step.start == ()
    assert step.codes == {"libero_spatial": 4}
    assert step.reasons["server-0"].endswith("exit code 2: its last words")


def test_a_container_that_somebody_removed_is_named():
    found = seen(server_0="healthy", server_1="healthy", libero_object=0)
    step = next_step(TWO, found, History())
    assert step.codes == {"libero_spatial": 1, "libero_object": 0}
    assert step.reasons == {"libero_spatial": "its container has been removed"}
