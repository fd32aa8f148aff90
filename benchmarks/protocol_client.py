"""One client of benchmarks/protocol.py, in a process of its own: asks as fast as it is answered.

    protocol_client.py openpi|websocket|pipe WHERE CALLS

Says `ready`, waits for a line on stdin, asks CALLS times, and prints each round trip [ms] as a JSON list. `openpi` runs
in the environment of openpi-client, which has no pirig in it.
"""

import importlib
import json
import sys
import time

import numpy as np

kind, where, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
random = np.random.default_rng(0)
observation = {
    "observation/image": random.integers(0, 256, (224, 224, 3), dtype=np.uint8),
    "observation/wrist_image": random.integers(0, 256, (224, 224, 3), dtype=np.uint8),
    "observation/state": random.standard_normal(8),
    "prompt": "pick up the black bowl between the plate and the ramekin and place it on the plate",
}
if kind == "openpi":
    module = importlib.import_module("openpi_client.websocket_client_policy")
    policy = module.WebsocketClientPolicy("127.0.0.1", int(where))
else:
    from pirig.serving.client import RemotePolicy
    from pirig.serving.heap import keep_freed_memory
    from pirig.serving.host_policy import HostPolicy

    keep_freed_memory()  # as workers do
    policy = RemotePolicy("127.0.0.1", int(where)) if kind == "websocket" else HostPolicy(where)
for _ in range(20):
    policy.infer(observation)
print("ready", flush=True)
sys.stdin.readline()
took_ms = []
for _ in range(calls):
    start = time.perf_counter()
    answer = policy.infer(observation)
    took_ms.append(1e3 * (time.perf_counter() - start))
assert answer["actions"].shape == (10, 7)
print(json.dumps(took_ms), flush=True)
