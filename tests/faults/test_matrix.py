"""One table of faults. An evaluation runs clean once, then with each fault, then again where the row says so.

Law: whatever struck, the final CSV is the clean one, byte for byte; what happened was said; no process is left.
"""

import dataclasses
import fcntl
import pathlib
import re
import shutil

import pytest

from faults import rows_libero, rows_machine, rows_processes, rows_servers
from faults.fault import Fault, Outcome
from faults.trial import SCENES, Trial, differences

ROWS: list[Fault] = [*rows_processes.ROWS, *rows_servers.ROWS, *rows_machine.ROWS, *rows_libero.ROWS]
NAME = SCENES["model"].policy[1]
TOKENIZER = pathlib.Path(__file__).parents[1] / "data/tokenizer/standin_sentencepiece.model"


@pytest.fixture(scope="session")
def clean(tmp_path_factory):
    """The folder of a scene's clean run, made once for all the processes that test."""
    shared = tmp_path_factory.getbasetemp().parent / "clean"
    shared.mkdir(exist_ok=True)

    def of(name: str) -> Trial:
        folder, scene = shared / name, SCENES[name]
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            trial = Trial(folder, scene)
            if not trial.csv():
                folder.mkdir()
                if scene.policy[1] == NAME:
                    make_workspace(trial)
                ended = trial.command(*scene.policy)
                assert ended.code == 0, ended.said
            trial.end()
            return trial

    return of


def make_workspace(trial: Trial) -> None:
    """A checkpoint with random weights, and the stand-in tokenizer."""
    made = trial.program("checkpoint", "random", NAME, "ckpt", "--layout", "safetensors")
    assert made.code == 0, made.said
    (trial.folder / "home/big_vision").mkdir(parents=True)
    shutil.copy(TOKENIZER, trial.folder / "home/big_vision/paligemma_tokenizer.model")


def marks(fault: Fault) -> list:
    return [pytest.mark.slow] if fault.slow or fault.scene != "fake" else []


@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.id, marks=marks(fault)) for fault in ROWS])
def test_the_final_csv_is_the_clean_one(fault, clean, tmp_path, record_property):
    model = clean(fault.scene)
    expected = model.csv()
    trial = Trial(tmp_path, SCENES[fault.scene])
    for name in ("ckpt", "home", "packs"):
        if (model.folder / name).exists():
            shutil.copytree(model.folder / name, tmp_path / name)
    course = fault.strike(trial)
    try:
        struck = next(course)
        assert struck.code == fault.code and re.search(fault.says, struck.said), struck
        assert fault.code != 2 or "Traceback" not in struck.said, struck.said
        if fault.expected == "recovers":
            seconds = trial.recovered_s()
        else:
            assert trial.csv() != expected, "there was nothing to mend"
            seconds = mended(fault, trial, course)
        lost, miscounted = differences(expected, trial.csv())
        found = Outcome(fault.name, fault.role, fault.phase, fault.scene, fault.expected, lost, miscounted, seconds)
        record_property("fault", dataclasses.asdict(found))
        assert trial.csv() == expected and (lost, miscounted) == (0, 0)
    finally:
        course.close()
        trial.end()


def mended(fault: Fault, trial: Trial, course) -> float:
    """Has the course mend what it broke, and the same command given again, unless the course did so itself."""
    trial.mark()
    again = next(course, None)
    if again is None:
        trial.mark()
        again = trial.command(*trial.words, *fault.again)
    assert again.code == 0, again.said
    return trial.recovered_s()
