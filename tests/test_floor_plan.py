"""The floor plan of ARCHITECTURE.md, enforced. A module imports the base, its own package and those listed."""

import ast
import pathlib
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(__file__).parents[1] / "src/pirig"
BASE = {"types", "interfaces", "errors", "seeding", "envvars", "imports", "files", "text", "testing"}
MAY_IMPORT = {
    "wire": set(),
    "transforms": set(),
    "results": set(),
    "serving": {"wire"},
    "sim": {"transforms", "machine"},
    "evaluation": set(),
    "policies": {"transforms", "models", "checkpoints", "quantization"},
    "models": set(),
    "checkpoints": set(),
    "quantization": set(),
    "stack": {"machine"},
    "machine": set(),
}
EVERYTHING = {"launch", "cli", "__main__"}
HEAVY = {  # package -> where the modules are that may import it; what is not listed nobody may import
    "mujoco": ("sim/",),
    "robosuite": ("sim/",),
    "numba": ("sim/",),
    "libero": ("sim/",),
    "bddl": ("sim/",),
    "OpenGL": ("sim/",),
    "imageio": ("sim/",),
    "PIL": ("sim/", "transforms/"),
    "sentencepiece": ("transforms/",),
    "websockets": ("serving/",),
    "msgpack": ("wire/",),
    "tyro": ("cli/", "launch/settings.py", "policies/choice.py"),
    "rich": ("cli/", "launch/"),
    "scipy": ("results/",),
    "jax": ("models/", "quantization/", "policies/"),
    "torch": ("models/", "quantization/", "policies/"),
    "triton": ("quantization/kernels/",),
    "ml_dtypes": ("checkpoints/",),
    "safetensors": ("checkpoints/", "quantization/"),
    "tensorstore": ("checkpoints/",),
    "docker": ("stack/",),
    "requests": ("stack/",),
    "obstore": ("checkpoints/",),
    "tensorboard": ("launch/observers/trackers.py",),
    "trackio": ("launch/observers/trackers.py",),
    "wandb": ("launch/observers/trackers.py",),
    "ray": ("evaluation/ray_",),
}
LIGHT = {"numpy", "pirig"} | sys.stdlib_module_names
BY_NAME = ("import_module", "require", "__import__")
FREE_OF = ("torch", "jax", "mujoco", "robosuite", "libero", "tensorboard", "trackio", "wandb", "scipy.stats")
MODULES = {path.relative_to(SOURCE).as_posix(): path.read_text() for path in sorted(SOURCE.rglob("*.py"))}


def imports(text):
    """Names that `text` imports, wherever it does; also by `import_module("x")` and `require("x")`."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in BY_NAME:
            yield from (argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))


def faults(place, text):
    """What the module at `place`, e.g. `sim/libero.py`, imports and must not."""
    own = place.split("/")[0].removesuffix(".py")
    allowed = BASE if own in BASE else BASE | {own} | MAY_IMPORT.get(own, set())
    for name in imports(text):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        inside = target and ((SOURCE / target).is_dir() or (SOURCE / f"{target}.py").exists())
        is_above = own == "launch" and target == "cli"
        if top == "pirig" and inside and (is_above or (own not in EVERYTHING and target not in allowed)):
            yield f"{place} must not import {name}"
        elif top not in LIGHT and not place.startswith(HEAVY.get(top, ())):
            yield f"{place} must not import {top}; only {', '.join(HEAVY.get(top, ())) or 'no module'} may"


@pytest.mark.parametrize("place", MODULES)
def test_imports_follow_the_floor_plan(place):
    assert not list(faults(place, MODULES[place]))


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("evaluation/episode.py", "from pirig.sim.libero import LiberoEnvironment"),
        ("evaluation/run.py", "from pirig import sim"),
        ("types.py", "import pirig.wire.codec"),
        ("serving/server.py", "def f():\n    from pirig.policies import baselines"),
        ("results/store.py", "import mujoco"),
        ("wire/codec.py", "imports.require('jax', extra='jax')"),
        ("errors.py", "import scipy"),
        ("cli/eval.py", "import robosuite.utils"),
        ("launch/site.py", "from pirig.cli import console"),
        ("evaluation/run.py", "from pirig.results.store import RunStore"),
        ("sim/libero.py", "import pandas"),
    ],
)
def test_a_breach_is_found(place, text):
    assert len(list(faults(place, text))) == 1


def test_every_package_has_its_place():
    packages = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert packages <= BASE | MAY_IMPORT.keys() | EVERYTHING


@pytest.mark.parametrize("package", ["cli", "launch", "evaluation", "results", "serving"])
def test_the_coordinator_loads_no_heavy_package(package):
    """In a process of its own, with every module of the package."""
    modules = [
        "pirig." + place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for place in MODULES
        if place.startswith(f"{package}/")
    ]
    code = f"import sys, {', '.join(modules)}; print([name for name in {FREE_OF} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout == "[]\n", found.stdout + found.stderr


@pytest.mark.parametrize(("backend", "other"), [("jax", "torch"), ("torch", "jax")])
def test_a_backend_does_without_the_other(backend, other):
    """Each model, and the policy around it, loads in a process that cannot import the other package."""
    code = (
        f"import sys; sys.modules['{other}'] = None\n"
        f"import pirig.models.pi0_{backend}, pirig.policies.backend_{backend}, pirig.policies.factory\n"
        f"import pirig.checkpoints.read, pirig.checkpoints.assets\n"
        f"print('{backend}' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout == "True\n", found.stderr


def test_a_machine_without_models_can_evaluate():
    """The runtime's image has no reader of checkpoints; nor has `make setup`."""
    block = "import sys; sys.modules.update(dict.fromkeys(('ml_dtypes', 'tensorstore', 'safetensors')))"
    found = subprocess.run([sys.executable, "-c", f"{block}; import pirig.cli.eval"], capture_output=True, text=True)
    assert not found.returncode, found.stderr


@pytest.mark.parametrize("place", [p for p in MODULES if p != "envvars.py"])
def test_only_envvars_reads_the_environment(place):
    used = {node.attr for node in ast.walk(ast.parse(MODULES[place])) if isinstance(node, ast.Attribute)}
    taken = {name.removeprefix("os.") for name in imports(MODULES[place])}  # from os import environ
    assert not (used | taken) & {"environ", "environb", "getenv", "putenv", "unsetenv"}


@pytest.mark.parametrize("path", sorted((SOURCE.parents[1] / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_a_benchmark_imports_no_command(path):
    assert not [name for name in imports(path.read_text()) if name.startswith("pirig.cli")]
