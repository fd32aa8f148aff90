"""The real openpi-client against our server."""

import json
import time
import urllib.request

import pytest

from support import openpi_client_env, peers
from support.policy_server import serve_in_thread


def talk(port, calls):
    client = openpi_client_env.start(port, json.dumps(calls))
    out, _ = client.communicate()
    assert client.returncode == 0
    metadata, *answers = map(json.loads, out.splitlines())
    return metadata, answers


def test_openpis_client_gets_metadata_actions_and_timings():
    with serve_in_thread(peers.EchoPolicy()) as port:
        metadata, (first, second) = talk(port, [{"x": [0.1, 0.2]}, {"x": [1.0]}])
    assert metadata == {"name": "echo", "reset_pose": [0, -1.5]}
    assert first["actions"] == [[0.1 + 0.2] * 7] * 2
    assert first["dtype"] == "float64"
    assert first["timing"] == ["infer_ms"]
    assert second["timing"] == ["infer_ms", "prev_total_ms"]


def test_openpis_client_raises_on_our_error_and_goes_on():
    with serve_in_thread(peers.EchoPolicy()) as port:
        _, (failed, after) = talk(port, [{"x": [1], "more": {"fail": "yes"}}, {"x": [2.0]}])
    assert failed["error"] == "RuntimeError"
    assert "ValueError: the policy failed" in failed["message"]
    assert after["actions"] == [[2.0] * 7] * 2


def test_openpis_client_sends_the_key_that_we_want():
    with serve_in_thread(peers.EchoPolicy(), api_key="OPEN-SESAME") as port:  # pragma: allowlist secret
        knows = openpi_client_env.start(port, json.dumps([{"x": [1.0]}]), "OPEN-SESAME")
        guesses = openpi_client_env.start(port, "[]", "OTHER")
        assert json.loads(knows.communicate()[0].splitlines()[1])["actions"] == [[1.0] * 7] * 2
        assert "401" in guesses.communicate()[1]
        assert guesses.returncode == 1


@pytest.mark.slow
def test_inferences_of_65_seconds_never_end_in_error_1011():
    """The reference fails here: wire.md, "Error 1011, exactly"."""
    call = {"x": [1.0], "more": {"sleep": 65}}
    with serve_in_thread(peers.EchoPolicy()) as port:
        client = openpi_client_env.start(port, json.dumps([call] * 3))
        checks = 0
        while client.poll() is None:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=30) as response:
                checks += response.status == 200
            time.sleep(5)
        assert client.stdout is not None
        _, *answers = map(json.loads, client.stdout.read().splitlines())
    assert [answer["actions"] for answer in answers] == [[[1.0] * 7] * 2] * 3
    assert all(answer["seconds"] >= 65 for answer in answers)
    assert checks >= 20
