"""Server and client as a pair, on real sockets."""

import concurrent.futures
import contextlib
import socket
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import websockets.sync.client

from pirig.errors import ConfigError, ProtocolError, RemotePolicyError, StartError
from pirig.serving.client import RemotePolicy, address
from pirig.serving.limits import Limits
from pirig.serving.server import PolicyServer
from pirig.wire import codec
from support import peers
from support.policy_server import serve_in_thread


def connect(port, **options):
    return RemotePolicy("127.0.0.1", port, connect_timeout_s=5, **options)


@pytest.fixture
def policy():
    return peers.EchoPolicy()


@pytest.fixture
def port(policy):
    with serve_in_thread(policy) as port:
        yield port


def test_actions_come_through_bit_for_bit_with_timings(port):
    remote = connect(port)
    value = np.array([0.1, 1e-300, -0.0])
    first, second = remote.infer({"x": value}), remote.infer({"x": value})
    assert first["actions"].tobytes() == np.full((2, 7), value.sum()).tobytes()
    assert first["policy_timing"] == {"infer_ms": 0.5}
    assert set(first["server_timing"]) == {"infer_ms"}
    assert set(second["server_timing"]) == {"infer_ms", "prev_total_ms"}
    remote.close()


def test_the_metadata_is_the_policys(port):
    assert connect(port).metadata == {"name": "echo", "reset_pose": [0, -1.5]}


def healthz(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=30) as response:
        return response.status, response.read()


def test_health_is_answered_during_an_inference():
    class Busy(peers.EchoPolicy):
        release = threading.Event()

        def infer(self, obs):
            self.started.set()
            assert self.release.wait(60)
            return super().infer(obs)

    policy = Busy()
    with serve_in_thread(policy) as port, concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(connect(port).infer, {"x": 1})
        assert policy.started.wait(30)
        assert healthz(port) == (200, b"OK\n")
        assert not waiting.done()
        policy.release.set()
        assert waiting.result()["actions"][0, 0] == 1


def test_a_failing_policy_costs_only_its_request_and_shows_no_internals(port):
    remote, other = connect(port), connect(port)
    with pytest.raises(RemotePolicyError) as caught:
        remote.infer({"x": 1, "fail": "yes"})
    assert "ValueError: the policy failed" in str(caught.value)
    assert "boom" not in str(caught.value)
    assert remote.infer({"x": 2})["actions"][0, 0] == 2
    assert other.infer({"x": 3})["actions"][0, 0] == 3


@pytest.mark.parametrize("frame", [b"\xc1garbage", codec.pack([1, 2]), "text"], ids=["garbage", "list", "text"])
def test_a_bad_request_does_not_cost_the_connection(port, frame):
    with websockets.sync.client.connect(f"ws://127.0.0.1:{port}", compression=None) as raw:
        raw.recv()
        raw.send(frame)
        assert "ProtocolError" in raw.recv()
        raw.send(codec.pack({"x": 4}))
        assert codec.unpack(raw.recv())["actions"][0, 0] == 4


def test_many_clients_each_get_their_own_answer(port):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda i: connect(port).infer({"x": i})["actions"][0, 0], range(24))
        assert list(answers) == list(range(24))


def test_an_oversized_request_is_refused_and_the_client_can_go_on(policy):
    with serve_in_thread(policy, limits=Limits(max_frame_mib=0.01)) as port:
        remote = connect(port)
        with pytest.raises(ProtocolError, match="over the limit of the server: .*--max-frame-mib"):
            remote.infer({"x": np.zeros(10_000)})
        assert remote.infer({"x": 5})["actions"][0, 0] == 5


def test_a_key_is_wanted_where_one_is_set(policy):
    with serve_in_thread(policy, api_key="SECRET") as port:  # pragma: allowlist secret
        assert connect(port, api_key="SECRET").infer({"x": 1})["actions"][0, 0] == 1  # pragma: allowlist secret
        assert healthz(port)[0] == 200
        for wrong in ("", "OTHER"):
            with pytest.raises(StartError, match="wants another API key"):
                connect(port, api_key=wrong)


def test_a_port_in_use_says_so(policy, port):
    with pytest.raises(StartError, match=rf"cannot listen on 127.0.0.1:{port}.*choose another --port"):
        PolicyServer(policy, host="127.0.0.1", port=port).run()


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("x" * 80, 8000), ("é" * 80 + ".org", 8000)])
def test_what_is_no_address_to_listen_on_says_so(policy, host, port):
    with pytest.raises(StartError, match="cannot listen on .*choose another --port or --host"):
        PolicyServer(policy, host=host, port=port).run()


@pytest.mark.parametrize("host", ["x" * 80, "é" * 80 + ".org"])
def test_a_name_that_no_machine_can_have_is_refused_at_once(host):
    with pytest.raises((ConfigError, StartError), match="address of a policy server|no policy server at"):
        RemotePolicy(host, 8000, connect_timeout_s=0)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_an_absent_server_is_an_error_in_bounded_time():
    start = time.monotonic()
    with pytest.raises(StartError, match="no policy server at ws://127.0.0.1"):
        RemotePolicy("127.0.0.1", free_port(), connect_timeout_s=1)
    assert time.monotonic() - start < 10


def test_a_server_that_comes_late_is_waited_for(policy):
    port = free_port()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(connect, port)
        time.sleep(0.7)
        with serve_in_thread(policy, port=port):
            assert waiting.result().infer({"x": 6})["actions"][0, 0] == 6


def test_a_request_cut_off_by_a_restart_is_repeated(policy):
    with serve_in_thread(policy) as port:
        remote = connect(port)
    with serve_in_thread(policy, port=port):
        assert remote.infer({"x": 7})["actions"][0, 0] == 7


def test_a_connection_that_breaks_in_the_middle_of_a_request_is_repeated():
    """A listener that drops its first client after the request, as a killed server does."""
    with serve_in_thread(peers.EchoPolicy()) as upstream, socket.create_server(("127.0.0.1", 0)) as listener:
        seen = []

        def pump(source, sink, cut):
            while data := source.recv(65536):
                seen.append(len(data))
                if cut and len(seen) > 3:
                    break
                sink.sendall(data)
            for end in (source, sink):
                end.shutdown(socket.SHUT_RDWR)

        def accept():
            for cut in (True, False):
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", upstream))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=_quiet(pump), args=(*pair, cut), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        assert connect(listener.getsockname()[1]).infer({"x": 8})["actions"][0, 0] == 8


def _quiet(function):
    def run(*arguments):
        with contextlib.suppress(OSError):  # the other direction closed first
            function(*arguments)

    return run


def test_errors_of_the_reference_server_are_reported_and_survived():
    """It sends a traceback and closes with 1011; our client goes on with a new connection."""
    with peers.reference_server(peers.EchoPolicy()) as port:
        remote = connect(port)
        assert remote.infer({"x": 1})["actions"][0, 0] == 1
        with pytest.raises(RemotePolicyError, match="boom: yes"):
            remote.infer({"x": 1, "fail": "yes"})
        assert remote.infer({"x": 2})["actions"][0, 0] == 2


@pytest.mark.parametrize(
    ("host", "port", "uri"),
    [
        ("0.0.0.0", 8000, "ws://127.0.0.1:8000"),
        ("localhost", 1, "ws://localhost:1"),
        ("ws://gpu:9000", None, "ws://gpu:9000"),
        ("ws://gpu:9000", 8000, "ws://gpu:9000"),
        ("wss://gpu/pi", None, "wss://gpu/pi"),
        ("ws://0.0.0.0:9000", None, "ws://127.0.0.1:9000"),
        ("::1", 8000, "ws://[::1]:8000"),
        ("[::1]:9000", 8000, "ws://[::1]:9000"),
        ("::", 8000, "ws://[::1]:8000"),
        ("gpu:9000", 8000, "ws://gpu:9000"),
        ("ws://gpu", 8000, "ws://gpu:8000"),
        ("ws://10.0.0.0:9000", None, "ws://10.0.0.0:9000"),
    ],
)
def test_addresses(host, port, uri):
    assert address(host, port) == uri


@pytest.mark.parametrize("host", ["ws://", "http://gpu:8000", "ws://gpu:99999", "a:b", ""])
def test_nonsense_is_no_address(host):
    with pytest.raises(ConfigError, match="no address"):
        address(host, None)
