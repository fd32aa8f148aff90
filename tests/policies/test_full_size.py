"""The real size, with random weights, on a CPU: 6.7 GB on disk and in memory."""

import json
import subprocess
import sys

import pytest

from support import tiny

LIMIT_GIB = 12.0
SCRIPT = """
import json, resource, sys
import numpy as np
from pirig.policies import ModelChoice, create_policy

directory, tokenizer, backend = sys.argv[1:]
policy = create_policy("pi05_libero", directory, ModelChoice(backend=backend), tokenizer=tokenizer)
picture = np.zeros((224, 224, 3), np.uint8)
obs = {"observation/image": picture, "observation/wrist_image": picture, "observation/state": np.zeros(8)}
answer = policy.infer({**obs, "prompt": "put the bowl on the plate"})
peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps([list(answer["actions"].shape), bool(np.isfinite(answer["actions"]).all()), peak_gib]))
"""


@pytest.mark.full
@pytest.mark.parametrize("layout", ["safetensors", "orbax"])
def test_the_whole_model_needs_little_more_memory_than_its_weights(tmp_path, layout, capsys):
    """PyTorch in bfloat16; the peak of the process, from its start to its first answer."""
    pirig = [sys.executable, "-m", "pirig.cli.main", "checkpoint", "random", "pi05_libero"]
    subprocess.run([*pirig, tmp_path / "ckpt", "--layout", layout], check=True)
    ask = [sys.executable, "-c", SCRIPT, tmp_path / "ckpt", tiny.TOKENIZER, "torch"]
    shape, finite, peak_gib = json.loads(subprocess.run(ask, check=True, capture_output=True, text=True).stdout)
    with capsys.disabled():
        print(f"\npi05_libero from {layout}: peak {peak_gib:.2f} GiB")
    assert shape == [10, 7]
    assert finite
    assert peak_gib < LIMIT_GIB
