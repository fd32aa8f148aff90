"""Whatever flags and variables say, it can be used, or an error of ours names it."""

import contextlib
import io
import os
import pathlib
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pirig import envvars
from pirig.cli import args, serve
from pirig.cli.eval import EvalArgs
from pirig.errors import ConfigError, PirigError, ProtocolError
from pirig.launch import evaluate, packs, suite_run
from pirig.launch.policy import Baseline, source_of
from pirig.launch.settings import Episodes
from pirig.policies.choice import ModelChoice
from pirig.quantization import variables
from pirig.results import runs
from pirig.sim import assets
from pirig.sim.drawing import gl
from pirig.wire import protocol

SOME = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.sampled_from(["0", "-1", "1", "3", "1e400", "nan", "-inf", "9" * 30, "0.5", "65536", "4294967296", "true"])
ODD = ("all", "libero_goal", "../..", "~nobody-here/x", "ws://", "ws://x:99999", "replay:", "a" * 300)
WORDS = TEXT | NUMBERS | st.sampled_from(ODD)
FLAGS = (
    "seed", "num-trials-per-task", "trials", "task-ids", "workers", "recycle-after", "resize-size", "replan-steps",
    "max-worker-memory-gib", "live", "host", "port", "connect-timeout-s", "request-timeout-s", "max-frame-mib",
    "policy", "task-suite-name", "suite", "run", "against", "stop-when", "margin", "level", "num-steps-wait",
    "policy-config", "max-batch", "video", "seeding", "simulator", "quantize", "backend",
)  # fmt: skip
ARGV = st.lists(st.tuples(st.sampled_from(FLAGS), WORDS), min_size=1, max_size=2)


def parsed(kind, words):
    """None where the parser refuses them, which it says with exit code 2. Raises ConfigError as the settings do."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return args.parse(kind, words, "eval")
    except SystemExit as e:
        assert e.code == 2 or "--help" in words or "-h" in words
        return None


@SOME
@given(ARGV)
def test_flags_of_eval(tmp_path_factory, pairs):
    words = [f"--{name}={word}" for name, word in pairs]
    try:
        flags = parsed(EvalArgs, words)
        if flags is None:
            return
        packs.wanted(flags.model)
        for suite, specs in evaluate.planned(flags.episodes, flags.stop).items():
            assert specs
            suite_run._rules(suite, {}, flags.episodes)
        source = source_of(flags.policy, flags.model, pathlib.Path("nowhere"))
        if isinstance(source, Baseline):
            source.open()
        if flags.stop.against:
            runs.find(flags.stop.against, pathlib.Path("nowhere"))
    except PirigError as e:
        assert str(e)
        assert "Traceback" not in str(e)


BOUNDED = {  # flag -> the greatest value
    "num-trials-per-task": 10_000,
    "seed": 2**32 - 1,
    "replan-steps": None,
    "num-steps-wait": 10_000,
    "resize-size": 4096,
    "workers": 4096,
    "recycle-after": None,
    "max-worker-memory-gib": None,
    "episode-timeout-s": None,
    "live": 65535,
    "port": 65535,
    "connect-timeout-s": None,
    "request-timeout-s": None,
    "max-frame-mib": 4096,
    "max-batch": 4096,
    "policy-hosts": None,
}


@pytest.mark.parametrize("flag", BOUNDED)
def test_a_number_out_of_bounds_is_named_with_its_flag(flag):
    greatest = BOUNDED[flag]
    for wrong in ["-1"] if greatest is None else ["-1", str(10**40), str(greatest + 1)]:
        with pytest.raises(ConfigError, match=f"^--{flag} is "):
            parsed(EvalArgs, [f"--{flag}={wrong}"])


@pytest.mark.parametrize("said", ["5", None, 2.5, [1], float("nan")])
def test_a_server_that_says_nonsense_about_itself(said):
    with pytest.raises(ProtocolError, match="replan_steps"):
        suite_run._rules("libero_goal", {"replan_steps": said}, Episodes())


SERVE = ("port", "host", "env", "max-batch", "max-clients", "max-queue", "max-frame-mib", "idle-timeout-s")


@SOME
@given(st.lists(st.tuples(st.sampled_from(SERVE), WORDS), max_size=2))
def test_flags_of_serve(pairs):
    try:
        parsed(serve.ServeArgs, [f"--{name}={word}" for name, word in pairs])
    except ConfigError as e:
        assert re.match(r"--[a-z-]+ is ", str(e))


NAMES = st.sampled_from(sorted(variables.TABLE)) | TEXT.filter(bool)
VALUES = WORDS | st.sampled_from(
    ["layers.*(q|v)_proj", "[", "(?P<", "a:4,b:99", "q_proj:", ":4", ",,,", "2", "4", "16"]
)


@settings(deadline=None)
@given(st.dictionaries(NAMES, VALUES.filter(bool), max_size=4))
def test_variables_of_quantization(pairs):
    try:
        variables.read({variables.PREFIX + name: value for name, value in pairs.items()})
    except ConfigError as e:
        assert variables.PREFIX in str(e)
        assert any(name in str(e) for name in pairs)


@pytest.mark.parametrize("variable", envvars.TABLE, ids=lambda variable: variable.name)
@SOME
@given(value=WORDS)
def test_variables_of_the_table(monkeypatch, variable, value):
    """Each by what reads it, as far as that opens no socket."""
    monkeypatch.setenv(variable.name, value)
    given = os.environ[variable.name]
    try:
        envvars.cache_dir(), envvars.data_home()
        protocol.authorization(envvars.get("PIRIG_API_KEY"))
        gl.choose(envvars.get("MUJOCO_GL"), envvars.get("MUJOCO_EGL_DEVICE_ID"))
        assets.locate(envvars.get("PIRIG_LIBERO_ASSETS"))
        packs.wanted(ModelChoice())
    except PirigError as e:
        assert given
        assert variable.name in str(e)
