"""What is done with each row. An evaluation runs clean once, then with the fault, then again where the row says so.

Law: whatever struck, the final CSV is the clean one, byte for byte; what happened was said; no process is left.
"""

import dataclasses
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence

import pytest

from faults.fault import Fault, Outcome
from faults.trial import SCENES, Ended, Trial, differences

_OF_THE_RUN = ("results", "data", "stage0", "log0")  # that was clean


def each(rows: Sequence[Fault]) -> pytest.MarkDecorator:
    """A parameter `fault`."""
    return pytest.mark.parametrize("fault", [pytest.param(row, id=row.id, marks=_marks(row)) for row in rows])


def _marks(fault: Fault) -> list[pytest.MarkDecorator]:
    return [pytest.mark.faults] if fault.slow or fault.scene != "fake" else []


def follow(
    fault: Fault, clean: Callable[[str], Trial], folder: pathlib.Path, record: Callable[[str, object], None]
) -> None:
    """`clean`: the clean run of a scene. `record`: hears the outcome, before it is judged."""
    model = clean(fault.scene)
    expected = model.csv()

    def left_out(path: str, names: list[str]) -> list[str]:
        return [name for name in names if pathlib.Path(path) == model.folder and name in _OF_THE_RUN]

    shutil.copytree(model.folder, folder, ignore=left_out, dirs_exist_ok=True)
    trial = Trial(folder, SCENES[fault.scene])
    course = fault.strike(trial)
    try:
        struck = next(course)
        assert struck.code == fault.code, struck
        assert re.search(fault.says, struck.said), struck
        assert fault.expected != "refused" or "Traceback" not in struck.said, struck.said
        if fault.expected == "recovers":
            seconds = trial.recovered_s()
        else:
            assert trial.csv() != expected, "there was nothing to mend"
            seconds = _mended(fault, trial, course)
        lost, miscounted = differences(expected, trial.csv())
        found = Outcome(fault.name, fault.role, fault.phase, fault.scene, fault.expected, lost, miscounted, seconds)
        record("fault", dataclasses.asdict(found))
        assert trial.csv() == expected
        assert (lost, miscounted) == (0, 0)
    finally:
        course.close()
        trial.end()


def _mended(fault: Fault, trial: Trial, course: Iterator[Ended]) -> float:
    """Has the course mend what it broke, and the same command given again, unless the course did so itself."""
    trial.mark()
    again = next(course, None)
    if again is None:
        trial.mark()
        again = trial.command(*trial.words, *fault.again)
    assert again.code == 0, again.said
    return trial.recovered_s()
