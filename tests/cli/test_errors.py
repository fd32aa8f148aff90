"""What users do wrong, and what they read: a row each. Found, expected, remedy; no traceback that nobody asked for."""

# ruff: noqa: E501  a row is a line

import os
import pathlib
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest

from pirig import envvars
from pirig.cli import main
from pirig.errors import ConfigError
from pirig.results.store import RunStore
from pirig.types import EpisodeResult, EpisodeSpec
from support import recorded_runs, tiny

EVAL = "eval --policy zero --video none --task-ids 0 --num-trials-per-task 1"
ROWS = [  # command line, exit code, what is said
    ("nope", 2, "pirig has no command 'nope'; there are: eval, serve"),
    ("eval --nope", 2, "For full helptext, run pirig eval --help"),
    ("eval --polcy zero", 2, "Perhaps you meant"),
    ("eval --seed x", 2, "Error parsing --seed"),
    ("eval --suite libero_1", 2, "unknown suite 'libero_1'; there are: libero_spatial"),
    ("eval --policy pi05_libro", 2, "replay:RUN, pi05_libero, pi0_libero, pi05_libero_tiny, pi0_libero_tiny, and ws://"),
    ("eval --policy replay:", 2, "expected replay:RUN, a name that pirig runs lists, or a folder"),
    ("eval --policy replay:x", 2, "no run in results/libero/runs/x; there are no runs beside it; pirig eval makes some"),
    ("eval --policy http://x:1", 2, "expected HOST, HOST:PORT or ws://HOST:PORT"),
    ("eval --policy ws://x:99999", 2, "Port out of range 0-65535"),
    ("eval --policy ws://127.0.0.1:9 --connect-timeout-s 0", 4, "start one with `pirig serve`, or check --host and --port"),
    (f"{EVAL} --task-ids 99", 2, "libero_spatial has no task 99; its tasks are 0 to 9"),
    (f"{EVAL} --trials 50", 2, "it has 50 initial states (0 to 49)"),
    (f"{EVAL} --results /proc/x", 2, "cannot write to /proc/x: No such file or directory; choose another folder"),
    (f"{EVAL} --run ../x", 2, "--run is '../x'; expected a name without '/'"),
    (f"{EVAL} --live 99999", 2, "--live is 99999; at most 65535 is needed"),
    (f"{EVAL} --live 0 --live-host nowhere.invalid", 4, "choose another --live PORT or --live-host"),
    (f"{EVAL} --track wandb", 2, "wandb is not installed; get it with: .venv/bin/pip install wandb"),
    (f"{EVAL} --policy-hosts 0", 2, "--policy-hosts is 0; at least 1 is needed"),
    (f"{EVAL} --executor ray --workers 0", 2, "leave one out"),
    (f"{EVAL} --against A", 2, "--against RUN and --stop-when decided go together"),
    ("eval --policy pi05_libero --policy-dir nowhere", 2, "there is no file or folder nowhere; expected one, or a URL"),
    ("eval --policy pi05_libero --policy-dir ftp://x/y", 2, "has the scheme 'ftp'; expected gs://BUCKET/PATH"),
    ("eval --policy pi05_libero", 4, "this is offline; looked for"),
    ("eval --policy pi05_libero --quantize w9a9", 2, "weight bits of w9a9: 9; expected one of 2, 3, 4, 5, 6, 7, 8"),
    ("eval --policy pi05_libero --quantize w4a8 --backend jax", 2, "leave --backend out, or say --backend torch"),
    ("eval --policy pi05_libero_tiny", 2, "pirig checkpoint random pi05_libero_tiny DIRECTORY"),
    ("MUJOCO_GL=foo " + EVAL, 2, "MUJOCO_GL: unknown back end 'foo'; there are: egl, osmesa, glx"),
    ("MUJOCO_EGL_DEVICE_ID=x " + EVAL, 2, "expected the index of a device: 0, 1, …"),
    ("PIRIG_LIBERO_ASSETS=/nope " + EVAL, 2, "PIRIG_LIBERO_ASSETS=/nope: there is no such folder"),
    ("PIRIG_LIBERO_ASSETS=/proc " + EVAL, 2, "166 of LIBERO's 166 asset files in /proc are not what they must be"),
    ("OPENPI_DATA_HOME=~nobody-x/y eval --policy pi05_libero", 2, "set OPENPI_DATA_HOME to a folder"),
    ("OPENPI_DUQUANT_WBIT=4 eval --policy pi05_libero", 2, "OPENPI_DUQUANT_WBIT is not a variable of pirig; did you mean"),
    ("PIRIG_API_KEY='a b' eval --policy ws://127.0.0.1:9 --connect-timeout-s 0", 2, "choose a key without"),  # pragma: allowlist secret
    (f"{EVAL} --suite all --against A --stop-when decided", 2, "takes one --suite; a run of each suite decides for itself"),
    ("serve --port 99999 policy:baseline", 2, "--port is 99999; expected 1 to 65535, or 0 for any that is free"),
    ("serve --host nowhere.invalid policy:baseline", 4, "cannot listen on nowhere.invalid:8000"),
    ("serve --max-clients 0 policy:baseline", 2, "--max-clients is 0; at least 1 is needed"),
    ("serve --max-frame-mib nan policy:baseline", 2, "expected more than 0"),
    ("serve policy:baseline --policy.name nope", 2, "unknown policy 'nope'; there are: scripted"),
    ("serve policy:checkpoint", 2, "--policy.config"),
    ("serve policy:nope", 2, "policy:checkpoint, policy:default, policy:baseline"),
    ("serve policy:checkpoint --policy.config nope", 2, "unknown recipe 'nope'; there are: pi05_libero"),
    ("serve --max-batch 0", 2, "--max-batch is 0; at least 1 is needed"),
    ("quantize nope --dry-run", 2, "unknown recipe 'nope'"),
    ("quantize pi05_libero --include [ --dry-run", 2, "is no regular expression"),
    ("quantize pi05_libero --include q_prj --dry-run", 2, "did you mean 'q_proj'?"),
    ("quantize pi05_libero --block 100 --dry-run", 2, "expected a power of two, such as 128"),
    ("quantize pi05_libero --seed -1 --dry-run", 2, "seed is -1; expected 0 to 4294967295"),
    ("quantize pi05_libero --calibration-samples 0 --dry-run", 2, "calibration samples is 0; expected 1 to 1048576"),
    ("quantize pi05_libero_tiny", 2, "name one with --policy-dir"),
    ("checkpoint nope", 2, "there are: fetch, inspect, random"),
    ("checkpoint fetch ''", 2, "an empty address names nothing; expected gs://BUCKET/PATH"),
    ("checkpoint fetch hf://x", 2, "names no file and no folder"),
    ("checkpoint inspect .", 2, "is no checkpoint"),
    ("checkpoint random pi05_libero_tiny /proc/x", 2, "cannot write /proc/x: No such file or directory; name another folder"),
    ("checkpoint random pi05_libero_tiny .", 2, "exists; name another folder, or remove it"),
    ("runs", 2, "no runs in results/libero/runs; pirig eval makes some, or name a folder: --results"),
    ("report", 2, "no results in results/libero"),
    ("report X Y --out z", 2, "ask for one, or leave --out away"),
    ("compare A", 2, "Missing from pirig compare"),
    ("compare A B", 2, "no run in results/libero/runs/A"),
    ("compare A B --level 0", 2, "--level is 0 percent; it must lie between 0 and 100, as 5 does"),
    ("power --baseline 101", 2, "--baseline is 101 percent; it must lie between 0 and 100"),
    ("power --difference 0", 2, "it must lie between 0 and the baseline"),
    ("power --like A", 2, "--like takes two runs, A and B; it was given 1"),
    ("power --episodes 0", 2, "--episodes is 0; at least 1 is needed"),
    ("merge a/b A B", 2, "'a/b' is no name of a run, which is one word without slashes"),
    ("merge out", 2, "name two or more"),
    ("replay X --size -1", 2, "--size is -1; expected 1 to 4096"),
    ("verify X", 2, "no run in results/libero/runs/X"),
    ("stack nope", 2, "there are: run, up, status, logs, down"),
    ("stack run --suite nope", 2, "unknown suite 'nope'"),
    ('''stack run --client-args "'"''', 2, "close its quotes"),
    ("stack up --policy ws://x:1", 2, "is a server already"),
    ("stack down", 2, "is no checkout of pirig"),
    ("doctor --port 99999", 2, "--port is 99999; expected 1 to 65535"),
    ("completion fish", 2, "Expected one of ('bash', 'zsh')"),
]  # fmt: skip


@pytest.fixture
def nobody(tmp_path, monkeypatch):
    """An empty folder, offline, with the process as it was when the test ends."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("PIRIG_OFFLINE", "1")
    monkeypatch.setenv("OPENPI_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIRIG_CACHE", str(tmp_path / "cache"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    variables = envvars.snapshot(os.environ)
    yield
    envvars.restore(dict.fromkeys(os.environ) | variables)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("line", "code", "says"), ROWS, ids=[row[0][:60] for row in ROWS])
def test_a_mistake_is_told_with_its_remedy(line, code, says, nobody, monkeypatch, capsys):
    words = shlex.split(line)
    while "=" in words[0]:
        monkeypatch.setenv(*words.pop(0).split("=", 1))
    with pytest.raises(SystemExit) as ended:
        main.main(words)
    said = capsys.readouterr()
    assert ended.value.code == code, said.err
    assert says in " ".join(said.err.split()), said.err
    assert "Traceback" not in said.err + said.out


@pytest.fixture
def recorded(nobody):
    """The name of a run in which nothing failed, in the folder where commands look."""
    configuration = recorded_runs.CONFIGURATION | {"gl": "osmesa"}
    store = RunStore.open("results/libero/runs/night", configuration)
    spec = EpisodeSpec("libero_goal", 0, 0)
    store.append(EpisodeResult(spec, "success", 13, 310, actions=np.zeros((3, 7)), state_hash="0" * 32))
    return "night"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("verify night failures", "has no such episodes to verify; name TASK/TRIAL, all, or none"),
        ("replay night 9/9", "has no scored episode 9/9; expected TASK/TRIAL (as 3/17)"),
        ("report night --out /proc/x.html", "cannot write the report /proc/x.html: No such file or directory"),
        ("compare night night --out /", "choose a file with --out"),
        ("compare night day", "no run in results/libero/runs/day; there are: night"),
        ("merge night night night", "results/libero/runs/night is there already; choose another name"),
        ("merge out night night", "1 episodes are scored twice"),
        ("power --like night night", "A and B agree in all episodes"),
        ("report", "is no results file"),
    ],
)
def test_a_mistake_with_a_run_is_told_with_its_remedy(line, says, recorded, capsys):
    pathlib.Path("results/libero/libero_goal_results.json").write_text("{")
    with pytest.raises(SystemExit) as ended:
        main.main(line.split())
    said = capsys.readouterr()
    assert ended.value.code == 2, said.err
    assert says in " ".join(said.err.split()), said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_device_that_is_not_there_is_named_beside_those_that_are(tmp_path, backend, nobody, capsys):
    tiny.workspace(tmp_path, "pi05_libero_tiny")
    words = f"serve --backend {backend} --device banana policy:checkpoint --policy.config pi05_libero_tiny --policy.dir ckpt"
    with pytest.raises(SystemExit) as ended:
        main.main(words.split())
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert "device 'banana'; there are: cpu" in said, said


REFUSED = [
    "--policy scriptd",
    "--policy pi05_libero_tiny",
    "--policy replay:nothing",
    "--suite libero_1",
    "--policy zero --task-ids 10",
    "--policy zero --trials 50",
    "--policy zero --replan-steps 0",
    "--policy zero --executor ray --workers 0",
    "--policy zero --executor ray --policy-hosts 2",
    "--policy zero --policy-hosts 0",
    "--policy pi05_libero --policy-dir nowhere",
    "--policy pi05_libero --quantize w9a9",
    "--policy pi05_libero --quantize w4a8 --backend jax",
    "--policy pi05_libero --quantize nothing.safetensors",
    "--policy ws://",
    "--policy zero --against A",
    "--policy zero --against A --stop-when decided",
    "--policy zero --run a/b",
]


@pytest.mark.parametrize("line", REFUSED)
def test_a_dry_run_refuses_what_the_real_run_refuses_in_the_same_words(line, nobody, capsys):
    heard = []
    for words in (line.split(), [*line.split(), "--dry-run"]):
        with pytest.raises(SystemExit) as ended:
            main.main(["eval", *words])
        said = capsys.readouterr()
        assert ended.value.code == ConfigError.exit_code
        assert said.out == ""
        heard.append(said.err[said.err.index("error: ") :])
    assert heard[0] == heard[1]


def test_debug_shows_where_an_error_comes_from(nobody, monkeypatch, capsys):
    for words, variable in (["runs", "--debug"], ""), (["--debug", "runs"], ""), (["runs"], "1"):
        monkeypatch.setenv("PIRIG_DEBUG", variable)
        with pytest.raises(SystemExit) as ended:
            main.main(words)
        said = capsys.readouterr().err
        assert ended.value.code == ConfigError.exit_code
        assert "Traceback" in said
        assert "results/runs.py" in said
        assert "\nerror: no runs in" in said


def test_a_reader_that_goes_away_is_no_error():
    """`pirig power --json | head -1`"""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-u", "-m", "pirig.cli.main", "power", "--json"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_ctrl_c_leaves_no_traceback(nobody, monkeypatch, capsys):
    from pirig.cli import power

    monkeypatch.setattr(power, "_assumed", lambda flags: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(SystemExit) as ended:
        main.main(["power"])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stopped by SIGINT\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"MUJOCO_GL": "egl", "MUJOCO_EGL_DEVICE_ID": "99"}, "MuJoCo cannot render with egl"),
        ({"MUJOCO_GL": "glx", "DISPLAY": ":99"}, "no X server answers (DISPLAY); start one, such as Xvfb"),
        ({"PIRIG_CACHE": "/proc/x"}, "cannot write to /proc/x"),
    ],
)
def test_what_a_simulator_cannot_do_is_told_without_a_traceback(tmp_path, variables, says):
    words = [*shlex.split(EVAL), "--workers", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "pirig.cli.main", *words],
        cwd=tmp_path, env={**os.environ, **variables}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 4
    assert says in done.stderr
    assert "Traceback" not in done.stderr
