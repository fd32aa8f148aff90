"""Every command's help: it is there, fits a screen, its own parser reads its examples, each flag says something."""

import ast
import inspect
import io
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout

import pytest

from pirig.cli import args, commands, main
from pirig.cli.commands import COMMANDS, GROUPS

WORDS = sorted(COMMANDS)


def help_of(words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = io.StringIO()
    with redirect_stdout(said), pytest.raises(SystemExit) as ended:
        main.main([*words.split(), "--help"])
    assert ended.value.code == 0
    return said.getvalue()


@pytest.mark.parametrize("name", ["", *GROUPS, *WORDS])
def test_help_fits_80_columns_and_shows_an_example(name, monkeypatch):
    said = help_of(name, monkeypatch)
    assert [line for line in said.splitlines() if len(line) > 80 and not line.startswith("usage: ")] == []
    assert "examples:\n  pirig" in said


def options(spec, name=""):
    """Every flag of every command, as the completion script has them: (command, flags, text)."""
    for option in spec["options"]:
        if "--help" not in option["flags"]:
            yield name, option["flags"], option["description"]
    for word, inner in spec["subcommands"].items():
        yield from options(inner, f"{name} {word}".strip())


def test_each_flag_says_what_it_is_and_what_it_is_by_default(script):
    (written,) = re.findall(r"^COMPLETION_SPEC = (.*)$", script.read_text(), re.M)
    found = list(options(ast.literal_eval(written)))
    assert len(found) > 150
    assert {name for name, _, _ in found} > {"eval", "stack run", "checkpoint fetch"}
    for name, flags, text in found:
        assert re.search(r"default:|\(required\)", text), (name, flags, text)
        assert "default: None)" not in text, (name, flags, text)
        assert "default: '')" not in text, (name, flags, text)
        meaning = re.sub(r"^[^•]*•|\(default: .*?\)|\(required\)", "", text)
        assert len(re.findall(r"[a-z]{2,}", meaning)) >= 2, (name, flags, text)
        if unit := re.search(r"_(s|mib|gib)$", flags[0].replace("-", "_")):
            assert {"s": "[s]", "mib": "[MiB]", "gib": "[GiB]"}[unit[1]] in text, (name, flags, text)


@pytest.mark.parametrize("example", [example for name in WORDS for example in COMMANDS[name].examples])
def test_examples_are_command_lines_of_pirig(example):
    words = shlex.split(re.split(r"  #| >", example)[0])
    name = " ".join(words[:2]) if words[0] in GROUPS else words[0]
    flags = args.parse(COMMANDS[name].kind(), words[len(name.split()) :], name)
    assert isinstance(flags, COMMANDS[name].kind())
    assert len(f"  pirig {example}") <= 80


def test_the_table_has_every_command_that_can_be_run():
    assert {name.split()[0] for name in COMMANDS} >= set(GROUPS)
    for name, command in COMMANDS.items():
        module = sys.modules[command.kind().__module__]
        assert list(inspect.signature(getattr(module, command.function)).parameters) in (["flags"], ["_"]), name
    usage = commands.usage()
    assert all(f"\n  {name.split()[0]} " in usage for name in COMMANDS)


COMPLETES = [
    ("ev", "eval"),
    ("eval --sui", "--suite"),
    ("eval --video f", "failures"),
    ("checkpoint fe", "fetch"),
    ("checkpoint fetch --of", "--offline"),
    ("stack st", "status"),
    ("serve pol", "policy:baseline"),
]


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "pirig.bash"
    path.write_text(subprocess.check_output([sys.executable, "-m", "pirig.cli.main", "completion", "bash"], text=True))
    return path


@pytest.mark.parametrize(("typed", "expected"), COMPLETES)
def test_bash_completes_what_is_typed(script, typed, expected):
    """With bash's own machinery: the function that `complete` was given fills COMPREPLY."""
    words = re.findall(r":|[^\s:]+", f"pirig {typed}")  # bash breaks words at colons
    ask = f"""
        . {script}
        function=$(complete -p pirig | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        COMP_WORDS=({" ".join(shlex.quote(word) for word in words)}) COMP_CWORD={len(words) - 1}
        COMP_LINE={shlex.quote("pirig " + typed)} COMP_POINT=${{#COMP_LINE}}
        $function pirig {shlex.quote(words[-1])}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    found = done.stdout.split()
    assert expected in found, done.stdout


def test_zsh_has_a_script_of_its_own():
    said = io.StringIO()
    with redirect_stdout(said), pytest.raises(SystemExit) as ended:
        main.main(["completion", "zsh"])
    assert not ended.value.code
    assert said.getvalue().startswith("#compdef pirig")
    assert all(name.split()[0] in said.getvalue() for name in COMMANDS)
