"""Checks what the README's first command leaves: ten scored episodes, most of them successes, each with its video."""

import csv
import pathlib

with open("results/libero/libero_object_results.csv", newline="") as file:
    rows = list(csv.DictReader(file))
successes = sum(row["success"] == "True" for row in rows)
videos = [path for path in pathlib.Path("data/libero/videos").glob("*/*.mp4") if path.stat().st_size > 10_000]
assert [(row["task_id"], row["episode_idx"]) for row in rows] == [(str(task), "0") for task in range(10)], rows
assert successes >= 8, f"the scripted policy succeeded on {successes} of 10; at least 8 were expected"
assert len(videos) == 10, f"{len(videos)} videos instead of 10"
print(f"{successes} of 10 succeeded, 10 videos")
