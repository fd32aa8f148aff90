"""Every flag of every command is recorded in `tests/data/flags.json` with its names, its values and its default."""

import pathlib
import sys

import pytest

from support import command, flags

ROOT = pathlib.Path(__file__).parents[2]
RECORDED = flags.recorded()
REMEDY = "if this is meant, write tests/data/flags.json anew: PYTHONPATH=src:tests python -m support.flags"


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    return flags.of_commands(tmp_path_factory.mktemp("flags"))


def test_every_command_is_recorded(shown):
    assert sorted(shown) == sorted(RECORDED), REMEDY


@pytest.mark.parametrize("name", RECORDED)
def test_a_command_shows_the_flags_that_are_recorded(shown, name):
    assert shown.get(name) == RECORDED[name], REMEDY


@pytest.mark.parametrize(
    ("script", "name"), [("scripts/serve_policy.py", "serve"), ("examples/libero/main.py", "eval")]
)
def test_an_entry_point_of_the_reference_shows_the_flags_of_its_command(tmp_path, script, name):
    program = [sys.executable, str(ROOT / script)]
    out, err = command.start(tmp_path, "--help", program=program, COLUMNS=flags.COLUMNS).communicate(timeout=60)
    assert [flag.as_json() for flag in sorted(flags.flags(out))] == RECORDED[name], err


def test_a_flag_is_read_with_all_its_names_its_values_and_its_default():
    """Descriptions stand beside or below a flag, and tyro draws boxes with lines or with blanks."""
    for left, right in (("│", "│"), (" ", "")):
        box = [
            "A                    the run in question (required)",
            "--suite STR, --task-suite-name STR",
            "                     a suite (default: libero_spatial)",
            "--level FLOAT        of a test [percent]; default:",
            "                     as of the run",
            "--num-trials-per-task INT",
            "                     trials of each task (default: 50)",
            "--fresh, --no-fresh  start over (default: False)",
        ]
        title = "╭─ options ─╮" if right else " options"
        text = "\n".join(["usage: pirig x", "", title, *(f"{left} {line:<60}{right}" for line in box), ""])
        assert list(flags.flags(text)) == [
            flags.Flag((), "A", "required"),
            flags.Flag(("--suite", "--task-suite-name"), "STR", "libero_spatial"),
            flags.Flag(("--level",), "FLOAT", "in words"),
            flags.Flag(("--num-trials-per-task",), "INT", "50"),
            flags.Flag(("--fresh", "--no-fresh"), "", "False"),
        ]
