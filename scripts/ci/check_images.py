"""Checks the images that scripts/ci/stack.sh has built: size, user, labels, what is in them, what they need to run."""

import json
import os
import pathlib
import re
import subprocess

TAG = os.environ["PIRIG_TAG"]
SITE = pathlib.Path(os.environ["SITE_CONTEXT"])
LIMITS_GB = {"runtime": 1.6, "server": 2.0, "headless": 2.9}  # CPU builds on a base of 0.13 GB
HARDENED = [
    *("--read-only", "--tmpfs", "/tmp:exec,mode=1777", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--network", "none"),
]


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout


def inside(image: str, *words: str) -> str:
    """Output of a command in a hardened container without a network."""
    entry, *rest = words
    return docker("run", "--rm", *HARDENED, "--entrypoint", entry, image, *rest)


for name, limit_gb in LIMITS_GB.items():
    image = f"pirig/{name}:{TAG}"
    facts = json.loads(docker("image", "inspect", image))[0]
    config, size_gb = facts["Config"], facts["Size"] / 1e9
    assert size_gb <= limit_gb, f"{image} has {size_gb:.2f} GB; at most {limit_gb} were expected"
    assert config["User"] == "1000", config["User"]
    labels = {key.rpartition(".")[2]: value for key, value in config["Labels"].items()}
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", labels["revision"]), labels
    assert labels["version"] != "unknown", labels
    assert inside(image, "id", "-u") == "1000\n"
    assert inside(image, "pirig", "--version").strip() == labels["version"]
    kept = json.dumps(config) + docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
    for secret in (str(SITE), str(pathlib.Path.cwd()), "HF_TOKEN=h", "PIRIG_API_KEY="):
        assert secret not in kept, f"{image} names {secret}"
    strays = r"find / -xdev \( -name pip.conf -o -name 'torch*.whl' -o -name .git \) 2>/dev/null | cat"
    files = inside(image, "sh", "-c", strays)
    assert not files.strip(), files
    print(f"{image}: {size_gb:.2f} GB, version {labels['version']}, runs read-only without capabilities and network")

renders = inside(f"pirig/runtime:{TAG}", "env", "PIRIG_CACHE=/tmp/pirig", "MUJOCO_GL=egl", "python", "-c", """
import numpy as np
from pirig import envvars
from pirig.sim import assets, boot
from pirig.sim.libero import LiberoEnvironment
from pirig.types import EpisodeSpec
env = LiberoEnvironment(boot.Settings("egl", assets.locate(""), envvars.cache_dir()))
picture = env.reset(EpisodeSpec("libero_goal", 3, 0), ["observation/image"]).observation["observation/image"]
assert picture.std() > 20
print(env.describe()["gl_renderer"])
env.close()
""")  # fmt: skip
print(f"EGL without a GPU, as uid 1000: {renders.strip()}")
imports = "import jax, torch, tensorstore, safetensors, obstore; print(jax.__version__, torch.__version__)"
print(f"server: jax and torch {inside(f'pirig/server:{TAG}', 'python', '-c', imports).strip()}")
