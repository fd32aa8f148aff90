import imageio.v2 as imageio
import numpy as np

from pirig.sim.video import write_mp4


def test_a_video_has_every_frame_at_ten_a_second(tmp_path):
    frames = [np.full((224, 224, 3), 10 * i, np.uint8) for i in range(20)]
    write_mp4(tmp_path / "a.mp4", iter(frames))
    with imageio.get_reader(tmp_path / "a.mp4") as reader:
        found = [np.mean(frame) for frame in reader]
        assert reader.get_meta_data()["fps"] == 10
    assert len(found) == 20
    assert np.allclose(found, [10 * i for i in range(20)], atol=8)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_video_that_breaks_off_has_no_name(tmp_path):
    def broken():
        yield np.zeros((224, 224, 3), np.uint8)
        raise RuntimeError

    try:
        write_mp4(tmp_path / "a.mp4", broken())
    except RuntimeError:
        assert not (tmp_path / "a.mp4").exists()
