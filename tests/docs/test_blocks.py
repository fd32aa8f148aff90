"""What README and docs print can be typed: blocks run as they stand, or are read by the parsers that would read them.

Blocks of a page share a folder, so a page is walked from its top to its end.
"""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import pytest

from support import shell_commands as commands
from support.markdown import NEEDS, PAGES, ROOT, Block, blocks

ALL = [block for page in PAGES for block in blocks(page)]
SHELL = [block for block in ALL if block.language == "sh"]
TOKENIZER = ROOT / "tests/data/tokenizer/standin_sentencepiece.model"
WITHIN_S = 600


def names(found):
    return [block.name for block in found]


def walked(*words):
    """Pages with a block that has one of these marks."""
    return [page for page in PAGES if any(b.mark == "run" and b.words in words for b in blocks(page))]


def test_every_block_says_whether_it_runs():
    for block in ALL:
        if block.language in ("sh", "python"):
            assert block.mark in ("run", "needs", "file"), f"{block.name}: put a mark above it, see support/markdown.py"
            known = {"run": {"slow", "ci"}, "needs": set(NEEDS), "file": set(block.words)}[block.mark]
            assert set(block.words) <= known, f"{block.name}: {block.words}; there are: {sorted(known)}"
            assert block.words or block.mark == "run", f"{block.name}: say what it needs"
        else:
            assert block.mark in ("", "prints"), block.name
            assert block.language in ("", "text", "json", "yaml"), block.name


@pytest.mark.parametrize("block", SHELL, ids=names(SHELL))
def test_a_shell_block_is_one_that_bash_and_its_commands_would_read(block):
    found = subprocess.run(["bash", "-n", "-c", block.text], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    for variables, words in commands.commands(block.text):
        if commands.of_pirig(words) is None:
            assert not (wrong := commands.complaint(variables, words)), f"{' '.join(words)}: {wrong}"


def test_pirig_knows_every_flag_that_is_printed():
    found = [(b, words) for b in SHELL for _, all_words in commands.commands(b.text)
             if (words := commands.of_pirig(all_words)) is not None]  # fmt: skip
    said = commands.complaints_of_pirig([words for _, words in found])
    wrong = [f"{b.name}: pirig {' '.join(w)}: {why}" for (b, w), why in zip(found, said, strict=True) if why]
    assert len(found) > 50, "\n".join(wrong)
    assert not wrong, "\n".join(wrong)


def test_wrong_commands_are_seen():
    lines = ["eval --siute libero_10", "eval --suite libero_11", "eval --policy pi06", "eval --workers -1", "fly"]
    assert all(commands.complaints_of_pirig([line.split() for line in lines]))


def test_a_block_that_is_a_file_is_that_file():
    found = [block for block in ALL if block.mark == "file"]
    assert found
    assert all((ROOT / block.words[0]).read_text() == block.text for block in found)


WRONG = [
    "make fly",
    "make eval SUTIE=libero_10",
    "docker compose --profile fly up",
    "scripts/vm/install.sh --fly",
    "fly",
]


@pytest.mark.parametrize("line", WRONG)
def test_a_command_that_nobody_knows_is_seen(line):
    assert commands.complaint({}, line.split())


def test_what_ci_runs_is_what_is_printed():
    steps = re.sub(r"\s+", " ", (ROOT / ".ci/run").read_text())
    printed = [" ".join([f"{k}={v}" for k, v in variables.items()] + words)
               for b in SHELL if b.words == ("ci",) for variables, words in commands.commands(b.text)]  # fmt: skip
    assert printed, printed
    assert all(f" {line} " in steps for line in printed), printed


@pytest.mark.parametrize("page", walked(()), ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page, tmp_path):
    walk(page, [()], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", walked(("slow",)), ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_with_a_simulator(page, tmp_path):
    walk(page, [(), ("slow",)], tmp_path)


def walk(page: pathlib.Path, chosen: list[tuple[str, ...]], folder: pathlib.Path) -> None:
    """Runs a page's blocks in order, in `folder`, which has the checkout's examples, and a tokenizer to go with."""
    for name in ("examples", "scripts", "docs"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "home/big_vision").mkdir(parents=True)
    shutil.copy(TOKENIZER, folder / "home/big_vision/paligemma_tokenizer.model")
    printed = ""
    for block in blocks(page):
        if block.mark == "run" and block.words in chosen:
            printed = run(block, folder)
        elif block.mark == "prints" and printed:
            for line in block.text.splitlines():
                pattern = r"\s+".join(map(re.escape, line.split())).replace("…", ".*")
                assert re.search(pattern, printed), f"{block.name}: {line!r} is not in:\n{printed}"
            printed = ""


def run(block: Block, folder: pathlib.Path) -> str:
    words = [sys.executable, "-c"] if block.language == "python" else ["bash", "-euo", "pipefail", "-c"]
    here = pathlib.Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{here}{os.pathsep}{os.environ['PATH']}",
        "OPENPI_DATA_HOME": str(folder / "home"),
        "PIRIG_OFFLINE": "1",
        "COLUMNS": "160",
    }
    said = folder / "said.txt"
    with said.open("w") as file:
        process = subprocess.Popen(
            [*words, block.text], cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(WITHIN_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it left in the background
    text = said.read_text()
    assert code == 0, f"{block.name} ends with {code}:\n{text}"
    return text
