"""Our environment against a plain LIBERO loop, bit for bit."""

import functools
import json

import numpy as np
import pytest

from pirig.sim import suites
from pirig.types import EpisodeSpec
from support import golden, simulators

TASKS = [("libero_spatial", 0), ("libero_object", 0), ("libero_goal", 3), ("libero_10", 2), ("libero_90", 10)]
ACTIONS = simulators.random_actions(15)


def equal(found, expected):
    return len(found) == len(expected) and all(a.tobytes() == b.tobytes() for a, b in zip(found, expected, strict=True))


@functools.cache
def plain_episode(processes, suite, task_id):
    """Of the reference's loop, with images of every step; made once for the tests that compare with it."""
    return processes.submit(simulators.plain_episode, EpisodeSpec(suite, task_id, 4, 7), ACTIONS).result()


@pytest.mark.parametrize(("suite", "task_id"), TASKS)
def test_states_and_images_are_bit_identical(processes, suite, task_id):
    ours = processes.submit(simulators.our_episodes, EpisodeSpec(suite, task_id, 4, 7), ACTIONS, [1, 5])
    expected = plain_episode(processes, suite, task_id)
    always, lazily = ours.result()
    assert len(expected.states) == 26
    assert not np.array_equal(expected.images[10], expected.images[-1])
    assert equal(always.states, expected.states)
    assert equal(lazily.states, expected.states)
    assert equal(always.images, expected.images)
    assert equal(lazily.images, expected.images[4::5])
    assert equal(always.proprioception, expected.proprioception)


def test_the_reference_simulator_is_bit_identical_too(processes):
    spec = EpisodeSpec(*TASKS[0], 4, 7)
    (ours,) = processes.submit(simulators.our_episodes, spec, ACTIONS, [5], "reference").result()
    expected = plain_episode(processes, *TASKS[0])
    assert equal(ours.states, expected.states)
    assert equal(ours.images, expected.images[4::5])


@pytest.mark.parametrize("simulator", ["fast", "reference"])
def test_the_time_on_images_is_that_of_looks(processes, simulator):
    looks = [False, True, False, False, True]
    told, whole_s = processes.submit(
        simulators.rendering_s, EpisodeSpec("libero_spatial", 0, 4, 7), looks, simulator
    ).result()
    assert [seconds > 1e-4 for seconds in told] == looks
    assert sum(told) < whole_s


LONG = [*TASKS, ("libero_spatial", 5), ("libero_object", 5), ("libero_goal", 7), ("libero_10", 0), ("libero_90", 50)]


@pytest.mark.full
@pytest.mark.parametrize("protocol", ["per-episode", "openpi"])
@pytest.mark.parametrize(("suite", "task_id"), LONG)
def test_long_episodes_are_bit_identical(processes, suite, task_id, protocol):
    """Two consecutive trials of 220 random steps: every state, every success flag, every policy input."""
    arguments = suite, task_id, [0, 1], 7, protocol, 220
    plain = processes.submit(simulators.plain_trials, *arguments)
    found = processes.submit(simulators.our_trials, *arguments).result()
    for ours, expected in zip(found, plain.result(), strict=True):
        assert len(ours.states) == 231
        assert len(ours.images) == 46
        assert equal(ours.states, expected.states)
        assert ours.successes == expected.successes
        assert equal(ours.images, expected.images)
        assert equal(ours.proprioception, expected.proprioception)


@pytest.mark.parametrize(("suite", "task_id"), [("libero_goal", 3)])
def test_the_openpi_protocol_shows_the_references_scenes_in_any_order(processes, suite, task_id):
    expected = processes.submit(simulators.plain_sequence, suite, task_id, 4, 7)
    found = processes.submit(simulators.our_sequence, suite, task_id, [3, 0, 2, 1, 3], 7).result()
    assert [trial for trial, states in found if not equal(states, expected.result()[trial])] == []


POSES = {
    (row["suite"], row["task"]): row
    for row in json.loads((golden.ROOT / "libero/fixture_poses_seed7.json").read_text())
}
SAMPLE = [task for task in sorted(POSES) if POSES[task]["fixtures"]][:: max(1, len(POSES) // 4)]


@pytest.mark.parametrize(("suite", "task_id"), SAMPLE)
def test_fixtures_stand_where_the_reference_has_them(processes, suite, task_id):
    """Golden values: poses after each reset of the reference's loop under seed 7."""
    row, trials = POSES[suite, task_id], [6, 0]
    found = processes.submit(simulators.our_fixtures, suite, task_id, trials, 7).result()
    for trial, poses in zip(trials, found, strict=True):
        expected = dict(zip(row["fixtures"], row["poses_seed7"][trial], strict=True))
        assert {name: poses[name] for name in expected} == expected


@pytest.mark.full
def test_fixtures_stand_where_the_reference_has_them_in_every_task(processes):
    """The last trial's pose is right only if the draws of all trials before it were."""
    tasks = [task for task in sorted(POSES) if POSES[task]["fixtures"]]
    trials = [0, len(POSES[tasks[0]]["poses_seed7"]) - 1]
    found = {task: processes.submit(simulators.our_fixtures, *task, trials, 7) for task in tasks}
    wrong = []
    for task, rows in found.items():
        for trial, poses in zip(trials, rows.result(), strict=True):
            expected = dict(zip(POSES[task]["fixtures"], POSES[task]["poses_seed7"][trial], strict=True))
            if {name: poses[name] for name in expected} != expected:
                wrong.append((task, trial))
    print(f"fixtures of {len(tasks)} tasks compared in trials {trials}")
    assert not wrong


KNOWN = [("libero_spatial", 4, 1), ("libero_object", 1, 0), ("libero_goal", 6, 3)]


def test_known_answers_are_the_same_in_a_plain_loop(processes):
    """Success and number of steps of two episodes that succeed, and of one that fails."""
    specs = {suite: [EpisodeSpec(s, task, trial, 7) for s, task, trial in KNOWN if s == suite] for suite, *_ in KNOWN}
    rules = {suite: suites.rules(suite, replan_steps=1) for suite in specs}
    ours = {suite: processes.submit(simulators.our_baseline, specs[suite], rules[suite]) for suite in specs}
    plain = {
        suite: [processes.submit(simulators.plain_scripted, s, rules[suite]) for s in specs[suite]] for suite in specs
    }
    for suite in specs:
        assert ours[suite].result() == [one.result() for one in plain[suite]]
    assert [one.result()[0][0] for one in ours.values()] == [False, True, True]


@pytest.mark.full
@pytest.mark.parametrize(("suite", "least"), [("libero_object", 47), ("libero_spatial", 44), ("libero_goal", 15)])
def test_the_scripted_policy_reaches_its_known_answers(processes, suite, least):
    rules = suites.rules(suite, replan_steps=1)
    by_task = [[EpisodeSpec(suite, task, trial, 7) for trial in range(5)] for task in range(10)]
    ours = [processes.submit(simulators.our_baseline, specs, rules) for specs in by_task]
    plain = [[processes.submit(simulators.plain_scripted, spec, rules) for spec in specs] for specs in by_task]
    successes = 0
    for task, (mine, theirs) in enumerate(zip(ours, plain, strict=True)):
        found = mine.result()
        print(f"{suite} task {task}: {sum(done for done, _ in found)} of 5, steps {[steps for _, steps in found]}")
        assert found == [one.result() for one in theirs]
        successes += sum(done for done, _ in found)
    print(f"{suite}: {successes} of 50")
    assert successes >= least


@pytest.mark.full
@pytest.mark.parametrize("suite", suites.STANDARD_SUITES[:3])
def test_holding_still_never_succeeds(processes, suite):
    """A scene that succeeds by itself would flatter every policy."""
    by_task = [[EpisodeSpec(suite, task, trial, 7) for trial in range(5)] for task in range(10)]
    rules = suites.rules(suite)
    found = [processes.submit(simulators.our_baseline, specs, rules, "zero") for specs in by_task]
    assert [one.result() for one in found] == [[(False, rules.total_steps)] * 5] * 10
