"""What goes wrong around a request: peers that stall, vanish, come back changed, and calls that are interrupted."""

import concurrent.futures
import contextlib
import http.server
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import websockets.sync.client
import websockets.sync.server

from pirig.errors import ProtocolError, RemotePolicyError, StartError
from pirig.serving.client import RemotePolicy
from pirig.serving.server import PolicyServer
from pirig.wire import codec, protocol
from support import peers
from support.policy_server import serve_in_thread


def connect(port, timeout_s=5.0):
    return RemotePolicy("127.0.0.1", port, connect_timeout_s=timeout_s)


@pytest.fixture
def policy():
    return peers.EchoPolicy()


def raw(port):
    return websockets.sync.client.connect(f"ws://127.0.0.1:{port}", compression=None)


@contextlib.contextmanager
def listening(handler):
    """A server that treats each connection as `handler` does. Yields its port."""
    with websockets.sync.server.serve(handler, "127.0.0.1", 0, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.socket.getsockname()[1]


class CountingPolicy(peers.EchoPolicy):
    """Waits for `release`, and counts."""

    def __init__(self):
        super().__init__()
        self.calls, self.release = 0, threading.Event()

    def infer(self, obs):
        self.calls += 1
        self.started.set()
        assert self.release.wait(30)
        return super().infer(obs)


def test_a_policy_that_raises_stop_iteration_is_an_error_like_any_other(policy):
    """A future cannot carry that exception."""
    policy.infer = lambda obs: next(iter(()))
    with serve_in_thread(policy) as port, pytest.raises(RemotePolicyError, match="StopIteration"):
        connect(port).infer({"x": 1})


def test_an_answer_that_cannot_be_sent_is_an_error_like_any_other(policy):
    policy.infer = lambda obs: {"actions": {1, 2}}
    with serve_in_thread(policy) as port, pytest.raises(RemotePolicyError, match="TypeError"):
        connect(port).infer({"x": 1})


def test_requests_of_clients_that_left_are_not_computed():
    policy = CountingPolicy()
    with serve_in_thread(policy) as port:
        with contextlib.ExitStack() as clients:
            for _ in range(4):
                client = clients.enter_context(raw(port))
                client.recv()
                client.send(codec.pack({"x": 1}))
            assert policy.started.wait(5)
        stayed = connect(port)  # by the time it is greeted, the server has seen the others go
        policy.release.set()
        assert stayed.infer({"x": 2})["actions"][0, 0] == 2
    assert policy.calls == 2, "the first of the four, and the one of the client that stayed"


def test_stopping_waits_for_no_inference():
    policy = CountingPolicy()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        with serve_in_thread(policy) as port:
            waiting = [pool.submit(connect(port, 0.1).infer, {"x": 1}) for _ in range(4)]
            assert policy.started.wait(5)
        assert not policy.release.is_set(), "the server stopped while its policy was busy"
        assert all(isinstance(one.exception(), StartError) for one in waiting)
        policy.release.set()


def test_a_server_can_be_stopped_before_it_runs_and_after_it_failed(policy):
    early = PolicyServer(policy, host="127.0.0.1", port=0)
    early.stop()
    early.run()
    with serve_in_thread(policy) as port:
        late = PolicyServer(policy, host="127.0.0.1", port=port)
        with pytest.raises(StartError):
            late.run()
        late.stop()


def test_an_interrupted_call_leaves_no_answer_to_the_next(policy, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    with serve_in_thread(policy) as port:
        remote = connect(port)
        with monkeypatch.context() as patch:
            patch.setattr(websockets.sync.client.ClientConnection, "recv", interrupt)
            with pytest.raises(KeyboardInterrupt):
                remote.infer({"x": 1})
        assert remote.infer({"x": 2})["actions"][0, 0] == 2


def test_a_server_that_comes_back_as_another_policy_is_refused(policy):
    with serve_in_thread(policy) as port:
        remote = connect(port)
    policy.metadata = {"name": "other"}
    with serve_in_thread(policy, port=port):
        for _ in range(2):
            with pytest.raises(ProtocolError, match=r"came back as another policy: \{'name': 'other'\}"):
                remote.infer({"x": 1})


def test_a_server_that_dies_of_every_request_is_a_remote_error():
    def die(connection):
        connection.send(protocol.greeting({}))
        connection.recv()
        connection.socket.shutdown(socket.SHUT_RDWR)

    with listening(die) as port, pytest.raises(RemotePolicyError, match="in each of 4 tries"):
        connect(port).infer({"x": 1})


def test_a_server_that_never_greets_is_an_error_in_bounded_time():
    def stall(connection):
        for _ in connection:
            pass

    with listening(stall) as port, pytest.raises(StartError, match="no policy server at"):
        connect(port, timeout_s=1)


def test_another_server_on_the_port_is_an_error_at_once():
    class Website(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_error(404)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Website) as website:
        threading.Thread(target=website.serve_forever, daemon=True).start()
        with pytest.raises(StartError, match="HTTP status 404: no policy server"):
            connect(website.server_address[1], timeout_s=0)
        website.shutdown()


def test_the_internets_proxy_is_not_asked(policy, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serve_in_thread(policy) as port:
        assert connect(port, timeout_s=0).infer({"x": 1})["actions"][0, 0] == 1


SERVER = """
import sys, time
sys.path[:0] = sys.argv[1:]
from support import peers
from pirig.serving.server import PolicyServer
PolicyServer(peers.EchoPolicy(), host="127.0.0.1", port=0).run(lambda port: print(port, flush=True))
print("stopped", flush=True)
"""


@contextlib.contextmanager
def server_process():
    process = subprocess.Popen([sys.executable, "-c", SERVER, *sys.path], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def test_a_server_killed_in_the_middle_of_a_call_and_restarted_gives_the_answer(policy):
    with server_process() as (process, port), concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(connect(port, 30).infer, {"x": 9, "sleep": 3600})
        time.sleep(0.5)
        process.kill()
        process.wait()
        policy.infer = lambda obs: {"actions": obs["x"]}
        with serve_in_thread(policy, port=port):
            assert waiting.result(30)["actions"] == 9


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_cleanly(number):
    with server_process() as (process, port):
        remote = connect(port)
        assert remote.infer({"x": 1})["actions"][0, 0] == 1
        process.send_signal(number)
        assert process.communicate(timeout=30)[0] == "stopped\n"
        assert process.returncode == 0
