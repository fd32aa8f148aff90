"""The example of a policy server, asked by openpi's own client. docs/policy-server.md has pirig evaluate it.

Slow, as that page's walk is: both take the port that is printed, one after the other.
"""

import json
import subprocess
import sys

import pytest

from support import openpi_client_env
from support.markdown import ROOT

ASK = """
import json
import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy
policy = WebsocketClientPolicy("127.0.0.1", 8765)
image = np.zeros((224, 224, 3), np.uint8)
observation = {"observation/image": image, "observation/wrist_image": image, "observation/state": np.zeros(8)}
actions = [policy.infer({**observation, "prompt": "wait"})["actions"] for _ in range(2)]
print(json.dumps([policy.get_server_metadata(), str(actions[0].dtype), [a.tolist() for a in actions]]))
"""


@pytest.mark.slow
def test_openpis_client_can_ask_the_example():
    server = subprocess.Popen([sys.executable, ROOT / "examples/policy_server.py"])
    try:
        said = subprocess.check_output([openpi_client_env.python(), "-c", ASK], text=True, timeout=120)
    finally:
        server.kill()
        server.wait()
    assert json.loads(said) == [{"name": "still"}, "float64", [[[0, 0, 0, 0, 0, 0, -1]] * 10] * 2]
