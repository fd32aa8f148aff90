"""What clients can make a server do, and what it does about it: each limit is reached on real sockets, and named."""

import concurrent.futures
import contextlib
import socket
import struct
import threading
import time

import numpy as np
import pytest
import websockets.sync.client
from websockets import ConnectionClosed, InvalidStatus

from pirig.errors import BusyError, ConfigError, RemotePolicyError, StartError
from pirig.serving.batching import Batcher
from pirig.serving.client import RemotePolicy
from pirig.serving.limits import Limits
from pirig.wire import codec
from support import peers
from support.policy_server import serve_in_thread


def connect(port, **options):
    return RemotePolicy("127.0.0.1", port, **{"connect_timeout_s": 30, **options})


def raw(port, **options):
    return websockets.sync.client.connect(f"ws://127.0.0.1:{port}", compression=None, **options)


class Held(peers.EchoPolicy):
    """Answers when released."""

    def __init__(self):
        super().__init__()
        self.release = threading.Event()

    def infer(self, obs):
        self.started.set()
        assert self.release.wait(60)
        return super().infer(obs)


@pytest.fixture
def policy():
    return peers.EchoPolicy()


@pytest.fixture
def held():
    policy = Held()
    yield policy
    policy.release.set()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_clients", 0),
        ("max_queue", -1),
        ("max_frame_mib", 0.0),
        ("frame_timeout_s", float("inf")),
        ("request_timeout_s", float("nan")),
        ("idle_timeout_s", -1.0),
    ],
)
def test_a_limit_that_is_none_is_refused_by_its_flag(name, value):
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} is "):
        Limits(**{name: value})


def test_who_finds_no_place_is_told_the_limit_and_waits_for_one(policy):
    with (
        serve_in_thread(policy, limits=Limits(max_clients=1)) as port,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        first = connect(port)
        with pytest.raises(InvalidStatus) as caught:
            raw(port)
        assert caught.value.response.status_code == 503
        assert b"1 clients are connected, and no more may (--max-clients" in caught.value.response.body
        with pytest.raises(StartError, match="HTTP status 503: 1 clients are connected.*--max-clients"):
            connect(port, connect_timeout_s=0)
        waiting = pool.submit(connect, port)
        assert first.infer({"x": 1})["actions"][0, 0] == 1
        first.close()
        assert waiting.result().infer({"x": 2})["actions"][0, 0] == 2


def test_a_full_queue_names_its_limit_and_our_client_asks_again(held):
    with serve_in_thread(held, limits=Limits(max_queue=1)) as port, concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = pool.submit(connect(port).infer, {"x": 1})
        assert held.started.wait(30)
        with raw(port) as waiting, raw(port) as refused:
            waiting.send(codec.pack({"x": 2}))
            waiting.ping().wait(30)  # so the server has read what came before
            refused.recv()
            refused.send(codec.pack({"x": 3}))
            assert "1 requests wait, and no more may (--max-queue 1 of the server)" in refused.recv()
            with pytest.raises(BusyError, match="--max-queue 1"):
                connect(port, connect_timeout_s=0.1).infer({"x": 4})
            patient = pool.submit(connect(port).infer, {"x": 5})
            held.release.set()
            assert [running.result()["actions"][0, 0], patient.result()["actions"][0, 0]] == [1, 5]


def test_a_request_that_was_given_up_takes_no_room(held):
    batcher = Batcher(held, max_queue=1)
    running = batcher.submit({"x": 1})
    assert held.started.wait(30)
    for _ in range(3):
        assert batcher.submit({"x": np.zeros(1000)}).cancel()
    last = batcher.submit({"x": 2})
    with pytest.raises(BusyError):
        batcher.submit({"x": 3}).result()
    held.release.set()
    assert running.result()[0]["actions"][0, 0] == 1
    assert last.result()[0]["actions"][0, 0] == 2
    batcher.close()


@pytest.mark.parametrize("way", ["half a frame", "fragments", "bytes"])
def test_a_slow_sender_is_sent_away_and_others_are_served(policy, way):
    with serve_in_thread(policy, limits=Limits(frame_timeout_s=0.5)) as port, peers.opened(port) as slow:
        if way == "half a frame":
            slow.sendall(peers.frame(peers.BINARY, b"x" * 100, length=1000))
        elif way == "fragments":
            slow.sendall(peers.frame(peers.BINARY, b"x", fin=False))
        good = connect(port)
        start = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < start + 1.5:
                slow.sendall({"fragments": peers.frame(peers.PING), "bytes": b"\x82"}.get(way, b""))
                assert good.infer({"x": 1})["actions"][0, 0] == 1
                time.sleep(0.05)
                if way == "bytes":
                    break
        assert b"was not whole within 0.5 s (--frame-timeout-s" in peers.everything(slow)
        assert good.infer({"x": 2})["actions"][0, 0] == 2


def test_a_client_that_is_slow_between_its_frames_is_no_slow_sender(policy):
    with serve_in_thread(policy, limits=Limits(frame_timeout_s=0.3)) as port:
        remote = connect(port)
        for value in range(3):
            assert remote.infer({"x": value})["actions"][0, 0] == value
            time.sleep(0.4)


def test_a_client_that_takes_no_answer_is_sent_away(policy):
    policy.infer = lambda obs: {"actions": np.zeros(obs["size"])}
    with serve_in_thread(policy, limits=Limits(frame_timeout_s=0.5)) as port, peers.opened(port) as deaf:
        deaf.sendall(peers.frame(peers.BINARY, codec.pack({"size": 3_000_000})))
        good = connect(port)
        time.sleep(3.0)
        deaf.setblocking(False)
        received = 0
        with contextlib.suppress(ConnectionError, BlockingIOError):
            while data := deaf.recv(1 << 20):
                received += len(data)
        assert received < 24_000_000, "the answer was kept for it"
        assert good.infer({"size": 3})["actions"].shape == (3,)


def test_pongs_that_nobody_reads_do_not_pile_up(policy):
    with serve_in_thread(policy, limits=Limits(max_frame_mib=0.01)) as port, peers.opened(port) as deaf:
        pings = peers.frame(peers.PING, b"x" * 125) * 2000
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                deaf.sendall(pings)
        assert connect(port).infer({"x": 1})["actions"][0, 0] == 1


def test_a_policy_that_never_answers_costs_a_request_its_time_and_the_limit_is_named(held):
    with serve_in_thread(held, limits=Limits(request_timeout_s=0.3)) as port:
        remote = connect(port)
        for _ in range(2):
            with pytest.raises(RemotePolicyError, match="PolicyError: no answer within 0.3 s .--request-timeout-s"):
                remote.infer({"x": 1})


def test_a_policy_that_runs_out_of_its_own_time_is_no_limit_of_ours(policy):
    def infer(obs):
        raise TimeoutError("a database's")

    policy.infer = infer
    with serve_in_thread(policy) as port, pytest.raises(RemotePolicyError, match="TimeoutError: the policy failed"):
        connect(port).infer({"x": 1})


def test_a_server_that_never_answers_is_an_error_of_the_clients(held):
    with serve_in_thread(held) as port:
        remote = connect(port, request_timeout_s=0.3)
        with pytest.raises(RemotePolicyError, match="no answer within 0.3 s .--request-timeout-s"):
            remote.infer({"x": 1})
        held.release.set()
        assert remote.infer({"x": 2})["actions"][0, 0] == 2, "and not the answer to the first"


def test_a_server_that_does_not_even_read_is_one_too():
    with socket.create_server(("127.0.0.1", 0)) as listener, concurrent.futures.ThreadPoolExecutor(1) as pool:

        def greet():
            client, _ = listener.accept()
            peers.greet(client)
            return client

        server = pool.submit(greet)
        remote = connect(listener.getsockname()[1], request_timeout_s=0.5)
        with pytest.raises(RemotePolicyError, match="--request-timeout-s"):
            remote.infer({"x": np.zeros(3_000_000)})
        server.result().close()


def test_a_client_that_says_nothing_leaves_where_that_is_asked_for(policy):
    with serve_in_thread(policy, limits=Limits(idle_timeout_s=0.3)) as port, raw(port) as idle:
        idle.recv()
        with pytest.raises(ConnectionClosed, match="no request within 0.3 s .--idle-timeout-s"):
            idle.recv()
        ours = connect(port)
        time.sleep(0.6)
        assert ours.infer({"x": 1})["actions"][0, 0] == 1, "it connects again"


def test_a_frame_that_says_it_is_huge_is_refused_by_its_head(policy):
    with serve_in_thread(policy) as port, peers.opened(port) as liar:
        liar.sendall(peers.frame(peers.BINARY, length=1 << 40))
        assert struct.pack("!H", 1009) in peers.everything(liar)
        assert connect(port).infer({"x": 1})["actions"][0, 0] == 1
