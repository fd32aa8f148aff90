import itertools
import json

import pytest

from pirig.errors import ConfigError
from pirig.results.export import export
from pirig.types import EpisodeResult, EpisodeSpec

NAMES = {0: "put the bowl, gently, on the plate", 10: "turn on the stove"}
RESULTS = [
    EpisodeResult(EpisodeSpec("libero_goal", 10, 0, 7), "failure", 310, 310),
    EpisodeResult(EpisodeSpec("libero_goal", 0, 2, 7), "success", 118, 310),
    EpisodeResult(EpisodeSpec("libero_goal", 0, 11, 7), "error", 5, 310),
    EpisodeResult(EpisodeSpec("libero_goal", 0, 10, 7), "success", 99, 310),
]
CSV = """task_id,task_name,episode_idx,success,steps,max_steps
0,"put the bowl, gently, on the plate",2,True,118,310
0,"put the bowl, gently, on the plate",10,True,99,310
10,turn on the stove,0,False,310,310
"""


def write(folder, results, **change):
    options = {"task_names": NAMES, "seed": 7, "headless": True, "extra": {"complete": False}, **change}
    return export(folder, "libero_goal", results, **options)


def test_the_csv_is_the_reference_forks(tmp_path):
    csv_path, _ = write(tmp_path, RESULTS)
    assert csv_path.name == "libero_goal_results.csv"
    assert csv_path.read_text() == CSV


def test_the_json_has_the_forks_keys_first_and_the_same_rows(tmp_path):
    _, path = write(tmp_path, RESULTS)
    found = json.loads(path.read_text())
    first = ["task_suite", "total_episodes", "total_successes", "success_rate", "seed", "headless", "results"]
    assert path.name == "libero_goal_results.json"
    assert list(found)[:7] == first
    assert [found[key] for key in first[:6]] == ["libero_goal", 3, 2, 2 / 3, 7, True]
    assert found["results"][1] == {
        "task_id": 0, "task_name": NAMES[0], "episode_idx": 10, "success": True, "steps": 99, "max_steps": 310,
    }  # fmt: skip


def test_the_order_of_completion_does_not_show(tmp_path):
    files = [write(tmp_path, order) for order in itertools.permutations(RESULTS)]
    assert len({tuple(path.read_bytes() for path in pair) for pair in files}) == 1


def test_no_episode_gives_no_rate(tmp_path):
    assert json.loads(write(tmp_path, [])[1].read_text())["success_rate"] is None


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write results to"):
        write(tmp_path / "file", RESULTS)
