"""A file has its name when it is whole; parents need not exist; values become plain JSON."""

import pathlib

import numpy as np
import pytest

from pirig import files


def names(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("has_one_writer", [False, True])
def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path, has_one_writer):
    path = tmp_path / "run.json"
    files.write_atomically(path, "old", has_one_writer=has_one_writer)
    with pytest.raises(KeyboardInterrupt), files.replacing(path, has_one_writer=has_one_writer) as partial:
        partial.write_bytes(b"half of the n")
        raise KeyboardInterrupt
    assert (names(tmp_path), path.read_text()) == (["run.json"], "old")
    files.write_atomically(path, b"new", has_one_writer=has_one_writer)
    assert (names(tmp_path), path.read_text()) == (["run.json"], "new")


def test_readers_see_the_old_content_until_the_block_ends(tmp_path):
    path = tmp_path / "video.mp4"
    path.write_text("old")
    with files.replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert (partial.parent, partial.suffix) == (tmp_path, ".mp4")  # writers choose a format by the suffix
    assert path.read_text() == "new"


def test_a_folder_gets_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "checkpoint"
    with pytest.raises(ValueError, match="full"), files.replacing(path) as partial:
        partial.mkdir()
        (partial / "weights").touch()
        raise ValueError("full")
    assert not names(tmp_path)
    with files.replacing(path) as partial:
        partial.mkdir()
    assert path.is_dir()


def test_the_only_writer_removes_what_a_killed_one_left(tmp_path):
    with files.replacing(tmp_path / "checkpoint", has_one_writer=True) as left:
        left.mkdir()
    left.mkdir()
    (left / "half").touch()
    with files.replacing(tmp_path / "new", has_one_writer=True) as other:
        other.touch()
    (tmp_path / "checkpoint").rmdir()
    with files.replacing(tmp_path / "checkpoint", has_one_writer=True) as partial:
        assert partial == left
        assert not partial.exists()
        partial.mkdir()


def test_a_folder_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.write_atomically(tmp_path / "missing" / "file", "x")


def test_removing_what_is_not_there_is_fine_and_a_link_is_removed_alone(tmp_path):
    folder, link = tmp_path / "folder", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    files.remove(tmp_path / "missing")
    files.remove(link)
    assert names(tmp_path) == ["folder"]
    files.remove(folder)
    assert not names(tmp_path)


def test_what_does_not_exist_yet_is_judged_by_its_nearest_parent(tmp_path):
    file = tmp_path / "file"
    file.touch()
    assert files.existing_parent(file) == file
    assert files.existing_parent(tmp_path / "a" / "b" / "c") == tmp_path
    assert files.free_bytes(tmp_path / "a" / "b") > 0
    files.sync_folder(tmp_path)


def test_plain_json_is_what_json_reads_back():
    value = {"a": (1, 2), "b": np.arange(2), "c": np.float64(0.5), "d": pathlib.PurePosixPath("x/y"), 3: None}
    assert files.plain_json(value) == {"a": [1, 2], "b": [0, 1], "c": 0.5, "d": "x/y", "3": None}
