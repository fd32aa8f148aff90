"""The real client, `openpi-client` from the Python index, in an environment of its own, since it wants NumPy 1."""

import fcntl
import hashlib
import pathlib
import subprocess
import sys

_ROOT = pathlib.Path(__file__).parents[2]
_LOCK = _ROOT / "locks/openpi-client.txt"
_FOLDER = _ROOT / ".venv-openpi-client"

CLIENT = """
import json, sys, time
import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy
port, calls = int(sys.argv[1]), json.loads(sys.argv[2])
policy = WebsocketClientPolicy("127.0.0.1", port, api_key=sys.argv[3] or None)
print(json.dumps(policy.get_server_metadata()), flush=True)
for call in calls:
    start = time.monotonic()
    try:
        answer = policy.infer({"x": np.array(call["x"]), **call.get("more", {})})
        row = {"actions": answer["actions"].tolist(), "dtype": str(answer["actions"].dtype),
               "timing": sorted(answer["server_timing"])}
    except Exception as e:
        row = {"error": type(e).__name__, "message": str(e)}
    print(json.dumps({**row, "seconds": time.monotonic() - start}), flush=True)
"""


def python() -> str:
    """Path of an interpreter that has openpi-client; made on first use, and again when the lock changes."""
    stamp = _FOLDER / hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:16]
    interpreter = _FOLDER / "bin/python"
    with _FOLDER.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the slow tests may run beside the others
        if not stamp.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", _FOLDER], check=True)
            install = [interpreter, "-m", "pip", "install", "-q", "--no-deps", "--require-hashes", "-r", _LOCK]
            subprocess.run(install, check=True)
            stamp.touch()
    return str(interpreter)


def start(port: int, calls: str, key: str = "") -> subprocess.Popen:
    words = [python(), "-c", CLIENT, str(port), calls, key]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
