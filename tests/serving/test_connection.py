"""The client's connection: pings, TLS, redirects, warnings, and servers that do not close."""

import contextlib
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
import websockets.sync.server

from pirig.errors import ProtocolError, RemotePolicyError, StartError
from pirig.serving import connection
from pirig.serving.client import RemotePolicy
from pirig.wire import codec, protocol
from support import peers
from support.policy_server import serve_in_thread

CLOSE = b"\x88\x02\x03\xe8"  # code 1000
TOO_LONG = b"\x82\x7e\x10\x00" + bytes(0x1000)


@contextlib.contextmanager
def accepting(act):
    """A server that does `act` with the socket of each client. Yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as clients:

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    client = clients.enter_context(listener.accept()[0])
                    threading.Thread(target=_until_closed, args=(act, client), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]


def _until_closed(act, client):
    with contextlib.suppress(OSError):
        act(client)


@contextlib.contextmanager
def listening(handler, **options):
    with websockets.sync.server.serve(handler, "127.0.0.1", 0, compression=None, **options) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.socket.getsockname()[1]


def echo(client):
    client.send(protocol.greeting({}))
    for frame in client:
        client.send(codec.pack({"actions": codec.unpack(frame)["x"]}))


@pytest.fixture
def quickly(monkeypatch):
    monkeypatch.setattr(connection, "_CLOSE_WITHIN_S", 0.2)
    monkeypatch.setattr(connection, "_PING_EVERY_S", 0.1)
    monkeypatch.setitem(connection.connect.__kwdefaults__, "ping_timeout", 0.1)  # where we give none


def test_pings_are_sent_and_answered_while_nobody_asks(quickly):
    both_came = threading.Event()

    def act(client):
        peers.greet(client)
        client.sendall(b"\x89\x00")  # a ping
        received = b""
        while data := client.recv(4096):
            received += data
            if b"\x89\x84" in received and b"\x8a\x80" in received:  # a ping of 4 bytes, and an empty pong
                both_came.set()

    with accepting(act) as port:
        remote = RemotePolicy("127.0.0.1", port, connect_timeout_s=5)
        assert both_came.wait(30)
        remote.close()


def test_a_server_that_answers_no_ping_while_it_infers_keeps_its_client(quickly):
    policy = peers.EchoPolicy()
    with peers.reference_server(policy) as port:
        remote = RemotePolicy("127.0.0.1", port, connect_timeout_s=5, request_timeout_s=30)
        assert remote.infer({"x": 1, "sleep": 1.0})["actions"][0, 0] == 1
        remote.close()


def test_close_does_not_wait_for_a_server_that_says_nothing(quickly):
    with accepting(peers.greet) as port:
        RemotePolicy("127.0.0.1", port, connect_timeout_s=5).close()


def test_a_server_that_closes_and_keeps_the_socket_costs_a_try(quickly):
    greeted = []

    def act(client):
        peers.greet(client)
        greeted.append(client)
        client.recv(4096)
        client.sendall(CLOSE if len(greeted) == 1 else b"\x82" + bytes([len(answer)]) + answer)

    answer = codec.pack({"actions": 2})
    with accepting(act) as port:
        remote = RemotePolicy("127.0.0.1", port, connect_timeout_s=5, request_timeout_s=0)
        assert remote.infer({"x": 1})["actions"] == 2
        remote.close()
    assert len(greeted) == 2


def test_an_answer_over_the_limit_is_named_where_the_server_does_not_close(quickly):
    def act(client):
        peers.greet(client)
        client.recv(4096)
        client.sendall(TOO_LONG)

    with accepting(act) as port:
        remote = RemotePolicy("127.0.0.1", port, connect_timeout_s=5, request_timeout_s=0, max_bytes=100)
        with pytest.raises(ProtocolError, match="a frame is over the limit of this client: .*--max-frame-mib"):
            remote.infer({"x": 1})


def test_a_server_that_does_not_read_is_an_error_though_pings_are_due(quickly):
    with accepting(peers.greet) as port:
        remote = RemotePolicy("127.0.0.1", port, connect_timeout_s=5, request_timeout_s=1)
        with pytest.raises(RemotePolicyError, match="no answer within 1 s .--request-timeout-s"):
            remote.infer({"x": bytes(24_000_000)})


@pytest.mark.parametrize("target", ["https://example.org/", "ws://127.0.0.1:9/", "/there", "http://["])
def test_a_redirect_is_not_followed(target):
    def act(client):
        client.recv(4096)
        client.sendall(f"HTTP/1.1 301 x\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode())

    with accepting(act) as port, pytest.raises(StartError, match="HTTP status 301: no policy server"):
        RemotePolicy("127.0.0.1", port, connect_timeout_s=5)


@pytest.fixture
def tls(tmp_path, monkeypatch):
    """A server's side of TLS with a certificate that clients trust."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
    subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def test_wss_is_spoken_to_a_server_with_a_good_certificate(tls, monkeypatch):
    with listening(echo, ssl=tls) as port:
        remote = RemotePolicy(f"wss://localhost:{port}", None, connect_timeout_s=5)
        assert [remote.infer({"x": x})["actions"] for x in (1, bytes(100_000))] == [1, bytes(100_000)]
        remote.close()
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(StartError, match="CERTIFICATE_VERIFY_FAILED"):
            RemotePolicy(f"wss://localhost:{port}", None, connect_timeout_s=0)


def test_a_server_that_says_nothing_after_its_tls_handshake_is_an_error_in_bounded_time(tls):
    def act(client):
        held.append(tls.wrap_socket(client, server_side=True))

    held = []
    with accepting(act) as port, pytest.raises(StartError, match="no policy server at wss://"):
        RemotePolicy(f"wss://localhost:{port}", None, connect_timeout_s=1)
    for client in held:
        client.close()


CLIENT = """
import sys
from pirig.serving.client import RemotePolicy
remote = RemotePolicy("127.0.0.1", int(sys.argv[1]), connect_timeout_s=30)
print(remote.infer({"x": 1})["actions"][0, 0])
"""


def test_a_program_may_end_with_an_open_connection_and_hears_no_warning():
    with serve_in_thread(peers.EchoPolicy()) as port:
        words = [sys.executable, "-W", "error::DeprecationWarning", "-c", CLIENT, str(port)]
        ended = subprocess.run(words, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "1\n", "")


def test_connections_that_ended_leave_no_threads(quickly):
    before = threading.active_count()
    with listening(echo) as port:
        for _ in range(5):
            remote = RemotePolicy("127.0.0.1", port, connect_timeout_s=5)
            remote.infer({"x": 1})
            remote.close()
    deadline = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= before
