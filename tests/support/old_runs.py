"""Questions about the runs that version 0.1.0 wrote, which `tests/data/old_runs` holds together with its answers.

An answer leaves out what depends on the machine or on the time of the question. This command writes the answers of the
present code: `PYTHONPATH=src:tests python -m support.old_runs`.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from support import command, golden, page_text, tiny

FOLDER = golden.DATA / "old_runs"
ANSWERS = FOLDER / "answers"
BY_CONFIGURATION = "libero_object-scripted-7b8e00c5"  # named after its configuration, as no --run was given
MODEL = "libero_spatial-pi05_libero_tiny-1a3644dd"  # likewise
RUNS = (  # in the order in which make.sh made them
    "quantized",
    MODEL,
    "openpi-seeding",
    "part-1",
    "part-2",
    "merged",
    "stopped",
    "errors",
    "interrupted",
    BY_CONFIGURATION,
    "scripted",
)
MACHINE = {
    "MUJOCO_GL": "osmesa",
    "OPENBLAS_CORETYPE": "Haswell",  # states depend on its kernels; these run on every x86-64 processor with AVX2
}
_FIRST_S = 1_800_000_000  # time of the first run's file [Unix time]
_DRY_RUN = ("episodes", "run")  # rows of `--dry-run` that do not depend on the machine


@dataclasses.dataclass(frozen=True)
class Question:
    words: tuple[str, ...]  # of a `pirig` command
    kept: Callable[[str], str] = str  # returns the part of its standard output that is the answer


def copy(folder: pathlib.Path) -> pathlib.Path:
    """Make a working directory with the runs, the tiny checkpoint and the stand-in tokenizer; return `folder`.

    The times of the files follow the order of RUNS, because git does not keep times.
    """
    tiny.workspace(folder, "pi05_libero_tiny")
    shutil.copytree(FOLDER / "results", folder / "results")
    for number, name in enumerate(RUNS):
        path = directory(folder, name) / "episodes.jsonl"
        os.utime(path, (_FIRST_S + 60 * number,) * 2)
    return folder


def directory(folder: pathlib.Path, name: str) -> pathlib.Path:
    return folder / "results/libero/runs" / name


def manifest(folder: pathlib.Path, name: str) -> dict[str, Any]:
    return json.loads((directory(folder, name) / "manifest.json").read_text())


def call(folder: pathlib.Path, *words: str) -> command.Ended:
    return command.call(folder, *words, **MACHINE)


def resume(name: str) -> tuple[str, ...]:
    """Return the command that last worked on the run. No command has worked on `merged` after `pirig merge`."""
    if name == "merged":
        return (*resume("part-1")[:-2], "2", "--run", "merged")
    return tuple(manifest(FOLDER, name)["sessions"][-1]["command"])


def answer(folder: pathlib.Path, question: Question) -> str:
    """Ask in `folder`, which is a copy."""
    ended = call(folder, *question.words)
    return question.kept(ended.out) if ended.code == 0 else f"exit code {ended.code}: {ended.err}"


def simulated(folder: pathlib.Path, words: tuple[str, ...]) -> command.Ended:
    """Run a command in a process of its own, because a process can have one simulator only."""
    return command.run(folder, *words, **MACHINE)


def last_line(ended: command.Ended) -> str:
    """Return the exit code and the last line of the output."""
    return f"exit code {ended.code}\n{ended.out.splitlines()[-1]}\n"


def _without_dates(out: str) -> str:
    return _dumped([{key: value for key, value in row.items() if key != "date"} for row in json.loads(out)])


def _without_manifest(out: str) -> str:
    return _dumped({key: value for key, value in json.loads(out).items() if key != "manifest"})


def _dumped(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _rows(out: str) -> str:
    return "".join(line for line in out.splitlines(keepends=True) if line.startswith(_DRY_RUN))


def _words_of_page(out: str) -> str:
    """Return a line for each section: its id and its text."""
    sections = page_text.parse(out).find("section")
    return "".join(f"{section.attributes.get('id', '')}: {section.text}\n" for section in sections)


def _reports(name: str) -> dict[str, Question]:
    def report(form: str) -> tuple[str, ...]:
        return "report", name, "--format", form, "--out", "-"

    return {
        f"reports/{name}.csv": Question(report("csv")),
        f"reports/{name}.json": Question(report("json"), _without_manifest),
        f"reports/{name}.md": Question(report("md")),
        f"resume/{name}.txt": Question((*resume(name), "--dry-run"), _rows),
    }


def _comparison(a: str, b: str) -> dict[str, Question]:
    return {f"comparisons/{a}--{b}.json": Question(("compare", a, b, "--json", "--no-page"))}


QUESTIONS: Mapping[str, Question] = {  # by the file of the answer
    "runs.json": Question(("runs", "--results", "results/libero", "--json"), _without_dates),
    "overview.md": Question(("report", "--format", "md", "--out", "-")),
    "page.txt": Question(("report", "scripted", "--out", "-"), _words_of_page),
    **_comparison("merged", "stopped"),
    **_comparison("scripted", "errors"),
    **_comparison(MODEL, "quantized"),
    **{file: question for name in RUNS for file, question in _reports(name).items()},
}

SIMULATIONS: Mapping[str, tuple[str, ...]] = {
    "simulations/replay.txt": ("replay", "scripted", "2/1", "--no-video"),
    "simulations/verify.txt": ("verify", "openpi-seeding", "--workers", "0"),
}


def write() -> None:
    """Replace the stored answers by those of the present code."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = copy(pathlib.Path(temporary))
        answers = {file: answer(folder, question) for file, question in QUESTIONS.items()}
        answers |= {file: last_line(simulated(folder, words)) for file, words in SIMULATIONS.items()}
    shutil.rmtree(ANSWERS, ignore_errors=True)
    for file, text in answers.items():
        (ANSWERS / file).parent.mkdir(parents=True, exist_ok=True)
        (ANSWERS / file).write_text(text)


if __name__ == "__main__":
    write()
