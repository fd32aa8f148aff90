"""One run on disk, under what can happen to it."""

import itertools
import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from pirig.errors import ConfigError
from pirig.results.lines import _pack, _unpack
from pirig.results.store import RunStore, run_id
from pirig.testing import StoreLaws
from pirig.types import EpisodeResult, EpisodeSpec, Timings

CONFIGURATION = {"suite": "fake", "policy": "zero", "replan_steps": 5}


def result(trial, status="success", **change):
    actions = np.random.default_rng(trial).normal(size=(3, 7))
    return EpisodeResult(
        **{
            "spec": EpisodeSpec("fake", 0, trial, 7),
            "status": status,
            "steps": 13,
            "max_steps": 230,
            "wall_s": 0.1,
            "timings": Timings(0.1, 0.2, 0.05, 0.3, 5),
            "actions": actions,
            "state_hash": "abc",
            "error": "Traceback: größer" if status == "error" else "",
            **change,
        }
    )


def same(a, b):
    return a.outcome() == b.outcome() and (a.spec, a.timings, a.error) == (b.spec, b.timings, b.error)


class TestRunStore(StoreLaws):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        self.folder = tmp_path / "run"

    def make_store(self):
        return RunStore.open(self.folder, CONFIGURATION)

    def read_again(self, store):
        return RunStore.read(self.folder)


@given(stn.arrays(np.float64, st.tuples(st.integers(0, 30), st.just(7)), elements=st.floats(allow_nan=False)))
def test_actions_are_kept_exactly(actions):
    found = _unpack(_pack(actions))
    assert found.tobytes() == actions.tobytes()
    assert found.shape == actions.shape


def test_what_is_appended_is_read_back(tmp_path):
    with RunStore.open(tmp_path / "run", CONFIGURATION) as store:
        store.append(result(0))
        store.append(result(1, "failure"))
    found = list(RunStore.read(tmp_path / "run").results())
    assert len(found) == 2
    assert same(found[0], result(0))
    assert same(found[1], result(1, "failure"))


def test_an_error_is_replaced_by_a_score_and_never_the_other_way(tmp_path):
    with RunStore.open(tmp_path / "run", CONFIGURATION) as store:
        for one in (result(0, "error"), result(1), result(0, "failure"), result(1, "error")):
            store.append(one)
        assert [(r.spec.trial, r.status) for r in store.results()] == [(0, "failure"), (1, "success")]
        assert {spec.trial for spec in store.scored()} == {0, 1}


def test_a_last_line_cut_anywhere_is_a_result_that_was_never_there(tmp_path):
    with RunStore.open(tmp_path / "run", CONFIGURATION) as store:
        store.append(result(0))
        store.append(result(1, "error"))
    path = tmp_path / "run/episodes.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole)):
        path.write_bytes(whole[:cut])
        assert [r.spec.trial for r in RunStore.read(tmp_path / "run").results()] == [0], cut
        with RunStore.open(tmp_path / "run", CONFIGURATION) as store:
            store.append(result(2))
            assert [r.spec.trial for r in store.results()] == [0, 2], cut


def test_damage_in_the_middle_is_an_error_with_its_place(tmp_path):
    with RunStore.open(tmp_path / "run", CONFIGURATION) as store:
        store.append(result(0))
        store.append(result(1))
    path = tmp_path / "run/episodes.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"success"', b'"succ', 1))
    with pytest.raises(ConfigError, match=r"episodes\.jsonl, line 1 is damaged"):
        list(RunStore.read(tmp_path / "run").results())


def test_one_bit_that_flipped_anywhere_is_noticed(tmp_path):
    """A number with another bit is still a number; a newline with another bit glues two lines together."""
    with RunStore.open(tmp_path / "run", CONFIGURATION) as store:
        for trial in range(2):
            store.append(result(trial))
    path = tmp_path / "run/episodes.jsonl"
    data = path.read_bytes()
    first = data.index(b"\n") + 1
    for place in range(first):
        for bit in range(8):
            path.write_bytes(data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :])
            with pytest.raises(ConfigError, match=r"episodes.jsonl, line \d is damaged"):
                list(RunStore.read(tmp_path / "run").results())


def test_lines_of_older_versions_have_no_checksum_and_are_read(tmp_path):
    with RunStore.open(tmp_path / "run", CONFIGURATION) as store:
        store.append(result(3))
    path = tmp_path / "run/episodes.jsonl"
    row = json.loads(path.read_bytes())
    del row["crc32"]
    path.write_text(json.dumps(row) + "\n")
    assert same(next(RunStore.read(tmp_path / "run").results()), result(3))


def write_for_ever(folder):
    with RunStore.open(folder, CONFIGURATION) as store:
        for trial in itertools.count():
            store.append(result(trial))


def test_what_a_killed_writer_had_appended_is_there(tmp_path):
    writer = multiprocessing.get_context("spawn").Process(target=write_for_ever, args=(tmp_path / "run",))
    writer.start()
    path = tmp_path / "run/episodes.jsonl"
    while not path.exists() or path.stat().st_size < 20_000:
        time.sleep(0.01)
    with pytest.raises(ConfigError, match="another process is writing"):
        RunStore.open(tmp_path / "run", CONFIGURATION)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    with RunStore.open(tmp_path / "run", CONFIGURATION) as store:
        found = list(store.results())
    assert len(found) > 10
    assert all(same(r, result(i)) for i, r in enumerate(found))


def test_another_configuration_is_refused_naming_what_differs(tmp_path):
    RunStore.open(tmp_path / "run", CONFIGURATION).close()
    with pytest.raises(ConfigError) as caught:
        RunStore.open(tmp_path / "run", {**CONFIGURATION, "replan_steps": 10, "extra": 1})
    message = str(caught.value)
    assert "replan_steps: the run has 5, this command 10" in message
    assert "extra: the run has None" in message
    assert "--fresh" in message
    assert "suite" not in message


def test_starting_over_keeps_the_old_run(tmp_path):
    for _ in range(2):
        with RunStore.open(tmp_path / "run", CONFIGURATION, fresh=True) as store:
            assert not store.scored()
            store.append(result(0))
    assert len(RunStore.read(tmp_path / "run.replaced-1").scored()) == 1


def test_notes_are_kept(tmp_path):
    with RunStore.open(tmp_path / "run", CONFIGURATION) as store:
        store.note(gl_renderer="llvmpipe")
    RunStore.open(tmp_path / "run", CONFIGURATION).close()
    assert RunStore.read(tmp_path / "run").manifest["gl_renderer"] == "llvmpipe"


def test_a_run_that_is_not_there_names_those_that_are(tmp_path):
    RunStore.open(tmp_path / "other", CONFIGURATION).close()
    with pytest.raises(ConfigError, match="there are: other"):
        RunStore.read(tmp_path / "run")


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write results to .*file/run"):
        RunStore.open(tmp_path / "file/run", CONFIGURATION)


@pytest.mark.parametrize(("text", "message"), [("{", "is damaged"), ('{"format": 99}', "has format 99")])
def test_a_strange_manifest_is_refused(tmp_path, text, message):
    RunStore.open(tmp_path / "run", CONFIGURATION).close()
    (tmp_path / "run/manifest.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        RunStore.open(tmp_path / "run", CONFIGURATION)


def test_a_run_is_named_after_its_configuration():
    name = run_id({**CONFIGURATION, "policy": "ws://gpu:8000"})
    assert name.startswith("fake-ws_gpu_8000-")
    assert "/" not in name
    assert run_id({"a": 1, "b": 2}) == run_id({"b": 2, "a": 1}) != run_id({"a": 1, "b": 3})
