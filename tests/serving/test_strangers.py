"""Who has no business here: web pages, clients without the key, crowds."""

import contextlib
import os
import pathlib
import re
import resource
import socket
import subprocess
import sys

import numpy as np
import pytest
import websockets.sync.client
from websockets import InvalidStatus

from pirig.errors import ConfigError
from pirig.launch import sessions
from pirig.serving.client import RemotePolicy
from pirig.wire import codec
from support import peers
from support.policy_server import serve_in_thread

KEY = "OPEN-SESAME"  # pragma: allowlist secret


def connect(port, **options):
    return RemotePolicy("127.0.0.1", port, **{"connect_timeout_s": 30, **options})


@pytest.fixture
def policy():
    return peers.EchoPolicy()


def test_web_pages_are_refused(policy):
    with serve_in_thread(policy) as port, pytest.raises(InvalidStatus, match="403"):
        websockets.sync.client.connect(f"ws://127.0.0.1:{port}", origin="https://evil.example")


@pytest.mark.parametrize(
    "headers",
    [
        b"",
        b"Authorization: Api-Key\r\n",
        b"Authorization: Api-Key OPEN-SESAME\r\n" * 2,
        b"Authorization: Api-Key \xff\xfe\r\n",
        b"Authorization: Bearer OPEN-SESAME\r\n",
    ],
    ids=["none", "empty", "twice", "no text", "another scheme"],
)
def test_whatever_is_no_key_is_401(policy, headers, caplog):
    with serve_in_thread(policy, api_key=KEY) as port, socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(peers.HANDSHAKE + headers + b"\r\n")
        assert peers.everything(sock).startswith(b"HTTP/1.1 401 ")
    assert KEY not in caplog.text
    assert "Traceback" not in caplog.text


def test_a_key_that_no_header_can_carry_is_refused_by_its_name(policy):
    for key in ("two words", "line\r\nHost: evil", "schlüssel"):
        with pytest.raises(ConfigError, match="PIRIG_API_KEY has"):
            connect(1, api_key=key)


def test_the_key_is_neither_logged_nor_recorded(monkeypatch):
    """`pirig serve` as it is, asked with the key and with another."""
    monkeypatch.setenv("PIRIG_API_KEY", KEY)
    port = peers.free_port()
    words = [sys.executable, "-m", "pirig.cli.main", "serve", "--port", str(port), "policy:baseline"]
    server = subprocess.Popen([*words, "--policy.name", "zero"], stderr=subprocess.PIPE, text=True)
    assert connect(port, api_key=KEY).infer({"prompt": ""})["actions"].shape == (10, 7)
    with pytest.raises(InvalidStatus, match="401"):
        websockets.sync.client.connect(f"ws://127.0.0.1:{port}", additional_headers={"Authorization": "Api-Key OTHER"})
    server.terminate()
    said = server.communicate()[1]
    assert "serving policy zero" in said
    assert KEY not in said
    assert "OTHER" not in said
    assert sessions.variables()["PIRIG_API_KEY"] == "(set)"


SERVER = """
import sys
sys.path[:0] = sys.argv[1:]
from support import peers
from pirig.serving.limits import Limits
from pirig.serving.server import PolicyServer
limits = Limits(max_clients=64, max_frame_mib=1, frame_timeout_s=2)
PolicyServer(peers.EchoPolicy(), port=0, limits=limits).run(lambda port: print(port, flush=True))
"""


def memory_mib(pid, what="VmRSS"):
    return int(re.search(rf"{what}:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def test_a_thousand_connections_cost_a_well_behaved_client_nothing():
    """Idle ones, slow ones, garbage, oversized frames, and some that leave in the middle of a request."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, *sys.path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with contextlib.ExitStack() as crowd:
        crowd.callback(server.communicate)
        crowd.callback(server.kill)
        assert server.stdout is not None
        port = int(server.stdout.readline())
        good = connect(port)
        assert good.infer({"x": 0})["actions"][0, 0] == 0
        before = memory_mib(server.pid)
        asked = peers.HANDSHAKE + b"\r\n"
        most = codec.pack({"x": np.zeros(100_000)})
        kinds = (
            b"",
            b"GET /",
            os.urandom(100),
            asked,
            asked + peers.frame(peers.BINARY, most[:500_000], length=len(most)),
            asked + peers.frame(peers.BINARY, bytes(2 << 20)),
            asked + peers.frame(peers.BINARY, codec.pack({"x": 1, "sleep": 0.01})),
        )
        for number in range(1000):
            one = crowd.enter_context(socket.create_connection(("127.0.0.1", port)))
            one.settimeout(5)
            with contextlib.suppress(OSError):
                one.sendall(kinds[number % len(kinds)])
            if number % 3 == 0:
                one.close()
            if number % 50 == 0:
                assert good.infer({"x": number})["actions"][0, 0] == number
        assert memory_mib(server.pid, "VmHWM") < before + 64 * 3 + 50
        assert good.infer({"x": -1})["actions"][0, 0] == -1
        late = connect(port, connect_timeout_s=60)
        assert late.infer({"x": -2})["actions"][0, 0] == -2, "the slow and the broken ones have made room"
