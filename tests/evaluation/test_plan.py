from pirig.evaluation.plan import next_for, plan, remaining
from pirig.types import EpisodeSpec


def spec(task, trial=0):
    return EpisodeSpec("fake", task, trial, 7)


def test_a_plan_has_every_task_and_trial_once():
    specs = plan("fake", range(3), range(4), seed=7)
    assert len(specs) == len(set(specs)) == 12


def test_remaining_keeps_the_order_of_the_plan():
    specs = plan("fake", range(2), range(2), seed=7)
    assert remaining(specs, {specs[1]}) == [specs[0], specs[2], specs[3]]


def test_a_worker_stays_with_its_task():
    todo = [spec(0, 1), spec(1, 0), spec(1, 1)]
    assert next_for(todo, spec(1, 9), []) == spec(1, 0)
    assert todo == [spec(0, 1), spec(1, 1)]


def test_workers_spread_over_tasks():
    todo = plan("fake", range(2), range(4), seed=7)
    assert next_for(todo, None, [spec(0)]).task_id == 1


def test_every_episode_is_handed_out_once():
    todo, last, given = plan("fake", range(3), range(3), seed=7), None, []
    while todo:
        last = next_for(todo, last, [])
        given.append(last)
    assert sorted(given) == plan("fake", range(3), range(3), seed=7)
