"""Spoiled frames, a few of them: `make fuzz` sends a million."""

import random

from pirig.serving.client import RemotePolicy
from support import frames
from support.policy_server import serve_in_thread


def test_a_spoiled_frame_is_read_or_refused():
    seen = [outcome for outcome, _ in frames.feed(5000, random.Random(1))]
    assert seen.count("read") > 500, "both kinds are among them"
    assert seen.count("refused") > 500, "both kinds are among them"


def test_a_server_that_gets_spoiled_frames_serves_on():
    with serve_in_thread(frames.Tolerant()) as port:
        seen = frames.hammer(port, 300, random.Random(2))
        assert seen["closed"] == 0, "no frame costs a connection"
        assert min(seen["answered"], seen["error"], seen["raw"]) > 5
        assert RemotePolicy("127.0.0.1", port).infer({"x": "abc"})["actions"][0, 0] == 3
