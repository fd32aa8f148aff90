"""scripts/vm/fetch_results.sh with rsync, against a real ssh server where one is installed."""

import os
import pathlib
import shutil
import socket
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = pytest.mark.skipif(not shutil.which("rsync"), reason="there is no rsync")


@pytest.fixture(scope="module")
def ssh(tmp_path_factory):
    """How to reach "localhost": ssh with flags; without a server, a shell that takes ssh's words."""
    folder = tmp_path_factory.mktemp("ssh")
    if SSHD is None:
        shell = folder / "ssh"
        shell.write_text('#!/bin/sh\nshift\ncd\nexec sh -c "$*"\n')
        shell.chmod(0o755)
        yield str(shell)
        return
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    if os.geteuid() == 0:
        pathlib.Path("/run/sshd").mkdir(exist_ok=True)
    options = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "key.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", "/dev/null", *words], stderr=(folder / "log").open("wb"))
    flags = f"-p {port} -i {folder}/key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    try:
        for _ in range(100):
            if subprocess.run(["ssh", *flags.split(), "127.0.0.1", "true"], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        else:
            pytest.fail((folder / "log").read_text())
        yield f"ssh -q {flags}"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def here(tmp_path):
    """A checkout as far as the script goes."""
    (tmp_path / "here/scripts/vm").mkdir(parents=True)
    shutil.copy(ROOT / "scripts/vm/fetch_results.sh", tmp_path / "here/scripts/vm")
    return tmp_path / "here"


@pytest.fixture
def there(tmp_path):
    folder = tmp_path / "the other's checkout"
    put(folder / "results/libero/runs/run-1/episodes.jsonl", "one\ntwo\n")
    put(folder / "results/libero/libero_goal_results.csv", "task_id\n")
    put(folder / "data/libero/videos/run-1/a.mp4", "x" * 2_000_000)
    put(folder / "results/.reproduce.pid", "17")
    return folder


def put(path, text, age_s=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (time.time() - age_s,) * 2)


def fetch(here, there, ssh, **variables):
    words = [here / "scripts/vm/fetch_results.sh", "127.0.0.1", str(there)]
    done = subprocess.run(words, env={**os.environ, "SSH": ssh, **variables}, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def files(folder):
    return {
        path.relative_to(folder): path.read_text()
        for name in ("results", "data")
        for path in (folder / name).rglob("*.*l")
        if path.is_file()
    }


def test_results_and_videos_come_home(here, there, ssh):
    code, said = fetch(here, there, ssh)
    assert code == 0, said
    assert "1 runs" in said, said
    for name in ("results/libero/runs/run-1/episodes.jsonl", "data/libero/videos/run-1/a.mp4"):
        assert (here / name).read_text() == (there / name).read_text()
        assert (here / name).stat().st_mtime == pytest.approx((there / name).stat().st_mtime, abs=1)
    assert not (here / "results/.replaced").exists()
    assert not (here / "results/.reproduce.pid").exists()


def test_nothing_here_is_deleted_and_nothing_newer_is_replaced(here, there, ssh):
    put(here / "results/libero/runs/mine/episodes.jsonl", "mine\n")
    put(here / "results/libero/runs/run-1/episodes.jsonl", "newer\n", age_s=-60)
    put(here / "results/libero/libero_goal_results.csv", "older\n", age_s=3600)
    code, said = fetch(here, there, ssh)
    assert code == 0, said
    assert (here / "results/libero/runs/mine/episodes.jsonl").read_text() == "mine\n"
    assert (here / "results/libero/runs/run-1/episodes.jsonl").read_text() == "newer\n"
    assert "kept results/libero/runs/run-1/episodes.jsonl: it is newer here" in said
    assert (here / "results/libero/libero_goal_results.csv").read_text() == "task_id\n"
    (replaced,) = (here / "results/.replaced").rglob("libero_goal_results.csv")
    assert replaced.read_text() == "older\n"
    assert "1 older files were replaced" in said


def test_an_interrupted_transfer_goes_on(here, there, ssh, tmp_path):
    """Cut off within the video: nothing half-made under its name, and the second call completes it."""
    video = "data/libero/videos/run-1/a.mp4"
    slow = tmp_path / "bin/rsync"
    put(slow, f'#!/bin/sh\ncase "$*" in *dry-run*) exec {shutil.which("rsync")} "$@" ;; esac\n'
        f'exec timeout -s INT 3 {shutil.which("rsync")} --bwlimit=300 "$@"\n')  # fmt: skip
    slow.chmod(0o755)
    code, said = fetch(here, there, ssh, PATH=f"{slow.parent}:{os.environ['PATH']}")
    assert code == 1, said
    assert "interrupted; the same command goes on" in said, said
    assert not (here / video).exists()
    part = here / pathlib.Path(video).parent / ".rsync-partial/a.mp4"
    assert 0 < part.stat().st_size < 2_000_000
    code, said = fetch(here, there, ssh)
    assert code == 0, said
    assert (here / video).read_text() == (there / video).read_text(), said
    assert not part.exists()


def test_a_wrong_folder_is_named(here, there, ssh):
    code, said = fetch(here, there.with_name("elsewhere"), ssh)
    assert code == 1
    assert "no folder" in said
    assert "elsewhere" in said
