"""A frame recorder writes what a policy sees, and changes nothing."""

import io
import pathlib

import numpy as np
import pytest
from PIL import Image

from pirig.evaluation.episode import run_episode
from pirig.evaluation.frame_recorder import FrameRecorder, png
from pirig.evaluation.plan import plan
from pirig.policies.baselines import RandomPolicy
from pirig.testing import FakeEnvironment
from pirig.types import Rules

RULES = Rules(max_policy_steps=60, settle_action=(0,) * 7)


class SeesImages(RandomPolicy):
    metadata = {"name": "random", "observations": ["observation/image"]}


@pytest.mark.parametrize("shape", [(1, 1, 3), (224, 224, 3), (3, 7, 3)])
def test_a_png_is_read_back_as_it_was(shape):
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(image)))), image)


def test_a_frame_recorder_changes_no_episode_and_asks_for_no_image(tmp_path):
    for spec in plan("fake", range(2), range(2), seed=7):
        for kind in (RandomPolicy, SeesImages):
            looked = FakeEnvironment.looked
            alone = run_episode(spec, FakeEnvironment(), kind(), RULES)
            asked = FakeEnvironment.looked - looked
            watched = run_episode(spec, FakeEnvironment(), FrameRecorder(kind(), tmp_path / "0.png"), RULES)
            assert watched.outcome() == alone.outcome()
            assert alone.status != "error"
            assert FakeEnvironment.looked - looked == 2 * asked
            assert (asked > 0) == (kind is SeesImages)
    assert np.asarray(Image.open(tmp_path / "0.png")).shape == (16, 16, 3)


def test_frames_are_few_and_the_first_is_there_at_once(tmp_path, monkeypatch):
    now, written = [100.0], []
    monkeypatch.setattr("pirig.evaluation.frame_recorder.time.monotonic", lambda: now[0])
    recorder = FrameRecorder(RandomPolicy(), tmp_path / "0.png")
    for moment in (100.0, 100.4, 100.9, 101.1, 101.5, 102.2):
        now[0] = moment
        recorder.infer({"observation/image": np.full((4, 4, 3), round(moment * 10) % 256, np.uint8)})
        written.append(int(np.asarray(Image.open(tmp_path / "0.png")).max()))
    assert written == [232, 232, 232, 243, 243, 254]
    assert [path.name for path in tmp_path.iterdir()] == ["0.png"]


def test_a_folder_that_is_gone_is_nobodys_error():
    recorder = FrameRecorder(RandomPolicy(), pathlib.Path("/nowhere/0.png"))
    image = np.zeros((4, 4, 3), np.uint8)
    answer = recorder.infer_batch([{"observation/image": image, "noise_key": "a"}])[0]["actions"]
    assert np.array_equal(answer, RandomPolicy().infer({"noise_key": "a"})["actions"])
    recorder.close()
