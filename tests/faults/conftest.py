"""Clean runs, made once for all rows of a scene."""

import fcntl
import pathlib
import shutil

import pytest

from faults import rows_containers
from faults.trial import SCENES, Trial

NAME = SCENES["model"].policy[1]
TOKENIZER = pathlib.Path(__file__).parents[1] / "data/tokenizer/standin_sentencepiece.model"


@pytest.fixture(scope="session")
def clean(shared):
    """The folder of a scene's clean run, made once for all the processes that test."""
    runs = shared / "clean"
    runs.mkdir(exist_ok=True)

    def of(name: str) -> Trial:
        folder, scene = runs / name, SCENES[name]
        with (runs / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            trial = Trial(folder, scene)
            if not trial.csv():
                if name == "containers":
                    rows_containers.checkout(folder, runs / "site")
                else:
                    folder.mkdir()
                if NAME in scene.policy:
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
