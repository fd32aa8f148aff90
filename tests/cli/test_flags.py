"""One thing has one name in all commands, and one default. An old name is an error that says the new one."""

import dataclasses
import pathlib
import types
import typing

import pytest

from pirig.cli import args
from pirig.cli.commands import COMMANDS
from pirig.cli.eval import EvalArgs
from pirig.launch.settings import RESULTS, VIDEOS, recorded
from support.command import call

PATHS = {"results": RESULTS, "videos": VIDEOS, "out": None, "checkout": pathlib.Path()}
OTHERS = {("checkpoint fetch", "data_home"), ("checkpoint random", "directory")}  # no runs, videos, reports, checkouts


def fields(kind):
    """(name, type, field) of all flags and positional arguments of a command, those of nested values too."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from fields(hints[field.name])
        else:
            yield field.name, hints[field.name], field


def takes_a_path(kind):
    return pathlib.Path in (typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,))


PATH_FLAGS = [
    pytest.param(name, field, id=f"{command} {name}")
    for command, row in COMMANDS.items()
    for name, kind, field in fields(row.kind())
    if takes_a_path(kind) and (command, name) not in OTHERS
]


@pytest.mark.parametrize(("name", "field"), PATH_FLAGS)
def test_a_path_has_one_of_four_names_and_the_default_of_that_name(name, field):
    assert name in PATHS
    assert field.default == PATHS[name]


@pytest.mark.parametrize("command", COMMANDS)
def test_these_four_names_always_mean_a_path(command):
    kinds = {name: kind for name, kind, _ in fields(COMMANDS[command].kind()) if name in PATHS}
    assert all(kind in (pathlib.Path, pathlib.Path | None) for kind in kinds.values()), kinds


READ_OR_WRITE = {
    "results": {"eval", "serve", "replay", "verify", "report", "compare", "power", "runs", "merge"},
    "videos": {"eval", "replay", "report", "compare", "merge"},
    "out": {"report", "compare", "replay", "quantize"},
    "checkout": {"stack run", "stack up", "stack status", "stack logs", "stack down"},
}


@pytest.mark.parametrize("name", READ_OR_WRITE)
def test_each_command_takes_the_paths_that_it_reads_or_writes(name):
    takes = {command for command, row in COMMANDS.items() if name in {field for field, _, _ in fields(row.kind())}}
    assert takes == READ_OR_WRITE[name]


@pytest.mark.parametrize(("command", "old"), args.RENAMED)
@pytest.mark.parametrize("spelling", ["--{} x", "--{}=x", "--args.{} x", "with underscores"])
def test_an_old_name_is_answered_with_the_new_one(command, old, spelling, tmp_path):
    name, new = old.removeprefix("--"), args.RENAMED[command, old]
    line = f"--{name.replace('-', '_')} x" if spelling == "with underscores" else spelling.format(name)
    ended = call(tmp_path, command, *line.split())
    assert ended.code == 2
    assert ended.err.startswith(f"error: {old} is called {new.name} now"), ended.err
    assert ended.err.count("\n") == 1
    assert new.name.removeprefix("--") in {name for name, _, _ in fields(COMMANDS[command].kind())}


def test_an_old_name_says_where_its_value_means_something_else(tmp_path):
    said = call(tmp_path, "serve", "--runs", "results/libero/runs").err
    assert said == "error: --runs is called --results now; it takes the folder that contains the folder runs\n"


def test_openpis_names_of_both_folders_stay():
    for words in ("--results-out-path r --video-out-path v", "--args.results_out_path r --args.video_out_path=v"):
        found = args.parse(EvalArgs, words.split(), "eval").paths
        assert (found.results, found.videos) == (pathlib.Path("r"), pathlib.Path("v"))
        assert found == args.parse(EvalArgs, ["--results", "r", "--videos", "v"], "eval").paths


def test_a_manifest_records_the_folders_by_the_names_of_their_flags():
    assert {name: recorded(EvalArgs())[name] for name in ("results", "videos")} == {
        "results": RESULTS,
        "videos": VIDEOS,
    }


@pytest.mark.parametrize("action", ["run", "up", "status", "logs", "down"])
def test_each_action_of_the_stack_takes_another_checkout(action, tmp_path):
    ended = call(tmp_path, "stack", action, "--checkout", "elsewhere")
    assert ended.code == 2
    assert f"{tmp_path}/elsewhere is no checkout of pirig" in ended.err
