import json

import numpy as np
import pytest

from pirig.errors import PolicyError, ProtocolError, RemotePolicyError
from pirig.wire import codec, protocol
from support import golden

SESSIONS = sorted((golden.ROOT / "wire").glob("session_*.json"))


@pytest.mark.parametrize("path", SESSIONS, ids=lambda path: path.stem)
def test_the_greeting_is_the_references_frame(path):
    session = json.loads(path.read_text())
    frame = bytes.fromhex(session["raw_policy_error"][0][2])
    assert protocol.greeting(protocol.read(frame)) == frame


@pytest.mark.parametrize("path", SESSIONS, ids=lambda path: path.stem)
def test_an_answer_is_the_references_frame(path):
    session = json.loads(path.read_text())
    frame = bytes.fromhex(session["raw_list_instead_of_dict"][1][1])
    output = protocol.read(frame)
    timing = output.pop("server_timing")
    assert output["actions"].shape == (2, 7)
    assert set(timing) == {"infer_ms"}
    assert protocol.answer(output, infer_ms=timing["infer_ms"], prev_total_ms=None) == frame


def test_the_first_answer_has_no_previous_time():
    actions = np.zeros((2, 7))
    first = protocol.read(protocol.answer({"actions": actions}, infer_ms=1.5, prev_total_ms=None))
    second = protocol.read(protocol.answer({"actions": actions}, infer_ms=1.5, prev_total_ms=2.0))
    assert first["server_timing"] == {"infer_ms": 1.5}
    assert second["server_timing"] == {"infer_ms": 1.5, "prev_total_ms": 2.0}


def test_a_text_frame_is_the_servers_error():
    with pytest.raises(RemotePolicyError, match="PolicyError: the prompt is empty"):
        protocol.read(protocol.error(PolicyError("the prompt is empty")))


def test_what_a_server_says_does_not_fill_the_disk():
    with pytest.raises(RemotePolicyError) as caught:
        protocol.read("x" * 10**6)
    assert len(str(caught.value)) < 30_000


def test_messages_that_pirig_did_not_write_stay_on_the_server():
    told = protocol.error(FileNotFoundError(2, "No such file", "/secret/model"))
    assert told == "FileNotFoundError: the policy failed; the server's log has the traceback"


def test_a_frame_that_is_no_map_is_refused():
    with pytest.raises(ProtocolError, match="found list"):
        protocol.read(codec.pack([1]))


def test_the_key_travels_as_openpi_sends_it():
    assert protocol.authorization("SECRET") == {"Authorization": "Api-Key SECRET"}
    assert protocol.authorization("") == {}
