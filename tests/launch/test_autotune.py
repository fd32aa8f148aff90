"""What a minute of results sets and says. How the numbers are found is tested with tables, in evaluation."""

import logging

from pirig.launch.observers.autotune import Autotune, Levers
from pirig.types import EpisodeResult, EpisodeSpec, Timings, Video

SPECS = [EpisodeSpec("libero_goal", 0, trial) for trial in range(40)]
LEFT = {spec: 310 for spec in SPECS}


def result(spec, wait_s=0.4):
    """31 chunks of 0.1 s each, and so long a wait for each of them."""
    return EpisodeResult(spec, "success", 155, 310, wall_s=3.1 + 31 * wait_s,
                         timings=Timings(simulation_s=3.1, inference_s=31 * wait_s, chunks=31))  # fmt: skip


def tuned(results, *, given=False, after_s=0.0, batches=({2: (50, 20.0)}, {2: (40, 16.0)})):
    """What was set, and what was noted."""
    set_, noted = {}, []
    levers = Levers(
        workers=4,
        cores=4,
        room=lambda: 12,
        hosts=2,
        most_batch=4,
        batches=lambda: batches,
        set_workers=None if given else lambda n: set_.update(workers=n),
        set_batch=lambda n: set_.update(batch=n),
    )
    tuning = Autotune(levers, LEFT, noted.append, after_s=after_s)
    for found in results:
        (tuning.video if isinstance(found, Video) else tuning.result)(found)
    return set_, noted


def test_it_acts_once_with_enough_results(caplog):
    caplog.set_level(logging.INFO)
    assert tuned([result(spec) for spec in SPECS[:3]]) == ({}, [])
    set_, (noted,) = tuned([*(result(spec) for spec in SPECS[:9]), Video(SPECS[0], "a.mp4")])
    assert set_["batch"] == 2
    assert set_["workers"] == noted["workers"] == noted["found"]["workers"]
    assert noted["found"]["bottleneck"] == "inference"
    assert noted["measured"]["batches"] == {"2": [90, 36.0]}
    assert "autotune: a worker does 50 steps/s and waits 400 ms" in caplog.text
    assert "a batch of 2 takes 400 ms on 2 policy hosts; inference is the bottleneck" in caplog.text


def test_it_waits_for_its_minute():
    assert tuned([result(spec) for spec in SPECS[:9]], after_s=60.0) == ({}, [])
    long = [EpisodeResult(spec, "failure", 310, 310, wall_s=61.0, timings=Timings(chunks=31)) for spec in SPECS[:1]]
    more = [result(spec) for spec in SPECS[1:5]]
    assert tuned([*long, *more], after_s=60.0)[1]


def test_a_number_of_workers_that_was_given_stays(caplog):
    caplog.set_level(logging.INFO)
    set_, (noted,) = tuned([result(spec) for spec in SPECS[:4]], given=True)
    assert "workers" not in set_
    assert noted["workers"] == 4
    assert "4 workers as given, where" in caplog.text


def test_errors_say_nothing():
    errors = [EpisodeResult(spec, "error", 3, 310) for spec in SPECS[:9]]
    assert tuned(errors) == ({}, [])


def test_the_time_left_is_of_what_is_left():
    """36 episodes of half their 310 steps, at the rate that was found."""
    _, (noted,) = tuned([result(spec) for spec in SPECS[:4]])
    assert abs(noted["left_s"] - 36 * 155 / noted["found"]["steps_per_s"]) < 0.1
