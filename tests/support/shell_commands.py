"""Shell commands in documents, read by whoever would read them if they ran: tyro, make, bash, a script's own text."""

import functools
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import yaml

from support.markdown import ROOT

_ENDS = {"&&", "||", ";", "|", "&", "(", ")", "\n"}
_PLAIN = {"cd", "export", "kill", "git", "tail", "ssh", "curl", "source"}  # nothing of ours reads them
_ENTRY_POINTS = {"examples/libero/main.py": "eval", "scripts/serve_policy.py": "serve"}
_SERVICES = yaml.safe_load((ROOT / "compose.yml").read_text())["services"]


def commands(text: str) -> Iterator[tuple[dict[str, str], list[str]]]:
    """(variables, words) of each simple command of a shell text. Substitutions are left as they stand."""
    lines = re.sub(r"\\\n", " ", text).splitlines()
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;()")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, "\n"]:
            if word not in _ENDS:
                words.append(word)
                continue
            variables = {}
            while words and re.match(r"[A-Z_0-9]+=", words[0]):
                name, _, value = words.pop(0).partition("=")
                variables[name] = value
            if words:
                yield variables, words
            words = []


def complaint(variables: dict[str, str], words: list[str]) -> str:
    """What is wrong with a command that no pirig reads; empty: nothing. `pirig` itself is read by `parse_flags.py`."""
    first = words[0]
    if first == "make":
        return _of_make(tuple(words[1:]))
    if first == "docker":
        return _of_compose(words[1:])
    if first in ("python", "bash", "sky"):
        files = [word for word in words[1:] if "/" in word and "://" not in word]
        missing = [file for file in files if file.startswith(_OURS) and not (ROOT / file).exists()]
        return f"there is no {missing[0]}" if missing else ""
    if first.startswith(_OURS):
        return _of_script(first, variables, words[1:])
    return "" if first in _PLAIN else f"no test knows {first!r}"


_OURS = ("scripts/", "examples/", "benchmarks/", "tests/", "docker/", ".ci/")


def of_pirig(words: list[str]) -> list[str] | None:
    """The words behind `pirig`, where it is one, or one of the reference's entry points."""
    if words[0] == "pirig":
        return words[1:]
    if words[0] == "python" and words[1] in _ENTRY_POINTS:
        return [_ENTRY_POINTS[words[1]], *words[2:]]
    return None


def complaints_of_pirig(asked: list[list[str]]) -> list[str]:
    """What its own parsers and checks say, one for each; empty: nothing. In a process of its own."""
    script = ROOT / "tests/support/parse_flags.py"
    found = subprocess.run([sys.executable, script], input=json.dumps(asked), capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@functools.cache
def _of_make(words: tuple[str, ...]) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    found = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, env=environment)
    unknown = [word.partition("=")[0] for word in words if "=" in word and not _is_variable(word.partition("=")[0])]
    return found.stderr if found.returncode else f"nothing reads {unknown[0]}" if unknown else ""


def _is_variable(name: str) -> bool:
    places = ("Makefile", "scripts/stack.sh", "compose.yml", "compose.live.yml")
    return any(re.search(rf"\b{name}\b", (ROOT / place).read_text()) for place in places)


def _of_compose(words: list[str]) -> str:
    if words[0] != "compose":
        return f"no test knows docker {words[0]}"
    profiles = {profile for service in _SERVICES.values() for profile in service["profiles"]} | {"*"}
    for flag, value in itertools.pairwise(words):
        if flag == "--profile" and value not in profiles:
            return f"compose.yml has no profile {value}"
        if flag == "-f" and not (ROOT / value).exists():
            return f"there is no {value}"
    rest = [word for word in words[1:] if not word.startswith("-") and word not in profiles and "/" not in word]
    unknown = [word for word in rest[1:] if word not in _SERVICES]
    if rest[0] not in ("up", "down", "build", "logs", "ps") or unknown:
        return f"compose would not know {unknown or rest[0]}"
    return ""


def _of_script(path: str, variables: dict[str, str], words: list[str]) -> str:
    """A script must be there and run; flags and variables must stand in it, or in the Python that it calls."""
    file = ROOT / path
    if not os.access(file, os.X_OK):
        return f"{path} is not there, or cannot be run"
    text = file.read_text()
    unknown = [name for name in [*variables, *(w for w in words if w.startswith("--"))] if name not in text]
    return f"{path} does not know {unknown[0]}" if unknown else ""
