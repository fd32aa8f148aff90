"""What is said while a run goes on, where there is no terminal to draw on."""

import logging

from pirig.launch.observers import progress
from pirig.types import EpisodeSpec, Video


def test_videos_are_told_of_now_and_then(monkeypatch, caplog):
    now_s = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now_s[0])
    caplog.set_level(logging.INFO, "pirig")
    bars = progress.EpisodeProgress({"libero_object": (4, [])})
    for trial in range(4):
        bars.video(Video(EpisodeSpec("libero_object", 0, trial), "a.mp4", error="no disk" if trial == 1 else ""))
        now_s[0] += 10
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert told == ["videos made: 1", "videos made: 2"]
    bars.close()
    assert caplog.messages[-1] == "1 videos could not be made; the same command tries again"
