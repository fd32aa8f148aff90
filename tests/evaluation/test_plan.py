from pirig.evaluation.plan import Work, longest_first, plan, remaining, spec_of
from pirig.types import EpisodeResult, EpisodeSpec


def spec(task, trial=0):
    return EpisodeSpec("fake", task, trial, 7)


def test_a_plan_has_every_task_and_trial_once():
    specs = plan("fake", range(3), range(4), seed=7)
    assert len(specs) == len(set(specs)) == 12


def test_remaining_keeps_the_order_of_the_plan():
    specs = plan("fake", range(2), range(2), seed=7)
    assert remaining(specs, {specs[1]}) == [specs[0], specs[2], specs[3]]


def test_a_worker_stays_with_its_task():
    work = Work([spec(0, 1), spec(1, 0), spec(1, 1)])
    assert work.take(spec(1, 9), []) == spec(1, 0)
    assert len(work) == 2


def test_workers_spread_over_tasks():
    assert Work(plan("fake", range(2), range(4), seed=7)).take(None, [spec(0)]).task_id == 1


def test_the_longest_episodes_of_several_suites_come_first():
    """Whatever task has most left elsewhere; and the tasks of one suite stay together."""
    length = {"short": 10, "long": 50, "middle": 20}
    specs = [EpisodeSpec(suite, task, trial) for suite in length for task in range(2) for trial in range(9)]
    specs = [spec for spec in specs if spec.suite != "long" or spec.trial < 2]
    work = Work(longest_first(specs, lambda spec: length[spec.suite]))
    taken, busy = [], []
    while (job := work.take(None, busy)) is not None:
        taken.append(job)
        busy = taken[-3:]
    assert [spec.suite for spec in taken] == ["long"] * 4 + ["middle"] * 18 + ["short"] * 18
    assert {spec.task_id for spec in taken[:2]} == {0, 1}
    staying = Work(longest_first(specs, lambda spec: length[spec.suite]))
    assert staying.take(EpisodeSpec("short", 1, 0), ()).suite == "short"


def test_every_episode_is_handed_out_once():
    work, last, given = Work(plan("fake", range(3), range(3), seed=7)), None, []
    while (last := work.take(last, [])) is not None:
        given.append(last)
    assert sorted(given) == plan("fake", range(3), range(3), seed=7)


def test_videos_come_when_no_episode_is_left_and_from_the_worker_that_has_the_scene():
    work = Work([spec(0)])
    for task in (0, 1, 2):
        work.add_video(EpisodeResult(spec(task, 5), "success", 10, 20))
    assert work.take(spec(1), []) == spec(0)
    jobs = [work.take(spec(1), []), work.take(spec(2), [])]
    assert [spec_of(job) for job in jobs] == [spec(1, 5), spec(2, 5)]
    assert isinstance(jobs[0], EpisodeResult)
    assert len(work) == 1


def test_no_worker_runs_further_ahead_than_it_may():
    """Blocks of a trial of each task: a worker stays at its task, but only so far beyond what is still to start."""
    specs = [EpisodeSpec("fake", task, trial, 7) for trial in range(6) for task in range(3)]
    work = Work(specs, ahead=6)
    taken, last = [], None
    while (job := work.take(last, ())) is not None:
        first = min(specs.index(spec) for spec in specs if spec not in taken)
        assert specs.index(job) < first + 6
        taken.append(job)
        last = job
    assert sorted(taken) == sorted(specs)
    assert taken[1].task_id == taken[0].task_id


def test_what_is_put_back_is_taken_next():
    specs = [EpisodeSpec("fake", 0, trial, 7) for trial in range(4)]
    work = Work(specs, ahead=2)
    assert [work.take(None, ()), work.take(None, ())] == specs[:2]
    work.put_back(specs[0])
    assert [work.take(None, ()) for _ in range(3)] == [specs[0], specs[2], specs[3]]


def test_dropped_episodes_are_not_taken():
    work = Work([EpisodeSpec("fake", 0, trial, 7) for trial in range(3)])
    assert work.take(None, ()) is not None
    work.drop_episodes()
    assert work.take(None, ()) is None
    assert len(work) == 0
