"""This module reads the flags of each `pirig` command from the text of its help.

This command writes them to `tests/data/flags.json`, which `tests/cli/test_flags.py` compares with the present help:
`PYTHONPATH=src:tests python -m support.flags`.
"""

import collections
import dataclasses
import itertools
import json
import pathlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence

from pirig.cli.commands import COMMANDS
from support import command

FILE = pathlib.Path(__file__).parents[1] / "data/flags.json"
COLUMNS = "120"  # where it is wider, tyro may put boxes side by side; where it is narrower, it may wrap choices
_TITLE = re.compile(r"^(?:╭| \S).*\n", re.M)  # of a box; tyro draws its border in blanks if stdout has no encoding
_IN_A_BOX = re.compile(r"^[│ ] (?P<text>.*?) *│?$", re.M)
_OPTION = re.compile(r"--?[a-zA-Z]")
_POSITIONAL = re.compile(r"\[?[A-Z][A-Z_]*\]?(?:  |$)")
_BULLET = "• "


@dataclasses.dataclass(frozen=True, order=True)
class Flag:
    names: tuple[str, ...]  # such as --suite and --task-suite-name; empty for a positional argument
    value: str  # its metavar or its choices, such as [INT [INT ...]] or {fast,reference}; empty for a switch
    default: str  # the text in parentheses; `required`; or `in words` if the description states it in a sentence

    def as_json(self) -> dict[str, str]:
        return {"names": " ".join(self.names), "value": self.value, "default": self.default}


def of_commands(folder: pathlib.Path) -> dict[str, list[dict[str, str]]]:
    """Return the sorted flags of each command; a subcommand such as `serve policy:checkpoint` counts as a command.

    `folder`: a working directory.
    """
    todo, found = collections.deque(COMMANDS), {}
    while todo:
        name = todo.popleft()
        help_text = command.call(folder, *name.split(), "--help", COLUMNS=COLUMNS).out
        found[name] = [flag.as_json() for flag in sorted(flags(help_text))]
        todo.extend(f"{name} {word}" for word in subcommands(help_text))
    return dict(sorted(found.items()))


def recorded() -> dict[str, list[dict[str, str]]]:
    return json.loads(FILE.read_text())


def flags(help_text: str) -> Iterator[Flag]:
    """Read the flags except `--help`. Subcommands are read as the choices of a positional argument."""
    for box in _boxes(help_text):
        if words := _bullets(box):
            yield Flag((), "{" + ",".join(words) + "}", _default(box[0]))
            continue
        column = _column_of_descriptions(box)
        for number, line in enumerate(box):
            if _OPTION.match(line) or _POSITIONAL.match(line):
                has_room = not line[column - 2 : column].strip()
                shown = line[:column].rstrip() if has_room else line
                names, value = _names_and_value(shown)
                if "--help" not in names:
                    yield Flag(names, value, _default(_description(box[number:], shown)))


def subcommands(help_text: str) -> list[str]:
    return [word for box in _boxes(help_text) for word in _bullets(box)]


def write(found: Mapping[str, Sequence[Mapping[str, str]]]) -> None:
    """Write one line for each flag, so that a change of the file shows which flags changed."""
    commands = []
    for name, rows in found.items():
        lines = ",\n".join("  " + json.dumps(row) for row in rows)
        commands.append(f"{json.dumps(name)}: [\n{lines}\n ]" if rows else f"{json.dumps(name)}: []")
    FILE.write_text("{\n " + ",\n ".join(commands) + "\n}\n")


def _boxes(help_text: str) -> Iterator[list[str]]:
    """Yield the lines of each box, without its border."""
    for box in _TITLE.split(help_text)[1:]:
        yield [match["text"] for match in _IN_A_BOX.finditer(box)]


def _column_of_descriptions(box: Sequence[str]) -> int:
    """Return where descriptions begin; 0 if the box has none."""
    return min((len(line) - len(line.lstrip()) for line in box if line.startswith("  ")), default=0) or max(
        (match.end() for line in box if (match := re.match(r"\S.*?  +(?=\S)", line))), default=0
    )


def _bullets(box: Sequence[str]) -> list[str]:
    return [line.split(_BULLET)[1].split()[0] for line in box if _BULLET in line]


def _description(lines: Sequence[str], shown: str) -> str:
    """Join what stands to the right of a flag and below it. `lines` begin with the flag's own."""
    below = itertools.takewhile(lambda line: line.startswith(" "), lines[1:])
    return " ".join(" ".join([lines[0][len(shown) :], *below]).split())


def _names_and_value(shown: str) -> tuple[tuple[str, ...], str]:
    """Split `--suite STR, --task-suite-name STR` into two names and their one value."""
    if not _OPTION.match(shown):
        return (), shown
    words = [part.partition(" ") for part in re.split(r", (?=--?[a-zA-Z])", shown)]
    (value,) = {value for _, _, value in words}
    return tuple(sorted(name for name, _, _ in words)), value


def _default(description: str) -> str:
    if match := re.search(r"\(default: ([^()]*)\)$", description):
        return match[1]
    if description.endswith("(required)"):
        return "required"
    assert re.search(r"(^|[ ;])default: ", description), f"no default is stated in {description!r}"
    return "in words"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write(of_commands(pathlib.Path(folder)))
